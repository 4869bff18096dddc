"""Solutions of a question as a tree: each token has one target, and all is learnt as if each were alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.losses import LOSSES
from rstar_jax.models import init_random
from rstar_jax.train import Example, PolicyBatches, TrainConfig, policy_loss
from rstar_jax.train.host_rows import Rows
from rstar_jax.train.solution_trees import solution_tree
from rstar_jax.train.tree_rows import Groups, Ragged, Steps, TreeRows, by_question
from tests.train.test_trees import FAMILIES, VOCAB

KINDS = ("p_one", "p_two")
CONFIG = TrainConfig(epochs=1, batch=64, seq_len=96, microbatch=16)
# Rows so short that trees are cut.
CUT = dataclasses.replace(CONFIG, seq_len=40)


def solutions(rng: np.random.Generator, count: int) -> list[Example]:
    """Solutions of one question of 6 to 32 tokens: they begin alike, end within each other or are the same;
    what they share some train on, and others mask or mark otherwise."""
    found = [rng.integers(1, VOCAB, int(rng.integers(8, 24)))]
    while len(found) < count:
        one = found[rng.integers(len(found))]
        more = rng.integers(1, VOCAB, rng.integers(0, 9))
        found.append(np.r_[one[: rng.integers(6, len(one) + 1)], more][:32])
    masked = [np.r_[np.zeros(4, bool), rng.random(len(ids) - 4) < 0.7] for ids in found]
    marks = [np.where(ids % 5 == 0, rng.choice([0, 1, 2, -2], len(ids)), 0) for ids in found]
    return [
        Example(ids.astype(np.int32), trained, mark.astype(np.int8))
        for ids, trained, mark in zip(found, masked, marks, strict=True)
    ]


def test_each_solution_is_in_its_tree_with_its_own_targets() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 7) * 8:
        some = solutions(rng, count)
        tree = solution_tree(some)
        weights = np.zeros(len(tree.tokens))
        for one, last in zip(some, tree.lasts.tolist(), strict=True):
            path = tree.path(last)
            np.testing.assert_array_equal(tree.tokens[path], one.tokens)
            np.testing.assert_array_equal(tree.depths[path], np.arange(len(one.tokens)))
            np.testing.assert_array_equal(tree.marks["targets"][path[:-1]], one.tokens[1:])
            assert one.marks is not None
            np.testing.assert_array_equal(tree.marks["marks"][path[:-1]], one.marks[1:])
            weights[path[:-1]] += one.trained[1:]
        np.testing.assert_array_equal(tree.marks["weights"], weights)


def test_what_solutions_share_stands_once_but_for_the_token_before_a_fork() -> None:
    ids = np.arange(1, 9, dtype=np.int32)
    one, other = (
        Example(np.r_[ids, more].astype(np.int32), np.ones(10, bool)) for more in ([11, 12], [21, 22])
    )
    assert len(solution_tree([one, other]).tokens) == 7 + 3 + 3
    both = solution_tree([one, one])
    assert len(both.tokens) == 10 and both.marks["weights"].tolist() == [2.0] * 9 + [0.0]
    largest = Example(np.array([2**27 - 2, 0, 2**27 - 2], np.int32), np.ones(3, bool))
    assert solution_tree([largest]).tokens.tolist() == largest.tokens.tolist()
    assert solution_tree([largest]).marks["targets"].tolist() == [0, 2**27 - 2, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_microbatches_learn_each_solution_once(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    some = [one for size in sizes for one in solutions(rng, size)]
    batches = PolicyBatches(some, CUT, 0, questions=by_question(np.repeat(np.arange(len(sizes)), sizes)))
    assert batches.steps_per_epoch == 1
    step, learnt = batches(0), dict[tuple[int, ...], float]()
    assert step.examples == len(some)
    assert step.tokens == sum(int((m["segment_ids"] > 0).sum()) for m in step.microbatches)
    for m in step.microbatches:
        assert not any(m[name][m["segment_ids"] == 0].any() for name in ("tokens", "weights", "marks"))
        for row, place in zip(*m["weights"].nonzero(), strict=True):
            above = np.flatnonzero(m["ends"][row, : place + 1] > place)
            path = above[m["segment_ids"][row, above] == m["segment_ids"][row, place]]
            np.testing.assert_array_equal(m["positions"][row, path], np.arange(len(path)))
            text = (*m["tokens"][row, path].tolist(), int(m["targets"][row, place]))
            learnt[text] = learnt.get(text, 0.0) + float(m["weights"][row, place])
    wanted = dict[tuple[int, ...], float]()
    for one in some:
        for place in np.flatnonzero(one.trained[1:]) + 1:
            text = tuple(one.tokens[: place + 1].tolist())
            wanted[text] = wanted.get(text, 0.0) + 1.0
    assert learnt == wanted


@pytest.mark.parametrize(("family", "config"), [("grouped", CONFIG), *((family, CUT) for family in FAMILIES)])
def test_losses_and_gradients_are_those_of_solutions_alone(family: str, config: TrainConfig) -> None:
    """With tool output masked, and every term that is reported."""
    rng, model = np.random.default_rng(1), init_random(FAMILIES[family], 0)
    sizes = [1, 2, 3, 5, 1, 2]
    some = [one for size in sizes for one in solutions(rng, size)]
    long_from = 20 if family == "long texts" else None
    questions = by_question(np.repeat(np.arange(len(sizes)), sizes))
    batches = PolicyBatches(some, config, 0, questions=questions, long_from=long_from)
    (step,) = (batches(i) for i in range(batches.total_steps))
    assert step.tokens < sum(len(one.tokens) for one in some)
    if config is CUT and long_from is None:
        found = batches.groups
        assert step.tokens > sum(found.outline(group).total for group in range(len(found)))
    rows: dict[str, Any] = {name: np.zeros((len(some), 32), np.int32) for name in ("ids", "targets", "marks")}
    rows["weights"], rows["segments"] = np.zeros((2, len(some), 32), np.int32)
    for row, one in enumerate(some):
        n = len(one.tokens)
        rows["ids"][row, :n], rows["segments"][row, :n] = one.tokens, 1
        for name, array in (("targets", one.tokens), ("weights", one.trained), ("marks", one.marks)):
            rows[name][row, : n - 1] = np.asarray(array)[1:]
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def over(terms: Any) -> Any:
        ratios = {name: total / count for name, (total, count) in terms.items()}
        return ratios["loss"], ratios

    def together(params: Any) -> Any:
        made = nnx.merge(graph, params, rest)
        every = [policy_loss(made, jax.tree.map(jnp.asarray, m), config, KINDS) for m in step.microbatches]
        return over(jax.tree.map(lambda *parts: sum(parts), *every))

    def alone(params: Any) -> Any:
        logits = nnx.merge(graph, params, rest)(rows["ids"], None, jnp.asarray(rows["segments"]))
        loss = LOSSES["cross_entropy"]
        return over(loss(logits, jnp.asarray(rows["targets"]), rows["weights"], rows["marks"], KINDS))

    ((_, one), by_one), ((_, other), by_other) = (
        jax.jit(jax.value_and_grad(f, has_aux=True))(params) for f in (together, alone)
    )
    assert {*one} == {"loss", "accuracy", *KINDS}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), one, other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), by_one, by_other)


def test_a_host_makes_its_own_rows_and_every_mesh_has_the_same_steps() -> None:
    rng = np.random.default_rng(2)
    some, questions = solutions(rng, 24), np.arange(24) // 3

    def made(rows: Rows) -> PolicyBatches:
        config = dataclasses.replace(CUT, batch=6, epochs=2)
        return PolicyBatches(some, config, 0, lambda _: [rows], questions=by_question(questions))

    whole, parts = made(Rows(4)), [made(Rows(4, frozenset(own))) for own in ({0, 3}, {1, 2})]
    assert len({batches.digest() for batches in (whole, *parts)}) == 1
    for step in range(whole.total_steps):
        for number, m in enumerate(whole(step).microbatches):
            halves = [part(step).microbatches[number] for part in parts]
            for name, array in m.items():
                np.testing.assert_array_equal(array, halves[0][name] + halves[1][name], err_msg=name)
    other = [dataclasses.replace(some[0], tokens=some[0].tokens[::-1]), *some[1:]]
    changed = PolicyBatches(other, whole.config, 0, lambda _: [Rows(4)], questions=by_question(questions))
    assert changed.digest() != whole.digest()


@pytest.mark.parametrize(
    ("rows", "batch", "typical"), [(8, 128, 400), (8, 128, 560), (8, 128, 900), (16, 512, 700)]
)
def test_little_of_the_steps_of_plain_solutions_is_padding(rows: int, batch: int, typical: int) -> None:
    """In the mean of some steps of a long training, with lengths as solutions have them, on one device."""
    seq_len = 4096
    drawn = np.random.default_rng(0).lognormal(np.log(typical), 0.35, 20 * batch)
    lengths = np.clip(drawn, 50, seq_len).astype(np.int32)
    each = np.arange(len(lengths) + 1)
    outlines = Ragged(np.stack([np.zeros_like(lengths), lengths], 1), each)
    groups = Groups(outlines, Ragged(each[:-1, None], each))
    steps = Steps(groups, TrainConfig(epochs=100, batch=batch), 0)
    sizes = functools.partial(Rows.sizes, None, rows)
    packed = TreeRows(groups, lambda _: solution_tree([]), sizes, seq_len, steps)
    found = [shape for step in range(20, 30) for shape, _ in packed.places(steps(step).tolist())]
    text = sum(int(lengths[steps(step)].sum()) for step in range(20, 30))
    assert {*found} <= {*packed.shapes} and len(packed.shapes) <= 8
    assert 1 - text / sum(n * tokens for n, tokens in found) < 0.05
