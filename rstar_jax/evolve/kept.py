"""Notes that a run keeps for its report: what it was expected to need, its problems' sources."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_jax import manifests, records
from rstar_jax.data.faults import Faults
from rstar_jax.data.problem_set import fingerprint
from rstar_jax.report import results, sections
from rstar_jax.types import Problem

_ESTIMATES = "estimates.json"  # what a run was expected to need (announce.py)
_SOURCES = "sources.json"  # what became of the rows of its problems' sources


def keep_estimates(root: Path, estimates: dict[str, Any]) -> None:
    """Write what `announce` returned, beside what earlier rounds in this folder were expected to need; of
    stages that are done what was said before they began, and of a run whose stages all are, all of it."""
    before = _read_estimates(root)
    earlier = before.get("stages", {})
    done = {name: one for name, one in earlier.items() if (root / name / manifests.MANIFEST).exists()}
    stages = {**earlier, **estimates["stages"], **done}
    rest = before if stages.keys() == done.keys() else estimates
    records.write_signed(root / _ESTIMATES, {**rest, "stages": stages})


def keep_later(root: Path, later: Mapping[str, Any]) -> None:
    """Write what stages are expected to need by what a search found, beside what was said before it."""
    found = _read_estimates(root)
    stages = found.setdefault("stages", {})
    for name, one in later.items():
        stages[name] = {**stages.get(name, one), "later": {key: one[key] for key in ("tokens", "hours")}}
    records.write_signed(root / _ESTIMATES, found)


def by_own_pace(root: Path, stages: Mapping[str, Any], guided: Callable[[int], bool]) -> dict[str, Any]:
    """Give stages the hours that their tokens take at the pace of the same stage of the last round that did
    one: of a search with a PPM, one with a PPM. guided: whether a round's search has one."""
    paced = {}
    for name, one in stages.items():
        folder, _, stage = name.partition("/")
        number = int(folder.removeprefix("round"))
        alike = [n for n in range(1, number) if stage != "search" or guided(n) == guided(number)]
        found = (_pace(root, n, stage) for n in reversed(alike))
        pace = next((each for each in found if each), None)
        known = pace is not None and one["hours"] is not None
        paced[name] = {**one, "hours": round(one["tokens"] * pace, 5)} if known else one
    return paced


def _pace(root: Path, number: int, stage: str) -> float | None:
    """Hours a token that a stage took; None where it is not done, or has no tokens."""
    path = root / f"round{number}" / stage / manifests.MANIFEST
    with contextlib.suppress(records.Damaged, OSError):
        done = manifests.read(path)
        tokens = done["result"].get("tokens")
        return done["seconds"] / 3600 / tokens if tokens else None
    return None


def keep_sources(root: Path, problems: Mapping[str, Sequence[Problem]]) -> None:
    """Write how many problems of each kind there are, which rows of their sources were left out, and which
    answers are known to be wrong."""
    found = {}
    for name, each in problems.items():
        faults = getattr(each, "faults", None) or Faults(fatal=False)
        found[name] = {"problems": len(each), "fingerprint": fingerprint(each), **faults.to_json()}
        # Met as sources were read: a share, a repeat or a prompt without room may leave one out.
        if (mended := getattr(each, "mended", None)) and (met := set(mended.found)):
            wrong = [problem.id for problem in each if problem.id in met]
            found[name] |= {
                "known_wrong": wrong,
                "corrected": bool(mended.option),
                "corrections": mended.name,
            }
    records.write_signed(root / _SOURCES, found)


def sources_of(root: Path) -> dict[str, sections.Source]:
    """Read what became of the rows of the problems' sources, by name; empty where that is damaged."""
    with contextlib.suppress(records.Damaged):
        found = records.read_signed(root / _SOURCES)
        return {name: results.of_json(sections.Source, each) for name, each in found.items()}
    return {}


def _read_estimates(root: Path) -> dict[str, Any]:
    with contextlib.suppress(records.Damaged):
        return records.read_signed(root / _ESTIMATES)
    return {}


def estimated(
    root: Path, stages: list[sections.StageTimes]
) -> tuple[tuple[sections.StageTimes, ...], dict[str, Any] | None]:
    """Set what was expected of each stage, as far as something was, beside what it took; also return the
    rest of what was expected."""
    expected = _read_estimates(root)
    by_stage = expected.pop("stages", {})
    found = (
        dataclasses.replace(stage, estimate=results.of_json(sections.Estimate, by_stage[stage.name]))
        if stage.name in by_stage
        else stage
        for stage in stages
    )
    return tuple(found), expected or None
