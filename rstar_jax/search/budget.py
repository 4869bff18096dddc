"""Ends of a search before its rollouts are done: other budgets, and a vote that is decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rstar_jax.search.votes import weight
from rstar_jax.types import Ended, Node


def vote_is_decided(answers: Sequence[Node], to_come: int, vote: str) -> bool:
    """Return whether no further answers can change a majority or weighted vote.

    So if one text has more than half of all weight that there may be. Texts that differ may be equal to the
    grader, which can only add to the leader's class or to the rest: more than half stays more than half.
    """
    weights: Counter[str] = Counter()
    for node in answers:
        weights[node.answer or ""] += 1.0 if vote == "majority" or node.ppm is None else weight(node.ppm)  # type: ignore[assignment]
    leader = max(weights.values(), default=0.0)
    return leader > weights.total() - leader + to_come


def exhausted_budget(tokens: int, seconds: float, max_tokens: int, max_seconds: float) -> Ended | None:
    """Name the budget that is spent; a limit of 0 is none."""
    if max_tokens and tokens >= max_tokens:
        return "tokens"
    if max_seconds and seconds >= max_seconds:
        return "seconds"
    return None
