"""Selection and backup by UCT in one tree, on the host (arXiv 2501.04519, section 3.2).

    UCT(s) = Q(s) + c * sqrt(ln N_parent(s) / N(s)),    Q(s) = q(s) / N(s)

A choice looks at the siblings that were visited and at the best of the others, whose values stand still.
Trees advance one by one, so that objects on the host beat arrays on a device, where each call costs as much
as dozens of these simulations (`benchmarks/tree.py`; docs/LOG.md has the comparison). In thousands of trees
what counts is how much memory a walk touches, and how many objects Python's garbage collector has to look at:
hence a node only for what was visited, and of all other siblings one array of numbers.

The value of an unvisited child is a function of its own (`UNVISITED`), as the paper does not say.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence

# Value of an unvisited child from its prior; it gets no exploration bonus.
Unvisited = Callable[[float], float]

_CLOSED = -math.inf
# By visits, as far as most trees go: sqrt(ln N) and 1 / sqrt(N).
_ROOT_LOG = [0.0, *(math.sqrt(math.log(n)) for n in range(1, 4096))]
_INV_SQRT = [0.0, *(1 / math.sqrt(n) for n in range(1, 4096))]


def initial_value(prior: float) -> float:
    """The PPM's value, or 0 without one: as the released code has it."""
    return prior


def each_once(prior: float) -> float:
    """Every child once before any twice, those of higher prior first: as UCT is usually stated."""
    return prior + 1e6


UNVISITED: dict[str, Unvisited] = {"value": initial_value, "first": each_once}


class _Node:
    """A node that has visits or children, or is closed; of all others their parent knows enough.

        append()                 back_up(), or closed             close_one(), close_up()
    ----------> unvisited  ------------------------>  open  ------------------------------> closed
              (a number in its                     (a _Node in its parent's            (q = -inf: never
               parent's array)                      `known`; selected by UCT)           selected again)

    sibling_index: among its siblings. unvisited_value: Q before any visit. q: what the bonus is added to: Q,
    or `unvisited_value`, or -inf if closed. inv_sqrt_visits: 1 / sqrt(N), 0 before any visit. first: the
    number of its first child. unvisited: [children] float64, the value of each child without a _Node, -inf
    for the others. best, best_index: the largest of these, and the first index that has it. known: the other
    children, but those made closed. open: how many children are not closed.

    Children of priors 0.2, 0.5, 0.1, of which the second was visited once with value 1, the parent twice:
        unvisited = [0.2, -inf, 0.1], best = 0.2, best_index = 0, known = [_Node(q=1.0)];
        with c = 2 the visited one has 1.0 + 2 * sqrt(ln 2) * 1 = 2.67 > 0.2, and is selected.
    """

    __slots__ = (
        "best", "best_index", "first", "inv_sqrt_visits", "known", "open", "parent", "q", "sibling_index",
        "sum", "unvisited", "unvisited_value", "visits",
    )  # fmt: skip

    def __init__(
        self,
        parent: _Node | None,
        sibling_index: int,
        unvisited_value: float,
        q: float,
        visits: int = 0,
        value: float = 0.0,
    ):
        self.parent, self.sibling_index, self.q = parent, sibling_index, q
        self.unvisited_value = unvisited_value
        self.visits, self.sum, self.inv_sqrt_visits = visits, value, _INV_SQRT[visits]
        self.first = self.open = 0
        self.known: list[_Node] | tuple[()] = ()


class Statistics:
    """The numbers of one tree; node 0 is its root, and the children of a node are numbered side by side.

    A node is closed if it is not to be selected again: a dead end, an answer that had its visit, or a node
    with only closed children (the paper leaves it open; the released code passes over terminal children).
    """

    def __init__(self, unvisited: Unvisited = initial_value):
        self._unvisited = unvisited
        self._count = 1
        self._known = {0: _Node(None, 0, 0.0, 0.0)}
        self._parents: list[_Node] = []  # in the order of their children's numbers
        self._firsts = array("l")  # of each of these, the number of its first child

    @property
    def visits(self) -> list[int]:
        """N(s) of every node."""
        numbers = [0] * self._count
        for i, node in self._known.items():
            numbers[i] = node.visits
        return numbers

    @property
    def value_sums(self) -> list[float]:
        """q(s) of every node."""
        numbers = [0.0] * self._count
        for i, node in self._known.items():
            numbers[i] = node.sum
        return numbers

    def closed(self, node: int) -> bool:
        """Return whether a node is not to be selected again."""
        return node in self._known and self._known[node].q == _CLOSED

    def append(
        self,
        node: int,
        priors: Sequence[float],
        visits: Sequence[int] | None = None,
        value_sums: Sequence[float] | None = None,
        closed: Sequence[bool] | None = None,
    ) -> None:
        """Gives a node without children its children; without any nothing changes.

        priors: the PPM's values, or 0. visits, value_sums: 0 or 1 visit of each, and its value; or of none.
        """
        count = len(priors)
        if not count:
            return
        parent = self._known.get(node) or self._made(node)
        parent.first = first = self._count
        self._count += count
        self._parents.append(parent)
        self._firsts.append(first)
        parent.open = count
        if self._unvisited is initial_value:
            parent.unvisited = unvisited = array("d", priors)
        else:
            parent.unvisited = unvisited = array("d", map(self._unvisited, priors))
        if visits is not None and value_sums is not None and closed is not None:
            known = []
            for sibling_index, (seen, value, shut) in enumerate(zip(visits, value_sums, closed, strict=True)):
                if seen or shut:
                    q = _CLOSED if shut else value
                    self._known[first + sibling_index] = child = _Node(
                        parent, sibling_index, unvisited[sibling_index], q, seen, value
                    )
                    unvisited[sibling_index] = _CLOSED
                    if not shut:
                        known.append(child)
            parent.known = known or ()
            parent.open -= sum(closed)
        parent.best = best = max(unvisited)
        parent.best_index = unvisited.index(best)

    def select(self, node: int, c: float) -> int:
        """Walks from `node` down into the best open child, the first of equals, until there is none.

        Returns a node without children, or one all of whose children are closed.
        """
        at = self._known.get(node)
        while at is not None and at.first:
            down, sibling_index, best = None, at.best_index, at.best
            if at.known:
                n = at.visits
                bonus = c * (_ROOT_LOG[n] if n < 4096 else math.sqrt(math.log(n)))
                for child in at.known:
                    score = child.q + bonus * child.inv_sqrt_visits
                    if score > best or (score == best and child.sibling_index < sibling_index):
                        down, sibling_index, best = child, child.sibling_index, score
            if best == _CLOSED:
                break
            node = at.first + sibling_index
            at = down
        return node

    def back_up(self, node: int, value: float, visits: int = 1) -> None:
        """`visits` more visits, and `value` added, on the path from `node` up to the root, both included."""
        at: _Node | None = self._known.get(node) or self._made(node)
        while at is not None:
            at.visits = n = at.visits + visits
            at.sum = total = at.sum + value
            if at.q != _CLOSED:
                if n:
                    at.q, at.inv_sqrt_visits = total / n, _INV_SQRT[n] if n < 4096 else 1 / math.sqrt(n)
                else:
                    at.q, at.inv_sqrt_visits = at.unvisited_value, 0.0
            at = at.parent

    def close_one(self, node: int) -> None:
        """Closes a node alone: the released code finds out about its ancestors when it passes them."""
        self._close(self._known.get(node) or self._made(node))

    def close_up(self, node: int) -> None:
        """Closes a node, and every ancestor that has closed children only: a closed root ends a search."""
        at: _Node | None = self._known.get(node) or self._made(node)
        while at is not None:
            self._close(at)
            at = at.parent if at.parent is not None and not at.parent.open else None

    def _close(self, node: _Node) -> None:
        if node.q != _CLOSED:
            node.q = _CLOSED
            if node.parent is not None:
                node.parent.open -= 1

    def _made(self, node: int) -> _Node:
        """A node of which its parent knew enough until now, with the value it has."""
        parent = self._parents[bisect_right(self._firsts, node) - 1]
        sibling_index, unvisited = node - parent.first, parent.unvisited
        made = self._known[node] = _Node(
            parent, sibling_index, unvisited[sibling_index], unvisited[sibling_index]
        )
        if parent.known:
            parent.known.append(made)
        else:
            parent.known = [made]
        unvisited[sibling_index] = _CLOSED
        if sibling_index == parent.best_index:
            parent.best = best = max(unvisited)
            parent.best_index = unvisited.index(best)
        return made
