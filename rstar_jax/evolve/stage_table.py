"""The stages of a round as rows: what each needs, where it runs, what does it and what it finds out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.evolve import curate_stage, search_stages, train_stages
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.stages import Scope
from rstar_jax.report import results


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of every round, or before the first.

    needs: stages of the same round that must be done. before: stages of the round before, from the second
    round on. scope: "host": every host does its share; "global": all hosts in one program; "leader": the
    first host alone. run: does it in a folder and returns its result (`results.KINDS`).
    """

    needs: tuple[str, ...]
    before: tuple[str, ...]
    scope: Scope
    run: Callable[[Context, int, Path], Any]

    @staticmethod
    def folder(name: str, round: int) -> str:
        """Where a stage keeps its files, in the working directory."""
        return "base/evaluate" if name == "base" else f"round{round}/{name}"


# In the order in which a round does them. "base" is done with round 1 alone.
STAGES: dict[str, Stage] = {
    "base": Stage((), (), "host", search_stages.evaluate_base),
    "search": Stage((), ("policy", "ppm"), "host", search_stages.search),
    "curate": Stage(("search",), (), "leader", curate_stage.curate),
    "policy": Stage(("curate",), (), "global", train_stages.train_policy),
    "ppm": Stage(("policy",), (), "global", train_stages.train_ppm),
    "evaluate": Stage(("policy", "ppm"), (), "host", search_stages.evaluate),
}


def chosen(context: Context) -> list[tuple[str, int]]:
    """The stages of this command by name and round, in order."""
    names = context.settings.stages or tuple(STAGES)
    return [
        (name, round)
        for round in context.settings.rounds
        for name in STAGES
        if name in names and (name != "base" or round == 1)
    ]


def require_inputs(context: Context) -> None:
    """Raises UserError for a stage whose inputs are neither there nor made by this command before it."""
    made: set[str] = set()
    for name, round in chosen(context):
        needs = [(need, round) for need in STAGES[name].needs]
        needs += [(need, round - 1) for need in STAGES[name].before if round > 1]
        for need, of in needs:
            folder = Stage.folder(need, of)
            if folder not in made and context.work.manifest(folder) is None:
                command = f"--config.rounds='({of},)'"
                named = ""
                if of == round:
                    command += f" --config.stages={need}"
                elif round <= 5:
                    named = f", or of the configs for one round by --config=round{of}"
                what = f"round {round}" if of < round else f"round{round}/{name}"
                raise UserError(
                    f"--workdir={context.work.root}: {what} starts from {folder}, which is not there. "
                    f"Make it first, by this command with {command}{named}."
                )
        made.add(Stage.folder(name, round))


def run(context: Context, name: str, round: int) -> Any:
    """Do one stage, unless it is done; return its result either way."""
    stage = STAGES[name]
    manifest = context.work.stage(
        Stage.folder(name, round),
        lambda folder: results.to_json(stage.run(context, round, folder)),
        stage.scope,
    )
    return results.of_json(results.KINDS[name], manifest["result"])
