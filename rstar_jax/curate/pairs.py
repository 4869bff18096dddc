"""Preference pairs from trees (arXiv 2501.04519, section 3.3)."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from rstar_jax.curate.config import CurateConfig
from rstar_jax.curate.trajectories import mean_q
from rstar_jax.types import Node, PreferencePair, Problem, Trajectory, Tree


def node_pairs(tree: Tree, config: CurateConfig, round: int) -> list[PreferencePair]:
    """Pairs of the children that `compared` chooses at every node."""
    return [
        pair
        for node, positives, negatives in compared(tree, config)
        for pair in _against(tree, node, positives, negatives, config, round)
    ]


def compared(tree: Tree, config: CurateConfig) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield each node with its 2 children of highest Q that lead to a right answer and its 2 of lowest Q that
    lead to a wrong one (section 3.3), where it has both. A child that leads to both may stand on both sides,
    and is not compared with itself.
    """

    def is_wrong(node: Node) -> bool:
        failed = config.dead_as_wrong and node.status not in ("ok", "answer", "unknown")
        return failed or (node.grade == "wrong" and node.visits > 0)

    right = leading(tree, (node.grade == "right" and node.visits > 0 for node in tree.nodes))
    wrong = leading(tree, map(is_wrong, tree.nodes))
    for node, children in enumerate(tree.children()):
        positives = _by_q(tree, [c for c in children if right[c]], best=True)[:2]
        negatives = _by_q(tree, [c for c in children if wrong[c]], best=False)[:2]
        if positives and negatives:
            yield node, positives, negatives


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
    right = leading(tree, [end and node.q == 1.0 for end, node in zip(ends, tree.nodes, strict=True)])
    wrong = leading(tree, [end and node.q == -1.0 for end, node in zip(ends, tree.nodes, strict=True)])

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


def leading(tree: Tree, reached: Iterable[bool]) -> list[bool]:
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


def fault(pair: PreferencePair, config: CurateConfig) -> str | None:
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
