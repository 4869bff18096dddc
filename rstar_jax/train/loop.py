"""The one training loop: an optimiser over microbatches, for every loss.

1. split the model into parameters and what stays frozen;  2. go on from the last checkpoint, if there is one;
3. per step: add up gradients over the microbatches, update;  4. tell of the step before, measure, save;
5. put the parameters back. Batches are a function of step number and seed, so that these are all that a
resumed training needs to know of data and randomness; on equal devices it computes what the unbroken one
would have, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from rstar_jax import distributed
from rstar_jax.errors import UserError
from rstar_jax.settings import to_dict
from rstar_jax.stopping import Stop
from rstar_jax.train.batch import Batch
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut, Validation
from rstar_jax.train.in_flight import InFlight, OnStep, memory_told
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.progress import Progress
from rstar_jax.train.save_times import SaveTimes
from rstar_jax.train.step import Loss, TrainPrograms, copied, on_device
from rstar_jax.train.throughput import Throughput
from rstar_jax.train.trace import Trace

if TYPE_CHECKING:
    from rstar_jax.train.checkpoints import Checkpoints

log = logging.getLogger(__name__)

_FULL = 0.5  # of the tokens that rows have room for; below it a warning is due
_AHEAD = 1  # steps that the devices have before the figures of the one before are read


def fit(
    model: nnx.Module,
    batches: Callable[[int], Batch],
    loss: Loss,
    config: TrainConfig,
    *,
    total_steps: int,
    seed: int = 0,
    data: int = 0,
    dropped: int = 0,
    checkpoints: Path | None = None,
    metrics: MetricsWriter | None = None,
    on_step: OnStep | None = None,
    held_out: HeldOut | None = None,
    held_out_every: int = 0,
) -> TrainSummary:
    """Train the parameters (nnx.Param) of `model` in place for `total_steps` steps; other variables stay.

    batches: step -> Batch, a pure function (of its own seed and the step). loss: from (model, microbatch,
    config) to `Terms`, the same object in each training (it is compiled once for equal models and options);
    "loss" is minimised.
    seed, data: parts of a checkpoint's identity; the latter is a number for what is learnt. dropped: of the
    summary. checkpoints: folder of the training state; left for the caller to delete, since the last state
    is not in it but in the model. on_step: called after every step with (steps done, total_steps, metrics),
    while the next one runs; what it raises ends the training. held_out: model -> figures, measured every
    `held_out_every` steps (0: never) and at the end; written as "held_out_NAME". Its "loss" says which
    parameters are best (`train.keep`).

    A model whose parameters lie on a mesh is trained on that mesh, rows split over its batch axes. Where the
    mesh is that of several processes, each calls this alike, with batches in which at least its own rows are
    made (`host_rows.Rows`); metrics are the leader's alone. With checkpoints, SIGTERM ends it once the step
    under way is done and saved, by what its handler raises.

    Raises UserError if total_steps is 0, too many steps in a row are skipped as their loss is not finite, a
    microbatch does not fit the memory of the devices or has rows that the mesh does not divide, or the
    checkpoints are another training's or another model's.
    """
    if total_steps < 1:
        raise UserError(f"training for {total_steps} steps: there is no row to train on.")
    started = time.monotonic()
    # 1. Donated buffers are gone after a step, and the caller may hold the same ones elsewhere: train a copy.
    graphdef, params, frozen = nnx.split(model, nnx.Param, ...)
    params = copied(nnx.to_pure_dict(params), frozen)
    nnx.update(model, params)  # lets go of the originals
    run = TrainPrograms.of(graphdef, params, loss, config)
    state = run.init(params)
    constants = {
        "learning_rate": np.asarray(config.learning_rate, np.float32),
        "total_steps": np.asarray(total_steps, np.float32),
        "warmup_fraction": np.asarray(config.warmup_fraction, np.float32),
    }
    hyper = on_device(constants, run.everywhere)
    progress = Progress(total_steps)
    # 2.
    identity = _identity(model, config, total_steps, seed, data)
    keeper, best = _checkpoints(checkpoints, identity, frozen)
    if keeper is not None and (found := keeper.restore((params, state))) is not None:
        _, (params, state), meta = found
        progress.load(meta["progress"])
    validation = Validation(model, held_out, held_out_every, config, progress, best)
    step, times = progress.step, SaveTimes(config, progress.step)
    if metrics is not None:
        metrics.start(step)
    flight = InFlight(progress, config, Throughput(model, params, frozen), metrics, on_step, started)
    trace = Trace(config.profile, metrics.folder / "profile" if metrics else None, total_steps)
    preempted = Stop((signal.SIGTERM,), said="saving the state of the training, then stopping")
    sums, kept, ends, ended, to_save = None, step, False, False, contextlib.ExitStack()
    try:
        batch = batches(step) if step < total_steps else None
        if batch is not None:
            _warn_of_padding(batch, config)
        while batch is not None:
            # 3.
            shapes = {m["tokens"].shape for m in batch.microbatches}
            if trace.due(step) or not flight.clock.knows(shapes):
                flight.land()
            if trace.due(step):
                trace.turn()
            pieces = [on_device(m, run.everywhere) for m in batch.microbatches]
            hyper |= on_device({"step": np.asarray(step, np.int32)}, run.everywhere)
            if is_first := sums is None:
                sums = run.zeros(params, frozen, pieces[0])
            flight.clock.begin(shapes)
            with jax.transfer_guard("disallow"), memory_told(config, batch):
                for piece in pieces:
                    sums = run.accumulate(params, frozen, sums, piece)
                params, state, sums, values = run.update(params, state, sums, hyper)
            flight.clock.dispatched()
            if is_first and keeper is not None:
                to_save.enter_context(preempted)  # before its first step a training has nothing to save
            step += 1
            flight.began(step, batch, values)
            batch = batches(step) if step < total_steps else None  # packed while the device works
            # 4.
            flight.land(leaving=_AHEAD)
            shown = state["ema"] if config.ema else params
            if validation.due(step):
                flight.land(more=functools.partial(validation.measure, step, shown))
            if batch is None:
                flight.land()
            if keeper is None:
                continue
            keeper.check()
            ends = distributed.all_end(step, preempted.number is not None, _AHEAD)
            if ends or validation.improved or (batch is not None and times.due(step)):
                flight.land()
                keeper.save(step, (params, state), {"progress": progress.dump()})
                times.saved()
                validation.improved, kept = False, step
            if ends:
                break
        if not ends:
            params = validation.chosen(state["ema"] if config.ema else params)
        ended = True
    finally:
        with to_save:
            nnx.update(model, params)  # 5.
            trace.close()
            if keeper is not None:
                keeper.close(alone=not ended)
                validation.close(alone=not ended)
            if metrics is not None:
                metrics.close()
    preempted.go_on(f"step {kept} of {total_steps} is saved; the same command goes on from there.")
    clock = flight.clock
    summary = progress.summary(dropped, config.keep)
    return dataclasses.replace(
        summary, device=clock.device, device_awaited=clock.waited, mfu=flight.throughput.mfu
    )


def _checkpoints(
    folder: Path | None, identity: dict[str, Any], frozen: Any
) -> tuple[Checkpoints | None, Checkpoints | None]:
    """Return the checkpoints of the training state, and those of the best parameters."""
    if folder is None:
        return None, None
    from rstar_jax.train.checkpoints import Checkpoints, digest  # orbax takes a while to import

    if jax.tree.leaves(frozen):
        identity = identity | {"frozen": digest(frozen)}
    return Checkpoints(folder, identity), Checkpoints(Path(folder) / "best", identity)


def _identity(model: Any, config: TrainConfig, total_steps: int, seed: int, data: int) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be continued: not when it is saved, nor in how many calls
    a step is made, which differs between meshes."""
    options = to_dict(config)
    for free in ("checkpoint_every_s", "checkpoint_every_steps", "bad_steps", "profile"):
        del options[free]
    del options["sampled_ids"], options["microbatch"], options["long"]  # the data say them
    c = getattr(model, "decoder", model).config
    named = f"{c.family} of {c.layers} layers, width {c.width}, vocabulary {c.vocab_size}"
    return {**options, "total_steps": total_steps, "seed": seed, "data": data, "model": named}


def _warn_of_padding(batch: Batch, config: TrainConfig) -> None:
    """Say so where a mesh has more parts of the batch than there is text for: they compute padding."""
    rows = len(batch.microbatches[0]["tokens"])
    full = batch.tokens / sum(m["tokens"].size for m in batch.microbatches)
    if rows > config.microbatch and full < _FULL and distributed.here().leader:
        log.warning(
            "%.0f%% of the %d rows of a call is text, the rest padding: the mesh splits a batch of %d "
            "examples into more parts than it fills. Raise train.mesh.tensor or lower train.seq_len (%d).",
            *(100 * full, rows, batch.examples, config.seq_len),
        )
