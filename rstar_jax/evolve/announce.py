"""A run's estimates: what its stages need with its model, prompts and machine, and what the paper's would."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from rstar_jax.engine.sizes import Sizes
from rstar_jax.errors import UserError
from rstar_jax.evolve.settings import RunSettings, at_round
from rstar_jax.plan import needs
from rstar_jax.plan.cost import DEVICES, QWEN_1_5B, QWEN_7B, SHARE, Device, Shape
from rstar_jax.plan.estimate import Assumed, Lora, SearchLoad, TrainLoad, plan
from rstar_jax.plan.texts import FRESH, Prompts, Solutions
from rstar_jax.plan.workload import SOLVED, rollouts
from rstar_jax.served import Address
from rstar_jax.train import TrainConfig, tree_rows

# Times the free memory, from which on a run is refused and not only warned.
HOPELESS = 8
Lengths = Mapping[tuple[str, str], Prompts | None]  # of prompts, by kind and problems (`Context.prompts`)


def announce(
    settings: RunSettings,
    name: str,
    shapes: tuple[Shape, Shape | Address],
    prompts: Lengths,
    machine: needs.Machine,
    train: int,
    heldout: int,
    log: Callable[[str], None],
    known: Solutions | None = None,
) -> dict[str, Any]:
    """Say in two lines what this run needs of its own model; return the estimates, JSON-ready:

    stages: as `by_stage`; assumed: what they rest on; paper: as `of_the_paper`.

    name, shapes: of the base; its shape and the bootstrap policy's, of which
    a served one has none here. train, heldout: how many problems. known: solutions of them.
    """
    assumed = Assumed.of(prompts.get((settings.search.prompt[0], "train")), settings.decode.context, known)
    stages = by_stage(settings, shapes, prompts, machine, train, heldout, known)
    log(
        f"{train:,} training problems, {heldout:,} held out; {name} has {short(shapes[0].parameters)} "
        "parameters."
    )
    if isinstance(shapes[1], Address) and 1 in settings.rounds:
        log(
            f"Round 1 asks {shapes[1].model} at {shapes[1].base}, {settings.served.slots} requests at a time."
        )
    say(stages, machine, log)
    return {
        "stages": stages,
        "assumed": {"roofline": SHARE, "expanded": FRESH, **dataclasses.asdict(assumed)},
        "paper": of_the_paper(settings, train, assumed),
    }


def say(stages: Mapping[str, Any], machine: needs.Machine, log: Callable[[str], None]) -> None:
    """Tell what stages need at most, and in all. Raises UserError where that is hopeless here."""
    most = max(stages, key=lambda stage: stages[stage]["memory_mb"])
    parts = ", ".join(f"{part} {size:,}" for part, size in stages[most]["parts"].items() if size)
    needed = stages[most]["memory_mb"]
    log(f"By estimate {needed:,} MB at most ({most}: {parts}); {work(stages, machine.device)}.")
    if not machine.on_cpu or machine.free is None or needed * 2**20 <= machine.free:
        return
    more = (
        f"That is more than the {machine.free // 2**20:,} MB that are free here. A search needs less "
        "with fewer config.decode.leaves, a shorter config.decode.context or a smaller "
        "config.decode.cache_mb; a training with fewer rows a call (microbatch), remat=full, a shorter "
        "seq_len or a lora.rank."
    )
    if needed * 2**20 > HOPELESS * machine.free:  # no estimate is so wrong: the system would end the run
        raise UserError(f"{most}: by estimate {needed:,} MB ({parts}). {more}")
    log(more)


def work(stages: Mapping[str, Any], device: Device | None) -> str:
    """Tokens of all stages, and their hours where the device is known."""
    learnt = ("policy", "ppm")
    read = sum(s["tokens"] for name, s in stages.items() if name.rpartition("/")[2] in learnt)
    written = sum(s["tokens"] for s in stages.values()) - read
    told = f"{short(written)} tokens written, {short(read)} read in training"
    if device is None:
        return told
    ours = [s for s in stages.values() if s["chips"] is not None]  # not those of a server
    hours, chips = sum(s["hours"] for s in ours), max((s["chips"] for s in ours), default=0)
    return f"{told}; {_duration(hours)} on {chips} x {device.name}"


def _duration(hours: float) -> str:
    if hours >= 0.1:
        return f"{hours:,.2f} hours"
    return f"{60 * hours:.0f} minutes" if hours >= 1.5 / 60 else "about a minute"


def of_the_paper(settings: RunSettings, train: int, assumed: Assumed) -> list[dict[str, Any]]:
    """Estimate the same rounds for the models that the paper evolves, on chips of several kinds.

    A row for each model and kind: sizes in GiB over all chips, of the round that needs most; tokens written
    and hours (evaluations not counted) over the rounds.
    """
    rows = []
    for model, shape in (("Qwen2.5-Math-1.5B", QWEN_1_5B), ("Qwen2.5-Math-7B", QWEN_7B)):
        for device in (DEVICES["H200"], DEVICES["v5e"], DEVICES["v5p"]):
            plans = [plan(shape, s, train, TrainLoad(), device, assumed) for s in _reference_loads(settings)]
            sizes = {
                size: round(max(getattr(p, size) for p in plans), 2)
                for size in ("weights", "cache", "optimiser", "activations")
            }
            rows.append(
                {
                    "model": model,
                    "device": device.name,
                    "chips": max(p.chips for p in plans),
                    "parameters": plans[0].parameters,
                    **sizes,
                    "tokens": round(sum(p.tokens for p in plans)),
                    "hours": round(sum(p.hours or 0.0 for p in plans), 3),
                }
            )
    return rows


@dataclasses.dataclass
class StageNeeds:
    """Collects what the stages that use the devices need: memory_mb and its parts, tokens (written by a
    search, read by a training), where the device is known hours, and on how many chips. programs: of stages
    so far, by the last part of their names: those of later rounds need no others."""

    settings: RunSettings
    prompts: Lengths
    machine: needs.Machine
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    known: Solutions | None = None
    programs: dict[str, float] = dataclasses.field(default_factory=dict)

    def assumed(self, kind: str, problems: str) -> Assumed:
        return Assumed.of(self.prompts.get((kind, problems)), self.settings.decode.context, self.known)

    def searched(
        self, stage: str, shape: Shape, load: SearchLoad, kind: str, name: str, problems: int, paths: int = 0
    ) -> None:
        """paths: of a problem, where they share no step; the plan counts half of a rollout's steps."""
        device, work = self.machine.device, load
        if paths:
            work = dataclasses.replace(load, rollouts=2 * paths, candidates=1)
            load = dataclasses.replace(load, candidates=paths)
        planned = plan(shape, work, problems, TrainLoad(), device, self.assumed(kind, name))
        parts = needs.searching(shape, load, self.machine, self._programs(stage, load, kind, name))
        self._add(stage, parts, planned.tokens, planned.search_hours, planned.chips)

    def _programs(self, stage: str, load: SearchLoad, kind: str, name: str) -> int:
        """Count those of a stage that go through the layers, at most."""
        prompts, sizes = self.prompts.get((kind, name)), Sizes(self.settings.decode)
        alone = set[int]() if stage.endswith("search") else {1}  # an evaluation asks the policy alone, too
        shortest = prompts.shortest if prompts else 1
        return sizes.through_layers(shortest, {*alone, load.candidates}, scores=load.ppm)

    def served(self, stage: str, base: Shape, load: SearchLoad, kind: str, problems: int) -> None:
        """A search by a policy behind a server: it takes no device, and tokens are any model's."""
        tokens = plan(base, load, problems, TrainLoad(), None, self.assumed(kind, "train")).tokens
        self._add(stage, {}, tokens, None, 0)

    def alone(
        self, stage: str, shape: Shape, load: SearchLoad, kind: str, problems: int, paths: int = 1
    ) -> None:
        """Held-out problems by so many single paths each; the plan counts half of a rollout's steps."""
        load = dataclasses.replace(load, rollouts=2 * paths, candidates=1, ppm=False)
        self.searched(stage, shape, load, kind, "heldout", problems)

    def trained(
        self,
        stage: str,
        shape: Shape,
        load: TrainLoad,
        config: TrainConfig,
        lora: Lora,
        learnt: tuple[float, float],
        chips: int,
    ) -> None:
        """learnt: examples, and tokens, of one epoch."""
        if stage.rpartition("/")[2] == "ppm":
            shape = shape.reward
        (examples, tokens), device, hours = learnt, self.machine.device, None
        load = dataclasses.replace(
            load,
            seq_len=config.seq_len,
            rows=config.microbatch,
            shapes=tree_rows.shapes(config.epochs * math.ceil(examples / config.batch)),
            remat=config.remat,
            optimizer=config.optimizer,
        )
        tokens *= config.epochs
        if device is not None:
            seconds = shape.train_seconds(device, tokens, config.seq_len, config.remat)
            hours = seconds / chips / 3600
        parts = needs.training(shape, load, lora, self.machine, averaged=config.ema > 0)
        self._add(stage, parts, tokens, hours, chips)

    def _add(self, stage: str, parts: needs.Parts, tokens: float, hours: float | None, chips: int) -> None:
        own = stage.rpartition("/")[2]
        if parts and self.found.keys() - {stage}:
            earlier = [size for kind, size in self.programs.items() if kind != own]
            parts = {**parts, "earlier stages": needs.left(earlier, self.machine)}
        self.programs[own] = max(self.programs.get(own, 0.0), needs.programs(parts))
        self.found[stage] = {
            "memory_mb": needs.megabytes(parts),
            "parts": {part: round(size / 2**20) for part, size in parts.items()},
            "tokens": round(tokens),
            "hours": None if hours is None else round(hours, 5),
            "chips": None if hours is None else chips,
        }


def by_stage(
    settings: RunSettings,
    shapes: tuple[Shape, Shape | Address],
    prompts: Lengths,
    machine: needs.Machine,
    train: int,
    heldout: int,
    known: Solutions | None = None,
    learnt: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Estimate what each stage of a run needs, as `StageNeeds` counts it. Arguments as for `announce`.

    learnt: examples and tokens of an epoch of trainings whose rows are there, by stage.
    """
    (base, bootstrap), e = shapes, settings.evaluate
    stages = StageNeeds(settings, prompts, machine, known=known)
    for number, (search_load, train_load) in zip(settings.rounds, loads(settings), strict=True):
        kind = at_round(settings.search.prompt, number)
        if number == 1:
            stages.alone("base/evaluate", base, search_load, kind, heldout)
        shape = bootstrap if number == 1 else base
        before, solved = (_solved(n, known) for n in (number - 1, number))
        s = settings.search
        asked, trees = at_round(s.rollouts, number), at_round(s.trees, number)
        each = rollouts(asked, s.totals(number), trees, before, solved)
        guided = dataclasses.replace(search_load, ppm=search_load.ppm and number > 1, rollouts=each)
        if isinstance(shape, Address):
            stages.served(f"round{number}/search", base, guided, kind, train)
        else:
            stages.searched(f"round{number}/search", shape, guided, kind, "train", train)
        assumed = stages.assumed("finetuned", "train")
        chips = plan(base, search_load, train, train_load, machine.device, assumed).chips
        policy, ppm = settings.train.policy, settings.train.ppm
        of_policy = assumed.rows, assumed.policy_tokens(policy.seq_len)
        of_ppm = assumed.ppm_pairs(guided), assumed.ppm_tokens(guided, ppm.seq_len)
        for stage, config, lora, (examples, tokens) in (
            ("policy", policy, train_load.policy_lora, of_policy),
            ("ppm", ppm, train_load.ppm_lora, of_ppm),
        ):
            name = f"round{number}/{stage}"
            read = (learnt or {}).get(name, (train * solved * examples, train * solved * tokens))
            stages.trained(name, base, train_load, config, lora, read, chips)
        asked = e.rollouts * (e.searches if e.strategy == "mcts_repeated" else 1)
        both = dataclasses.replace(search_load, rollouts=asked, candidates=e.candidates, ppm=True)
        stages.searched(f"round{number}/evaluate", base, both, "finetuned", "heldout", heldout, e.paths)
    return stages.found


def _solved(round: int, known: Solutions | None) -> float:
    """Share of the training problems that a round solves in the end: the paper's, or more where more was
    found."""
    share = (0.0, *SOLVED)[min(round, len(SOLVED))]
    return max(share, known.solved or 0.0) if known and round else share


def loads(settings: RunSettings) -> list[tuple[SearchLoad, TrainLoad]]:
    """Return the loads that each of the run's rounds puts on the device."""
    s, size = settings.search, 2 if settings.policy.dtype == "bfloat16" else 4
    policy, ppm = settings.train.policy, settings.train.ppm
    training = TrainLoad(
        policy_epochs=policy.epochs,
        ppm_epochs=ppm.epochs,
        seq_len=policy.seq_len,
        rows=policy.microbatch,
        size=size,
        remat=policy.remat,
        policy_lora=(policy.lora.rank, policy.lora.targets),
        ppm_lora=(ppm.lora.rank, ppm.lora.targets),
        policy_averaged=policy.ema > 0,
        ppm_averaged=ppm.ema > 0,
    )
    return [
        (
            SearchLoad(
                rollouts=at_round(s.rollouts, round),
                candidates=at_round(s.candidates, round),
                leaves=settings.decode.leaves,
                context=settings.decode.context,
                max_step_tokens=settings.decode.max_step_tokens,
                size=size,
                int8=settings.decode.weights == "int8",
                ppm=at_round(s.ppm, round),
                rows=settings.decode.rows,
            ),
            training,
        )
        for round in settings.rounds
    ]


def _reference_loads(settings: RunSettings) -> list[SearchLoad]:
    """The run's rollouts and candidates with the room that real models' texts need."""
    return [SearchLoad(rollouts=s.rollouts, candidates=s.candidates, ppm=s.ppm) for s, _ in loads(settings)]


def short(value: float) -> str:
    """1_543_714_304 -> "1.54 B"."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"
