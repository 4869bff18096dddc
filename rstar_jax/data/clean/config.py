"""Options of cleaning."""

from __future__ import annotations

import dataclasses

from rstar_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CleanConfig:
    """What is dropped from a set of problems.

    multi_part: drop questions of several parts or with several answers, which one answer cannot grade.
    exact: drop all but the first of questions with the same normal form (`spelling.py`).
    near: drop all but the first of questions whose windows of 8 characters have at least this Jaccard
        similarity, the same numbers in the same order and the same answer; 1 keeps them.
    ngrams: lengths, in words, of the runs that a training question may not share with a benchmark's.
    ngram_share: of the runs of the question that has fewer, the share that must be shared.
    contained: share of the smaller question's windows that must be shared with a benchmark's; with them, all
        numbers of one occur in the other, or it is a template twin: the question with other numbers.
    least_jaccard: Jaccard similarity that they must have besides.
    twin_jaccard: Jaccard similarity that twins must have, with every number a 0.
    drop_twins: drop template twins of a benchmark's questions, which are else reported alone.
    examples: how many dropped questions the report shows for each reason.
    """

    multi_part: bool = True
    exact: bool = True
    near: float = 0.8
    ngrams: tuple[int, ...] = (10, 13)
    ngram_share: float = 0.7
    contained: float = 0.7
    least_jaccard: float = 0.4
    twin_jaccard: float = 0.6
    drop_twins: bool = False
    examples: int = 5

    def __post_init__(self) -> None:
        for name in ("near", "ngram_share", "contained", "least_jaccard", "twin_jaccard"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise UserError(f"clean.{name}: {value} given, a share above 0 and at most 1 expected.")
        if any(n < 2 for n in self.ngrams):
            raise UserError(f"clean.ngrams: {self.ngrams} given, runs of at least 2 words expected.")
        if self.examples < 0:
            raise UserError(f"clean.examples: {self.examples} given, 0 or more expected.")
