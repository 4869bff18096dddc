"""Bad rows: the end of reading, or left out, counted by kind and named by example."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rstar_jax.errors import Unfit

_EXAMPLES = 3  # of a kind


class Faults:
    """What is done about bad rows. fatal: the first one is raised."""

    def __init__(self, *, fatal: bool) -> None:
        self._fatal = fatal
        self.kinds: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def __call__(self, error: Unfit) -> None:
        if self._fatal:
            raise error
        self.count(error)

    def count(self, error: Unfit) -> None:
        """Take a row as left out, whatever is done about bad ones."""
        self.kinds[error.reason] += 1
        examples = self.examples.setdefault(error.reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(str(error))

    def to_json(self) -> dict[str, Any]:
        """Counts by kind and the first examples of each, for a report."""
        return {"left_out": dict(self.kinds.most_common()), "examples": dict(self.examples)}

    @property
    def left_out(self) -> int:
        """Rows left out."""
        return self.kinds.total()

    def summary(self, kept: int) -> str:
        """`12 of 7,473 rows left out: 10 not JSON, 2 no answer.`, and the first of each kind."""
        return f"{self.left_out:,} of {self.left_out + kept:,} rows left out: {self.told().strip()}"

    def told(self) -> str:
        """The kinds and their first examples, as a sentence each; empty where no row was bad."""
        kinds = ", ".join(f"{count:,} {reason}" for reason, count in self.kinds.most_common())
        first = [f"  {example}" for examples in self.examples.values() for example in examples]
        return "\n".join([f" {kinds}.", *first]) if kinds else ""
