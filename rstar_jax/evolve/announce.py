"""A run's estimates: what its stages need with its model, prompts and machine, and what the paper's would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rstar_jax.evolve import needs
from rstar_jax.evolve.cost import DEVICES, QWEN_1_5B, QWEN_7B, SHARE, Device, Shape, device_of
from rstar_jax.evolve.plan import Assumed, SearchLoad, TrainLoad, plan
from rstar_jax.evolve.settings import RunSettings, at_round
from rstar_jax.evolve.texts import FRESH, Prompts

Lengths = Mapping[tuple[str, str], Prompts | None]  # of prompts, by kind and problems (`Context.prompts`)


def announce(
    settings: RunSettings,
    name: str,
    shapes: tuple[Shape, Shape],
    prompts: Lengths,
    machine: needs.Machine,
    train: int,
    heldout: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Say in two lines what this run needs of its own model; return the estimates, JSON-ready:

    stages: as `by_stage`; assumed: what they rest on; paper: as `of_the_paper`.

    name, shapes: of the base; its shape and the bootstrap policy's. train, heldout: how many problems.
    """
    assumed = Assumed.of(prompts.get((settings.search.prompt[0], "train")), settings.decode.context)
    stages = by_stage(settings, shapes, prompts, machine, train, heldout)
    most = max(stages, key=lambda stage: stages[stage]["memory_mb"])
    parts = ", ".join(f"{part} {size:,}" for part, size in stages[most]["parts"].items() if size)
    needed = stages[most]["memory_mb"]
    log(
        f"{train:,} training problems, {heldout:,} held out; {name} has {_short(shapes[0].parameters)} "
        "parameters."
    )
    log(f"By estimate {needed:,} MB at most ({most}: {parts}); {_work(stages, device_of(machine.kind))}.")
    if machine.on_cpu and machine.free is not None and needed * 2**20 > machine.free:
        log(
            f"That is more than the {machine.free // 2**20:,} MB that are free here. A search needs less "
            "with fewer config.decode.leaves, a shorter config.decode.context or a smaller "
            "config.decode.cache_mb; a training with fewer rows a call (microbatch), remat=full, a shorter "
            "seq_len or a lora.rank."
        )
    return {
        "stages": stages,
        "assumed": {"roofline": SHARE, "expanded": FRESH, **dataclasses.asdict(assumed)},
        "paper": of_the_paper(settings, train, assumed),
    }


def _work(stages: Mapping[str, Any], device: Device | None) -> str:
    """Tokens of all stages, and their hours where the device is known."""
    learnt = ("policy", "ppm")
    read = sum(s["tokens"] for name, s in stages.items() if name.rpartition("/")[2] in learnt)
    written = sum(s["tokens"] for s in stages.values()) - read
    told = f"{_short(written)} tokens written, {_short(read)} read in training"
    if device is None:
        return told
    hours, chips = (sum(s["hours"] for s in stages.values()), max(s["chips"] for s in stages.values()))
    return f"{told}; {hours:,.2f} hours on {chips} x {device.name}"


def of_the_paper(settings: RunSettings, train: int, assumed: Assumed) -> list[dict[str, Any]]:
    """What the same rounds would need of the models that the paper evolves, on chips of several kinds.

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


def by_stage(
    settings: RunSettings,
    shapes: tuple[Shape, Shape],
    prompts: Lengths,
    machine: needs.Machine,
    train: int,
    heldout: int,
) -> dict[str, Any]:
    """For each stage that uses the devices: memory_mb and its parts, tokens (written by a search, read by a
    training), where the device is known hours, and on how many chips. Arguments as for `announce`."""
    (base, bootstrap), e, device = shapes, settings.evaluate, device_of(machine.kind)
    found: dict[str, Any] = {}

    def add(stage: str, parts: needs.Parts, tokens: float, hours: float | None, chips: int) -> None:
        found[stage] = {
            "memory_mb": needs.megabytes(parts),
            "parts": {part: round(size / 2**20) for part, size in parts.items()},
            "tokens": round(tokens),
            "hours": None if hours is None else round(hours, 3),
            "chips": None if hours is None else chips,
        }

    def searched(stage: str, shape: Shape, load: SearchLoad, kind: str, name: str, problems: int) -> None:
        assumed = Assumed.of(prompts.get((kind, name)), settings.decode.context)
        planned = plan(shape, load, problems, TrainLoad(), device, assumed)
        parts = needs.searching(shape, load, machine)
        add(stage, parts, planned.tokens, planned.search_hours, planned.chips)

    for number, (search_load, train_load) in zip(settings.rounds, loads(settings), strict=True):
        kind = at_round(settings.search.prompt, number)
        if number == 1:
            # One greedy path; the plan counts half of a rollout's steps.
            alone = dataclasses.replace(search_load, rollouts=2, candidates=1, ppm=False)
            searched("base/evaluate", base, alone, kind, "heldout", heldout)
        shape = bootstrap if number == 1 else base
        guided = dataclasses.replace(search_load, ppm=search_load.ppm and number > 1)
        searched(f"round{number}/search", shape, guided, kind, "train", train)
        assumed = Assumed.of(prompts.get(("finetuned", "train")), settings.decode.context)
        learnt = plan(base, search_load, train, train_load, device, assumed)
        for stage, config, lora, count in (
            ("policy", settings.train.policy, train_load.policy_lora, assumed.rows),
            ("ppm", settings.train.ppm, train_load.ppm_lora, 2 * assumed.pairs),
        ):
            load = dataclasses.replace(
                train_load, seq_len=config.seq_len, rows=config.microbatch, remat=config.remat
            )
            tokens = train * config.epochs * count * min(assumed.row, config.seq_len)
            hours = None
            if device is not None:
                seconds = base.train_seconds(device, tokens, config.seq_len, config.remat)
                hours = seconds / learnt.chips / 3600
            parts = needs.training(base, load, lora, machine, logits=stage == "policy")
            add(f"round{number}/{stage}", parts, tokens, hours, learnt.chips)
        both = dataclasses.replace(search_load, rollouts=e.rollouts, candidates=e.candidates, ppm=True)
        searched(f"round{number}/evaluate", base, both, "finetuned", "heldout", heldout)
    return found


def loads(settings: RunSettings) -> list[tuple[SearchLoad, TrainLoad]]:
    """What each of the run's rounds asks of the device."""
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


def _short(value: float) -> str:
    """1_543_714_304 -> "1.54 B"."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"
