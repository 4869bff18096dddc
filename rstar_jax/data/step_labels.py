r"""Solutions with a label on every step, by people or by rollouts, and the preference pairs in them.

    {"question": {"problem"}, "label": {"steps": [...]}}   PRM800K: rated alternatives at each step, 1, 0, -1
    {"input": "... ки\n...", "label": "... +\n..."}         Math-Shepherd: + or - where the input has ки
    {"prompt", "completions", "labels"}                     TRL's stepwise supervision
    {"question", "steps", "values"}                         one's own numbers, for a PQM (given_values.py)

Labels become numbers: 1 right, 0 neither, -1 wrong. Solutions of one question are laid over each other as a
tree of their steps; a pair needs two ways on from one place, or two whole solutions. Steps of prose end as
the task's steps do, so that there is a token at which a PPM reads their value.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rstar_jax.data.authors import Frame
from rstar_jax.data.form import content_id
from rstar_jax.data.spill import Spill
from rstar_jax.data.tables import Place, require_text, shown
from rstar_jax.errors import Unfit, UserError
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import PreferencePair

PRM800K = frozenset({"question", "label"})
SHEPHERD = frozenset({"input", "label"})
STEPWISE = frozenset({"prompt", "completions", "labels"})
VALUED = frozenset({"question", "steps", "values"})
_TAG = "ки"
_FIRST = re.compile(r"\s*\b[Ss]tep 1:")  # takes "... in all? Step 1: She", not "two-step 12:"
_EACH_SIDE = 2  # children, or whole solutions, of a side of a pair (arXiv 2501.04519, section 3.3)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Steps of a solution with a label each, [-1, 1]. whole: it goes on to an answer."""

    question: str
    steps: tuple[str, ...]
    labels: tuple[float, ...]
    whole: bool


def solutions_in(row: dict[str, Any], place: Place, frame: Frame) -> Iterable[Labelled] | None:
    """Return the labelled solutions of a row; None where its columns are no labels'. Raises UserError, or
    Unfit, naming the place."""
    there = {key for key, value in row.items() if value is not None}
    if there >= STEPWISE:
        return [of_stepwise(row, place, frame)]
    if there >= SHEPHERD:
        return [of_shepherd(row, place)]
    return of_prm800k(row, place) if there >= PRM800K else None


def of_prm800k(row: dict[str, Any], place: Place) -> Iterator[Labelled]:
    """Yield the chosen solution of a row, and each alternative with the steps before it. What nobody rated
    is left out, and what comes after it."""
    question, label = row["question"], row["label"]
    known = isinstance(question, dict) and isinstance(label, dict)
    if not known or not isinstance(label.get("steps"), list):
        raise UserError(
            f"{place}: question is {shown(question)}, label {shown(label)}; PRM800K's {{problem}} and "
            "{steps} expected."
        )
    problem = _text(question.get("problem"), "question.problem", place)
    steps: tuple[str, ...] = ()
    labels: tuple[float, ...] = ()
    whole = label.get("finish_reason") == "solution"
    for step in label["steps"]:
        completions = (step.get("completions") or []) if isinstance(step, dict) else None
        if not isinstance(completions, list) or not all(isinstance(one, dict) for one in completions):
            raise UserError(
                f"{place}: a step is {shown(step)}; one with completions {{text, rating}} expected."
            )
        chosen = step.get("chosen_completion")
        for number, completion in enumerate(completions):
            if number != chosen and (rating := _rating(completion, place)) is not None:
                text = _text(completion.get("text"), "a completion's text", place)
                yield Labelled(problem, (*steps, text), (*labels, rating), whole=False)
        human = step.get("human_completion")
        if isinstance(chosen, int) and 0 <= chosen < len(completions):
            taken, rating = completions[chosen].get("text"), _rating(completions[chosen], place)
        else:
            taken, rating = human.get("text") if isinstance(human, dict) else human, 1.0
        if taken is None or rating is None:
            whole = False
            break
        steps, labels = (*steps, _text(taken, "a completion's text", place)), (*labels, rating)
    if steps:
        yield Labelled(problem, steps, labels, whole)


def _rating(completion: dict[str, Any], place: Place) -> float | None:
    rating = completion.get("rating")
    if rating is None or completion.get("flagged"):
        return None
    if rating not in (-1, 0, 1):
        raise UserError(f"{place}: rating is {shown(rating)}, -1, 0, 1 or null expected.")
    return float(rating)


def of_shepherd(row: dict[str, Any], place: Place) -> Labelled:
    """Make a labelled solution of a row. Raises Unfit where tags and labels do not go together, or where no
    step begins."""
    text, marked = _text(row["input"], "input", place), _text(row["label"], "label", place)
    pieces = text.split(_TAG)
    at, labels = 0, []
    for piece in pieces[:-1]:
        at += len(piece)
        if marked[at : at + 1] not in ("+", "-"):
            raise Unfit(
                "labels where no tag is",
                f"{place}: input has a {_TAG!r} where label has {shown(marked[at : at + 9])}, + or - "
                "expected.",
            )
        labels.append(1.0 if marked[at] == "+" else -1.0)
        at += 1
    first = _FIRST.search(pieces[0])
    end = first.start() if first else pieces[0].rfind("?") + 1
    question, steps = pieces[0][:end].strip(), [pieces[0][end:].strip(), *map(str.strip, pieces[1:-1])]
    if not labels or not question or not all(steps):
        raise Unfit(
            "no first step",
            f"{place}: input is {shown(text)}; a question, then steps from 'Step 1:' on (or behind its "
            f"question mark), each with {_TAG!r} behind it, expected.",
        )
    return Labelled(question, tuple(steps), tuple(labels), whole=True)


def of_stepwise(row: dict[str, Any], place: Place, frame: Frame) -> Labelled:
    steps, labels = row["completions"], row["labels"]
    known = isinstance(steps, list) and isinstance(labels, list) and len(steps) == len(labels) > 0
    if not known or not all(label in (True, False) for label in labels):
        raise UserError(
            f"{place}: completions is {shown(steps)}, labels {shown(labels)}; as many texts as true or false "
            "expected."
        )
    prompt = _text(row["prompt"], "prompt", place)
    found = frame.question_of(prompt)
    question = found[0] if found and found[1] and not found[2] else prompt
    texts = tuple(_text(step, "completions", place) for step in steps)
    return Labelled(question, texts, tuple(1.0 if label else -1.0 for label in labels), whole=True)


def step_of(text: str, grammar: Grammar) -> str:
    """The step that a text is in the task's grammar: itself, or prose with the end of a step behind it."""
    if grammar.finish_of(text) != "length":
        return text
    return f"\n{grammar.harmless(text.strip())}\n{grammar.end_step or next(iter(grammar.stops))}"


def pairs_of(solutions: Sequence[Labelled], grammar: Grammar) -> list[PreferencePair]:
    """The pairs in the solutions of one question: at each place the two best steps on against the two worst
    wrong ones, and whole right solutions against whole wrong ones (as section 3.3 does with Q).

    A step that occurs several times has the mean of its labels; one of label 0 or more may be preferred to a
    wrong one. The margin is the difference of labels, up to 2.
    """
    question, grouped = solutions[0].question, steps_by_place(solutions, grammar)
    means = {
        prefix: {step: mean(labels) for step, labels in steps.items()} for prefix, steps in grouped.items()
    }
    whole: dict[tuple[str, ...], float] = {}
    for solution in in_grammar(solutions, grammar):
        right, wrong = all(label >= 0 for label in solution.labels), solution.labels[-1] < 0
        if solution.whole and (right or wrong):
            whole[solution.steps] = sum(solution.labels) / len(solution.labels) if right else -1.0
    return [*contrasts(question, means), *_against(question, (), whole, final=True)]


def steps_by_place(
    solutions: Sequence[Labelled], grammar: Grammar
) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """The labels of each step behind each place (the steps before it), solutions laid over each other."""
    found = dict[tuple[str, ...], dict[str, list[float]]]()
    for solution in in_grammar(solutions, grammar):
        for i, label in enumerate(solution.labels):
            found.setdefault(solution.steps[:i], {}).setdefault(solution.steps[i], []).append(label)
    return found


def contrasts(
    question: str, places: Mapping[tuple[str, ...], Mapping[str, float]]
) -> Iterator[PreferencePair]:
    """Yield the pairs of steps on from the same place, by the label or value of each: two best, two worst."""
    for prefix, steps in places.items():
        yield from _against(question, prefix, {(step,): one for step, one in steps.items()}, final=False)


def in_grammar(solutions: Sequence[Labelled], grammar: Grammar) -> list[Labelled]:
    """Solutions whose steps are the task's."""
    return [
        dataclasses.replace(one, steps=tuple(step_of(step, grammar) for step in one.steps))
        for one in solutions
    ]


def mean(labels: Sequence[float]) -> float:
    return sum(labels) / len(labels)


def _against(
    question: str, prefix: tuple[str, ...], ways: dict[tuple[str, ...], float], *, final: bool
) -> list[PreferencePair]:
    ranked = sorted(ways, key=lambda way: -ways[way])
    best = [way for way in ranked if ways[way] >= 0][:_EACH_SIDE]
    worst = [way for way in ranked[::-1] if ways[way] < 0][:_EACH_SIDE]
    return [
        PreferencePair(
            problem_id=content_id(question),
            question=question,
            prefix=prefix,
            positive=positive,
            negative=negative,
            margin=ways[positive] - ways[negative],
            weight=1.0,
            final=final,
            round=0,
        )
        for positive in best
        for negative in worst
    ]


class ByQuestion:
    """Labelled solutions, brought together by question however they are scattered in their file.

    They lie on disk, so that a set may be larger than memory.
    """

    def __init__(self) -> None:
        self._rows = Spill("CREATE TABLE solutions (question TEXT, steps TEXT, labels TEXT, whole INTEGER)")

    def add(self, one: Labelled) -> None:
        row = one.question, json.dumps(one.steps), json.dumps(one.labels), one.whole
        self._rows.execute("INSERT INTO solutions VALUES (?, ?, ?, ?)", row)

    def __iter__(self) -> Iterator[list[Labelled]]:
        """The solutions of each question, in the order added; questions in the order of their letters."""
        rows = self._rows.select("SELECT * FROM solutions ORDER BY question, rowid")
        for _, group in itertools.groupby(rows, lambda row: row[0]):
            yield [
                Labelled(question, tuple(json.loads(steps)), tuple(json.loads(labels)), bool(whole))
                for question, steps, labels, whole in group
            ]


def _text(value: Any, key: str, place: Place) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: {key} is {shown(value)}, text expected.")
    require_text(place, key, value, code=True)
    return value
