"""Preference pairs that a user gives to train a PPM on, from any file of `tables.py`, by what its rows hold.

    a round's curate/pairs.parquet, an export's pairs   PreferencePairs, as they are
    {"prompt", "pos", "neg"}, with counts or not        the authors' rstar_ppm (`authors.py`)
    {"prompt", "chosen", "rejected"}                    TRL's preference, as texts or as messages
    steps with labels                                   `step_labels.py`: PRM800K, Math-Shepherd, TRL

Trees, of which pairs are curated, are read by `tree_files.py`. A row whose columns or kinds are others is a
UserError naming file and line, and so is a pair whose two sides are the same; one that only says nothing (no
first step) is counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rstar_jax import columns
from rstar_jax.data import authors, objectives, step_labels
from rstar_jax.data.authors import Frame
from rstar_jax.data.form import content_id
from rstar_jax.data.step_labels import ByQuestion, Labelled, pairs_of, step_of
from rstar_jax.data.tables import Place, read_objects, require_text, require_whole, shown, unfit
from rstar_jax.errors import Unfit, UserError
from rstar_jax.tasks.task import Task
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import PreferencePair

FORMS = (
    "PreferencePairs (a round's curate/pairs.parquet, an export's pairs), {prompt, pos, neg} (rstar_ppm), "
    "{prompt, chosen, rejected} (TRL), {prompt, completions, labels} (TRL), {question: {problem}, label: "
    "{steps}} (PRM800K), {input, label} (Math-Shepherd), or trees: {question, answer, rstar} (the authors'), "
    "an export's trees, a run's search/trees-*.parquet"
)
_A_PAIR = "A pair needs two ways on from the same prefix, one better than the other."
_TOLD_EVERY = 64


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

    def require_labels(
        self, kept: int, where: str, what: str = "pair", forms: str = FORMS, needs: str = _A_PAIR
    ) -> None:
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


def read_pairs(
    files: Sequence[Path], task: Task, tally: Tally, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[PreferencePair]:
    """Yield the pairs of files, in order; those of labelled steps last, question by question.

    A row that is none is refused (`Tally.refuse`) with its file and line, the columns found and the forms
    known.
    """
    frame, labelled = Frame.of(task), ByQuestion()
    for file in files:
        for place, row in read_objects(file, FORMS, tally.refuse):
            tally.read += 1
            if tally.read % _TOLD_EVERY == 0:
                on_read(tally.read)
            try:
                for found in _read(row, place, frame):
                    if isinstance(found, PreferencePair):
                        yield found
                    else:
                        tally.right += sum(label > 0 for label in found.labels)
                        tally.wrong += sum(label < 0 for label in found.labels)
                        labelled.add(found)
            except EqualSides as error:
                tally.refuse(error)
            except Unfit as error:
                tally.lose(error)
            except UserError as error:
                tally.refuse(error)
    for solutions in labelled:
        found = pairs_of(solutions, task.grammar)
        if not found:
            tally.lose(Unfit("questions without a better and a worse way on from one place", ""))
        yield from found
    on_read(tally.read)


def _read(row: dict[str, Any], place: Place, frame: Frame) -> Iterable[PreferencePair | Labelled]:
    there = {key for key, value in row.items() if value is not None}
    if row.keys() >= objectives.PAIR:
        return [_unequal(_own(row, place), place)]
    if there >= authors.PAIR:
        _require_texts(row, authors.PAIR, place)
        return [_unequal(authors.pair_of(row, place, frame), place)]
    if there >= objectives.PREFERENCE:
        return [_unequal(_preference(row, place, frame), place)]
    if (labelled := step_labels.solutions_in(row, place, frame)) is not None:
        return labelled
    raise UserError(f"{place}: {objectives.other_than('pairs', row)} Known are: {FORMS}.")


def _own(row: dict[str, Any], place: Place) -> PreferencePair:
    """The pair that a row holds. Raises UserError naming a field that is none of a pair."""
    texts = {name: [row[name]] for name in ("problem_id", "question")}
    texts |= {name: row[name] for name in ("prefix", "positive", "negative")}
    for name, steps in texts.items():
        known = isinstance(steps, list) and all(isinstance(step, str) for step in steps)
        if not known or not (steps or name == "prefix"):
            kind = "text" if name in ("problem_id", "question") else "a list of step texts"
            raise UserError(f"{place}: {name} is {shown(row[name])}, {kind} expected.")
        for step in steps:
            require_whole(place, name, step)
            if not step.strip():
                what = "text" if name in ("problem_id", "question") else "a step"
                raise UserError(f"{place}: {name} has an empty text, {what} expected.")
    for name, kind in (("margin", float), ("weight", float), ("final", bool), ("round", int)):
        value = row[name]
        if type(value) is int and kind is not bool:
            value = kind(value) if abs(value) < 2**63 else math.inf  # 64 bits hold no more
        if type(value) is not kind or not math.isfinite(value) or (name == "weight" and value <= 0):
            expected = "a number above 0" if name == "weight" else kind.__name__
            raise UserError(f"{place}: {name} is {shown(row[name])}, {expected} expected.")
        if name == "margin" and abs(value) > 2:
            raise UserError(f"{place}: margin is {value}, a difference of Q, from -2 to 2, expected.")
    return columns.build(PreferencePair, row)


def _preference(row: dict[str, Any], place: Place, frame: Frame) -> PreferencePair:
    texts = {name: _message(row[name], name, place) for name in objectives.PREFERENCE}
    found, grammar = frame.question_of(texts["prompt"]), frame.grammar
    if found is None or not found[1]:  # another's prompt: the question as it stands
        found = texts["prompt"], "", ""

    def steps(text: str) -> tuple[str, ...]:
        parsed = grammar.parse(text)
        return tuple(step_of(step, grammar) for step in parsed if step.strip())

    prefix, positive = tuple(grammar.parse(found[2])), steps(texts["chosen"])
    return PreferencePair(
        problem_id=content_id(found[0]),
        question=found[0],
        prefix=prefix,
        positive=positive,
        negative=steps(texts["rejected"]),
        margin=0.0,
        weight=1.0,
        final=not prefix and len(positive) > 1,
        round=0,
    )


def _message(value: Any, name: str, place: Place) -> str:
    """A text, or the one of the last message of a conversation."""
    is_chat = isinstance(value, list) and value and isinstance(value[-1], dict)
    text: Any = value[-1].get("content") if is_chat else value
    _require_texts({name: text}, [name], place)
    return text


def _require_texts(row: dict[str, Any], names: Iterable[str], place: Place) -> None:
    for name in names:
        if not isinstance(row[name], str) or not row[name].strip():
            raise UserError(f"{place}: {name} is {shown(row[name])}, text expected.")
        require_text(place, name, row[name], code=True)


def _unequal(pair: PreferencePair, place: Place) -> PreferencePair:
    if pair.positive == pair.negative:
        raise EqualSides(
            "two equal sides",
            f"{place}: both sides are {shown(''.join(pair.positive))}, one better than the other expected. "
            "Take it out, or give --config.bad=drop, which leaves such pairs out and counts them.",
        )
    return pair


def require_stable_stops(tokenizer: Tokenizer, steps: Iterable[str], where: str) -> None:
    """Refuse a tokenizer that spells the end of a step otherwise in one step than in another: a PPM is
    trained, and read, at its last token. Raises UserError naming the step."""
    grammar = tokenizer.grammar
    for step in steps:
        written = grammar.split_tool(step)[0]
        stop = next((stop for stop in grammar.stops if written.endswith(stop)), "")
        alone, ids = tokenizer.encode_steps((stop,)), tokenizer.encode_step(step)[0]
        if stop and (found := list(ids[-len(alone) :])) != list(alone):
            raise UserError(
                f"{where}: the end of a step, {stop!r}, is spelt {alone} alone but {found} "
                f"behind {shown(written[-40:])}: its tokenizer merges it with what stands before, so that no "
                "one token ends a step. Train from a policy whose vocabulary has the delimiters "
                "(--config.policy.delimiters=tokens)."
            )
