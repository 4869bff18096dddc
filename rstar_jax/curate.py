"""Training data from finished trees: solutions for the policy, preference pairs for the PPM (arXiv
2501.04519).

Sections 3.3 (pairs) and 3.4 (solutions, difficulty, mislabelled problems). Pure Python over `Tree`s: the same
trees always give the same rows, in the order of the trees.
"""

from __future__ import annotations

import dataclasses
import operator
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from rstar_jax.errors import UserError
from rstar_jax.types import Node, PreferencePair, Problem, SftRow, Trajectory, Tree

Difficulty = Literal["easy", "medium", "hard"]


@dataclasses.dataclass(frozen=True)
class CurateConfig:
    """The defaults are the paper's; the released code has min_margin 0.5, min_edits 20, weight "node".

    trajectories_per_problem: right trajectories kept for the policy, and of each side for pairs of whole
        ones.
    pairs: which children of a node are compared, a row of PAIRS.
    min_margin: least difference of Q of a pair, [0, 2]; it is always more than 0. min_edits: least number of
        edited characters between the sides of a pair.
    weight: what a pair counts in training: "uniform" (1), or "node": 1 / (positives x negatives), so that
        every node counts the same.
    dead_as_wrong: whether a step that failed counts as leading to a wrong answer; one of which the sandbox
        could not tell never does.
    """

    trajectories_per_problem: int = 2
    pairs: Literal["paper", "reference_code"] = "paper"
    min_margin: float = 0.0
    min_edits: int = 0
    weight: Literal["uniform", "node"] = "uniform"
    dead_as_wrong: bool = False

    def __post_init__(self) -> None:
        if self.trajectories_per_problem < 1:
            raise UserError(
                f"curate.trajectories_per_problem: {self.trajectories_per_problem} given, "
                "at least 1 expected."
            )
        if not 0 <= self.min_margin <= 2:
            raise UserError(f"curate.min_margin: {self.min_margin} given, a number from 0 to 2 expected.")
        if self.min_edits < 0:
            raise UserError(f"curate.min_edits: {self.min_edits} given, at least 0 expected.")


@dataclasses.dataclass(frozen=True)
class Curated:
    """sft, pairs: what to learn. difficulty: by problem id. dropped: why, and how many."""

    sft: list[SftRow]
    pairs: list[PreferencePair]
    difficulty: dict[str, Difficulty]
    dropped: dict[str, int]


def curate(trees: Iterable[Tree], config: CurateConfig, round: int) -> Curated:
    """Chooses rows and pairs from all trees of a round; the trees of a problem are taken together.

    Reasons in `dropped`: "error" and "duplicate" count right trajectories, "synthetic" counts problems,
    "margin" and "edits" count pairs.
    """
    of_problem: dict[str, list[Tree]] = {}
    for tree in trees:
        of_problem.setdefault(tree.problem.id, []).append(tree)
    curated, dropped = Curated([], [], {}, {}), Counter()
    for problem_id, group in of_problem.items():
        problem, found = group[0].problem, [t for tree in group for t in tree.trajectories()]
        curated.difficulty[problem_id] = difficulty(found)
        if problem.synthetic and doubtful(found):
            dropped["synthetic"] += 1
            continue
        right = [t for t in found if t.grade == "right"]
        sound = [t for t in right if not shows_error(t)]
        best = ranked(distinct(sound))[: config.trajectories_per_problem]
        dropped["error"] += len(right) - len(sound)
        dropped["duplicate"] += len(sound) - len(distinct(sound))
        for t in best:
            row = SftRow(problem_id, problem.question, t.steps, mean_q(t), min(t.q), round, t.token_ids)
            curated.sft.append(row)
        pairs = [pair for tree in group for pair in PAIRS[config.pairs](tree, config, round)]
        if config.pairs == "paper":
            wrong = distinct([t for t in found if t.grade == "wrong"])
            worst = sorted(wrong, key=mean_q)[: config.trajectories_per_problem]
            pairs += final_pairs(problem, best, worst, config, round)
        for pair in pairs:
            if reason := _fault(pair, config):
                dropped[reason] += 1
            else:
                curated.pairs.append(pair)
    curated.dropped.update({reason: count for reason, count in dropped.items() if count})
    return curated


def mean_q(trajectory: Trajectory) -> float:
    """Mean Q over the steps of a trajectory, [-1, 1]."""
    return sum(trajectory.q) / len(trajectory.q)


def ranked(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Sort by mean Q downwards; ties by the lowest Q of a step, then the earlier first (the released
    code)."""
    return sorted(trajectories, key=lambda t: (-mean_q(t), -min(t.q)))


def distinct(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The best of each text, in the order found."""
    best: dict[tuple[str, ...], Trajectory] = {}
    for t in trajectories:
        if t.steps not in best or mean_q(t) > mean_q(best[t.steps]):
            best[t.steps] = t
    return list(best.values())


def shows_error(trajectory: Trajectory) -> bool:
    """Return whether the text mentions an error, in any case: such solutions are not taught (the released
    code)."""
    return any("error" in step.lower() for step in trajectory.steps)


def difficulty(trajectories: Sequence[Trajectory]) -> Difficulty:
    """easy: all graded trajectories right; medium: some; hard: none (section 3.4)."""
    graded = [t.grade == "right" for t in trajectories if t.grade != "ungraded"]
    if not any(graded):
        return "hard"
    return "easy" if all(graded) else "medium"


def doubtful(trajectories: Sequence[Trajectory]) -> bool:
    """Return whether under half of the graded trajectories agree with the label: a synthetic one may be
    wrong."""
    graded = [t.grade == "right" for t in trajectories if t.grade != "ungraded"]
    return 2 * sum(graded) < len(graded)


def node_pairs(tree: Tree, config: CurateConfig, round: int) -> list[PreferencePair]:
    """At every node the 2 children of highest Q that lead to a right answer against the 2 of lowest Q that
    lead to a wrong one (section 3.3). A child that leads to both may stand on both sides, not against itself.
    """

    def is_wrong(node: Node) -> bool:
        failed = config.dead_as_wrong and node.status not in ("ok", "answer", "unknown")
        return failed or (node.grade == "wrong" and node.visits > 0)

    right = _leading(tree, (node.grade == "right" and node.visits > 0 for node in tree.nodes))
    wrong = _leading(tree, map(is_wrong, tree.nodes))
    found = []
    for node, children in enumerate(tree.children()):
        positives = _by_q(tree, [c for c in children if right[c]], best=True)[:2]
        negatives = _by_q(tree, [c for c in children if wrong[c]], best=False)[:2]
        found += _against(tree, node, positives, negatives, config, round)
    return found


def reference_code_pairs(tree: Tree, config: CurateConfig, round: int) -> list[PreferencePair]:
    """The released code's choice, where it differs: only nodes reached through children that lead to both;
    four children of a side where the other has a single one; the mean Q of the best way on (through the best
    children that lead to right, the worst that lead to wrong) must be greater for the positive.

    A leaf is right at Q = 1 and wrong at Q = -1 exactly, unless its code failed. Here, it must have had a
    visit, too: before one its Q is the PPM's guess, and stays that if it could not be graded.
    """
    children = tree.children()
    ends = [
        n.status in ("answer", "depth") and not b and n.visits > 0
        for n, b in zip(tree.nodes, children, strict=True)
    ]
    right = _leading(tree, [end and node.q == 1.0 for end, node in zip(ends, tree.nodes, strict=True)])
    wrong = _leading(tree, [end and node.q == -1.0 for end, node in zip(ends, tree.nodes, strict=True)])

    def onward(node: int, leads: list[bool], best: bool) -> float:
        way = [node]
        while below := [c for c in children[way[-1]] if leads[c]]:
            way.append(_by_q(tree, below, best=best)[0])
        return sum(tree.nodes[i].q for i in way) / len(way)

    found, to_visit = [], deque([0])
    while to_visit:
        node = to_visit.popleft()
        positives = _by_q(tree, [c for c in children[node] if right[c]], best=True)
        negatives = _by_q(tree, [c for c in children[node] if wrong[c]], best=False)
        most_positives, most_negatives = (4 if len(side) == 1 else 2 for side in (negatives, positives))
        pairs = _against(
            tree,
            node,
            positives[:most_positives],
            negatives[:most_negatives],
            config,
            round,
            better=lambda p, n: onward(p, right, True) > onward(n, wrong, False),
        )
        found += pairs
        to_visit.extend(c for c in children[node] if right[c] and wrong[c])
    return found


def final_pairs(
    problem: Problem,
    best: Sequence[Trajectory],
    worst: Sequence[Trajectory],
    config: CurateConfig,
    round: int,
) -> list[PreferencePair]:
    """The best right against the worst wrong whole trajectories: the final answer step (section 3.3), where
    one prefix rarely leads to two answers."""
    weight = 1.0 / (len(best) * len(worst)) if config.weight == "node" and best and worst else 1.0
    return [
        PreferencePair(
            problem_id=problem.id,
            question=problem.question,
            prefix=(),
            positive=positive.steps,
            negative=negative.steps,
            margin=mean_q(positive) - mean_q(negative),
            weight=weight,
            final=True,
            round=round,
        )
        for positive in best
        for negative in worst
    ]


PAIRS: dict[str, Callable[[Tree, CurateConfig, int], list[PreferencePair]]] = {
    "paper": node_pairs,
    "reference_code": reference_code_pairs,
}


def _leading(tree: Tree, reached: Iterable[bool]) -> list[bool]:
    """For every node whether it, or a node below it, is `reached`. Children come after their parents."""
    leads = list(reached)
    for i in range(len(tree.nodes) - 1, 0, -1):
        leads[tree.nodes[i].parent] |= leads[i]
    return leads


def _by_q(tree: Tree, nodes: list[int], *, best: bool) -> list[int]:
    """Highest Q first (or lowest); of equals the earlier first."""
    return sorted(nodes, key=lambda i: -tree.nodes[i].q if best else tree.nodes[i].q)


def _against(
    tree: Tree,
    node: int,
    positives: Sequence[int],
    negatives: Sequence[int],
    config: CurateConfig,
    round: int,
    better: Callable[[int, int], bool] = operator.ne,
) -> list[PreferencePair]:
    """Every positive against every negative child of a node, if it is the `better` one."""
    prefix = tree.steps(node)
    weight = (
        1.0 / (len(positives) * len(negatives))
        if config.weight == "node" and positives and negatives
        else 1.0
    )
    return [
        PreferencePair(
            problem_id=tree.problem.id,
            question=tree.problem.question,
            prefix=prefix,
            positive=(tree.nodes[p].text,),
            negative=(tree.nodes[n].text,),
            margin=tree.nodes[p].q - tree.nodes[n].q,
            weight=weight,
            final=False,
            round=round,
        )
        for p in positives
        for n in negatives
        if better(p, n)
    ]


def _fault(pair: PreferencePair, config: CurateConfig) -> str | None:
    """Return the reason to drop a pair, or None."""
    if pair.margin <= 0 or pair.margin < config.min_margin:
        return "margin"
    if not edits_at_least("".join(pair.positive), "".join(pair.negative), config.min_edits):
        return "edits"
    return None


def edits_at_least(a: str, b: str, least: int) -> bool:
    """Return whether the Levenshtein distance of two texts is `least` or more, in O(len * least) steps."""
    if abs(len(a) - len(b)) >= least:
        return True
    # Only cells within `least` of the diagonal can hold less than `least`.
    row = {j: j for j in range(min(len(b), least) + 1)}
    for i, x in enumerate(a, 1):
        above, row = row, {}
        for j in range(max(0, i - least), min(len(b), i + least) + 1):
            if j == 0:
                row[j] = i
            else:
                swap = above.get(j - 1, least) + (x != b[j - 1])
                row[j] = min(swap, above.get(j, least) + 1, row.get(j - 1, least) + 1)
        if min(row.values()) >= least:
            return True
    return row[len(b)] >= least
