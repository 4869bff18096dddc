"""Rows by their columns: which job and which objective they fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax import columns
from rstar_jax.data import authors, step_labels
from rstar_jax.types import PreferencePair

PREFERENCE = frozenset({"prompt", "chosen", "rejected"})
PAIR = frozenset(columns.schema(PreferencePair).names)
_PAIRS = "preference pairs, which fit --config=ppm --config.train.reward=ppm (those of whole solutions orm)"
_LABELS = "labels of steps, which fit --config=ppm --config.train.reward=ppm, pqm or orm"
_VALUES = "values of steps, which fit --config=ppm --config.train.reward=pqm"
_TREES = "trees, which fit every objective, in a file that holds them alone"
_SOLUTIONS = "solutions, which fit --config=sft --config.rows="
# The first row whose columns are there is what a row is.
_KINDS = (
    (PAIR, _PAIRS),
    (authors.PAIR, _PAIRS),
    (PREFERENCE, _PAIRS),
    (step_labels.STEPWISE, _LABELS),
    (step_labels.SHEPHERD, _LABELS),
    (step_labels.PRM800K, _LABELS),
    (step_labels.VALUED, _VALUES),
    (authors.TREE, _TREES),
    (authors.SOLUTION, _SOLUTIONS),
    (frozenset({"messages"}), _SOLUTIONS),
    (frozenset({"question", "steps"}), _SOLUTIONS),
    (frozenset({"question", "solution"}), _SOLUTIONS),
)


def fits(row: Mapping[str, Any]) -> str:
    """Say what a row is and which objective it fits; "" where its columns are nothing known."""
    there = {key for key, value in row.items() if value is not None}
    return next((what for names, what in _KINDS if there >= names), "")


def is_of_another_job(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one that a reward model learns, and no solution."""
    return fits(row) not in ("", _SOLUTIONS, _TREES)


def other_than(asked: str, row: Mapping[str, Any]) -> str:
    """Say in a sentence that a row is not what is `asked` for, and what it fits, if anything."""
    if found := fits(row):
        return f"these are {found}; {asked} expected."
    return f"columns {', '.join(sorted(row)) or '(none)'}, of which no {asked} can be made."
