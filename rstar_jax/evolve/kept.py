"""Notes that a run keeps for its report: what it was expected to need, its problems' sources."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
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
    stages that are done what was said before they began."""
    earlier = _read_estimates(root).get("stages", {})
    done = {name: one for name, one in earlier.items() if (root / name / manifests.MANIFEST).exists()}
    estimates = {**estimates, "stages": {**earlier, **estimates["stages"], **done}}
    records.write_signed(root / _ESTIMATES, estimates)


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
