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


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 6), st.sampled_from([8, 20]))
def test_little_of_the_steps_that_did_not_choose_the_shapes_is_padding(seed, depth, trees):
    """A twentieth in the mean of many steps (`benchmarks/trees.py`); some few scatter about it. One shape
    leaves a fifth to a half."""
    rng = np.random.default_rng(seed)
    steps = [[grown(rng, depth) for _ in range(trees)] for _ in range(28)]
    tried = [(rows, tokens) for rows in range(1, 9) for tokens in range(128, 4097, 128)]
    some = [[step[i] for i in numbers] for step in steps[:18] for numbers in spread(step, 8, 4096)]
    shapes = chosen(some, tried, 8)
    assert len(shapes) <= 8 and shapes[-1] == (8, 4096)
    assert padding(steps[18:], shapes) < 0.09


def test_shapes_are_few_and_the_largest_is_one_of_them():
    rng = np.random.default_rng(0)
    some = [[grown(rng, 5) for _ in range(int(rng.integers(1, 9)))] for _ in range(12)]
    tried = [(rows, tokens) for rows in (4, 2) for tokens in (2048, 3072, 4096)]
    for most in (1, 2, 3, 8):
        shapes = chosen(some, tried, most)
        assert len(shapes) <= most and shapes[-1] == (4, 4096) and {*shapes} <= {*tried}
        assert chosen(some, tried[::-1], most) == shapes
    assert chosen([], tried, 8) == [(4, 4096)]
