"""Needs of an evaluation on benchmarks, by its own prompts and model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rstar_jax.evolve.announce import Lengths, StageNeeds, loads, say, short
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.plan import needs
from rstar_jax.plan.cost import Shape


@dataclasses.dataclass(frozen=True)
class EvaluationLoad:
    """A stage that measures a model on problems. settings, prompts: of its context. problems: how many.

    paths: single paths of each, searches: searches of each; guided: whether a PPM values their steps.
    """

    settings: RunSettings
    prompts: Lengths
    problems: int
    paths: int
    searches: int
    guided: bool


def announce_evaluation(
    by_stage: Mapping[str, EvaluationLoad],
    name: str,
    shape: Shape,
    machine: needs.Machine,
    *,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Say in two lines what an evaluation needs; return {"stages"}, the estimates of its stages."""
    found: dict[str, Any] = {}
    for stage, asked in by_stage.items():
        settings, stages = asked.settings, StageNeeds(asked.settings, asked.prompts, machine, found)
        (load, _), e, kind = loads(settings)[0], settings.evaluate, settings.search.prompt[0]
        if asked.paths:
            stages.alone(stage, shape, load, kind, asked.problems, asked.paths)
        if asked.searches:
            alone = found.get(stage, {"tokens": 0, "hours": 0.0})
            load = dataclasses.replace(
                load, rollouts=e.rollouts * asked.searches, candidates=e.candidates, ppm=asked.guided
            )
            stages.searched(stage, shape, load, kind, "heldout", asked.problems)
            found[stage]["tokens"] += alone["tokens"]
            if found[stage]["hours"] is not None:
                found[stage]["hours"] = round(found[stage]["hours"] + alone["hours"], 3)
    problems = sum(asked.problems for asked in by_stage.values())
    log(f"{problems:,} problems of benchmarks; {name} has {short(shape.parameters)} parameters.")
    say(found, machine, log)
    return {"stages": found}
