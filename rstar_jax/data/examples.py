"""Rows that a reward model learns from, read by one loop: a row is an example, or labels on the steps of a
solution, of which the examples are made once all of their question are there.

pairs.py                 preference pairs, for a PPM or an ORM
evolve/given_values.py   values of steps, for a PQM
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from rstar_jax.data.step_labels import ByQuestion, Labelled
from rstar_jax.data.tables import Place, read_objects, unfit
from rstar_jax.errors import Unfit, UserError

T = TypeVar("T")

# A weight counts by its share in a sum of float32 numbers: beyond these it is infinite, or nothing.
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6
_TOLD_EVERY = 64  # rows


@dataclasses.dataclass
class Tally:
    """Counts of what was read. bad: whether a row that is none is "fatal", or to "drop". read: rows. lost: by
    reason, with the first example of each. right, wrong: labels of steps, where the rows had such."""

    bad: Literal["fatal", "drop"] = "fatal"

    read: int = 0
    right: int = 0
    wrong: int = 0
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, str] = dataclasses.field(default_factory=dict)

    def lose(self, error: Unfit) -> None:
        self.lost[error.reason] += 1
        self.examples.setdefault(error.reason, str(error))

    def refuse(self, error: UserError) -> None:
        """Raise what is wrong with a row, or count it as lost."""
        if self.bad == "fatal":
            raise error
        self.lose(unfit(error))

    def require_labels(self, kept: int, where: str, what: str, forms: str, needs: str) -> None:
        """Refuse labels that cannot teach: of one class only, or with nothing left. what, forms, needs: what
        should be left, the forms of rows that have it, and what one needs."""
        if bool(self.right) != bool(self.wrong):
            kind = "right" if self.right else "wrong"
            raise UserError(
                f"{where}: all {self.right + self.wrong:,} labels of steps are {kind}: nothing can be told "
                "apart by them. Give rows with both kinds, or look at how the labels were made."
            )
        if not kept and not self.read:
            raise UserError(f"{where}: no rows in it; {forms} expected. Give a file that has some.")
        if not kept:
            why = "; ".join(f"{count:,} {reason}" for reason, count in self.lost.most_common()) or "none lost"
            first = next(iter(self.examples.values()), "")
            raise UserError(
                f"{where}: no {what} left of {self.read:,} rows ({why}). {needs} {first}".rstrip()
            )


class EqualSides(Unfit):
    """A pair that compares a way on with itself."""


def read_examples(
    files: Sequence[Path],
    forms: str,
    read: Callable[[dict[str, Any], Place], Iterable[T | Labelled]],
    taught: Callable[[Sequence[Labelled]], Iterable[T]],
    tally: Tally,
    on_read: Callable[[int], None],
) -> Iterator[T]:
    """Yield the examples of files, in order; those of labelled solutions last, question by question.

    forms: of rows, for errors. read: what a row holds. taught: the examples in the labelled solutions of one
    question. on_read: told now and then how many rows were read. A row that is none is refused
    (`Tally.refuse`) with its file and line, as a pair of equal sides is; one that only says nothing (`Unfit`)
    is counted.
    """
    labelled = ByQuestion()
    for file in files:
        for place, row in read_objects(file, forms, tally.refuse):
            tally.read += 1
            if tally.read % _TOLD_EVERY == 0:
                on_read(tally.read)
            try:
                for found in read(row, place):
                    if isinstance(found, Labelled):
                        labelled.add(found)
                    else:
                        yield found
            except EqualSides as error:
                tally.refuse(error)
            except Unfit as error:
                tally.lose(error)
            except UserError as error:
                tally.refuse(error)
    for solutions in labelled:
        yield from taught(solutions)
    on_read(tally.read)
