"""The decoder-only transformer over arrays of tokens: whole texts, and candidates after a shared prefix.

What a layer does is in `layers.py`, by the differences that the config names; parameters are those of
`params.param_specs`. Folders are `hf.py`'s affair.

Not here: sampling and cache management (`engine/`), losses.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.kernels import attention_mesh
from rstar_jax.models import attention, candidates, layers, rope
from rstar_jax.models import cache as caches
from rstar_jax.models.cache import KV, UNROLL_UP_TO, Shared, Suffix
from rstar_jax.models.config import DecoderConfig, Remat
from rstar_jax.models.layers import STATES, WHOLE
from rstar_jax.models.linear import Unstacked, lookup, matmul
from rstar_jax.models.params import param_specs
from rstar_jax.models.stacks import of_layers

# What the backward pass finds kept of a layer's insides; the rest is computed again.
REMAT: dict[Remat, Any] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.save_only_these_names("product"),
}
_EVERYTHING = 2**30  # a window that no text fills


class Decoder(nnx.Module):
    """A causal language model over int32 tokens; every method is pure and may be jitted.

    Parameters keep the dtype they are given; matmuls run in `compute_dtype` (default: that of the
    embedding), norms, rotary angles, softmax, routing and logits in float32.
    """

    def __init__(
        self,
        config: DecoderConfig,
        params: Mapping[str, jax.Array],
        *,
        compute_dtype: Any = None,
        mesh: Mesh | None = None,
        kernels: candidates.When = "auto",
    ) -> None:
        """params: exactly the names and shapes of `param_specs(config)`; raises ValueError otherwise.

        mesh: over which activations stay split, by `sharding.preset_for`; None: as the compiler has it.
        kernels: when `extend` attends by kernels.
        """
        specs = param_specs(config)
        if specs.keys() != params.keys():
            raise ValueError(f"parameters {sorted(specs.keys() ^ params.keys())} are missing or too many")
        self.config = config
        self.compute_dtype = jnp.dtype(compute_dtype or params["embed"].dtype)
        self.mesh = mesh
        self.kernels: candidates.When = kernels

        def param(name: str) -> nnx.Param:
            if params[name].shape != specs[name].shape:
                raise ValueError(f"parameter {name} is {params[name].shape}, expected {specs[name].shape}")
            return nnx.Param(params[name], axes=specs[name].axes)

        self.embed, self.norm = param("embed"), param("norm")
        if not config.tied:
            self.head = param("head")
        for stack in config.stacks:
            names = [name for name in specs if name.startswith(f"{stack.name}.")]
            of_stack = {name.removeprefix(f"{stack.name}."): param(name) for name in names}
            setattr(self, stack.name, nnx.Dict(of_stack))

    def params(self) -> dict[str, jax.Array]:
        """The parameter arrays by the names of `param_specs`; they are the same until they are replaced."""
        params = {name: self._param(name) for name in param_specs(self.config)}
        # Not [...]: that indexes the arrays of an int8 weight, which makes new ones.
        return {n: p.get_value() if isinstance(p, nnx.Variable) else p[...] for n, p in params.items()}

    def _param(self, name: str) -> nnx.Param:
        stack, _, weight = name.rpartition(".")
        return getattr(self, stack)[weight] if stack else getattr(self, name)

    def __call__(
        self, tokens_BxT: jax.Array, positions: jax.Array | None = None, segment_ids: jax.Array | None = None
    ) -> jax.Array:
        """Next-token logits [B, T, V] float32. Arguments as for `hidden`."""
        return self.logits(self.hidden(tokens_BxT, positions, segment_ids))

    def hidden(
        self,
        tokens_BxT: jax.Array,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        *,
        ends: jax.Array | None = None,
        remat: Remat = "none",
    ) -> jax.Array:
        """Final states [B, T, D], after the last norm.

        positions [B, T] int32: rotary positions, by default 0 … T-1. segment_ids [B, T] int32: a token
        sees only its own segment; 0 is padding. ends [B, T] int32: rows of trees, each a segment in
        depth-first order, positions are depths; token i sees token j only if i < ends[j], see
        `attention.Intervals`. The texts of a tree are long ones or none is, see `rope`. remat: a row of
        `REMAT`.
        """
        if positions is None:
            positions = jnp.arange(tokens_BxT.shape[1])[None]
        long = rope.in_long_text(self.config.rope, positions, segment_ids)
        packed: attention.Packed = segment_ids
        if ends is not None:
            packed = attention.Intervals(ends, jnp.broadcast_to(positions, ends.shape))
        return self._causal(tokens_BxT, positions, packed, long, remat=remat)[0]

    def vocabulary(self) -> Any:
        """The head's table [V, D] for `logits`, on a mesh gathered along D: once for many calls."""
        head = self.embed if self.config.tied else self.head
        return self._whole_rows(head[...])

    def _whole_rows(self, table: Any) -> Any:
        return jax.tree.map(lambda leaf: sharding.placed(leaf, ("vocab", None), self.mesh), table)

    def logits(self, x: jax.Array, table: Any = None) -> jax.Array:
        """The head alone: states [..., D] to logits [..., V] float32. table: of `vocabulary`."""
        if table is None:
            table = self.embed[...] if self.config.tied else self.head[...]
        out = matmul("...d,vd->...v", x, table, self.compute_dtype)
        out = attention.softcap(out, self.config.logit_softcap)
        return sharding.placed(out, (*WHOLE[:-1], "vocab"), self.mesh) if out.ndim > 2 else out

    def prefill(self, tokens_BxP: jax.Array, length_B: jax.Array) -> tuple[jax.Array, KV]:
        """States [B, P, D] and the cache of right-padded rows; entries from `length` on mean nothing.

        A decoder with short and long rotary factors ("longrope") takes for all of a row, and all that
        `extend` puts after it, those of a text of length + 1 tokens: a step that leaves the range of the
        short factors ends with them, and the prefill of the next one takes the long ones.
        """
        positions = jnp.arange(tokens_BxP.shape[1])[None]
        segments = (positions < length_B[:, None]).astype(jnp.int32)
        return self._causal(tokens_BxP, positions, segments, self._long_prefix(length_B), keep=True)

    def _long_prefix(self, length_B: jax.Array) -> jax.Array | None:
        return rope.in_long_text(self.config.rope, length_B[:, None], None)

    def empty_suffix(self, B: int, N: int, S: int) -> Suffix:
        """`cache.empty_suffix` of this decoder."""
        return caches.empty_suffix(self.config, self.compute_dtype, B, N, S)

    def share(
        self,
        layers: tuple[KV, ...],
        prefix_length_B: jax.Array,
        S: int,
        text_length_B: jax.Array | None = None,
    ) -> Shared:
        """Prefixes, as `cache.lay_out` gives them, for suffixes of S slots.

        text_length: decides on short or long rotary factors in the place of the prefix's, see `prefill`.
        Call it before a loop over tokens: inside, XLA:CPU would compute the rotary angles for every head and
        layer.
        """
        positions = prefix_length_B[:, None] + jnp.arange(S)[None]
        long = self._long_prefix(prefix_length_B if text_length_B is None else text_length_B)
        return Shared(layers, self._tables(positions, long))

    def extend(
        self,
        tokens_BxNxT: jax.Array,
        start: jax.Array,
        prefix: KV | Shared,
        prefix_length_B: jax.Array,
        suffix: Suffix,
    ) -> tuple[jax.Array, Suffix, Suffix]:
        """Run T further tokens of each of N candidates that share their leaf's prefix.

        start: int32 scalar (all rows stand at one slot), [B] (the candidates of a leaf do; as fast) or
        [B, N]. Token t stands at position prefix_length + start + t, sees the prefix below prefix_length
        and its own suffix slots up to start + t, and its keys and values are written to slot start + t
        (start + T <= S is the caller's duty). Give a loop over tokens the prefix through `share`.
        Returns states [B, N, T, D], the updated suffix cache, and the tokens' own keys and values
        [B, N, T, G, A], for whoever keeps them elsewhere: in pairs as for `Suffix`, see `cache.whole`.
        """
        S = suffix[0][1].shape[-2]
        if not isinstance(prefix, Shared):
            prefix = self.share(caches.lay_out(prefix), prefix_length_B, S)
        shared, c = prefix, self.config
        start = jnp.asarray(start, jnp.int32)
        B, N, T = tokens_BxNxT.shape
        slots = attention.per_row(start)[..., None] + jnp.arange(T)[None, None]  # [B or 1, N or 1, T]
        leaf = jnp.arange(B)[:, None, None]
        tables = tuple((cos[leaf, slots], sin[leaf, slots]) for cos, sin in shared.tables)

        def attend(layer, window, q, k, v, cache, entry=None):
            suffix, new = cache
            args = shared.layers, prefix_length_B, suffix, layer, start, window, c.attention_softcap
            out, suffix = candidates.attend(q, (k, v), *args, mesh=self.mesh, when=self.kernels)
            return out, (suffix, caches.put(new, (k, v), layer))

        empty = jnp.zeros((c.layers, B, N, T, c.kv_heads, c.head_dim), self.compute_dtype)
        none = caches.by_layer((empty, empty))
        cache = suffix, none
        x, cache = self._run(tokens_BxNxT, tables, attend, cache, cached=True, unrolled=len(suffix) > 1)
        return x, *cache

    def _causal(
        self,
        tokens_BxT: jax.Array,
        positions: jax.Array,
        packed: attention.Packed,
        long: jax.Array | None,
        *,
        remat: Remat = "none",
        keep: bool = False,
    ) -> tuple[jax.Array, Any]:
        """States, and with `keep` the cache."""
        c, cache = self.config, None
        if keep:
            shape = (c.layers, *tokens_BxT.shape, c.kv_heads, c.head_dim)
            cache = jnp.zeros(shape, self.compute_dtype), jnp.zeros(shape, self.compute_dtype)

        def attend(layer, window, q, k, v, cache, entry=None):
            if cache is not None:
                (cache,) = caches.put((cache,), entry or (k, v), layer)
            out = attention.causal(q, k, v, packed, window, c.attention_softcap, mesh=self.mesh)
            return out, cache

        mesh = attention_mesh.current_mesh() if self.mesh is None else self.mesh
        few = caches.texts_unrolled(c.layers, attention_mesh.platform(mesh))
        unrolled = few and not keep and remat == "none"  # unrolled, XLA keeps what remat gives up
        tables = self._tables(positions, long)
        return self._run(tokens_BxT, tables, attend, cache, unrolled=unrolled, remat=remat)

    def _tables(self, positions: jax.Array, long: jax.Array | None) -> tuple[rope.Tables, ...]:
        """Rotary tables [..., T, R/2] of positions [..., T]: of `rope` and, where there is, `local_rope`."""
        c = self.config
        dim = c.latent.rope if c.latent else c.head_dim
        ropes = (c.rope, c.local_rope) if c.local_rope else (c.rope,)
        return tuple(rope.tables(r, positions, dim, c.max_positions, long) for r in ropes)

    def _run(
        self,
        tokens: jax.Array,
        tables: tuple[rope.Tables, ...],
        attend: Any,
        cache: Any,
        *,
        cached: bool = False,
        unrolled: bool = False,
        remat: Remat = "none",
    ) -> tuple[jax.Array, Any]:
        """Embed tokens [..., T], apply the layers, normalise; `attend` reads and writes the cache.

        unrolled: layers run one by one, as they do where weights are kept by layer, or where they are few.
        A cache must be kept by layer then.
        """
        c = self.config
        # [..., T, 1, R/2]: one row serves all heads
        heads = tuple((cos[..., None, :], sin[..., None, :]) for cos, sin in tables)

        # Looked up in rows that are whole: else the states would come out split by width, not by batch.
        x = lookup(self.embed[...], tokens, self.compute_dtype, self._whole_rows)
        if c.embed_scale is not None:
            x = x * jnp.asarray(c.embed_scale, self.compute_dtype)  # rounded as the weights are

        policy = REMAT[remat]

        def body(layer, slides, carry, w):
            x, cache = carry
            attend_layer = functools.partial(attend, layer, _window(c, slides))
            layer_tables = _of_layer(heads, slides)
            x, cache = layers.block(c, w, x, layer_tables, attend_layer, cache, cached=cached, mesh=self.mesh)
            return sharding.placed(x, STATES, self.mesh), cache

        def run(layer, slides, carry, w):
            # Bound before jax.checkpoint sees them: it would trace what is static of an unrolled layer.
            step = functools.partial(body, layer, slides)
            return (step if policy is None else jax.checkpoint(step, policy=policy))(carry, w)

        carry = (layers.scattered(x, self.mesh), cache)
        for stack in c.stacks:
            weights = {name: param[...] for name, param in getattr(self, stack.name).items()}
            indices = range(stack.first, stack.first + stack.count)
            unstacked = any(isinstance(w, Unstacked) for w in weights.values())
            if c.layers <= UNROLL_UP_TO or unrolled or unstacked:
                by_layer = {n: of_layers(w) for n, w in weights.items()}
                for i in indices:
                    of_layer = {n: w[i - stack.first] for n, w in by_layer.items()}
                    carry = run(i, c.slides[i], carry, of_layer)
            else:
                slides = jnp.asarray(c.slides)[indices.start : indices.stop]
                scanned = jnp.arange(indices.start, indices.stop), slides, weights
                carry, _ = jax.lax.scan(lambda carry, s: (run(s[0], s[1], carry, s[2]), None), carry, scanned)
        x, cache = carry
        return layers.gathered(layers.rms_norm(c, x, self.norm[...]), self.mesh), cache


def _window(c: DecoderConfig, slides: bool | jax.Array) -> attention.Window:
    """The window of a layer; an array where the layers that are scanned differ."""
    if c.window is None or all(c.slides):
        return c.window
    if isinstance(slides, bool):
        return c.window if slides else None
    return jnp.where(slides, c.window, _EVERYTHING)


def _of_layer(tables: tuple[rope.Tables, ...], slides: bool | jax.Array) -> rope.Tables:
    if len(tables) == 1:
        return tables[0]
    everywhere, local = tables
    if isinstance(slides, bool):
        return local if slides else everywhere
    return jnp.where(slides, local[0], everywhere[0]), jnp.where(slides, local[1], everywhere[1])
