"""A training that fits on chips: the largest microbatch and the cheapest remat.

Choices are tried from the fastest by `pace.py` on, and the first that the compiler lets through is taken; a
choice that needs more of everything than one that was refused is not tried. Where nothing is compiled,
arithmetic decides (`cost.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.plan.compiled import Compiled, Compiler
from rstar_jax.plan.cost import AVERAGE_BYTES, STATE_BYTES, USABLE, Shape
from rstar_jax.plan.pace import Pace
from rstar_jax.topologies import Topology

GIB = 2**30
REMATS = ("none", "dots", "full")
# Bytes that the compiler wants for each of activations by arithmetic: of Qwen2.5-7B on v5p:4x4x4, remat none,
# 32 rows, 18.2 GiB for 9.2 (policy) and 17.2 for 9.0 (PPM).
WANTED = 1.9
# Arithmetic errs: what needs more than so many times the memory by it is not compiled.
HOPELESS = 1.5
SPARED = 63 / 64  # of a device: 15.75 of a v5e's 16 GiB are there for programs, its compiler says
Parts = dict[str, float]
Calls = Mapping[tuple[int, int], float]  # rows, tokens of a row -> microbatches of a step, on average


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Sizes of a training's mesh, in JAX devices."""

    fsdp: int
    tensor: int
    data: int = 1
    expert: int = 1
    context: int = 1

    @property
    def wide(self) -> int:
        """So many parts have the rows of a microbatch."""
        return self.data * self.fsdp * self.expert

    def __str__(self) -> str:
        named = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor, "expert": self.expert}
        named["context"] = self.context
        return ", ".join(f"{name} {size}" for name, size in named.items() if size > 1) or "one device"


@dataclasses.dataclass(frozen=True)
class Training:
    """A way to train. rows: of a microbatch, of all devices. parts: bytes of a device by part, the compiler's
    where it was asked (compiled), else by arithmetic. step_s: seconds of an optimiser step."""

    role: str
    mesh: Mesh
    remat: str
    rows: int
    step_s: float
    parts: Parts
    compiled: Compiled | None = None

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A choice that does not fit: what, how many bytes, and who says so."""

    what: str
    needed: float
    why: str


@dataclasses.dataclass
class Fitting:
    """Devices of a topology and a model. compile: None: by arithmetic alone. optimizers: by role, else
    "adamw". averaged: roles that keep an average of what trains (`train.ema`). calls: of a step on a mesh
    with so many rows of a microbatch (role, mesh, rows); None: whole microbatches."""

    topology: Topology
    pace: Pace
    content: Mapping[str, Any]
    compile: Compiler | None
    optimizers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    averaged: Collection[str] = ()
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    calls: Callable[[str, Mesh, int], Calls] | None = None

    @property
    def shape(self) -> Shape:
        return self.pace.shape

    def pace_of(self, role: str) -> Pace:
        """Pace of the policy's model or the PPM's."""
        return dataclasses.replace(self.pace, shape=self.shape.reward) if role == "ppm" else self.pace

    @property
    def memory(self) -> float:
        """Bytes of a device that programs may take."""
        return SPARED * self.topology.chip.hbm_gib * GIB / self.topology.chip.devices

    def request(
        self, program: str, mesh: Mapping[str, int], sizes: Sequence[int], **more: Any
    ) -> dict[str, Any]:
        """For `compiled.Compiler`; of an engine's program one host's slice stands for all."""
        topology = self.topology
        name, slices = topology.slice_spec, topology.slices
        if program not in ("policy gradients", "ppm gradients", "update"):
            name, slices = f"{topology.chip.name}:{'2x2x1' if len(topology.shape) == 3 else '2x2'}", 1
            if topology.chips_per_host != 4:
                name = topology.slice_spec
        return {
            "program": program,
            "model": dict(self.content),
            "topology": [name, slices],
            "mesh": dict(mesh),
            "sizes": list(sizes),
            "options": more.pop("options", {}),
            "pages": more.pop("pages", 0),
        }

    def train(
        self,
        role: str,
        mesh: Mesh,
        choices: Sequence[tuple[str, int]],
        row: int,
        batch_rows: float,
    ) -> Training:
        """The first of (remat, rows of a microbatch) that fits. Raises UserError with the numbers if none
        does."""
        refused: list[tuple[int, int]] = []
        for remat, rows in choices:
            rank = REMATS.index(remat)
            if any(rank <= r and rows >= n for r, n in refused):
                continue
            found = self.tried(role, mesh, remat, rows, row, batch_rows)
            if isinstance(found, Training):
                return found
            refused.append((rank, rows))
            self.refusals.append(found)
        of_role = [each for each in self.refusals if each.what.startswith(f"{role}, ")]
        least = min(of_role, key=lambda each: each.needed, default=None)
        told = "" if least is None else f" The least that was tried: {least.what}: {least.why}."
        raise UserError(
            f"{role}: does not fit {self.topology}.{told} Take more chips, a smaller model, a shorter "
            f"config.train.{role}.seq_len, or --config.fit=True if mesh, rows and remat may be others."
        )

    def tried(
        self, role: str, mesh: Mesh, remat: str, rows: int, row: int, batch_rows: float
    ) -> Training | Refusal:
        """A training with so many rows of a microbatch, or why it does not fit."""
        parts = self._training_parts(role, mesh, remat, rows, row)
        what = f"{role}, {rows} rows of {row:,}, remat {remat}, {mesh}"
        compiled, total = None, sum(parts.values())
        if self.compile is None or total > HOPELESS * self.memory:
            if total > USABLE * self.memory:
                return Refusal(what, total, f"{total / GIB:.1f} GiB a device by arithmetic")
        else:
            sizes = dataclasses.asdict(mesh)
            request = self.request(f"{role} gradients", sizes, (rows, row), options={"remat": remat})
            compiled = self.compile(request, what)
            if compiled.refused:
                return Refusal(what, compiled.used, shortly(compiled))
            parts = parts | {"activations": float(compiled.total - compiled.arguments)}
            total = sum(parts.values())
            if total > self.memory:
                why = f"{compiled.total / GIB:.1f} GiB by the compiler, with moments {total / GIB:.1f}"
                return Refusal(what, total, why)
        return Training(
            role,
            mesh,
            remat,
            rows,
            self.step_s(role, mesh, remat, rows, row, batch_rows, compiled),
            parts,
            compiled,
        )

    def step_s(
        self,
        role: str,
        mesh: Mesh,
        remat: str,
        rows: int,
        row: int,
        batch_rows: float,
        compiled: Compiled | None = None,
    ) -> float:
        """Seconds of an optimiser step over so many rows: its microbatches, then the update. What is compiled
        is a whole one; a smaller one sends less of what grows with tokens."""
        devices, islands, pace = self.topology.devices, self.topology.islands, self.pace_of(role)
        calls: Calls = {(rows, row): -(-batch_rows // rows)}
        if self.calls is not None:
            calls = self.calls(role, mesh, rows)
        whole = pace.sent(rows * row, devices, mesh.tensor, islands)
        seconds = pace.update(devices, self._state(role))
        for (n, length), times in calls.items():
            part = pace.sent(n * length, devices, mesh.tensor, islands)
            sent = None if compiled is None else max(0.0, compiled.sent - whole + part)
            call = pace.gradients(n, length, remat, devices, mesh.tensor, sent, islands)
            seconds += times * call.total
        return seconds

    def _training_parts(self, role: str, mesh: Mesh, remat: str, rows: int, row: int) -> Parts:
        """Estimate: attention's weights stay in the chip's fast memory, where a kernel does it."""
        s, inside = self.pace_of(role).shape, mesh.tensor * mesh.context
        devices = mesh.wide * inside
        activations = WANTED * s.activation_bytes(-(-rows // mesh.wide), row, 2, remat) / inside
        each = 4.0 * s.parameters / devices
        moments = self._state(role) * s.parameters / devices
        return {"weights": each, "gradients": each, "moments": moments, "activations": activations}

    def _state(self, role: str) -> float:
        """Count the bytes of a parameter besides itself and its gradient."""
        average = AVERAGE_BYTES if role in self.averaged else 0.0
        return STATE_BYTES[self.optimizers.get(role, "adamw")] + average

    def choices(
        self, role: str, mesh: Mesh, row: int, batch_rows: float, most: int | None = None
    ) -> list[tuple[str, int]]:
        """(remat, rows) from the fastest on; no more rows than a batch has, in whole parts of the mesh."""
        top = most or mesh.wide * max(1, -(-int(-(-batch_rows // 1)) // mesh.wide))
        rows = sorted({min(mesh.wide << i, top) for i in range(20)})
        found = [(remat, n) for remat in REMATS for n in rows]
        return sorted(
            found, key=lambda each: (self.step_s(role, mesh, *each, row, batch_rows), REMATS.index(each[0]))
        )

    def meshes(self) -> Iterator[Mesh]:
        """Those whose tensor axis divides the heads; slices, and hosts of GPUs, are joined by their data
        axis."""
        devices = self.topology.devices
        for tensor in (1, 2, 4, 8, 16):
            if devices % tensor == 0 and self.shape.heads % tensor == 0:
                islands = self.topology.islands
                if devices // tensor % islands == 0:
                    yield Mesh(devices // tensor // islands, tensor, data=islands)

    def largest(self, chosen: Training, row: int, tries: int = 4) -> int:
        """Rows of the largest microbatch of the chosen kind that fits, in powers of two of the chosen."""
        fixed = chosen.total - chosen.parts["activations"]
        guess = (self.memory - fixed) / max(1.0, chosen.parts["activations"])
        power, best, refused = max(0, int(guess).bit_length() - 1), 0, 99
        for _ in range(tries):
            if power <= best or power >= refused:
                break
            rows = chosen.rows << power
            found = self.tried(chosen.role, chosen.mesh, chosen.remat, rows, row, rows)
            if isinstance(found, Training):
                best, power = power, power + 1
            else:
                self.refusals.append(found)
                refused, power = power, power - 1
        return chosen.rows << best


def shortly(compiled: Compiled) -> str:
    if compiled.limit:
        return f"the compiler: used {compiled.used / GIB:.2f} of {compiled.limit / GIB:.2f} GiB"
    return compiled.refused[:300]
