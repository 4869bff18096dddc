"""The one training loop: AdamW over microbatches, for every loss.

1. split the model into parameters and what stays frozen;  2. go on from the last checkpoint, if there is one;
3. per step: add up gradients over the microbatches, update;  4. report, checkpoint;  5. put the parameters
back. Batches are a function of step number and seed, so that these are all that a resumed training needs to
know of data and randomness; on equal devices it computes what the unbroken one would have, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from rstar_jax import distributed
from rstar_jax.errors import UserError
from rstar_jax.settings import to_dict
from rstar_jax.stopping import Stop
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.save_times import SaveTimes
from rstar_jax.train.step import Loss, TrainPrograms, copied, on_device

log = logging.getLogger(__name__)

Microbatch = dict[str, np.ndarray]
OnStep = Callable[[int, int, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Input of one optimiser step: microbatches of equal shapes, and how many examples and tokens are in
    them.
    """

    microbatches: Sequence[Microbatch]
    examples: int
    tokens: int


_FULL = 0.5  # of the tokens that rows have room for; below it a warning is due
_ALWAYS = ("loss", "learning_rate", "grad_norm")  # the rows of metrics that every step has


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
    summary. checkpoints: folder of the training state; left for the caller to delete, since the last state is
    not in it but in the model. on_step: called after every step with (steps done, total_steps, metrics); what
    it raises ends the training. held_out: called after every `held_out_every` steps and after the last one,
    0: after that alone; what it finds is in the metrics of that step, the last of it in the summary. A model
    whose parameters lie on a mesh is trained on that mesh, rows split over its batch axes. Where the mesh is
    that of several processes, each calls this alike, with batches in which at least its own rows are made
    (`host_rows.Rows`); metrics are the leader's alone. With checkpoints, SIGTERM ends it once the step under
    way is done and saved, by what its handler raises.

    Raises UserError if total_steps is 0, the loss stops being finite, a microbatch does not fit the memory of
    the devices or has rows that the mesh does not divide, or the checkpoints are another training's.
    """
    if total_steps < 1:
        raise UserError(f"training for {total_steps} steps: there is no row to train on.")
    started = time.monotonic()
    # 1. Donated buffers are gone after a step, and the caller may hold the same ones elsewhere: train a copy.
    graphdef, params, frozen = nnx.split(model, nnx.Param, ...)
    params = copied(nnx.to_pure_dict(params), frozen)
    nnx.update(model, params)  # lets go of the originals
    run = TrainPrograms.of(graphdef, params, loss, config)
    opt_state = run.init(params)
    constants = {
        "learning_rate": np.asarray(config.learning_rate, np.float32),
        "total_steps": np.asarray(total_steps, np.float32),
        "warmup_fraction": np.asarray(config.warmup_fraction, np.float32),
    }
    hyper = on_device(constants, run.everywhere)
    progress = _Progress(total_steps)
    # 2.
    keeper = None
    if checkpoints is not None:
        from rstar_jax.train.checkpoints import Checkpoints, digest  # orbax takes a while to import

        identity = _identity(config, total_steps, seed, data)
        identity["trained"] = zlib.crc32(repr(jax.tree.map(np.shape, params)).encode())
        if jax.tree.leaves(frozen):
            identity["frozen"] = digest(frozen)
        keeper = Checkpoints(checkpoints, identity)
        if (found := keeper.restore((params, opt_state))) is not None:
            progress.step, (params, opt_state), meta = found
            progress.load(meta["progress"])
    if metrics is not None:
        metrics.start(progress.step)
    times, earlier_seconds = SaveTimes(config, progress.step), progress.seconds
    sums, clock = None, _DeviceClock()
    preempted = Stop((signal.SIGTERM,), said="saving the state of the training, then stopping")
    to_save, kept, ended = contextlib.ExitStack(), progress.step, False
    try:
        batch = batches(progress.step) if progress.step < total_steps else None
        if batch is not None:
            _warn_of_padding(batch, config)
        while batch is not None:
            # 3.
            pieces = [on_device(m, run.everywhere) for m in batch.microbatches]
            if sums_are_new := sums is None:
                sums = run.zeros(params, frozen, pieces[0])
            step = on_device({"step": np.asarray(progress.step, np.int32)}, run.everywhere)
            clock.begin()
            with jax.transfer_guard("disallow"), _memory(config, batch):
                for piece in pieces:
                    sums = run.accumulate(params, frozen, sums, piece)
                params, opt_state, sums, values = run.update(params, opt_state, sums, {**hyper, **step})
            clock.dispatched()
            steps_done, last_batch = progress.step + 1, batch
            batch = batches(steps_done) if steps_done < total_steps else None  # packed while the device works
            # 4.
            with clock.awaited():
                found = jax.device_get(values)
            if sums_are_new and keeper is not None:
                to_save.enter_context(preempted)  # before its first step a training has nothing to save
            row = {name: float(value) for name, value in found.items()}
            row = {k: v for k, v in row.items() if k in _ALWAYS or not math.isnan(v)}
            if not math.isfinite(row["loss"]):
                raise UserError(
                    f"step {steps_done} of {total_steps}: the loss is {row['loss']}. Lower "
                    f"train.learning_rate ({config.learning_rate}) or train.clip ({config.clip})."
                )
            measured = steps_done == total_steps or (held_out_every and steps_done % held_out_every == 0)
            if held_out is not None and measured:
                nnx.update(model, params)
                progress.held_out = held_out(model)
                row |= {f"held_out_{name}": value for name, value in progress.held_out.items()}
            progress.seconds = earlier_seconds + time.monotonic() - started
            progress.add(steps_done, last_batch, row)
            if metrics is not None:
                metrics.write(steps_done - 1, row)
            if on_step is not None:
                on_step(steps_done, total_steps, row)
            if keeper is not None:
                keeper.check()
                ends = distributed.all_end(steps_done, preempted.number is not None)
                if ends or (batch is not None and times.due(steps_done)):
                    keeper.save(steps_done, (params, opt_state), {"progress": progress.dump()})
                    times.saved()
                    kept = steps_done
                if ends:
                    break
        ended = True
    finally:
        with to_save:
            nnx.update(model, params)  # 5.
            if keeper is not None:
                keeper.close(alone=not ended)
            if metrics is not None:
                metrics.close()
    preempted.go_on(f"step {kept} of {total_steps} is saved; the same command goes on from there.")
    return dataclasses.replace(progress.summary(dropped), device=clock.device, device_awaited=clock.waited)


def _identity(config: TrainConfig, total_steps: int, seed: int, data: int) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be continued: not when it is saved, nor in how many calls
    a step is made, which differs between meshes."""
    options = to_dict(dataclasses.replace(config, checkpoint_every_s=0.0, checkpoint_every_steps=0))
    del options["sampled_ids"], options["microbatch"]  # the data say them
    return {**options, "total_steps": total_steps, "seed": seed, "data": data}


def _warn_of_padding(batch: Batch, config: TrainConfig) -> None:
    """Say so where a mesh has more parts of the batch than there is text for: they compute padding."""
    rows = len(batch.microbatches[0]["tokens"])
    full = batch.tokens / (len(batch.microbatches) * rows * config.seq_len)
    if rows > config.microbatch and full < _FULL and distributed.here().leader:
        log.warning(
            "%.0f%% of the %d rows of a call is text, the rest padding: the mesh splits a batch of %d "
            "examples into more parts than it fills. Raise train.mesh.tensor or lower train.seq_len (%d).",
            *(100 * full, rows, batch.examples, config.seq_len),
        )


@contextlib.contextmanager
def _memory(config: TrainConfig, batch: Batch) -> Iterator[None]:
    """An error of what compiler or device say of memory, which says which microbatch may fit."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        rows = len(batch.microbatches[0]["tokens"])
        fewer = f"train.microbatch={rows // 2}" if rows > 1 else f"train.seq_len={config.seq_len // 2}"
        raise UserError(
            f"train.microbatch: {rows} rows of {config.seq_len} tokens a call do not fit the memory of the "
            f"devices ({str(error).strip().splitlines()[0][:200]}). Give {fewer}, train.remat=full or more "
            "devices; the examples of a step (train.batch) stay as many, in more calls."
        ) from error


class _DeviceClock:
    """Seconds in which the device works at a step, and in which the host does nothing but wait for it.

    begin -> dispatched -> awaited, once a step. In the first step the programs are compiled until
    `dispatched`, and the device works from then on.
    """

    def __init__(self) -> None:
        self.device = self.waited = 0.0
        self._begun: float | None = None
        self._compiled = False

    def begin(self) -> None:
        self._begun = time.monotonic()

    def dispatched(self) -> None:
        if not self._compiled:
            self._compiled, self._begun = True, time.monotonic()

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self.waited += ended - began
        self.device += ended - (began if self._begun is None else self._begun)


class _Progress:
    """The numbers of a summary, as far as they have come; saved with a checkpoint."""

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.step = self.examples = self.tokens = 0
        self.seconds = 0.0
        self.first_loss = math.nan
        self.recent: list[dict[str, float]] = []
        self.held_out: dict[str, float] = {}

    def add(self, step: int, batch: Batch, row: dict[str, float]) -> None:
        if self.step == 0:
            self.first_loss = row["loss"]
        self.step = step
        self.examples += batch.examples
        self.tokens += batch.tokens
        self.recent = [*self.recent, row][-max(1, self.total_steps // 10) :]

    def dump(self) -> dict[str, Any]:
        return dict(vars(self))

    def load(self, numbers: dict[str, Any]) -> None:
        vars(self).update(numbers)

    def summary(self, dropped: int) -> TrainSummary:
        rows = {n: [row[n] for row in self.recent if n in row] for row in self.recent for n in row}
        return TrainSummary(
            steps=self.step,
            examples=self.examples,
            tokens=self.tokens,
            dropped=dropped,
            first_loss=self.first_loss,
            last_loss=self.recent[-1]["loss"],
            seconds=self.seconds,
            metrics={
                n: sum(found) / len(found)
                for n, found in rows.items()
                if n not in ("learning_rate", "grad_norm") and not n.startswith("held_out_")
            },
            held_out=self.held_out,
        )
