"""Parts of trees in rows: each sequence once, nothing on top of another, little padding, few shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.train.tree_packing import Outline, chosen, fill, smallest, spread
from rstar_jax.train.trees import TokenTree, forest, token_tree


def tree(rng: np.random.Generator, sequences: int, most: int = 30) -> TokenTree:
    """A tree of sequences that go on from each other, or end within each other."""
    found = [rng.integers(1, 9, 6).astype(np.int32)]
    while len(found) < sequences:
        one = found[rng.integers(len(found))]
        more = rng.integers(1, 9, rng.integers(0, 8))
        found.append(np.r_[one[: rng.integers(1, len(one) + 1)], more].astype(np.int32)[:most])
    return token_tree(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 14), min_size=1, max_size=6), st.integers(30, 90))
def test_each_sequence_is_in_one_part_as_it_is_in_its_tree(seed, sizes, length):
    rng = np.random.default_rng(seed)
    trees = [tree(rng, size) for size in sizes]
    parts = fill([one.outline() for one in trees], 40, length)
    assert parts is not None
    taken = np.zeros((40, length), bool)
    seen: list[list[int]] = [[] for _ in trees]
    for part in parts:
        whole = trees[part.number]
        made, outline = whole.part(part.first, part.end), whole.outline()
        assert len(made.tokens) == outline.size(part.first, part.end)
        span = taken[part.row, part.start : part.start + len(made.tokens)]
        assert len(span) == len(made.tokens) and not span.any()
        span[:] = True
        np.testing.assert_array_equal(made.lasts, outline.lasts(part.first, part.end))
        for number, last in zip(range(part.first, part.end), made.lasts.tolist(), strict=True):
            seen[part.number].append(number)
            path, there = made.path(last), whole.path(int(whole.distinct[number]))
            np.testing.assert_array_equal(made.tokens[path], whole.tokens[there])
            np.testing.assert_array_equal(made.depths[path], whole.depths[there])
    assert [sorted(some) for some in seen] == [list(range(len(one.distinct))) for one in trees]


def test_a_mark_is_in_one_part_alone():
    rng = np.random.default_rng(0)
    whole = tree(rng, 12)
    whole = dataclasses.replace(whole, marks={"weights": rng.random(len(whole.tokens)).astype(np.float32)})
    parts = [whole.part(0, 4), whole.part(4, 5), whole.part(5, len(whole.distinct))]
    told = np.concatenate([part.marks["weights"] for part in parts])
    assert len(told) > len(whole.tokens)
    np.testing.assert_array_equal(np.sort(told[told > 0]), np.sort(whole.marks["weights"]))


def test_a_cut_leaves_and_repeats_least():
    rng = np.random.default_rng(0)
    for _ in range(40):
        outline = tree(rng, 12).outline()
        n, room = len(outline.own), int(rng.integers(10, 40))
        ways = {
            (i, j): room
            - outline.size(i, j)
            + (int(outline.shared[i]) if i > 0 else 0)
            + (int(outline.shared[j]) if j < n else 0)
            for i in range(n)
            for j in range(i + 1, n + 1)
            if outline.size(i, j) <= room and (j == n or outline.size(i, j + 1) > room)
        }
        found = outline.cut([(0, n)], room)
        assert (found is None) == (not ways)
        if found is not None:
            assert found[0] == min(ways.values()) == ways[found[2:]]
        pieces = [(0, 3), (3, 4), (4, n)]
        alone = [outline.cut([piece], room) for piece in pieces]
        least = min((one[0] for one in alone if one is not None), default=None)
        among = outline.cut(pieces, room)
        assert (among is None) == (least is None)
        if among is not None:
            assert among[0] == least and alone[among[1]] == (least, 0, *among[2:])
    assert outline.cut([(0, n)], 0) is None


def test_what_shares_nothing_is_not_cut_for_it():
    both = forest([token_tree([np.full(20, 1, np.int32)]), token_tree([np.full(30, 2, np.int32)])])
    assert both.outline().wholes() == [(0, 1), (1, 2)]
    assert fill([both.outline()], 1, 49) is None and fill([both.outline()], 2, 30) is not None


def test_a_tree_that_no_microbatch_holds_is_an_error():
    outline = Outline(np.array([0, 10]), np.array([50, 50]))
    assert [sorted(some) for some in spread([outline] * 3, 2, 64)] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="exceeds 1 rows of 64"):
        spread([outline], 1, 64)


def grown(rng: np.random.Generator, depth: int) -> Outline:
    """The sizes of a tree as searches leave them: prompts of 100 to 300 tokens, steps of 40 to 100."""
    sizes = rng.integers(40, 101, depth)
    shared, own = [0], [int(rng.integers(100, 301) + sizes.sum())]
    prompt = own[0] - int(sizes.sum())
    for _ in range(int(rng.integers(10, 25))):
        fork = int(rng.integers(0, depth))
        shared.append(prompt + int(sizes[:fork].sum()))
        sizes = np.r_[sizes[:fork], rng.integers(40, 101, depth - fork)]
        own.append(int(sizes[fork : int(rng.integers(fork + 1, depth + 1))].sum()))
        sizes = np.r_[sizes[:fork], rng.integers(40, 101, depth - fork)]
    return Outline(np.array(shared), np.array(own))


def padding(steps: Sequence[Sequence[Outline]], shapes: Sequence[tuple[int, int]]) -> float:
    """The share of slots that hold no token."""
    slots = text = 0
    for step in steps:
        for numbers in spread(step, 8, 4096):
            some = [step[number] for number in numbers]
            number, parts = smallest(some, shapes)
            slots += shapes[number][0] * shapes[number][1]
            text += sum(some[part.number].size(part.first, part.end) for part in parts)
    return 1 - text / slots


def test_little_of_the_steps_that_did_not_choose_the_shapes_is_padding():
    """A twentieth in the mean of many steps (`benchmarks/trees.py`); some few scatter about it. One shape
    leaves a third."""
    rng = np.random.default_rng(0)
    steps = [[grown(rng, 5) for _ in range(8)] for _ in range(20)]
    tried = [(rows, tokens) for rows in range(1, 9) for tokens in range(2048, 4097, 256)]
    some = [[step[i] for i in numbers] for step in steps[:10] for numbers in spread(step, 8, 4096)]
    shapes = chosen(some, tried, 8)
    assert len(shapes) <= 8 and shapes[-1] == (8, 4096)
    assert padding(steps[10:], shapes) < 0.1 < 0.2 < padding(steps[10:], shapes[-1:])


def test_shapes_are_few_and_the_largest_is_one_of_them():
    rng = np.random.default_rng(0)
    some = [[grown(rng, 5) for _ in range(int(rng.integers(1, 9)))] for _ in range(12)]
    tried = [(rows, tokens) for rows in (4, 2) for tokens in (2048, 3072, 4096)]
    for most in (1, 2, 3, 8):
        shapes = chosen(some, tried, most)
        assert len(shapes) <= most and shapes[-1] == (4, 4096) and {*shapes} <= {*tried}
        assert chosen(some, tried[::-1], most) == shapes
    assert chosen([], tried, 8) == [(4, 4096)]
