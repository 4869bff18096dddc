"""The programs of a training: gradients of a microbatch added up, and an update of the parameters.

Each is compiled once, as what it makes lies where the next call looks for it: gradients and moments as the
parameters, counters and sums of losses on every device of theirs. All is committed there, also on one device.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from rstar_jax import sharding
from rstar_jax.compilations import DeviceProgram, abstract, jit
from rstar_jax.errors import UserError
from rstar_jax.losses import Terms
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.optimizer import clip, optimizer, state_shardings
from rstar_jax.train.schedule import rate
from rstar_jax.train.steadiness import judge, window

Loss = Callable[[Any, dict[str, jax.Array], TrainConfig], Terms]


@dataclasses.dataclass(frozen=True)
class TrainPrograms:
    """Jitted functions. Sums are (gradients, terms).

    init: params -> state. zeros: (params, frozen, microbatch) -> sums. accumulate: (params, frozen, sums,
    microbatch) -> sums. update: (params, state, sums, hyper) -> (params, state, zeros, values), where hyper
    has the scalars learning_rate, total_steps, warmup_fraction and step. What a call adds to or replaces is
    donated. everywhere: where hyper lies.

    state: a dict of what a training carries from step to step beside the parameters: "optimiser"; with
    `train.ema` "ema", the parameters' average; with `train.spike` "recent" (`steadiness.window`). A step that
    does not count (`steadiness.judge`) changes neither parameters, optimiser nor average: its value "skipped"
    is 1.
    """

    init: Any
    zeros: Any
    accumulate: Any
    update: Any
    everywhere: Any

    @classmethod
    def of(cls, graphdef: Any, params: Any, loss: Loss, config: TrainConfig) -> TrainPrograms:
        """Those for parameters as `copied` makes them, or abstract with as much said of where they lie; the
        same for those of an equal model at equal places."""
        leaves, tree = jax.tree.flatten(abstract(params))
        return _made(graphdef, loss, static(config), tree, tuple(leaves))


def copied(params: Any, frozen: Any) -> Any:
    """A copy of the parameters, in float32 (`master`) and committed: those that are not, to where another
    array of the model is, or to their own device."""
    where = home(params, frozen)

    def copy(a: jax.Array) -> jax.Array:
        own = jnp.array(a, master(a.dtype), copy=True)
        return own if own.committed else jax.device_put(own, where)

    return jax.tree.map(copy, params)


def master(dtype: Any) -> Any:
    """The dtype in which a parameter trains: float32 where it has fewer bits, which would lose the updates of
    usual learning rates: bfloat16 has 8 bits, and 1 + 7e-6 is 1 in it."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype


def home(params: Any, frozen: Any) -> Any:
    """Return where what every device of a model needs lies: those of the first array that is committed, else
    its own device."""
    leaves = jax.tree.leaves((params, frozen))
    return _everywhere(next((a for a in leaves if a.committed), leaves[0]).sharding)


def place_of(array: Any, everywhere: Any) -> Any:
    """Sharding of an array that a step is given: rows [R, T] are split over a mesh's batch and context axes.

    Raises UserError for rows or tokens that the mesh does not divide: devices would compute the same.
    """
    if array.ndim != 2 or not isinstance(everywhere, NamedSharding):
        return everywhere
    mesh = cast(Mesh, everywhere.mesh)
    if (rows := array.shape[0]) % (parts := sharding.batch_parts(mesh)):
        sizes = " ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
        raise UserError(
            f"train.microbatch: {rows} rows a call given, but the mesh ({sizes}) splits them over {parts}. "
            f"Give a multiple of {parts}, such as {-(-rows // parts) * parts}."
        )
    if (tokens := array.shape[1]) % (parts := mesh.shape.get("context", 1)):
        raise UserError(
            f"train.seq_len: {tokens} given, but the mesh (context={parts}) splits the tokens of a row. Give "
            f"a multiple of {parts}, such as {-(-tokens // parts) * parts}."
        )
    return sharding.sharding(mesh, ("batch", "tokens"), array.shape, sharding.preset_for(mesh))


def on_device(arrays: Mapping[str, np.ndarray], everywhere: Any) -> dict[str, jax.Array]:
    """Arrays where a step takes them from; each process puts in its own part."""
    placed = {}
    for name, array in arrays.items():
        where = place_of(array, everywhere)
        if where.is_fully_addressable:
            placed[name] = jax.device_put(array, where)
        else:
            placed[name] = jax.make_array_from_callback(array.shape, where, array.__getitem__)
    return placed


def programs(
    model: nnx.Module, microbatch: dict[str, Any], loss: Loss, config: TrainConfig
) -> tuple[DeviceProgram, DeviceProgram]:
    """Rows of the catalogue: what `fit` calls for each such microbatch, and for each step.

    Model and microbatch may be abstract; what they do not say of where they lie is as `fit` would put it.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest, microbatch = abstract((nnx.to_pure_dict(params), rest, microbatch))
    known = [a.sharding for a in jax.tree.leaves((params, rest)) if a.sharding is not None]
    where = _everywhere(known[0] if known else SingleDeviceSharding(jax.local_devices()[0]))
    params = jax.tree.map(lambda a: _abstract(a, a.sharding or where, master(a.dtype)), params)
    microbatch = {n: a if a.sharding else _abstract(a, place_of(a, where)) for n, a in microbatch.items()}
    run = TrainPrograms.of(graphdef, params, loss, config)
    sums, state = run.zeros.eval_shape(params, rest, microbatch), run.init.eval_shape(params)
    scalar, step = (jax.ShapeDtypeStruct((), t, sharding=run.everywhere) for t in (jnp.float32, jnp.int32))
    hyper = {"learning_rate": scalar, "total_steps": scalar, "warmup_fraction": scalar, "step": step}
    return (
        DeviceProgram("accumulate", (), run.accumulate, (params, rest, sums, microbatch)),
        DeviceProgram("update", (), run.update, (params, state, sums, hyper)),
    )


def static(config: TrainConfig) -> TrainConfig:
    """The config with what compiled code does not depend on set to one value, as a key of the cache below."""
    return dataclasses.replace(
        config,
        epochs=1,
        batch=1,
        seq_len=1,
        long="drop",
        microbatch=1,
        learning_rate=0.0,
        warmup_fraction=0.0,
        bad_steps=0,
        profile="",
        keep="last",
        checkpoint_every_s=0.0,
        checkpoint_every_steps=0,
    )


@functools.lru_cache(maxsize=8)
def _made(
    graphdef: Any, loss: Loss, config: TrainConfig, tree: Any, leaves: tuple[Any, ...]
) -> TrainPrograms:
    """leaves: the abstract parameters of the tree."""
    optimiser = optimizer(config)

    @jax.jit
    def terms_of(params: Any, frozen: Any, microbatch: dict[str, jax.Array]) -> Terms:
        return loss(nnx.merge(graphdef, params, frozen), microbatch, config)

    def init(params: Any) -> dict[str, Any]:
        state = {"optimiser": optimiser.init(params)}
        if config.ema:
            state["ema"] = jax.tree.map(jnp.copy, params)
        return state | ({"recent": window()} if config.spike else {})

    def zeros(params: Any, frozen: Any, microbatch: dict[str, Any]) -> Any:
        shapes = terms_of.eval_shape(params, frozen, microbatch)  # which terms there are, only the loss knows
        terms = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.tree.map(jnp.zeros_like, params), terms

    def accumulate(params: Any, frozen: Any, sums: Any, microbatch: dict[str, jax.Array]) -> Any:
        def total(params: Any) -> tuple[jax.Array, Terms]:
            terms = terms_of(params, frozen, microbatch)
            return terms["loss"][0], terms

        return jax.tree.map(jnp.add, sums, jax.grad(total, has_aux=True)(params))

    def update(params: Any, state: Any, sums: Any, hyper: dict[str, jax.Array]) -> Any:
        gradients, terms = sums
        weight = jnp.maximum(terms["loss"][1], 1e-6)
        learning_rate = rate(
            config.schedule,
            hyper["step"],
            hyper["total_steps"],
            hyper["learning_rate"],
            hyper["warmup_fraction"],
        )
        values = {  # no value where nothing of a kind occurred
            name: jnp.where((count > 0) | (name == "loss"), total / jnp.maximum(count, 1e-6), jnp.nan)
            for name, (total, count) in terms.items()
        }
        grad_norm = optax.global_norm(gradients) / weight
        counts, recent = judge(values["loss"], grad_norm, state.get("recent"), config.spike)
        gradients = jax.tree.map(
            lambda g: clip(g / weight.astype(g.dtype), grad_norm, config.clip), gradients
        )
        updates, opt_state = optimiser.update(gradients, state["optimiser"], params)
        learnt = jax.tree.map(lambda p, u: (p - learning_rate * u).astype(p.dtype), params, updates)
        new = {"optimiser": opt_state}
        if config.ema:
            new["ema"] = jax.tree.map(
                lambda mean, p: (config.ema * mean + (1 - config.ema) * p).astype(mean.dtype),
                state["ema"],
                learnt,
            )
        old = {name: state[name] for name in new}
        params, new = jax.tree.map(lambda a, b: jnp.where(counts, a, b), (learnt, new), (params, old))
        if recent is not None:
            new["recent"] = recent
        skipped = 1.0 - counts.astype(jnp.float32)
        values |= {"learning_rate": learning_rate, "grad_norm": grad_norm, "skipped": skipped}
        return params, new, jax.tree.map(jnp.zeros_like, sums), values

    params = jax.tree.unflatten(tree, leaves)
    there = jax.tree.map(lambda a: a.sharding, params)
    everywhere = _everywhere(leaves[0].sharding)
    moments = state_shardings(optimiser, params, everywhere)
    lies = {"optimiser": moments, "ema": there, "recent": everywhere}
    lies = {name: lies[name] for name in jax.eval_shape(init, params)}
    sums = there, everywhere
    return TrainPrograms(
        jit(init, out_shardings=lies),
        jit(zeros, out_shardings=sums),
        jit(accumulate, donate_argnums=2, out_shardings=sums),
        jit(update, donate_argnums=(0, 1, 2), out_shardings=(there, lies, sums, everywhere)),
        everywhere,
    )


def _everywhere(where: Any) -> Any:
    """Whole on every device of an array's sharding."""
    return NamedSharding(where.mesh, PartitionSpec()) if isinstance(where, NamedSharding) else where


def _abstract(array: Any, where: Any, dtype: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, dtype or array.dtype, sharding=where)
