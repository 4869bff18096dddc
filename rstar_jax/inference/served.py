"""A policy behind a server and a task -> the queues that a search is handed. No weights are loaded.

The server is asked with the texts of prompt and steps. Which ids it sampled is not known: trainings encode
the texts. A node's log-probability is that of the server's own words (`served.Continuation`), 0 where it has
none.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_jax.inference.verifier import Verifier, problem_key
from rstar_jax.queues import Coded
from rstar_jax.search import Leaf, Queues
from rstar_jax.served import Address, CompletionRequest, Continuation, ServedConfig
from rstar_jax.served.policy import ServedPolicy
from rstar_jax.tasks import Checker, Role
from rstar_jax.types import Candidate

JOURNAL = "answers"  # a folder in that of a stage, until all its trees are there


class ServedReasoner(Verifier):
    """A served policy and a task at work, as `Reasoner` is. max_tokens: of a step."""

    def __init__(self, policy: ServedPolicy, checker: Checker, *, role: Role, max_tokens: int) -> None:
        super().__init__(checker)
        self.policy = policy
        self._role: Role = role
        self._max_tokens = max_tokens

    def queues(self, round: int, trees: str = "") -> Queues:
        """As `Reasoner.queues`. trees: names those that are grown with them, one a problem (`settled`)."""
        propose = Coded(self.policy, functools.partial(self._request, round, trees), self._candidates)
        propose.watch = self.meter.gauge("decode")("propose")
        return self._verified(propose)

    def _request(self, round: int, trees: str, leaf: Leaf) -> CompletionRequest:
        return CompletionRequest(
            self._task.prompt(leaf.problem.question, self._role) + "".join(leaf.steps),
            leaf.n,
            leaf.temperature,
            self._max_tokens,
            tuple(self._task.grammar.stops),
            (round, problem_key(leaf.problem.id), leaf.tree_index, leaf.node),
            _owner(trees, leaf.problem.id),
        )

    def begins(self, trees: str, block: str, problem_id: str) -> None:
        """Hear that a tree of this problem is begun, which is one of a block's."""
        self.policy.begin(block, _owner(trees, problem_id))

    def settled(self, trees: str, problem_ids: Iterable[str]) -> None:
        """Hear that trees of these problems are on disk: the answers they were made of are not kept longer.
        trees: as `queues` was told."""
        self.policy.settle(_owner(trees, problem_id) for problem_id in problem_ids)

    def _candidates(self, _: Leaf, choices: Sequence[Continuation]) -> list[Candidate]:
        self.meter.tokens += sum(choice.tokens for choice in choices)
        stops = self._task.grammar.stops
        return [
            Candidate(
                choice.text,
                (),
                choice.logprob,
                stops.get(choice.stop, "length"),
                choice.fault,
                unnamed=choice.tokens,
            )
            for choice in choices
        ]

    @property
    def tokens(self) -> int:
        """Written by the server until now."""
        return self.policy.tokens

    def on_compile(self, told: Callable[[str], None]) -> None:
        """Nothing is compiled."""

    def rereading(self) -> str:
        """Return no warning: what the server reads again is its own affair."""
        return ""

    def result(self) -> dict[str, Any]:
        """JSON-ready: what the meter counted, and what the server was asked."""
        return {**super().result(), "served": self.policy.stats()}


def _owner(trees: str, problem_id: str) -> str:
    return f"{trees}/{problem_id}"


@contextlib.contextmanager
def served_reasoner(
    address: Address,
    checker: Checker,
    folder: Path,
    *,
    role: Role,
    config: ServedConfig,
    max_tokens: int,
    seed: int,
    host: str = "",
    where: str,
) -> Iterator[ServedReasoner]:
    """A served policy for the time of a block. Its answers are kept in a journal in `folder` until what they
    were for is on disk (`ServedReasoner.settled`); the journal goes when the block has ended well. host: this
    one's name, where several ask for one stage."""
    journal = folder / JOURNAL
    policy = ServedPolicy(address, config, seed=seed, journal=journal, host=host, where=where)
    with contextlib.closing(policy):
        yield ServedReasoner(policy, checker, role=role, max_tokens=max_tokens)
    shutil.rmtree(journal, ignore_errors=bool(host))  # all of them do
