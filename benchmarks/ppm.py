"""What the PPMs of a finished run make of held-out steps, and what they were taught: from its files alone.

    python benchmarks/ppm.py [runs/quickstart] [--rounds 1 2 3 4]

Prints for each round, by kind of step (the first one, a later one, the one that ends the code, the answer):
which kinds stand on which side of its preference pairs; its values of the steps of held-out searches that
lead to right answers alone, to wrong ones alone, or to both; how often it puts the right one first, among
children of one node and among the answers of one problem; and what each vote answers, the weighted one
also with all values moved up and down before tanh, which the loss leaves free.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rstar_jax import parquet
from rstar_jax.grading.answer import GRADINGS
from rstar_jax.search import votes
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import PreferencePair, Tree

KINDS = ("first", "later", "code end", "answer")
SHIFTS = (-3.0, -1.0, 0.0, 1.0, 3.0)
TOP_K = 8
_NEARLY_ONE = 1 - 1e-7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/quickstart"))
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 2, 3, 4])
    arguments = parser.parse_args()
    for round in arguments.rounds:
        folder = arguments.run / f"round{round}"
        pairs, files = folder / "curate" / "pairs.parquet", sorted(folder.glob("evaluate/search-*.parquet"))
        if not (pairs.exists() and files):
            raise SystemExit(
                f"{folder}: no round that was finished, with a search. Run it first, or --rounds."
            )
        print(f"\nround {round}")
        show_pairs(parquet.read_rows(pairs, PreferencePair))
        trees = [tree for file in files for tree in parquet.read_rows(file, Tree)]
        show_values(trees)
        show_order(trees)
        show_votes(trees)


def kind(text: str, depth: int) -> str:
    """A row of KINDS."""
    if CODE_STEPS.answer in text:
        return "answer"
    return "code end" if CODE_STEPS.end_code in text else "first" if depth == 1 else "later"


def show_pairs(pairs: Sequence[PreferencePair]) -> None:
    of_nodes = [pair for pair in pairs if not pair.final]
    sides = Counter(
        tuple(kind(side[0], len(pair.prefix) + 1) for side in (pair.positive, pair.negative))
        for pair in of_nodes
    )
    print(f"  pairs: {len(of_nodes)} of nodes, {len(pairs) - len(of_nodes)} of whole trajectories")
    for (better, worse), count in sides.most_common():
        print(f"    {better:9} over {worse:9}{count:5}")


def labels(tree: Tree) -> list[str]:
    """Of every node which answers it leads to: "right", "wrong", "both" or "none"."""
    ends = [{node.grade} & {"right", "wrong"} for node in tree.nodes]
    for i in range(len(tree.nodes) - 1, 0, -1):
        ends[tree.nodes[i].parent] |= ends[i]
    return ["both" if len(found) == 2 else str(*found) or "none" for found in ends]


def show_values(trees: Iterable[Tree]) -> None:
    values = defaultdict[tuple[str, str], list[float]](list)
    for tree in trees:
        for node, label in zip(tree.nodes, labels(tree), strict=True):
            if node.ppm is not None:
                values[kind(node.text, node.depth), label].append(node.ppm)
    print("  values: steps, 10th, 50th and 90th percentile, share below -0.9")
    for of in KINDS:
        for label in ("right", "both", "wrong"):
            found = sorted(values[of, label])
            if found:
                low, middle, high = (found[int(share * (len(found) - 1))] for share in (0.1, 0.5, 0.9))
                condemned = sum(value < -0.9 for value in found) / len(found)
                quantiles = f"{low:+.3f} {middle:+.3f} {high:+.3f}"
                print(f"    {of:9} {label:6}{len(found):5}  {quantiles}  {condemned:4.0%}")


def show_order(trees: Iterable[Tree]) -> None:
    siblings = defaultdict[tuple[str, str], list[float]](list)
    within = defaultdict[str, list[float]](list)
    for tree in trees:
        leads = labels(tree)
        known = [i for i, node in enumerate(tree.nodes) if node.ppm is not None]
        for right, wrong, order in _compared(tree, leads, known):
            a, b = tree.nodes[right], tree.nodes[wrong]
            if a.parent == b.parent:
                siblings[kind(a.text, a.depth), kind(b.text, b.depth)].append(order)
        for of in KINDS[2:]:
            same = [i for i in known if kind(tree.nodes[i].text, tree.nodes[i].depth) == of]
            if found := [order for _, _, order in _compared(tree, leads, same)]:
                within[of].append(statistics.mean(found))
    print("  right over wrong, share")
    for (better, worse), found in sorted(siblings.items()):
        share = statistics.mean(found)
        print(f"    children of a node, {better} and {worse}: {share:.3f} of {len(found)} pairs")
    for of, found in within.items():
        print(f"    {of} within a problem: {statistics.mean(found):.3f}, mean of {len(found)} problems")


def _compared(tree: Tree, leads: Sequence[str], nodes: Sequence[int]) -> Iterator[tuple[int, int, float]]:
    """(right, wrong, whether the right one has more: a tie is a half) of every two of them."""
    for right in (i for i in nodes if leads[i] == "right"):
        for wrong in (i for i in nodes if leads[i] == "wrong"):
            a, b = tree.nodes[right].ppm or 0.0, tree.nodes[wrong].ppm or 0.0
            yield right, wrong, (a > b) + 0.5 * (a == b)


def show_votes(trees: Sequence[Tree]) -> None:
    shares = [f"{vote} {accuracy(trees, vote):.1%}" for vote in ("best", "majority")]
    moved = [f"{shift:+.0f} {accuracy(moved_by(trees, shift), 'weighted'):.1%}" for shift in SHIFTS]
    sums = [sum(votes.weight(ballot.score) for ballot in votes.ballots(tree)) for tree in trees]
    print(f"  votes: {', '.join(shares)}; weighted, level moved by {', '.join(moved)}")
    print(f"    the weights of all trajectories sum up to below 0.1 in {sum(s < 0.1 for s in sums)} searches")


def accuracy(trees: Sequence[Tree], vote: str) -> float:
    """Share of searches whose answer is right; NaN without searches."""
    right = 0
    for tree in trees:
        found = votes.election(
            tree, vote, top_k=TOP_K, equal=lambda a, b: GRADINGS["strict"](a, b) == "right"
        )
        right += bool(found) and tree.nodes[found[0].node].grade == "right"
    return right / len(trees) if trees else float("nan")


def moved_by(trees: Iterable[Tree], shift: float) -> list[Tree]:
    """The trees with another level of the PPM's values: tanh(value + shift)."""

    def moved(value: float | None) -> float | None:
        if value is None:
            return None
        return math.tanh(math.atanh(max(-_NEARLY_ONE, min(_NEARLY_ONE, value))) + shift)

    return [
        dataclasses.replace(
            tree, nodes=tuple(dataclasses.replace(node, ppm=moved(node.ppm)) for node in tree.nodes)
        )
        for tree in trees
    ]


if __name__ == "__main__":
    main()
