"""Solutions of a question as one tree, in which each token has one target.

    solutions            tree, depth first        tokens   a  b  d  b  e
    a b d                a - b - d                targets  b  d  -  e  -
    a b e                \\ b - e                 weights  2  1  0  1  0
    (trained: all but the first)

Two solutions share a token only where they share the one after it as well, so that one token before a fork
stands once for each branch. What a token's target weighs is how many of the solutions through it are trained
on it. So a tree's loss is that of its solutions, each in a row of its own. numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rstar_jax.train.trees import TokenTree, token_tree

MARKS = {"targets": np.int32, "weights": np.float32, "marks": np.int8}  # of the trees
_ID, _MARK = 27, 8  # bits of a token id, and of a mark


@dataclasses.dataclass(frozen=True)
class Example:
    """Tokens [T] int32 of one sequence, and which of them are trained on, [T] bool. marks: [T] int8 of what
    the loss reports apart (`losses.cross_entropy`); None: nothing."""

    tokens: np.ndarray
    trained: np.ndarray
    marks: np.ndarray | None = None


def links(examples: Sequence[Example]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the tokens of each example as numbers, [T] int32, and what they stand for, [numbers] int64.

    Two are equal where the token, the one after it, and that one's mark are.
    """
    every = [_links(example) for example in examples]
    found, numbers = np.unique(np.concatenate(every), return_inverse=True)
    cuts = np.cumsum([len(some) for some in every])[:-1]
    return np.split(numbers.astype(np.int32), cuts), found


def solution_tree(examples: Sequence[Example]) -> TokenTree:
    """The tree of examples of one question, with `MARKS`: of the target behind each token the id, how many
    examples are trained on it, and its mark."""
    numbers, found = links(examples)
    tree = token_tree(numbers)
    at, weights = found[tree.tokens], np.zeros(len(tree.tokens), np.float32)
    for example, last in zip(examples, tree.lasts.tolist(), strict=True):
        weights[tree.path(last)[:-1]] += example.trained[1:]
    targets = (at >> _MARK) & ((1 << _ID) - 1)
    marks = {
        "targets": np.maximum(targets - 1, 0).astype(np.int32),
        "weights": weights,
        "marks": ((at & ((1 << _MARK) - 1)) - (1 << _MARK - 1)).astype(np.int8),
    }
    return dataclasses.replace(tree, tokens=(at >> _ID + _MARK).astype(np.int32), marks=marks)


def _links(example: Example) -> np.ndarray:
    """Token, the one after it (1 more; 0: none) and that one's mark (128 more) in one number each, [T]."""
    after, marks = np.zeros((2, len(example.tokens)), np.int64)
    after[:-1] = example.tokens[1:] + np.int64(1)
    if example.marks is not None:
        marks[:-1] = example.marks[1:]
    ids = example.tokens.astype(np.int64) << _ID
    return (ids + after << _MARK) + marks + (1 << _MARK - 1)
