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

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_jax import columns
from rstar_jax.data import authors, objectives, step_labels
from rstar_jax.data.authors import Frame
from rstar_jax.data.examples import LEAST_WEIGHT, MOST_WEIGHT, EqualSides, Tally, read_examples
from rstar_jax.data.form import content_id
from rstar_jax.data.step_labels import Labelled, pairs_of, step_of
from rstar_jax.data.tables import Place, require_text, require_whole, shown
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


def read_pairs(
    files: Sequence[Path], task: Task, tally: Tally, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[PreferencePair]:
    """Yield the pairs of files, as `read_examples`. tally: counts the labels of steps, too."""
    frame = Frame.of(task)

    def read(row: dict[str, Any], place: Place) -> Iterator[PreferencePair | Labelled]:
        for found in _read(row, place, frame):
            if isinstance(found, Labelled):
                tally.right += sum(label > 0 for label in found.labels)
                tally.wrong += sum(label < 0 for label in found.labels)
            yield found

    def taught(solutions: Sequence[Labelled]) -> list[PreferencePair]:
        found = pairs_of(solutions, task.grammar)
        if not found:
            tally.lose(Unfit("questions without a better and a worse way on from one place", ""))
        return found

    return read_examples(files, FORMS, read, taught, tally, on_read)


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
        if type(value) is not kind or not math.isfinite(value):
            raise UserError(f"{place}: {name} is {shown(row[name])}, {kind.__name__} expected.")
        if name == "margin" and abs(value) > 2:
            raise UserError(f"{place}: margin is {value}, a difference of Q, from -2 to 2, expected.")
        if name == "weight" and not LEAST_WEIGHT <= value <= MOST_WEIGHT:
            raise UserError(
                f"{place}: weight is {value}, a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g} expected."
            )
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
