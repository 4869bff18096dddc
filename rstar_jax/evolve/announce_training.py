"""Estimates of trainings from given rows: a warm start, a reward model alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rstar_jax.evolve.announce import Lengths, StageNeeds, loads, say, short
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.plan import needs
from rstar_jax.plan.cost import Shape
from rstar_jax.plan.estimate import plan


def announce_warm_start(
    settings: RunSettings,
    name: str,
    shape: Shape,
    prompts: Lengths,
    machine: needs.Machine,
    rows: tuple[int, int],
    heldout: int,
    *,
    base: bool,
    samples: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Say in two lines what a warm start needs; return {"stages"}, the estimates of its stages.

    settings: those that its stages know it by (`SftSettings.as_run`). rows: how many, and their tokens.
    heldout: how many problems. base: whether the base is evaluated, too. samples: solutions of each problem
    besides the greedy one.
    """
    (search_load, train_load), stages = loads(settings)[0], StageNeeds(settings, prompts, machine)
    kind, (count, _) = settings.search.prompt[0], rows
    if heldout and base:
        stages.alone("base/evaluate", shape, search_load, kind, heldout, 1 + samples)
    chips = plan(shape, search_load, 0, train_load, machine.device).chips
    config, lora = settings.train.policy, train_load.policy_lora
    stages.trained("policy", shape, train_load, config, lora, rows, chips)
    if heldout:
        stages.alone("evaluate", shape, search_load, "finetuned", heldout, 1 + samples)
    log(
        f"{count:,} solutions, {heldout:,} held-out problems; {name} has {short(shape.parameters)} "
        "parameters."
    )
    say(stages.found, machine, log)
    return {"stages": stages.found}


def announce_ppm(
    settings: RunSettings,
    name: str,
    shape: Shape,
    prompts: Lengths,
    machine: needs.Machine,
    pairs: tuple[int, int],
    heldout: int,
    *,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Say in two lines what a training of a reward model alone needs; return {"stages"}, as estimated.

    settings: those that its stages know it by (`PpmSettings.as_run`). pairs: how many, or rows of values, and
    the tokens of an epoch of them. heldout: how many problems.
    """
    (search_load, train_load), stages, e = (
        loads(settings)[0],
        StageNeeds(settings, prompts, machine),
        settings.evaluate,
    )
    chips = plan(shape, search_load, 0, train_load, machine.device).chips
    stages.trained("ppm", shape, train_load, settings.train.ppm, train_load.ppm_lora, pairs, chips)
    if heldout:
        rollouts = e.rollouts * (e.searches if e.strategy == "mcts_repeated" else 1)
        both = dataclasses.replace(search_load, rollouts=rollouts, candidates=e.candidates, ppm=True)
        stages.searched("evaluate", shape, both, "finetuned", "heldout", heldout, e.paths)
    what = "solutions with values" if settings.train.reward == "pqm" else "pairs"
    count = pairs[0]
    log(f"{count:,} {what}, {heldout:,} held-out problems; {name} has {short(shape.parameters)} parameters.")
    say(stages.found, machine, log)
    return {"stages": stages.found}
