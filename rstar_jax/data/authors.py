r"""The formats of the authors' code and sets (microsoft/rStar, branch rStar-math), written and read.

    {"query", "response"}                               a solution: of train_SFT.py and the set rstar_sft
    {"prompt", "pos", "neg", "pos_count", "neg_count"}  a pair: of train_RM.py and rstar_ppm
    {"question", "answer", "rstar": {"0.3.1": {...}}}   a tree of main.py, its nodes by their tags

A pair counts 1 / (pos_count * neg_count) in the loss. Its prompt ends where both sides go on; where these are
whole solutions it ends with the question, and the rest of the prompt's frame begins both sides. A tag is a
node's way from the root, "0": the child numbers, from 1.

What these formats cannot hold is lost: problem ids, margins and rounds; of a tree where steps were proposed,
token ids, log-probabilities, and which of the ways a step failed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from rstar_jax.data.form import content_id
from rstar_jax.data.tables import Place, require_whole, shown
from rstar_jax.errors import UserError
from rstar_jax.tasks.task import Task
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import MOST_OBSERVED, Grade, Node, PreferencePair, Problem, SftRow, Status, Tree

SOLUTION = frozenset({"query", "response"})
PAIR = frozenset({"prompt", "pos", "neg"})
TREE = frozenset({"question", "rstar"})
_MOST_COUNTED = 10**6  # pairs of a place: the share of one is a weight in float32
_PYTHON = "python_interpreter"
# What `final_answer` says of a node that is none; the released code's own words, typing error and all.
_FAILED = {
    "Too many consecutive steps have code errors.": "exception",
    "Fail to sove the problem within limited steps.": "depth",
    "Fail to generate parsable text for next step.": "malformed",
}
_ERROR, _DEPTH, _UNPARSABLE = _FAILED
_FAILURE: dict[Status, str] = {
    **dict.fromkeys(("exception", "timeout", "memory", "output_limit"), _ERROR),
    "depth": _DEPTH,
    "malformed": _UNPARSABLE,
}


@dataclasses.dataclass(frozen=True)
class Frame:
    """The prompt around a question: head + question + tail + steps is what a reward model reads."""

    head: str
    tail: str
    grammar: Grammar

    @classmethod
    def of(cls, task: Task) -> Frame:
        head, mark, tail = task.frame("\0", "ppm").partition("\0")
        if not mark or not tail:
            raise UserError(f"the prompt of {type(task).__name__} does not hold the question as it is.")
        return cls(head, tail, task.grammar)

    def asked(self, question: str) -> str:
        return self.head + self.grammar.harmless(question) + self.tail

    def question_of(self, text: str) -> tuple[str, str, str] | None:
        """(question, tail or "", what follows) of a text that begins with a prompt; None for another."""
        return text.removeprefix(self.head).partition(self.tail) if text.startswith(self.head) else None


def solution(row: SftRow) -> dict[str, str]:
    return {"query": row.question, "response": "".join(row.steps)}


def pairs(rows: Iterable[PreferencePair], frame: Frame) -> Iterator[dict[str, Any]]:
    """Yield pairs in the authors' format; those of a node follow each other, as curation leaves them."""
    for _, group in itertools.groupby(rows, lambda pair: (pair.question, pair.prefix, pair.final)):
        of_node = list(group)
        positives = len({pair.positive for pair in of_node})
        for pair in of_node:
            product = max(1, round(1 / pair.weight)) if pair.weight > 0 else 1
            count = positives if product % positives == 0 else 1
            whole, prompt = "", frame.asked(pair.question)
            if pair.final:  # the frame's end is where the two sides part
                prompt, whole = prompt.removesuffix(frame.tail), frame.tail
            yield {
                "prompt": prompt + "".join(pair.prefix),
                "pos": whole + "".join(pair.positive),
                "neg": whole + "".join(pair.negative),
                "pos_count": count,
                "neg_count": product // count,
            }


def pair_of(row: dict[str, Any], place: Place, frame: Frame) -> PreferencePair:
    """Make a pair of a row; the margin, which it does not tell, is 0. Raises UserError naming the place."""
    found = frame.question_of(row["prompt"])
    if found is None:
        raise UserError(
            f"{place}: prompt is {shown(row['prompt'])}, which does not begin with {frame.head!r}, as "
            "prompts of this task do. Give rows {prompt, chosen, rejected} for prompts of another form."
        )
    question, tail, before = found
    positive, negative = row["pos"], row["neg"]
    if not tail:
        for name in ("pos", "neg"):
            if not row[name].startswith(frame.tail):
                raise UserError(
                    f"{place}: neither the prompt nor {name} has {frame.tail!r}, behind which a solution "
                    f"begins; {name} is {shown(row[name])}."
                )
        positive, negative = (side.removeprefix(frame.tail) for side in (positive, negative))
    positives, negatives = (_count(row, name, place) for name in ("pos_count", "neg_count"))
    if positives * negatives > _MOST_COUNTED:
        raise UserError(
            f"{place}: pos_count is {shown(positives)} and neg_count {shown(negatives)}, a product of "
            f"{_MOST_COUNTED:,} at most expected."
        )
    return PreferencePair(
        problem_id=content_id(question),
        question=question,
        prefix=tuple(frame.grammar.parse(before)),
        positive=tuple(frame.grammar.parse(positive)),
        negative=tuple(frame.grammar.parse(negative)),
        margin=0.0,
        weight=1.0 / (positives * negatives),
        final=not tail,
        round=0,
    )


def _count(row: dict[str, Any], name: str, place: Place) -> int:
    value = row.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{place}: {name} is {shown(value)}, a whole number from 1 on expected.")
    return value


def tree(made: Tree) -> dict[str, Any]:
    """Return a tree as main.py writes one: `rstar` holds every node by its tag, the root first."""
    below, tags, nodes = made.children(), ["0"] * len(made.nodes), {}
    for i, node in enumerate(made.nodes):
        for k, child in enumerate(below[i], 1):
            tags[child] = f"{tags[i]}.{k}"
        acts = node.status != "answer" and i > 0
        nodes[tags[i]] = {
            "text": node.text,
            "extra_info": "" if i else f"question: {made.problem.question}",
            "action": _PYTHON if acts else "",
            "action_input": node.text if acts else "",
            "final_answer": (node.answer or "") if node.status == "answer" else _FAILURE.get(node.status, ""),
            "observation": node.observation,
            "value": node.ppm or 0.0,
            "q_value": node.value_sum / node.visits if node.visits else 0,
            "visit_count": node.visits,
        }
    return {"question": made.problem.question, "answer": made.problem.answer, "rstar": nodes}


def tree_of(row: dict[str, Any], place: Place) -> Tree:
    """Make a tree of a row, its nodes level by level.

    An answer of Q = 1 is right, of -1 wrong, and any other, of a search without the reference, ungraded. A
    `value` between outcomes (-1, 0, 1) is the PPM's. Raises UserError naming place, tag and field.
    """
    states = row["rstar"]
    if not isinstance(states, dict) or not isinstance(states.get("0"), dict):
        raise UserError(f'{place}: rstar is {shown(states)}, nodes by tag with a root "0" expected.')
    tags = sorted((tag for tag in states if tag != "solutions"), key=lambda tag: _order(tag, place))
    index = {tag: i for i, tag in enumerate(tags)}
    nodes: list[Node] = []
    for tag in tags:
        above = index.get(tag.rpartition(".")[0], -1)
        if above < 0 and tag != "0":
            raise UserError(f'{place}: node {tag!r} has no node above it; every tag but "0" needs one.')
        nodes.append(
            _node(states[tag], f"{place}: node {tag!r}", above, nodes[above].depth + 1 if nodes else 0)
        )
        require_whole(place, f"the text of node {tag!r}", nodes[-1].text)
    return Tree(problem_of(row, place), round=0, tree_index=0, rollouts=nodes[0].visits, nodes=tuple(nodes))


def problem_of(row: dict[str, Any], place: Place) -> Problem:
    """The problem of a tree's row. Raises UserError naming the place."""
    question, answer = row["question"], row.get("answer")
    if not isinstance(question, str) or not question.strip():
        raise UserError(f"{place}: question is {shown(question)}, text expected.")
    reference = ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer or "")
    name = str(row.get("id") or content_id(question))
    for key, text in (("question", question), ("answer", reference), ("id", name)):
        require_whole(place, key, text)
    return Problem(name, question, reference)


def _order(tag: str, place: Place) -> tuple[int, tuple[int, ...]]:
    parts = tag.split(".")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UserError(f"{place}: a node is called {shown(tag)}, a tag such as '0.3.1' expected.")
    return len(parts), tuple(map(int, parts))


def _node(state: Any, where: str, parent: int, depth: int) -> Node:
    fields = {"text": (str,), "final_answer": (str,), "q_value": (int, float), "visit_count": (int,)}
    state = state if isinstance(state, dict) else {}
    for name, kinds in fields.items():
        if not isinstance(state.get(name), kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(f"{where}: {name} is {shown(state.get(name))}, {expected} expected.")
    said, q, visits = state["final_answer"], state["q_value"], state["visit_count"]
    if not -1 <= q <= 1:
        raise UserError(f"{where}: q_value is {shown(q)}, a mean of values from -1 to 1 expected.")
    if not 0 <= visits < 2**63:
        raise UserError(f"{where}: visit_count is {shown(visits)}, 0 or more expected.")
    status: Any = _FAILED.get(said, "answer" if said else "ok")
    value, grade = state.get("value"), None
    if status == "answer":
        grades: dict[float, Grade] = {1.0: "right", -1.0: "wrong"}
        grade = grades.get(float(q), "ungraded")
    return Node(
        parent=parent,
        text=state["text"],
        status=status,
        depth=depth,
        visits=visits,
        value_sum=_sum(float(q), visits),
        ppm=value if isinstance(value, float) and -1 < value < 1 and value else None,
        answer=said if status == "answer" else None,
        grade=grade,
        observation=str(state.get("observation") or "")[:MOST_OBSERVED],
    )


def _sum(q: float, visits: int) -> float:
    """The sum of values that has this mean: the whole one where outcomes alone were backed up."""
    total = q * visits
    near = float(round(total))
    return near if visits and near / visits == q else total
