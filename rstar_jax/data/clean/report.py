"""What cleaning dropped, and why."""

from __future__ import annotations

import dataclasses

REASONS = {
    "blank": "no question or no answer",
    "multi_part": "several parts or several answers",
    "exact_benchmark": "a benchmark's question",
    "near_benchmark": "near a benchmark's question, with its numbers",
    "ngram_benchmark": "shares long runs of words with a benchmark's question",
    "twin_benchmark": "a benchmark's question with other numbers",
    "exact_duplicate": "the question of an earlier row",
    "near_duplicate": "near the question of an earlier row, with its numbers and answer",
}
_SHOWN = 100  # characters of a question


@dataclasses.dataclass(frozen=True)
class CleanExample:
    """One dropped (or reported) question.

    row: of the set, from 0. other_id, other: the question that it repeats, empty where it repeats none.
    similarity: of the two, 0 to 1. detail: what is wrong with it where it repeats none.
    """

    reason: str
    row: int
    id: str
    question: str
    other_id: str = ""
    other: str = ""
    similarity: float = 0.0
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class CleanReport:
    """Counts by reason (`REASONS`), and examples of each.

    dropped: rows, each by its first reason. twins_kept: template twins of benchmarks that were kept.
    overlaps: for each benchmark, pairs of a row and one of its questions by kind; a row may be in several.
    """

    rows: int
    kept: int
    dropped: dict[str, int]
    twins_kept: int
    overlaps: dict[str, dict[str, int]]
    examples: tuple[CleanExample, ...]

    def lines(self) -> list[str]:
        """Tell a person, an example for each reason."""
        lines = [f"{self.kept:,} of {self.rows:,} problems kept"]
        counts = {**self.dropped, **({"twin_benchmark": self.twins_kept} if self.twins_kept else {})}
        for reason, count in counts.items():
            fate = "kept, though each is" if reason not in self.dropped else "dropped:"
            lines.append(f"  {count:>9,} {fate} {REASONS[reason]}")
            for example in [example for example in self.examples if example.reason == reason][:1]:
                lines.append(f"            row {example.row}, {example.id}: {_short(example.question)}")
                if example.other:
                    lines.append(f"            as {example.other_id}: {_short(example.other)}")
                if example.detail:
                    lines.append(f"            {example.detail}")
        for name, kinds in self.overlaps.items():
            found = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
            lines.append(f"  {name}: {found or 'no overlap'}")
        return lines


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
