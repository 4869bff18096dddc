"""An answer and what supports it: votes, PPM values, its program, and why it may be weak.

A weak answer is told as such for one of three reasons, each measured on what the search found, none by a
reference:

- "few": fewer than FEW trajectories came to any answer, while there was more to search. Where a policy
  writes the same again and again a search is soon exhausted, which does not speak against the answer.
- "share": it has less than half of the vote that chose it: of the trajectories, or of their weights.
- "ppm": the PPM gives its best trajectory a value below 0: rather wrong than right.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from rstar_jax.search.expand import alive
from rstar_jax.search.votes import Class
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Grade, Tree

FEW = 3  # trajectories that come to an answer, below which a vote says little
HALF = 0.5
_CAUSES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A search's answer to a question, as JSON takes it.

    answer: None where no trajectory ended in one; then program, output and written are empty.
    votes: trajectories that gave it. trajectories: those that took part in the vote. share: of the vote, 0 to
        1: of the weights where the vote weighs by the PPM, else of the trajectories. next_answer, next_votes:
        the runner-up.
    ppm: values of the steps of its best trajectory, in [-1, 1]; None where no PPM read them. weight, weights:
        by the PPM, of its trajectories and of all.
    weak: reasons, of "few", "share" and "ppm". warning: the same in words; "" where there is none.
    program: that of its best trajectory. output: what that printed. written: what the policy made of it.
    ended: how the search did ("rollouts", "exhausted", "tokens", "seconds", "vote", "stopped"). tokens:
        written by the policy. steps, standing: nodes made, and those that are valid. failures: causes of the
        others, the most frequent ones. seconds: from the command's start to the answer.
    grade: "right", "wrong" or "ungraded" where the question came with its answer; the search never sees it.
    """

    id: str
    question: str
    answer: str | None
    votes: int = 0
    trajectories: int = 0
    share: float | None = None
    next_answer: str | None = None
    next_votes: int = 0
    ppm: list[float | None] | None = None
    weight: float = 0.0
    weights: float = 0.0
    weak: list[str] = dataclasses.field(default_factory=list)
    warning: str = ""
    program: str = ""
    output: str = ""
    written: str = ""
    ended: str = ""
    rollouts: int = 0
    tokens: int = 0
    steps: int = 0
    standing: int = 0
    failures: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    grade: Grade | None = None


def answer_of(
    tree: Tree, classes: Sequence[Class], vote: str, grammar: Grammar, seconds: float, ended: str = ""
) -> Answer:
    """Collect what supports a vote's first class. vote: its name. ended: where the tree does not say it."""
    nodes = tree.nodes[1:]
    standing = sum(map(alive, nodes))
    failures = Counter(node.detail or node.status for node in nodes if not alive(node))
    found = Answer(
        id=tree.problem.id,
        question=tree.problem.question,
        answer=classes[0].answer if classes else None,
        trajectories=sum(each.count for each in classes),
        ended=ended or tree.ended,
        rollouts=tree.rollouts,
        tokens=tree.tokens,
        steps=len(nodes),
        standing=standing,
        failures=dict(failures.most_common(_CAUSES)),
        seconds=round(seconds, 3),
    )
    if not classes:
        return found
    first, path = classes[0], tree.path(classes[0].node)
    values = [tree.nodes[i].ppm for i in path]
    read = any(value is not None for value in values)
    share = vote_share(classes, vote)
    weak = weaknesses(classes, vote, read, found.ended == "exhausted")
    return dataclasses.replace(
        found,
        votes=first.count,
        share=round(share, 4),
        next_answer=classes[1].answer if len(classes) > 1 else None,
        next_votes=classes[1].count if len(classes) > 1 else 0,
        ppm=[None if value is None else round(value, 4) for value in values] if read else None,
        weight=round(first.weight, 4),
        weights=round(sum(each.weight for each in classes), 4),
        weak=list(weak),
        warning="; ".join(weak.values()),
        program=grammar.program(tree.steps(first.node)),
        output=next((o for i in reversed(path) if (o := tree.nodes[i].observation)), ""),
        written="\n".join(written(tree.steps(first.node)[-1], grammar)),
    )


def vote_share(classes: Sequence[Class], vote: str) -> float:
    """The first class's share of the vote: of the weights where they decide, else of the trajectories."""
    weights = sum(each.weight for each in classes)
    if vote == "weighted" and weights > 0:
        return classes[0].weight / weights
    return classes[0].count / sum(each.count for each in classes)


def weaknesses(classes: Sequence[Class], vote: str, read: bool, exhausted: bool = False) -> dict[str, str]:
    """The reasons why the first class of a vote is a weak answer, each with its words.

    read: whether a PPM read its best trajectory. exhausted: whether nothing was left to search.
    """
    first, total, found = classes[0], sum(each.count for each in classes), dict[str, str]()
    if total < FEW and not exhausted:
        came = "only 1 trajectory" if total == 1 else f"only {total} trajectories"
        found["few"] = f"{came} came to an answer"
    if (share := vote_share(classes, vote)) < HALF:
        weighed = vote == "weighted" and any(each.weight for each in classes)
        of = f"the weights of {total} trajectories" if weighed else f"{total} trajectories"
        found["share"] = f"it has only {share:.0%} of {of}"
    if read and first.best < 0:
        found["ppm"] = (
            f"the reward model gives its best trajectory {first.best:+.2f}, rather wrong than right"
        )
    return found


def votes_text(count: int, total: int) -> str:
    """ "2 of 3 trajectories"."""
    return f"{count} of {total} trajector{'y' if total == 1 else 'ies'}"


def written(step: str, grammar: Grammar) -> list[str]:
    """The lines of what the policy wrote of a step, delimiters left out."""
    text = grammar.split_tool(step)[0]
    for delimiter in grammar.written:
        text = text.replace(delimiter, "")
    return [line.rstrip() for line in text.splitlines() if line.strip()]
