"""The nouns of the method, and the letters that name array dimensions.

Dimension letters (suffixes of local arrays, `tokens_BxT`; in dataclass fields `# [B, N]`):

    B  rows of a batch: problems, trees, leaves or packed sequences
    N  nodes of a tree, or candidates of a leaf (said where it is used)
    K  children appended together
    T  tokens of a row          P  tokens of a shared prefix      S  tokens of a candidate's suffix
    D  model width              H  query heads     G  key/value heads     A  width of one head
    F  width of the MLP         L  layers          V  vocabulary
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, get_args

Grade = Literal["right", "wrong", "ungraded"]
Finish = Literal["step", "code", "answer", "length"]
# What became of a candidate step: kept in the tree, a final answer, why it is dead, or "unknown": the sandbox
# could not find out, which says nothing about the step.
Status = Literal[
    "ok", "answer", "exception", "timeout", "memory", "output_limit", "malformed", "depth", "unknown"
]
Outcome = Literal["ok", "fail", "unknown"]
# What ended a search: all its rollouts (or trajectories, or beams) done, nothing left to expand, one of its
# other budgets, or a vote that the rest could not have changed.
Ended = Literal["rollouts", "exhausted", "tokens", "seconds", "vote"]
# Candidates of one leaf, at most; each takes max_step_tokens numbers on the host, in every slot that decodes.
MOST_CANDIDATES = 1 << 16
MOST_OBSERVED = 1000  # characters of what the interpreter showed that a node keeps
HOTTEST = 1e30  # temperatures are less: float32 on the device


@dataclasses.dataclass(frozen=True)
class Problem:
    """A question with its reference answer. `level` is 1 (easy) to 9, 0 if unknown; the suite's go to 3."""

    id: str
    question: str = dataclasses.field(metadata={"was": "problem"})
    answer: str
    level: int = 0
    source: str = ""
    synthetic: bool = False


# A trajectory whose last step is to be checked; an answer to be graded.
CheckRequest = tuple[Problem, tuple[str, ...]]
GradeRequest = tuple[Problem, str]


class Handle(Protocol):
    """The keys and values of a text that ends with a step, where an engine keeps them."""

    def release(self) -> None:
        """Say that nobody will go on from here: the memory is free."""
        ...


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One step as the policy wrote it, before it was run.

    text: the step with its stop string, if it stopped at one.
    tokens: the ids sampled, stop token included.
    logprob: sum of log-probabilities (nats, at the sampling temperature) of `tokens`.
    finish: which stop ended it; "length" if none did.
    fault: why it was given up before it was as long as it may be, for the report's causes of death.
    handle: what a leaf below this step goes on from; None where nothing is kept.
    unnamed: how many tokens were sampled where their ids are not known (a policy behind a server).
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    finish: Finish
    fault: str = ""
    handle: Handle | None = dataclasses.field(default=None, compare=False, repr=False)
    unnamed: int = 0

    @property
    def written(self) -> int:
        """How many tokens the policy sampled."""
        return len(self.tokens) or self.unnamed


@dataclasses.dataclass(frozen=True)
class StepVerdict:
    """Outcome of running a trajectory up to and including its newest step (arXiv 2501.04519, 3.2).

    text: the step as it enters the tree; to one that ends the code a task may append what the interpreter
        showed, as its grammar writes it.
    status: "ok", "answer" (a terminal with `answer`), the reason why the step is no valid node, or "unknown".
    answer: the final answer as `Task.final` takes it, if status is "answer".
    detail: exception type or the like, for the report's causes of death.
    observation: what the interpreter showed: the program's output, or its exception with the message; empty
        if nothing was run.
    cpu_s: CPU seconds of the program up to and including the step; 0 if nothing was run.
    """

    text: str
    status: Status
    answer: str | None = None
    detail: str = ""
    observation: str = ""
    cpu_s: float = 0.0

    @property
    def alive(self) -> bool:
        return self.outcome == "ok"

    @property
    def outcome(self) -> Outcome:
        """A valid step, a failed one, or one of which nothing is known and which is no label."""
        if self.status in ("ok", "answer"):
            return "ok"
        return "unknown" if self.status == "unknown" else "fail"


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Steps from the root to a terminal answer. q: mean value of each step, [-1, 1] (section 3.2).

    token_ids: those that each step was sampled with, as `Node.token_ids`.
    """

    problem_id: str
    steps: tuple[str, ...]
    q: tuple[float, ...]
    answer: str
    grade: Grade
    token_ids: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class SftRow:
    """One verified solution for the policy to learn (section 3.4).

    token_ids: those that each step was sampled with, for a training that learns these; empty if not known.
    """

    problem_id: str
    question: str
    steps: tuple[str, ...]
    mean_q: float
    min_q: float
    round: int
    token_ids: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class PreferencePair:
    """Two continuations of one prefix, the first preferred (section 3.3).

    prefix, positive, negative: step texts; both sides follow `prefix`, which may be empty.
    weight: this pair's weight in the loss. final: a pair of whole trajectories.
    """

    problem_id: str
    question: str
    prefix: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    margin: float
    weight: float
    final: bool
    round: int


@dataclasses.dataclass(frozen=True)
class Origin:
    """Place at which steps were proposed, one for all candidates of a leaf.

    tree_index, node: as in the `search.contract.Leaf`. With the seed, the round, the problem and the
        candidate they name the randomness that made a step; -1 at the root.
    n, temperature: how many candidates were asked for there, and at which temperature.
    """

    tree_index: int = dataclasses.field(default=-1, metadata={"was": "tree"})
    node: int = -1
    n: int = 0
    temperature: float = 0.0


# Nobody changes a node. To have that enforced (frozen=True) makes one in 1.6 us instead of 0.4, and a search
# makes one for every candidate. With slots it takes 177 bytes for 233; 521 where its `__dict__` is filled,
# which the loop feels (docs/LOG.md).
@dataclasses.dataclass(slots=True, unsafe_hash=True)
class Node:
    """A step in a finished tree. The root is node 0, with empty text.

    value_sum, visits: q(s) and N(s) of section 3.2. ppm: the PPM's value when the node was made, or None.
    logprob: nats, of the step's tokens. tokens: how many the policy wrote.
    cpu_s: CPU seconds of the program up to and including the step; 0 if nothing was run.
    origin, candidate: where the step was proposed, and which of the candidates there it was; -1 at the root.
    observation: what the interpreter showed, its first MOST_OBSERVED characters.
    token_ids: those that the policy sampled, stop token included; empty if not known (trees of earlier
        releases). They may go on behind the text where a vocabulary has no token for a stop.
    handle: while the tree grows, what a leaf here goes on from; never stored.
    """

    parent: int
    text: str
    status: Status
    depth: int
    visits: int
    value_sum: float
    ppm: float | None = None
    answer: str | None = None
    grade: Grade | None = None
    logprob: float = 0.0
    tokens: int = 0
    detail: str = ""
    cpu_s: float = 0.0
    origin: Origin = Origin()
    candidate: int = -1
    observation: str = ""
    token_ids: tuple[int, ...] = ()
    handle: Handle | None = dataclasses.field(
        default=None, compare=False, repr=False, metadata={"stored": False}
    )

    @property
    def q(self) -> float:
        """Q(s) = q(s) / N(s); before any visit the PPM's value, or 0."""
        return self.value_sum / self.visits if self.visits else (self.ppm or 0.0)

    def with_stats(self, visits: int, value_sum: float, parent: int) -> Node:
        """The same step below this node, with these statistics and no handle; faster than
        `dataclasses.replace`."""
        return Node(
            parent,
            self.text,
            self.status,
            self.depth,
            visits,
            value_sum,
            self.ppm,
            self.answer,
            self.grade,
            self.logprob,
            self.tokens,
            self.detail,
            self.cpu_s,
            self.origin,
            self.candidate,
            self.observation,
            self.token_ids,
        )


@dataclasses.dataclass(frozen=True)
class Tree:
    """A finished search of one problem: what a shard stores and what everything later reads.

    tree_index: which of a problem's trees. rollouts: how many were done. round: of self-evolution.
    nodes: every node, parents before children, failed candidates (status neither ok nor answer) included; an
        "unknown" one has no visit and no value.
    ended: what ended the search. tokens: written by the policy for it, dropped repeats included.
    finals: the answers that may be the final one, by index; without any, every visited answer may.
    seed: of the run. policy, ppm: which models searched (`weights.model_hash`); empty if not told, or no PPM.
    """

    problem: Problem
    round: int
    tree_index: int = dataclasses.field(metadata={"was": "index"})
    rollouts: int
    nodes: tuple[Node, ...]
    ended: Ended = "rollouts"
    tokens: int = 0
    finals: tuple[int, ...] = ()
    seed: int = 0
    policy: str = ""
    ppm: str = ""

    def check(self) -> None:
        """Raises ValueError where this is no tree, as one that was read from elsewhere may be."""
        if not self.nodes or self.nodes[0].parent != -1:
            raise ValueError("no root at its node 0")
        for i, node in enumerate(self.nodes):
            if i and not 0 <= node.parent < i:
                raise ValueError(f"node {i} has node {node.parent} as its parent")
            if i and node.depth != self.nodes[node.parent].depth + 1:
                raise ValueError(f"node {i} has depth {node.depth}, below one of another")
            if node.status not in get_args(Status):
                raise ValueError(f"node {i} has the status '{node.status}'")
            origin = node.origin
            if not 0 <= origin.n <= MOST_CANDIDATES:
                raise ValueError(f"node {i} is of {origin.n} candidates, 0 to {MOST_CANDIDATES} expected")
            if i and not (node.candidate < max(origin.n, 1) and 0 <= origin.temperature < HOTTEST):
                raise ValueError(f"node {i} is candidate {node.candidate} of {origin}")
            if not all(-1 <= name < 2**32 for name in (origin.tree_index, origin.node)):
                raise ValueError(f"node {i} was proposed at node {origin.node} of tree {origin.tree_index}")
        if self.ended not in get_args(Ended) or any(not 0 < i < len(self.nodes) for i in self.finals):
            raise ValueError(f"it ended by '{self.ended}', with the answers {self.finals}")

    def children(self) -> list[list[int]]:
        """The children of every node, by index, in the order made."""
        below: list[list[int]] = [[] for _ in self.nodes]
        for i, node in enumerate(self.nodes):
            if node.parent >= 0:
                below[node.parent].append(i)
        return below

    def path(self, node: int) -> list[int]:
        """Indices from the root's child down to `node`."""
        way = []
        while node > 0:
            way.append(node)
            node = self.nodes[node].parent
        return way[::-1]

    def steps(self, node: int) -> tuple[str, ...]:
        """The texts from the root's child down to `node`."""
        return tuple(self.nodes[i].text for i in self.path(node))

    def trajectories(self) -> list[Trajectory]:
        """Every visited terminal answer with its way from the root, in the order of the nodes."""
        found = []
        for i, node in enumerate(self.nodes):
            if node.status == "answer" and node.visits and node.answer is not None and node.grade is not None:
                way = self.path(i)
                found.append(
                    Trajectory(
                        self.problem.id,
                        tuple(self.nodes[j].text for j in way),
                        tuple(self.nodes[j].q for j in way),
                        node.answer,
                        node.grade,
                        tuple(self.nodes[j].token_ids for j in way),
                    )
                )
        return found

    @property
    def solved(self) -> bool:
        """Return whether some trajectory is right."""
        return any(node.grade == "right" and node.visits for node in self.nodes)
