"""Plans of rounds on chips that are not here: what fits, how long it takes, what it costs.

    WORKDIR/programs/*.json    what the compiler said of each program (`plan/compiled.py`)
    WORKDIR/plan.json          all that is printed
    WORKDIR/plan.txt           the same as it is printed

The trainings' and the search's own programs are compiled ahead of time for the topology, on this host's CPU;
times are the roofline's (`plan/pace.py`), and no chip has run any of it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.evolve.plan_settings import PlanSettings
from rstar_jax.evolve.plan_tables import text
from rstar_jax.plan import fit_search, known_models, microbatches
from rstar_jax.plan.compiled import Compiler, Uncompiled, unavailable
from rstar_jax.plan.fit import Calls, Fitting, Mesh, Training
from rstar_jax.plan.fit_search import Decoding, Searching
from rstar_jax.plan.pace import Pace
from rstar_jax.plan.workload import Expanding, RoundWork, expanding, search_hours
from rstar_jax.settings import to_dict
from rstar_jax.topologies import Topology, parse
from rstar_jax.train import TrainConfig
from rstar_jax.train.mesh_sizes import mesh_sizes


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """One round: hours on all chips by stage, and of its search the seconds of an expansion by part."""

    work: RoundWork
    expanding: Expanding
    search_hours: float
    policy_hours: float
    ppm_hours: float

    @property
    def hours(self) -> float:
        return self.search_hours + self.policy_hours + self.ppm_hours


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole plan. usd_hour: of a chip; None: no price is known. largest: rows of a microbatch, by role."""

    settings: PlanSettings
    topology: Topology
    model: str
    fitting: Fitting
    policy: Training
    ppm: Training
    search: Searching
    rounds: tuple[RoundPlan, ...]
    usd_hour: float | None
    priced: str
    largest: dict[str, int]
    uncompiled: str

    @property
    def padding(self) -> tuple[float, float]:
        """Shares of what the trainings of policy and PPM compute that are no text, or stand there again."""
        policy, ppm = (_padding(self.settings, training) for training in (self.policy, self.ppm))
        return policy, ppm


def run(settings: PlanSettings, workdir: Path) -> None:
    """Plan; prints tables and writes plan.json and plan.txt.

    1. the model's shape and the chips
    2. the trainings: mesh, remat, rows
    3. the search: leaves, devices a model
    4. rounds: hours and cost

    Raises UserError for a model or topology that is not known, a mesh that does not fit the devices, and for
    what does not fit the chips' memory, with the compiler's numbers.
    """
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    topology = parse(settings.topology)  # 1
    name, content = known_models.content_of(settings.model)
    pace = Pace(known_models.shape_of(content), topology.chip, settings.efficiency)
    compiler, why = _compiler(settings, topology, workdir, say)
    optimizers = {role: getattr(settings.train, role).optimizer for role in ("policy", "ppm")}
    averaged = [role for role in optimizers if getattr(settings.train, role).ema]
    fitting = Fitting(topology, pace, content, compiler, optimizers, averaged)
    fitting.calls = functools.partial(_calls, settings)
    try:
        policy, ppm = _trainings(fitting, settings)  # 2
        largest = _largest(fitting, settings, policy, ppm) if settings.largest else {}
        search = _search(fitting, settings)  # 3
    except Uncompiled as error:
        raise UserError(
            f"{error}. Nothing compiled before is lost; --config.compile=never plans by arithmetic alone."
        ) from error
    chip = topology.chip
    price = settings.usd_hour or (chip.usd_spot if settings.spot else chip.usd_hour)
    rounds = tuple(_round(settings, fitting, n, policy, ppm, search) for n in settings.rounds)  # 4
    priced = (
        "as given" if settings.usd_hour else f"US, {'spot' if settings.spot else 'on demand'}, {chip.priced}"
    )
    plan = Plan(settings, topology, name, fitting, policy, ppm, search, rounds, price, priced, largest, why)
    told = text(plan)
    print(f"\n{told}", flush=True)
    records.write_json(workdir / "plan.json", _as_json(plan))
    with records.replacing(workdir / "plan.txt") as path:
        path.write_text(told, encoding="utf-8")


def _compiler(
    settings: PlanSettings, topology: Topology, workdir: Path, say: Callable[[str], None]
) -> tuple[Compiler | None, str]:
    """The compiler, or why there is none."""
    if settings.compile == "never":
        return None, "config.compile=never"
    if not topology.chip.is_tpu:
        if settings.compile == "always":
            raise UserError(
                f"config.compile: 'always' given for {topology}, which is no TPU: GPUs are planned by "
                "arithmetic. Give 'auto'."
            )
        return None, "GPUs are planned by arithmetic"
    if (why := unavailable()) and settings.compile == "auto":
        say(f"Nothing is compiled: {why}. What fits is told by arithmetic.")
        return None, why
    if why:
        raise UserError(f"config.compile: 'always' given, but {why}.")
    return Compiler(workdir / "programs", say), ""


def _batch_rows(settings: PlanSettings, role: str) -> float:
    """Rows that the text of an optimiser step's batch fills."""
    a, config = settings.assumed, getattr(settings.train, role)
    if role == "policy":
        each = a.solution_tokens(config.seq_len)
    else:
        each = a.pair_tokens(a.pairs, config.seq_len)
    return config.batch * each / config.seq_len


def _calls(settings: PlanSettings, role: str, mesh: Mesh, rows: int) -> Calls:
    """Microbatches of a step, with the padding that its training has."""
    config = getattr(settings.train, role)
    of = microbatches.solutions if role == "policy" else microbatches.pairs
    return of(mesh, rows, config.seq_len, config.batch, settings.assumed)


def _padding(settings: PlanSettings, training: Training) -> float:
    calls = _calls(settings, training.role, training.mesh, training.rows)
    computed = sum(times * math.prod(shape) for shape, times in calls.items())
    seq_len = getattr(settings.train, training.role).seq_len
    return 1 - _batch_rows(settings, training.role) * seq_len / computed


def _trainings(fitting: Fitting, settings: PlanSettings) -> tuple[Training, Training]:
    """Policy and PPM on one mesh: the one on which the rounds' trainings end first."""
    roles = {"policy": settings.train.policy, "ppm": settings.train.ppm}
    if not settings.fit:
        mesh = _given_mesh(settings, fitting.topology, dict(fitting.content), fitting.memory)
        found = [
            fitting.train(r, mesh, [(c.remat, c.microbatch)], c.seq_len, _batch_rows(settings, r))
            for r, c in roles.items()
        ]
        return found[0], found[1]

    def hours(mesh: Mesh) -> float:
        return sum(
            min(
                fitting.step_s(role, mesh, *choice, c.seq_len, rows)
                for choice in fitting.choices(role, mesh, c.seq_len, rows)
            )
            * _steps(settings, role, c)
            for role, c in roles.items()
            for rows in [_batch_rows(settings, role)]
        )

    best: tuple[Training, Training] | None = None
    failed: UserError | None = None
    for mesh in sorted(fitting.meshes(), key=hours):
        if best is not None and hours(mesh) >= _hours(settings, best):
            break
        try:
            made = [
                fitting.train(r, mesh, fitting.choices(r, mesh, c.seq_len, n), c.seq_len, n)
                for r, c in roles.items()
                for n in [_batch_rows(settings, r)]
            ]
        except UserError as error:
            failed = error
            continue
        if best is None or _hours(settings, (made[0], made[1])) < _hours(settings, best):
            best = made[0], made[1]
    if best is None:
        assert failed is not None
        raise failed
    return best


def _hours(settings: PlanSettings, pair: tuple[Training, Training]) -> float:
    return sum(t.step_s * _steps(settings, t.role, getattr(settings.train, t.role)) for t in pair)


def _steps(settings: PlanSettings, role: str, config: TrainConfig) -> float:
    """Optimiser steps of all rounds."""
    tokens = sum(getattr(settings.work(n), f"{role}_tokens") for n in settings.rounds)
    return tokens / config.seq_len / _batch_rows(settings, role)


def _given_mesh(settings: PlanSettings, topology: Topology, content: dict[str, Any], memory: float) -> Mesh:
    given, devices = settings.train.mesh, topology.devices
    shape, config = known_models.decoder_of(content), settings.train.policy
    try:
        filled = mesh_sizes(given, shape, config, devices=devices, slices=topology.islands, memory=memory)
    except UserError as error:
        raise UserError(f"{topology}: {error}") from error
    sizes = dataclasses.asdict(filled)
    known = math.prod(size for size in sizes.values() if size != -1)
    open_sizes = [name for name, size in sizes.items() if size == -1]
    if len(open_sizes) == 1 and known > 0:
        sizes[open_sizes[0]] = devices // known
    if min(sizes.values()) < 1 or math.prod(sizes.values()) != devices:
        told = ", ".join(f"{name}={size}" for name, size in dataclasses.asdict(given).items())
        raise UserError(
            f"config.train.mesh: {told} given, sizes that multiply to the {devices} devices of "
            f"{topology} expected. Change them, give one as -1 to take what is left, or --config.fit=True."
        )
    return Mesh(**sizes)


def _largest(fitting: Fitting, settings: PlanSettings, *trainings: Training) -> dict[str, int]:
    return {t.role: fitting.largest(t, getattr(settings.train, t.role).seq_len) for t in trainings}


def _search(fitting: Fitting, settings: PlanSettings) -> Searching:
    """The search of the round that takes longest decides, and the PPM is there if it is in any."""
    d, works = settings.decode, [settings.work(n) for n in settings.rounds]
    int8 = d.weights == "int8"
    decode = Decoding(d.rows, d.context, d.max_step_tokens, d.page_size, d.chunk, int8)
    given = (0, 0) if settings.fit else (d.leaves, d.tensor)
    choices = fit_search.shapes(fitting, decode, *given)
    if not choices:
        raise UserError(
            f"config.decode.tensor: {d.tensor} given, 1, 2, 4 or 8 expected, as divides a host's devices "
            "and the model's heads."
        )
    devices, pace = fitting.topology.devices, fitting.pace

    def hours(load: Any) -> float:
        return sum(search_hours(pace, load, work, devices, settings.assumed) for work in works)

    return fit_search.search(fitting, decode, sorted(choices, key=hours), any(w.ppm for w in works))


def _round(
    settings: PlanSettings, fitting: Fitting, number: int, policy: Training, ppm: Training, search: Searching
) -> RoundPlan:
    work, devices = settings.work(number), fitting.topology.devices
    hours = {
        t.role: getattr(work, f"{t.role}_tokens")
        / getattr(settings.train, t.role).seq_len
        / _batch_rows(settings, t.role)
        * t.step_s
        / 3600
        for t in (policy, ppm)
    }
    return RoundPlan(
        work,
        expanding(fitting.pace, search.load, work, settings.assumed),
        search_hours(fitting.pace, search.load, work, devices, settings.assumed),
        hours["policy"],
        hours["ppm"],
    )


def _as_json(plan: Plan) -> dict[str, Any]:
    compiled = {
        name: dataclasses.asdict(each)
        for name, each in {
            "policy": plan.policy.compiled, "ppm": plan.ppm.compiled, **plan.search.compiled
        }.items()
        if each is not None
    }  # fmt: skip
    return {
        "settings": to_dict(plan.settings),
        "model": plan.model,
        "chips": plan.topology.chips,
        "trainings": [
            {k: v for k, v in dataclasses.asdict(t).items() if k != "compiled"}
            for t in (plan.policy, plan.ppm)
        ],
        "search": {"load": dataclasses.asdict(plan.search.load), "parts": plan.search.parts},
        "compiled": compiled,
        "uncompiled": plan.uncompiled,
        "refusals": [dataclasses.asdict(each) for each in plan.fitting.refusals],
        "largest": plan.largest,
        "padding": dict(zip(("policy", "ppm"), plan.padding, strict=True)),
        "rounds": [dataclasses.asdict(each) | {"hours": each.hours} for each in plan.rounds],
        "usd_hour": plan.usd_hour,
    }
