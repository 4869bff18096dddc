"""The ledger of pages against a plain model of it: what is found is right, and no page has two owners."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.engine.pages import Branch, PageTree


class Pool:
    """Does on a list what the device is told to do."""

    def __init__(self, pages: int, page_size: int) -> None:
        self.size, self.cells = page_size, [None] * (pages * page_size)

    def write(self, tokens, writes) -> None:
        pages = {to: self.cells[one * self.size : (one + 1) * self.size] for one, to in writes.copies}
        for to, content in pages.items():
            self.cells[to * self.size : (to + 1) * self.size] = content
        for token, slot in zip(tokens, writes.slots, strict=True):
            self.cells[slot] = token

    def read(self, branch: Branch, length: int) -> list:
        return [self.cells[branch.table[i // self.size] * self.size + i % self.size] for i in range(length)]


def path(branch: Branch | None, end: int) -> list[int]:
    """The first `end` tokens of a branch's text."""
    if branch is None or not end:
        return []
    return path(branch.parent, min(end, branch.start)) + branch.tokens[: max(0, end - branch.start)]


texts = st.lists(st.integers(0, 2), min_size=1, max_size=14)
ENDS = ("keep", "hold", "drop", "go on")
steps = st.lists(st.tuples(st.integers(0, 1), texts, st.sampled_from(ENDS)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(4, 12), st.sampled_from([1, 2, 4]))
def test_what_is_found_is_what_was_written(asked, pages: int, size: int) -> None:
    tree, pool, held = PageTree(pages, size), Pool(pages, size), list[Branch]()
    for problem, tokens, then in asked:
        branch, known = tree.match(problem, tokens)
        assert path(branch, known) == tokens[:known]
        if branch is not None:
            assert not branch.evicted and pool.read(branch, known) == tokens[:known]
        if known < len(tokens):
            grown = tree.grow(problem, branch, known, tokens[known:])
            if grown is None:
                continue
            branch, writes = grown
            pool.write(tokens[known:], writes)
            if then == "go on" and (more := tree.append(branch, [2, 1])) is not None:
                pool.write([2, 1], more)
            if then == "hold":
                held.append(branch)
            else:
                tree.release(branch)
        if branch is not None and then == "drop":
            tree.drop(branch)
        for kept in held:  # nothing that is held is ever written over
            assert not kept.evicted and pool.read(kept, kept.end) == path(kept, kept.end)
    for kept in held:
        tree.release(kept)
    alone = tree.grow("another", None, 0, [0] * (pages * size))  # everything can be taken back
    assert alone is not None and sorted(alone[0].table) == list(range(pages)) and tree.free == 0


def test_children_share_whole_pages_and_copy_the_last_partial_one() -> None:
    tree = PageTree(8, 4)
    (root, _), size = tree.grow(0, None, 0, list(range(10))), 4
    (one, first), (two, second) = tree.grow(0, root, 10, [7]), tree.grow(0, root, 8, [8])
    assert one.table[:2] == two.table[:2] == root.table[:2]
    assert len({*one.table, *two.table, *root.table}) == 5
    assert first.copies == [(root.table[2], one.table[2])] and first.slots == [one.table[2] * size + 2]
    assert second.copies == [] and second.slots == [two.table[2] * size]


def test_the_longest_unused_goes_first_and_never_what_is_held() -> None:
    tree = PageTree(4, 1)
    made = [tree.grow(i, None, 0, [i])[0] for i in range(4)]
    for branch in made[:3]:
        tree.release(branch)
    tree.match(0, [0])
    tree.release(tree.grow("new", None, 0, [5])[0])
    assert [branch.evicted for branch in made] == [False, True, False, False] and tree.evicted == 1
    assert tree.grow("wide", None, 0, [1, 2, 3, 4]) is None  # one page is held
    assert tree.match(3, [3]) == (made[3], 1)
    assert not made[0].evicted and not made[2].evicted and tree.evicted == 1  # nobody goes in vain


def test_what_is_held_through_its_children_cannot_be_had() -> None:
    tree = PageTree(6, 2)
    root = tree.grow(0, None, 0, [1, 2, 3])[0]
    leaf = tree.grow(0, root, 3, [4, 5])[0]  # a copy of a page, and one more
    idle = tree.grow(1, None, 0, [6])[0]
    for branch in (root, idle):
        tree.release(branch)
    assert tree.grow(2, None, 0, [0] * 5) is None and not idle.evicted
    assert tree.append(leaf, [0] * 6) is None and not idle.evicted
    assert tree.append(leaf, [0] * 2) is not None and not idle.evicted
    assert tree.append(leaf, [0] * 2) is not None and idle.evicted
    tree.release(leaf)
    assert tree.grow(2, None, 0, [0] * 12) is not None and root.evicted


def test_a_parent_goes_after_its_children() -> None:
    tree = PageTree(3, 1)
    root = tree.grow(0, None, 0, [1])[0]
    leaf = tree.grow(0, root, 1, [2])[0]
    tree.release(root)
    tree.drop(root)  # somebody goes on from it
    assert not root.evicted
    tree.release(leaf)
    tree.release(tree.grow(1, None, 0, [1, 2])[0])
    assert leaf.evicted and not root.evicted
    assert tree.grow(0, leaf, 2, [3]) is None and tree.append(leaf, [3]) is None


def test_a_long_run_keeps_no_more_notes_than_branches() -> None:
    tree = PageTree(64, 4)
    for i in range(5000):
        tree.match(i % 3, [i % 3, 1])
        tree.release(tree.grow(i, None, 0, [i])[0])
    assert len(tree._idle) <= 4 * 64 + 65 and len(tree._roots) <= 64


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_match_may_end_within_a_branch(length: int) -> None:
    tree = PageTree(8, 2)
    root = tree.grow(0, None, 0, [1, 2, 3, 4, 5])[0]
    branch, known = tree.match(0, np.array([1, 2, 3, 4, 5, 6])[:length].tolist())
    assert known == length and branch is (root if length else None)
