"""Budget of one pair: steps of the rules, and comparisons, few of them in vain.

Lists without an order are compared item by item with item, and their items may be such lists. A text of a
thousand characters could so ask for a million comparisons, each of which may take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

# (reference, prediction) -> "same", "different", "unread" (the reference), "unknown" or "lost"
Compare = Callable[[str, str], str]

MAX_COMPARISONS, MAX_IN_VAIN, MAX_STEPS = 64, 2, 5_000


class Spent(Exception):
    """A pair has cost what it may: nobody knows whether it is right."""


class Budget:
    """Counts what the rules ask for one pair. Both methods raise Spent."""

    def __init__(self, compare: Compare) -> None:
        self._compare = compare
        self._comparisons = self._in_vain = self._steps = 0

    def compare(self, reference: str, prediction: str) -> bool | None:
        """Return whether the two are the same; None if that was not found out."""
        if self._comparisons == MAX_COMPARISONS or self._in_vain == MAX_IN_VAIN:
            raise Spent
        self._comparisons += 1
        found = {"same": True, "different": False}.get(self._compare(reference, prediction))
        self._in_vain += found is None
        return found

    def step(self) -> None:
        """Count one pair of parts that the rules look at."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Spent


def all_of(values: Iterable[bool | None]) -> bool | None:
    """Return whether all are true: False as soon as one is not, None if else one is not known."""
    unknown = False
    for value in values:
        if value is False:
            return False
        unknown |= value is None
    return None if unknown else True


def any_of(values: Iterable[bool | None]) -> bool | None:
    """Return whether one is true: True as soon as one is, None if else one is not known."""
    unknown = False
    for value in values:
        if value:
            return True
        unknown |= value is None
    return None if unknown else False
