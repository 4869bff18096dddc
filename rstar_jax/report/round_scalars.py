"""The figures of rounds as scalars, by round; round 0 is the base before any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields of `sections.Round`: shares by level, which `_by_level` fields hold where one figure stands alone.
_BY_LEVEL = {
    "coverage": "coverage",
    "policy_pass1": "policy_pass1_by_level",
    "search_accuracy": "search_accuracy_by_level",
}
_ALONE = ("ppm_pair_accuracy", "trajectories", "sft_rows", "pairs")


def round_scalars(report: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Take the scalars out of a run's report (`sections.RunReport` as JSON): coverage, pass@1 and search
    accuracy, each in all and by level, the PPM's accuracy on pairs, and what the round learnt from."""
    found = {0: _of(report.get("base") or {})}
    found |= {one["round"]: _of(one) for one in report.get("rounds") or ()}
    return {number: values for number, values in found.items() if values}


def _of(section: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, Any] = {}
    for name, field in _BY_LEVEL.items():
        for level, share in (section.get(field) or {}).items():
            values[name if level == "all" else f"{name}/{level}"] = share
    values |= {name: section.get(name) for name in _ALONE}
    return {name: float(value) for name, value in values.items() if value is not None}
