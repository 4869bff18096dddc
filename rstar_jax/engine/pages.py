"""Bookkeeping of a device's pages of keys and values: the tree of texts is the cache.

A branch goes on from where another one stands and owns the pages of its own tokens; the whole pages before
them it shares, the page in which it begins it has a copy of. Texts are found again by walking down the
branches of their problem, token by token, so that nothing is hashed and what is found is always right. Counts
alone, on the host: the pool itself is `pool.py`'s affair.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
from collections.abc import Hashable, Sequence


@dataclasses.dataclass(eq=False)
class Branch:
    """Tokens in pages.

    key: under which its text is cached, its problem's mostly. parent: the branch that it goes on from, None
    at the start of a text. start: how many tokens come before its own. tokens: its own. table: the pages of
    the whole text up to its end; page i of them holds the tokens from i * page_size on. holds: by whoever
    needs it, and one for each child that is held. used: when it, or one below it, was used last. evicted: its
    pages were given away.

        [problem A] -- 0 prompt (start 0, 90 tokens)        holds: 2, as both children are held
                         |-- step 1 (start 90, 30 tokens)   holds: 1, a slot reads it
                         `-- step 1' (start 90, 25 tokens)  holds: 1
    """

    key: Hashable
    parent: Branch | None
    start: int
    tokens: list[int]
    table: list[int]
    children: list[Branch] = dataclasses.field(default_factory=list)
    holds: int = 0
    used: int = 0
    evicted: bool = False

    @property
    def end(self) -> int:
        """Number of tokens of the whole text."""
        return self.start + len(self.tokens)


@dataclasses.dataclass(frozen=True)
class Writes:
    """Device work for new tokens: copy pages first, then write each token to its slot.

    copies: (from, to) pages. slots: page * page_size + offset, one for each token.
    """

    slots: list[int]
    copies: list[tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class BranchHandle:
    """A branch that whoever had it written may go on from (`types.Handle`), as long as it is there."""

    tree: PageTree
    branch: Branch

    def release(self) -> None:
        """Give its pages away now, unless somebody else needs them."""
        self.tree.drop(self.branch)


class PageTree:
    """The branches in a pool of `pages` pages of `page_size` tokens.

    Pages that are needed are taken from the branch without children that was used longest ago and that nobody
    holds; what it held must be computed again if it is asked for. evicted: tokens that went that way.
    missing: by key, how many of them nobody has read again.

        grow()         release() by all, no children            _take() needs its pages, or drop()
    -----------> held ---------------------------------> idle ----------------------------------> evicted
                   ^                                       |
                   `----------------- hold() --------------'   (a use moves it to the end of the line)

    drop() comes for what is never gone on from: a candidate that met its length, a repeat, one without room
    or of a leaf that was cancelled (`batch.py`), an answer, a step that is too deep or no
    valid node
    (`BranchHandle.release`, called by `search/expand.py`). A finished tree's branches are not dropped: nobody
    uses them any more, so they come to be the next to be evicted. New parameters begin with an empty tree
    (`PrefixCache.load`).

    A text of 5 tokens in pages of 4, and another that goes on from its third:
        first = [0 1 2 3] [4 . . .]     second shares no page: it copies the page with 0 1 2, then writes.
    """

    def __init__(self, pages: int, page_size: int) -> None:
        self.pages, self.page_size, self.evicted = pages, page_size, 0
        self.missing: collections.Counter[Hashable] = collections.Counter()
        self._free = list(range(pages - 1, -1, -1))
        self._held = 0  # pages of branches that are held
        self._roots: dict[Hashable, list[Branch]] = {}
        self._clock = itertools.count(1)
        self._idle: list[tuple[int, int, Branch]] = []  # a heap by last use; stale entries are passed over
        self._branches = 0

    @property
    def free(self) -> int:
        """Pages that no branch has."""
        return len(self._free)

    @property
    def tokens(self) -> int:
        """Tokens that are held, each counted once however many texts share it."""
        below = [branch for roots in self._roots.values() for branch in roots]
        count = 0
        while below:
            branch = below.pop()
            count += len(branch.tokens)
            below += branch.children
        return count

    def match(
        self, key: Hashable, tokens: Sequence[int], at: Branch | None = None
    ) -> tuple[Branch | None, int]:
        """The branch that holds most of the first tokens, and how many; it counts as used now.

        at: where these tokens, as far as before its own, are known to lie; looked for from the root
        without.
        """
        best, length, tokens = None, 0, list(tokens)
        if at is not None and at.key == key and not at.evicted:
            best, length, level = at.parent, at.start, [at]
        else:
            level = self._roots.get(key, [])
        while level:
            deeper = [(b, b.start + _common(b.tokens, tokens[b.start : b.end])) for b in level]
            branch, reached = max(deeper, key=lambda found: found[1])
            if reached > length:
                best, length = branch, reached
            level = [child for b, end in deeper for child in b.children if b.start < child.start <= end]
        self._use(best)
        return best, length

    def grow(
        self, key: Hashable, parent: Branch | None, start: int, tokens: Sequence[int]
    ) -> tuple[Branch, Writes] | None:
        """A new branch, held once, with these tokens behind the first `start` ones of the parent's text.

        None where too few pages are not held, or the parent is gone.
        """
        if parent is not None and parent.evicted:
            return None
        size = self.page_size
        shared = parent.table[: start // size] if parent else []
        branch = Branch(key, parent, start, [], list(shared))
        self.hold(branch)  # lest its parent's pages are taken for it
        pages = self._take(-(-(start + len(tokens)) // size) - len(shared))
        if pages is None:
            self._decref(branch)
            return None
        copies = [(parent.table[start // size], pages[0])] if parent and start % size else []
        self._lengthen(branch, pages)
        (parent.children if parent else self._roots.setdefault(key, [])).append(branch)
        self._branches += 1
        return branch, Writes(self._write(branch, tokens), copies)

    def append(self, branch: Branch, tokens: Sequence[int]) -> Writes | None:
        """More tokens at the end of a branch; None where too few pages are not held, or it is gone."""
        if branch.evicted:
            return None
        self.hold(branch)
        pages = self._take(-(-(branch.end + len(tokens)) // self.page_size) - len(branch.table))
        if pages is not None:
            self._lengthen(branch, pages)
        self.release(branch)
        return None if pages is None else Writes(self._write(branch, tokens), [])

    def hold(self, branch: Branch) -> None:
        """Keeps a branch (and so those before it) until it is released as often."""
        at: Branch | None = branch
        while at is not None:
            at.holds += 1
            if at.holds > 1:
                return
            self._held += self._own(at)
            at = at.parent

    def release(self, branch: Branch) -> None:
        """Takes a hold back."""
        self._decref(branch)
        self._mark_idle(branch)

    def _decref(self, branch: Branch) -> None:
        at: Branch | None = branch
        while at is not None:
            at.holds -= 1
            if at.holds:
                return
            self._held -= self._own(at)
            at = at.parent

    def _own(self, branch: Branch) -> int:
        """Count the pages that a branch does not share with those before it."""
        return len(branch.table) - branch.start // self.page_size

    def _lengthen(self, branch: Branch, pages: list[int]) -> None:
        """Gives a branch that is held more pages."""
        branch.table += pages
        self._held += len(pages)

    def drop(self, branch: Branch) -> None:
        """Gives a branch's pages away now, if nobody holds it and nothing goes on from it."""
        if not branch.evicted and not branch.children and not branch.holds:
            self._remove(branch)

    def found_again(self, key: Hashable, tokens: int) -> int:
        """Count how many of `tokens` to read under a key were evicted before, at most."""
        again = min(tokens, self.missing[key])
        self.missing[key] -= again
        if not self.missing[key]:
            del self.missing[key]
        return again

    def _write(self, branch: Branch, tokens: Sequence[int]) -> list[int]:
        size, first = self.page_size, branch.end
        branch.tokens += tokens
        self._use(branch)
        return [branch.table[i // size] * size + i % size for i in range(first, branch.end)]

    def _take(self, count: int) -> list[int] | None:
        """Pop `count` free pages, evicting idle branches. Returns None (evicting nothing) if held pages leave
        too few."""
        if count > self.pages - self._held:
            return None
        while len(self._free) < count:
            entry = heapq.heappop(self._idle)
            if self._may_go(entry):
                self.evicted += len(entry[2].tokens)
                self.missing[entry[2].key] += len(entry[2].tokens)
                self._remove(entry[2])
        return [self._free.pop() for _ in range(count)]

    def _use(self, branch: Branch | None) -> None:
        now, at = next(self._clock), branch
        while at is not None:
            at.used = now
            at = at.parent
        if branch is not None:
            self._mark_idle(branch)

    def _mark_idle(self, branch: Branch) -> None:
        """Notes that a branch may be taken from now on."""
        if not (branch.evicted or branch.holds or branch.children):
            heapq.heappush(self._idle, (branch.used, id(branch), branch))
            if len(self._idle) > 4 * self._branches + 64:
                self._idle = [entry for entry in self._idle if self._may_go(entry)]
                heapq.heapify(self._idle)

    @staticmethod
    def _may_go(entry: tuple[int, int, Branch]) -> bool:
        used, _, branch = entry
        return used == branch.used and not (branch.evicted or branch.holds or branch.children)

    def _remove(self, branch: Branch) -> None:
        self._free += branch.table[branch.start // self.page_size :]
        branch.evicted = True
        self._branches -= 1
        siblings = branch.parent.children if branch.parent else self._roots[branch.key]
        siblings.remove(branch)
        if branch.parent is not None:
            self._mark_idle(branch.parent)
        elif not siblings:
            del self._roots[branch.key]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the leading tokens that are the same."""
    if one[: len(other)] == other:
        return len(other)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
