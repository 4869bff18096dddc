"""Memory that the process of a stage takes, part by part, from a run's own model, prompts and machine.

Estimates, in bytes, over all devices of a host. On a CPU they hold the whole process; on an accelerator what
lies on the device. `report.json` sets them beside what was used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rstar_jax.plan.cost import AVERAGE_BYTES, STATE_BYTES, Device, Shape, device_of

Parts = dict[str, float]
# Python and JAX in a process on a CPU, and a program's share of each layer, as all of them stand in each; an
# accelerator's runtime is in cost.USABLE.
RUNTIME, PROGRAM_LAYER = 450 * 2**20, 1.3 * 2**20
TRAINING = 9  # programs of a training
# Layers that a CPU trains one by one, with and without remat (models/cache.py); what each of them takes in
# the process once a step is compiled, and for each further shape of its calls (docs/BENCHMARKS.md).
UNROLLED, UNROLLED_WITHOUT_REMAT = 12, 32
UNROLLED_LAYER, UNROLLED_SIZE = 27 * 2**20, 9 * 2**20
# Times the largest matrix in float32 that an update holds besides, on a CPU: AdamW one to three, as gate, up
# and down of a vocabulary that is smaller than they are each stand for one; and what `train.ema` adds.
UPDATING = {"adamw": 3, "adamw8bit": 5, "adafactor": 1}
AVERAGING = {"adamw": 3, "adamw8bit": 1, "adafactor": 1}
# What stages leave to those after them in one process on a CPU, besides their programs, and with these at
# most, as more is let go (compilations.MOST_HELD, of which the runtime is a part).
LEFT, LEFT_AT_MOST = 250 * 2**20, 760 * 2**20
SUFFIX = 128  # columns that steps of ordinary length take in the caches of candidates


@dataclasses.dataclass(frozen=True)
class Machine:
    """The host and its devices. kind: JAX's name of the devices, None where unknown. free: bytes of the
    host's memory that this process may take, None where unknown. pool: bytes of the pages of one model in one
    group of devices that decode together. measured: a CPU's figures, where it was tried (host.py). groups: of
    devices, each with the models, pages and leaves of its own. meshed: the groups are meshes."""

    kind: str | None = None
    free: int | None = None
    pool: int = 0
    measured: Device | None = None
    groups: int = 1
    meshed: bool = False

    @property
    def device(self) -> Device | None:
        """One chip, None where no table knows it."""
        return self.measured or device_of(self.kind)

    @property
    def on_cpu(self) -> bool:
        return self.kind is not None and "cpu" in self.kind.lower()


def searching(shape: Shape, load: Any, machine: Machine, programs: int) -> Parts:
    """A search, or an evaluation by one. load: a `plan.SearchLoad`. programs: how many go through the layers,
    at most (`engine.sizes`).

    weights: of policy and PPM as they are loaded. laid out: their layers once more, in the order in which a
    CPU decodes by itself. pages: of texts. leaves: of those under way, prefixes and candidates. logits: of a
    decode step with what is drawn from them, or what a layer holds while a prompt is read.
    """
    models = 2 if load.ppm else 1
    one = 1 if load.int8 else load.size
    rows = load.leaves * min(load.rows, load.candidates)
    layers = shape.parameters - (1 if shape.tied else 2) * shape.vocab * shape.width
    suffix = min(SUFFIX, load.max_step_tokens)
    columns = load.leaves * load.context + rows * suffix
    # A text is read alone on a CPU: what attends to what, in float32, and the MLP's inside.
    read = load.context * (4 * shape.heads * load.context + load.size * (3 * shape.mlp + 6 * shape.width))
    laid_out = machine.on_cpu and not (machine.meshed or load.int8)
    parts = {
        "weights": models * shape.parameters * one,
        "laid out": models * layers * load.size if laid_out else 0,
        "pages": models * machine.pool,
        # While leaves get longer caches the shorter ones are there, too, by half as long.
        "leaves": 1.5 * columns * shape.kv_bytes(load.size),
        "logits": max(4 * rows * shape.vocab * 4, read),
    }
    parts = {name: machine.groups * size for name, size in parts.items()}
    return {**parts, "runtime": _runtime(shape, machine, programs)}


def training(
    shape: Shape, load: Any, lora: tuple[int, tuple[str, ...]], machine: Machine, *, averaged: bool = False
) -> Parts:
    """A training of the policy or, of a shape with a scalar head, the PPM. load: a `plan.TrainLoad`. lora:
    rank and targets. averaged: whether it keeps an average (`train.ema`) of what trains, in float32.

    weights: in float32, or as computed with where they are frozen. optimiser: gradients, what
    `load.optimizer` keeps of what trains, and the average. activations: of one call, logits included, or what
    an update holds besides. compiling: what the compiler of layers that run one by one takes, and keeps.

    A CPU computes bfloat16 in float32: activations, and frozen weights once more, take that much.
    """
    trained = adapted(shape, lora) if lora[0] else shape.parameters
    weights = load.size * shape.parameters + 4 * trained if lora[0] else 4 * shape.parameters
    if lora[0] and machine.on_cpu and load.size < 4:
        weights += 4 * shape.parameters
    size = 4 if machine.on_cpu else load.size
    matrices = shape.vocab * shape.width, shape.layers * shape.width * shape.mlp, shape.routed // 3
    times = UPDATING[load.optimizer] + averaged * AVERAGING[load.optimizer]
    updating = 4 * min(trained, max(matrices)) * times if machine.on_cpu else 0
    activations = shape.activation_bytes(load.rows, load.seq_len, size, load.remat)
    return {
        "weights": weights,
        "optimiser": (4 + STATE_BYTES[load.optimizer] + averaged * AVERAGE_BYTES) * trained,
        "activations": max(activations, updating),
        "compiling": _compiling(shape, load) if machine.on_cpu else 0,
        "runtime": _runtime(shape, machine, TRAINING),
    }


def _compiling(shape: Shape, load: Any) -> float:
    """A program of the gradients for each shape that calls have, most layers' work in the first."""
    if shape.layers > (UNROLLED_WITHOUT_REMAT if load.remat == "none" else UNROLLED):
        return 0
    return shape.layers * (UNROLLED_LAYER + (load.shapes - 1) * UNROLLED_SIZE)


def _runtime(shape: Shape, machine: Machine, programs: int) -> float:
    return RUNTIME + programs * shape.layers * PROGRAM_LAYER if machine.on_cpu else 0


def programs(parts: Parts) -> float:
    """Add up what a stage's programs take, of its parts: they stay in its process."""
    return max(0.0, parts.get("runtime", 0.0) - RUNTIME) + parts.get("compiling", 0.0)


def left(earlier: Sequence[float], machine: Machine) -> float:
    """Memory that earlier stages leave in the process. earlier: their `programs`, each program once."""
    return min(LEFT_AT_MOST, LEFT + sum(earlier)) if machine.on_cpu else 0.0


def adapted(shape: Shape, lora: tuple[int, tuple[str, ...]]) -> int:
    """Numbers in the low-rank additions of a rank to some targets."""
    rank, targets = lora
    if shape.additions:
        return rank * sum(shape.additions[name] for name in targets)
    width, heads, kv = shape.width, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    ends = {  # inputs and outputs of each weight of a layer
        "q": width + heads,
        "k": width + kv,
        "v": width + kv,
        "o": heads + width,
        "gate": width + shape.mlp,
        "up": width + shape.mlp,
        "down": shape.mlp + width,
    }
    return shape.layers * rank * sum(ends.get(name, 0) for name in targets)


def megabytes(parts: Mapping[str, float]) -> int:
    """Their sum in MiB."""
    return round(sum(parts.values()) / 2**20)
