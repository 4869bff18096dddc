"""Weights as decoding wants them: transforms over a model's parameters.

On a CPU (`for_decode`) each matrix lies with a row of inputs for every output, and all lie layer by layer
where layers are unrolled. A loop over tokens then neither cuts nor transposes nor converts weights before it
starts. On an NVIDIA GPU (`unstack_layers`) they lie as they did, but layer by layer: products there read no
part of a stack without a copy of it. The sums are the same; their order, hence the last bits, may differ.

    name          parameter [L, inputs, outputs]    for_decode, L layers unrolled
    layers.q      [L, D, H, A]                      Unstacked: L x OutputMajor [H * A, D]
    layers.o      [L, H, A, D]                      Unstacked: L x OutputMajor [D, H * A]
    layers.gate   [L, D, F]                         Unstacked: L x OutputMajor [2 * F, D], gate above up
    layers.up     [L, D, F]                         FusedWithGate, no memory
    layers.down   [L, F, D]                         Unstacked: L x OutputMajor [D, F]
    embed, head   [V, D]                            OutputMajor [V, D]: the same memory
    norms, biases                                   as they are

                      D inputs                              one product makes gate and up:
                  +----------------+
      F outputs   |   gate[l].T    |                        +------+     tokens          tokens
                  +----------------+  one OutputMajor       |      |    +------+        +------+
      F outputs   |   up[l].T      |  of layer l            | rows | @  | x.T  |   =    | gate |
                  +----------------+                        |      |    +------+        | up   |
                                                            +------+                    +------+

Where layers are scanned an `OutputMajor` holds all of them, [L, O, I], and nothing is `Unstacked`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from rstar_jax.kernels import attention_mesh
from rstar_jax.models.bfloat16 import same_bits
from rstar_jax.models.cache import unrolled
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.linear import SUMMED, FusedWithGate, OutputMajor, Unstacked

# Latent attention uses its up-projection both ways round; experts are not multiplied by `matmul`.
_LEFT_ALONE = ("kv_up", "experts_gate", "experts_up", "experts_down")


def for_decode(params: Mapping[str, Any], c: DecoderConfig) -> dict[str, Any]:
    """The same parameters, matrices in another layout: a copy of them, but for the vocabulary's.

    What is in int8 or has low-rank additions, and experts, are not transposed; norms and biases stay as they
    are. An MLP's `gate` and `up` become one matrix.
    """
    out, by_layer = dict(params), unrolled(c.layers, "cpu")
    for name, weight in params.items():
        stack, _, kind = name.rpartition(".")
        if kind not in SUMMED:
            continue
        if kind in _LEFT_ALONE or not isinstance(weight, jax.Array):
            out[name] = unstack_layers(weight) if by_layer and stack else weight
            continue
        if not stack:
            out[name] = OutputMajor(weight, weight.shape, _bits(weight) if kind == "embed" else None)
            continue
        mlp = [params.get(f"{stack}.{part}") for part in ("gate", "up", "down")]
        fused = all(isinstance(part, jax.Array) for part in mlp)
        if kind == "up" and fused:
            out[name] = FusedWithGate(weight.shape, weight.dtype)
            continue
        rows = _fuse(*mlp[:2]) if kind == "gate" and fused else _output_major(weight, SUMMED[kind])
        shape = weight.shape[1:]
        out[name] = (
            Unstacked(tuple(OutputMajor(w, shape) for w in rows)) if by_layer else OutputMajor(rows, shape)
        )
    return out


def kept_apart(c: DecoderConfig, platform: str) -> bool:
    """Return whether a decoder's weights are to be unstacked on a platform."""
    return platform == "cuda" and unrolled(c.layers, platform)


def unstack_layers(weight: Any) -> Unstacked:
    """A stack of weights in whatever form (int8, with low-rank additions), layer by layer: a copy."""
    if isinstance(weight, Unstacked):
        return weight
    arrays, form = jax.tree.flatten(weight)
    layers = zip(*map(jnp.unstack, arrays), strict=True)
    return Unstacked(tuple(jax.tree.unflatten(form, layer) for layer in layers))


def keep_apart(model: nnx.Module, c: DecoderConfig) -> None:
    """Unstack in place, where the devices here want it, every stack of a decoder of config c or of the one in
    a reward model: one after another, so that no more than the largest is there twice.

    For a model that from now on is only run: it cannot be trained or saved.
    """
    if not kept_apart(c, attention_mesh.platform(None)):
        return
    for _, node in list(nnx.iter_graph(model)):
        if isinstance(node, nnx.Param) and node.get_metadata().get("axes", ())[:1] == ("layers",):
            node.set_value(unstack_layers(node.get_value()))


def _output_major(weight: jax.Array, summed: tuple[int, ...]) -> jax.Array:
    """Transpose [L, inputs ..., outputs ...] to [L, O, I]."""
    inputs = math.prod(weight.shape[i] for i in summed)
    return jnp.swapaxes(weight.reshape(len(weight), inputs, -1), 1, 2)


@jax.jit
def _fuse(gate: jax.Array, up: jax.Array) -> jax.Array:
    """The rows of both, one above the other. Compiled, and on the bits of bfloat16: then nothing else is
    made, neither one's rows by themselves nor float32 of them."""
    narrow = gate.dtype == up.dtype == jnp.bfloat16
    rows = [_output_major(same_bits(w, jnp.uint16) if narrow else w, SUMMED["gate"]) for w in (gate, up)]
    fused = jnp.concatenate(rows, axis=1)
    return same_bits(fused, jnp.bfloat16) if narrow else fused


def _bits(table: jax.Array) -> jax.Array | None:
    """The table's own memory (where the backend shares it with numpy) as uint16."""
    if table.dtype != jnp.bfloat16:
        return None
    if isinstance(table, Tracer):  # somebody asks for shapes alone
        return same_bits(table, jnp.uint16)
    return jax.device_put(np.asarray(table).view(np.uint16), may_alias=True)
