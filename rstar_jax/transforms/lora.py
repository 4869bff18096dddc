"""Low-rank additions to frozen weights (LoRA, arXiv 2106.09685): a transform over a model's parameters.

Which parameters train is told by their type: `adapted` makes every parameter of a decoder `Frozen` and leaves
as nnx.Param only the additions. So the training loop, its optimiser and its checkpoints hold nothing else.
Tokens that the base never saw cannot be taught by additions alone: their rows of the embedding, and of a head
that is not tied to it, train whole beside them. Not here: dropout, and choosing layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.errors import UserError
from rstar_jax.models import layers
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.linear import SUMMED, LowRank, NewRows, Quantized
from rstar_jax.models.params import param_specs
from rstar_jax.models.scalar_head import RewardModel
from rstar_jax.settings import nearest

ENDS = ("embed", "norm", "head")  # a decoder's parameters outside of its layers
TARGETS = tuple(name for name in SUMMED if name not in ("embed", "head"))


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """rank: inner size of the low-rank additions; 0: off, all parameters train. alpha: additions are
    multiplied with alpha / rank. targets: the weights that get one, by their names in a layer
    (`params.param_specs`)."""

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q", "k", "v", "o", "gate", "up", "down")

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise UserError(f"train.lora.rank: {self.rank} given, 0 (off) or more expected.")
        if not self.alpha > 0:
            raise UserError(f"train.lora.alpha: {self.alpha} given, a number above 0 expected.")
        if not self.targets:
            raise UserError("train.lora.targets: none given, at least one expected, such as ('q', 'v').")
        for name in self.targets:
            if name not in TARGETS:
                raise UserError(
                    f"train.lora.targets: '{name}' is no weight of a layer. {nearest(name, TARGETS)}"
                )


class Frozen(nnx.Variable):
    """A parameter that no training changes."""


class Adapted(nnx.Module):
    """Stands in a decoder where a weight was: the frozen weight and what is added to it."""

    def __init__(self, base: Frozen, a: nnx.Param, b: nnx.Param, scale: float) -> None:
        self.base, self.a, self.b, self.scale = base, a, b, scale

    def __getitem__(self, index: Any) -> LowRank:
        return LowRank(self.base[...], self.a[...], self.b[...], self.scale)[index]


class Scaled(nnx.Module):
    """Stands where a head's weight was: the weight times `by`, float32, which trains; it gives the weight."""

    def __init__(self, weight: nnx.Param, by: jax.Array) -> None:
        self.times = nnx.Param(weight[...] * by, axes=weight.get_metadata()["axes"])
        self.by = Frozen(by)

    def __getitem__(self, index: EllipsisType) -> jax.Array:
        return self.times[index] / self.by[...]


class Grown(nnx.Module):
    """Stands in a decoder where a table was: the frozen table, and its rows from `first` on that train."""

    def __init__(self, base: Frozen, rows: nnx.Param, first: int) -> None:
        self.base, self.rows, self.first = base, rows, first

    def __getitem__(self, index: EllipsisType) -> NewRows:
        return NewRows(self.base[...], self.rows[...], self.first)


@contextlib.contextmanager
def adapted(
    model: Decoder | RewardModel, config: LoraConfig, *, seed: int, new_tokens: range = range(0)
) -> Iterator[None]:
    """While the block runs only low-rank additions train, and the rows of new tokens; after it they are part
    of the weights.

    Nothing happens where the rank is 0. A reward model's head trains whole; it and rows are float32 while
    they train. Raises UserError if the model has no weights of a target's name.

    Adam moves each of a head's weights by about the learning rate, and so a value by that times the sum of
    a state's sizes: at a rate for additions, 0.8 a step for 576 numbers of size 1.5. Pairs do not hold their
    common value, and soon all values are -1 or 1 by tanh, from where nothing is learnt. So a head's weight
    trains times the norm of a state: a step then moves a value by the rate times the width's root at most.
    """
    if not config.rank:
        yield
        return
    decoder = model.decoder if isinstance(model, RewardModel) else model
    adapt(decoder, config, seed=seed, new_tokens=new_tokens)
    heads = model.head() if isinstance(model, RewardModel) else {}
    dtypes = {name: head[...].dtype for name, head in heads.items()}
    for head in heads.values():
        head.set_value(head[...].astype(jnp.float32))
    first = "score_in" if "score_in" in heads else "score"  # the one that multiplies states
    if heads:
        setattr(model, first, Scaled(heads[first], _state_norm(decoder)))
    try:
        yield
    finally:
        merge(decoder)
        if heads:
            heads[first].set_value(getattr(model, first)[...])
            setattr(model, first, heads[first])
        for name, head in heads.items():
            head.set_value(head[...].astype(dtypes[name]))


def check(model: DecoderConfig, config: LoraConfig) -> None:
    """Raise UserError if models of this shape lack weights of a target's name, and training is low-rank."""
    names = {name.rpartition(".")[2] for name in param_specs(model)}
    for name in config.targets if config.rank else ():
        if name not in names:
            raise UserError(
                f"train.lora.targets: '{name}' given, but this {model.family} model has no such weight. "
                f"It has {', '.join(n for n in TARGETS if n in names)}."
            )


def adapt(decoder: Decoder, config: LoraConfig, *, seed: int, new_tokens: range = range(0)) -> None:
    """Freeze a decoder's parameters and add to every target an addition that is zero at the start.

    a is normal with variance 1 / inputs, b zero, both float32; the same for the same seed on any devices.
    new_tokens: consecutive ids whose rows train, from what they are. Raises UserError if the model has no
    weights of a target's name.
    """
    check(decoder.config, config)
    for stack in (stack.name for stack in decoder.config.stacks):
        weights = getattr(decoder, stack)
        for name, param in list(weights.items()):
            frozen = _retyped(param, Frozen)
            if name in config.targets:
                rng = np.random.default_rng([seed, zlib.crc32(f"{stack}.{name}".encode())])
                a, b = _factors(frozen, SUMMED[name], config.rank, rng, decoder.mesh)
                frozen = Adapted(frozen, a, b, config.alpha / config.rank)
            weights[name] = frozen
    for name in ENDS:
        if hasattr(decoder, name):
            frozen = _retyped(getattr(decoder, name), Frozen)
            grown = new_tokens and name in SUMMED
            setattr(decoder, name, _grown(frozen, new_tokens, decoder.mesh) if grown else frozen)


def merge(decoder: Decoder) -> None:
    """Undo `adapt`: every addition becomes part of its weight, in the weight's dtype."""
    for stack in decoder.config.stacks:
        weights = getattr(decoder, stack.name)
        for name, node in list(weights.items()):
            if isinstance(node, Adapted):
                merged_weight = merged(node[...], SUMMED[name][0])
                weights[name] = nnx.Param(merged_weight, axes=node.base.get_metadata()["axes"])
            else:
                weights[name] = _retyped(node, nnx.Param)
    for name in ENDS:
        if isinstance(node := getattr(decoder, name, None), Grown):
            table = _with_rows(node[...], placement=_sharding_of(node[...].base))
            setattr(decoder, name, nnx.Param(table, axes=node.base.get_metadata()["axes"]))
        elif node is not None:
            setattr(decoder, name, _retyped(node, nnx.Param))


def additions(decoder: Decoder) -> dict[str, jax.Array]:
    """The arrays that train, by `STACK.NAME.a` and `.b`, `embed.rows` and `head.rows`."""
    rows = {name: getattr(decoder, name, None) for name in ENDS}
    return {
        f"{stack.name}.{name}.{part}": getattr(node, part)[...]
        for stack in decoder.config.stacks
        for name, node in getattr(decoder, stack.name).items()
        if isinstance(node, Adapted)
        for part in ("a", "b")
    } | {f"{name}.rows": node.rows[...] for name, node in rows.items() if isinstance(node, Grown)}


def _state_norm(decoder: Decoder) -> jax.Array:
    """The norm of final states, float32 []: all are about as long as the last norm makes a state of ones."""
    ones = jnp.ones(decoder.config.width, jnp.float32)
    return jnp.linalg.norm(layers.rms_norm(decoder.config, ones, decoder.norm[...]))


def _retyped(param: nnx.Variable, kind: type[nnx.Variable]) -> Any:
    return kind(param.get_value(), axes=param.get_metadata()["axes"])


def _factors(
    base: Frozen, summed: tuple[int, ...], rank: int, rng: np.random.Generator, mesh: Mesh | None
) -> tuple[nnx.Param, nnx.Param]:
    shape, axes = base.get_value().shape, base.get_metadata()["axes"]
    first, end = summed[0], summed[-1] + 1
    a_shape, a_axes = (*shape[:end], rank), (*axes[:end], None)
    b_shape, b_axes = (*shape[:first], rank, *shape[end:]), (*axes[:first], None, *axes[end:])
    a = rng.standard_normal(a_shape, np.float32) / np.sqrt(np.prod(shape[first:end]), dtype=np.float32)
    return _param(a, a_axes, mesh), _param(np.zeros(b_shape, np.float32), b_axes, mesh)


def _grown(table: Frozen, ids: range, mesh: Mesh | None) -> Grown:
    rows = table[ids.start : ids.stop].astype(jnp.float32)
    return Grown(table, _param(rows, (None, table.get_metadata()["axes"][1]), mesh), ids.start)


@functools.partial(jax.jit, static_argnames="placement")
def _with_rows(table: NewRows, *, placement: Any) -> jax.Array:
    merged_weight = table.put(jnp.arange(table.shape[0]), table.base.astype(table.dtype))
    return jax.lax.with_sharding_constraint(merged_weight, placement)


def _param(value: np.ndarray | jax.Array, axes: Sequence[str | None], mesh: Mesh | None) -> nnx.Param:
    if mesh is None:
        return nnx.Param(jnp.asarray(value), axes=axes)
    placement = sharding.sharding(mesh, axes, value.shape, sharding.preset_for(mesh))
    return nnx.Param(jax.device_put(value, placement), axes=axes)


def merged(weight: LowRank, lead: int) -> jax.Array:
    """The weight with its addition, in its own dtype, one layer after another. lead: dimensions before the
    inputs, the layer's the first."""
    merged_weight = jnp.zeros(weight.shape, weight.dtype, device=_sharding_of(weight.base))
    for layer in range(len(merged_weight)):
        merged_weight = _merge_layer(merged_weight, weight, jnp.int32(layer), lead=lead)
    return merged_weight


def _sharding_of(base: jax.Array | Quantized) -> Any:
    return (base.values if isinstance(base, Quantized) else base).sharding


@functools.partial(jax.jit, static_argnames="lead", donate_argnums=0)
def _merge_layer(merged_weight: jax.Array, weight: LowRank, layer: jax.Array, *, lead: int) -> jax.Array:
    """One call a layer: a loop on the device would hold all additions in full."""
    w = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, layer, keepdims=False), weight)
    a = w.a.reshape(*w.a.shape[: lead - 1], -1, w.a.shape[-1])
    b = w.b.reshape(*w.b.shape[:lead], -1)
    added = jnp.matmul(a, b, precision="highest").reshape(w.shape)
    new = (w.base.astype(jnp.float32) + w.scale * added).astype(merged_weight.dtype)
    return jax.lax.dynamic_update_index_in_dim(merged_weight, new, layer, 0)
