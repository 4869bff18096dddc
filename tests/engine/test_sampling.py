"""The sampler against numpy, and against its distribution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.engine import cuts, sampling

V = 70  # no multiple of the block width
draw = jax.jit(sampling.draw, static_argnames=("top_k", "top_p", "min_p"))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def draws(logits: np.ndarray, count: int, temperature: float, **cut: float) -> tuple[np.ndarray, np.ndarray]:
    """`count` draws with evenly spread uniforms: their frequencies are the probabilities, to 1 / count."""
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (count, len(logits)))
    spread = (jnp.arange(count) + 0.5) / count
    tokens, logprobs = draw(rows, spread, jnp.full(count, temperature), **cut)
    return np.asarray(tokens), np.asarray(logprobs)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=V) * 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_frequencies_are_the_softmax(logits: np.ndarray, temperature: float) -> None:
    tokens, logprobs = draws(logits, 20_000, temperature)
    expected = softmax(logits / temperature)
    np.testing.assert_allclose(np.bincount(tokens, minlength=V) / 20_000, expected, atol=2e-4)
    np.testing.assert_allclose(logprobs, np.log(expected)[tokens], atol=1e-4)


def test_named_uniforms_are_uniform_and_draw_the_softmax(logits: np.ndarray) -> None:
    count = 20_000
    names, ones = jnp.arange(count, dtype=jnp.uint32)[:, None], jnp.ones(count, jnp.int32)
    keys = sampling.leaf_keys(sampling.seed_key(0), names, ones)
    u = sampling.uniforms(keys, jnp.zeros(count, jnp.int32), jnp.full(count, 4))
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (count, V))
    found = np.bincount(np.asarray(draw(rows, u, jnp.ones(count))[0]), minlength=V)
    expected = softmax(logits) * count
    chi_square = np.sum((found - expected) ** 2 / expected)
    assert chi_square < V - 1 + 5 * np.sqrt(2 * (V - 1))  # five standard deviations


def test_keys_are_the_folded_name() -> None:
    keys = sampling.leaf_keys(
        sampling.seed_key(9), jnp.array([[4, 2**32 - 1, 0], [4, 0, 0]], jnp.uint32), jnp.array([2, 1])
    )
    key = jax.random.key(9, impl="threefry2x32")
    for part in (4, 2**32 - 1):
        key = jax.random.fold_in(key, np.uint32(part))
    assert (keys[0] == jax.random.key_data(key)).all()
    expected = jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, 6), 13))
    assert sampling.uniforms(keys[:1], jnp.array([6]), jnp.array([13]))[0] == expected
    assert (keys[0] != keys[1]).any()


def test_greedy_takes_the_first_of_the_largest() -> None:
    logits = np.array([0.0, 2.0, -1.0, 2.0])
    tokens, logprobs = draws(logits, 8, 0.0)
    assert (tokens == 1).all()
    np.testing.assert_allclose(logprobs, np.log(softmax(logits))[1], atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, V, 2 * V])
def test_top_k(logits: np.ndarray, k: int) -> None:
    tokens, logprobs = draws(logits, 20_000, 1.3, top_k=k)
    kept = np.argsort(-logits)[:k]
    expected = np.zeros(V)
    expected[kept] = softmax(logits[kept] / 1.3)
    np.testing.assert_allclose(np.bincount(tokens, minlength=V) / 20_000, expected, atol=2e-4)
    np.testing.assert_allclose(logprobs, np.log(softmax(logits / 1.3))[tokens], atol=1e-4)


@pytest.mark.parametrize(("k", "p"), [(0, 0.05), (0, 0.8), (10, 0.8)])
def test_top_p(logits: np.ndarray, k: int, p: float) -> None:
    tokens, _ = draws(logits, 20_000, 1.0, top_k=k, top_p=p)
    order = np.argsort(-logits)[: k or V]
    ordered = softmax(logits[order])
    kept = order[: np.searchsorted(np.cumsum(ordered), p) + 1]  # the fewest that reach p
    expected = np.zeros(V)
    expected[kept] = softmax(logits[kept])
    np.testing.assert_allclose(np.bincount(tokens, minlength=V) / 20_000, expected, atol=2e-4)


def test_a_forbidden_token_is_never_drawn() -> None:
    logits = np.zeros(V)
    logits[[0, 31, 32, 33, V - 1]] = -np.inf  # at the edges of blocks, where rounding could fall
    tokens, logprobs = draws(logits, 4096, 1.0)
    assert set(tokens) == set(np.flatnonzero(np.isfinite(logits)))
    for u in (0.0, np.float32(1 - 2**-24), np.float32(1 - 2**-23)):
        row = jnp.asarray(logits, jnp.float32)[None]
        assert np.isfinite(logits[int(draw(row, jnp.array([u]), jnp.ones(1))[0][0])])
    assert np.isfinite(logprobs).all()


least_kept = jax.jit(cuts.least_kept, static_argnames=("top_k", "top_p", "min_p", "select"))


def kept(logits: np.ndarray, **cut: float) -> np.ndarray:
    """Which tokens of each row [B, V] are kept, whichever way the cut is found."""
    scaled = jnp.asarray(logits - logits.max(axis=-1, keepdims=True), jnp.float32)
    options: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0} | cut
    bisected, selected = (
        np.asarray(scaled >= least_kept(scaled, select=select, **options)[:, None])
        for select in (False, True)
    )
    assert (bisected == selected).all()
    return bisected


@pytest.mark.torch
@pytest.mark.parametrize(
    "cut",
    [
        {"top_k": 1},
        {"top_k": 20},
        {"top_p": 0.01},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"top_k": 9, "top_p": 0.7},
        {"top_k": 30, "top_p": 0.95, "min_p": 0.2},
    ],
)
def test_the_kept_are_those_of_transformers(cut: dict[str, float]) -> None:
    import torch
    from transformers.generation import logits_process as theirs

    warpers = {
        "top_k": theirs.TopKLogitsWarper,
        "top_p": theirs.TopPLogitsWarper,
        "min_p": theirs.MinPLogitsWarper,
    }
    chain = theirs.LogitsProcessorList([warpers[name](value) for name, value in cut.items()])
    rng = np.random.default_rng(3)
    flat, steep = (rng.normal(size=(16, 333)).astype(np.float32) * spread for spread in (0.5, 6.0))
    tied = np.round(np.concatenate([flat, steep]) * 2) / 2
    logits = np.concatenate([flat, steep, tied])
    expected = np.isfinite(chain(None, torch.tensor(logits.copy())).numpy())
    found = kept(logits, **cut)
    assert (found[:32] == expected[:32]).all()
    # Of those tied with the last one that top-p keeps theirs takes some, by their place; we take all.
    assert (found == (logits >= np.where(expected, logits, np.inf).min(axis=-1, keepdims=True))).all()


@pytest.mark.parametrize("cut", [{"min_p": 0.2}, {"top_k": 12, "top_p": 0.9, "min_p": 0.1}])
def test_frequencies_of_a_cut_distribution(logits: np.ndarray, cut: dict[str, float]) -> None:
    tokens, logprobs = draws(logits, 20_000, 1.5, **cut)
    expected = softmax(logits / 1.5) * kept((logits / 1.5)[None], **cut)[0]
    np.testing.assert_allclose(
        np.bincount(tokens, minlength=V) / 20_000, expected / expected.sum(), atol=2e-4
    )
    np.testing.assert_allclose(logprobs, np.log(softmax(logits / 1.5))[tokens], atol=1e-4)


def test_a_bias_is_added_and_forbids(logits: np.ndarray) -> None:
    bias = np.random.default_rng(5).normal(size=V).astype(np.float32)
    bias[np.argmax(logits)] = -np.inf
    rows, u = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (999, V)), (jnp.arange(999) + 0.5) / 999
    heat = jnp.full(999, 1.2)
    biased = draw(rows, u, heat, top_p=0.9, bias_V=jnp.asarray(bias))
    added = draw(rows + bias[None], u, heat, top_p=0.9)
    assert (biased[0] == added[0]).all() and (biased[1] == added[1]).all()
    assert np.argmax(logits) not in set(np.asarray(biased[0]).tolist())


def test_half_precision_logits_are_read_in_single(logits: np.ndarray) -> None:
    half = jnp.broadcast_to(jnp.asarray(logits, jnp.bfloat16), (500, V))
    u = (jnp.arange(500) + 0.5) / 500
    for one, other in zip(
        draw(half, u, jnp.ones(500)), draw(half.astype(jnp.float32), u, jnp.ones(500)), strict=True
    ):
        assert (one == other).all()


@pytest.mark.parametrize("V", [70, 9000])  # 9000: rows are read one by one
@pytest.mark.parametrize("cut", [{}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 7, "top_p": 0.5, "min_p": 0.1}])
def test_a_row_that_is_no_distribution_gives_token_0_and_nan(V: int, cut: dict[str, float]) -> None:
    good = np.random.default_rng(1).normal(size=(8, V)).astype(np.float32)
    bad = good.copy()
    bad[1, V - 1] = np.nan
    bad[2] = -np.inf
    bad[3, 5] = np.inf
    bad[4] = np.nan
    u, heat = jnp.linspace(0, 0.999, 8), jnp.array([1, 1, 1, 1, 0, 0, 1, 1e-30], jnp.float32)
    tokens, logprobs = map(np.asarray, draw(jnp.asarray(bad), u, heat, **cut))
    assert (tokens[1:5] == 0).all() and np.isnan(logprobs[1:5]).all()
    others = [0, 5, 6, 7]  # untouched by their neighbours
    alone = [np.asarray(a) for a in draw(jnp.asarray(good), u, heat, **cut)]
    assert (tokens[others] == alone[0][others]).all() and (logprobs[others] == alone[1][others]).all()
    assert tokens[5] == np.argmax(good[5]) and tokens[7] == np.argmax(good[7])


@pytest.mark.parametrize("V", [70, 9001])
@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.9}])
def test_rows_do_not_depend_on_their_neighbours(V: int, cut: dict[str, float]) -> None:
    """Also where some rows of a batch need the long way to their top-p and some do not."""
    rng = np.random.default_rng(2)
    logits = jnp.asarray(rng.normal(size=(6, V)) * np.array([[8], [0.1], [3], [8], [0.1], [1]]), jnp.float32)
    u, heat = jnp.asarray(rng.random(6), jnp.float32), jnp.array([1, 1, 0.7, 0, 2, 1], jnp.float32)
    together = draw(logits, u, heat, **cut)
    order = np.array([4, 2, 0, 5])
    other = draw(logits[order], u[order], heat[order], **cut)
    for a, b in zip(together, other, strict=True):
        assert (a[order] == b).all()


def test_a_large_vocabulary_against_numpy() -> None:
    V = 152_064
    logits = np.random.default_rng(4).normal(size=(2, V)).astype(np.float32) * 3
    u, heat = np.array([0.3, 0.9], np.float32), np.array([1.0, 0.8], np.float32)
    tokens, logprobs = draw(jnp.asarray(logits), jnp.asarray(u), jnp.asarray(heat), top_k=300, top_p=0.9)
    for row in range(2):
        p = softmax(logits[row].astype(np.float64) / heat[row])
        order = np.argsort(-p)[:300]
        inside = order[: np.searchsorted(np.cumsum(p[order]), 0.9 * p[order].sum()) + 1]
        weights = np.where(np.isin(np.arange(V), inside), p, 0)
        assert tokens[row] == np.searchsorted(np.cumsum(weights), u[row] * weights.sum(), side="right")
        np.testing.assert_allclose(logprobs[row], np.log(p[tokens[row]]), atol=1e-4)


@pytest.mark.parametrize("softcap", [False, True])
@pytest.mark.parametrize(("vocabulary", "top_k"), [(640, 0), (640, 40), (9000, 0), (9000, 40)])
def test_greedy_is_the_largest_of_logits_that_end_in_a_factor(
    vocabulary: int, top_k: int, softcap: bool
) -> None:
    """As int8's scales and a soft cap make them. Compiled as outside of tests: it is optimisation that joins
    the factor and what follows in one rounding."""
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.integers(-127, 128, (vocabulary, 96)), jnp.int8)
    scales = jnp.asarray(rng.uniform(0.01, 0.02, vocabulary), jnp.float32)
    x = jnp.asarray(rng.standard_normal((16, 96)), jnp.float32)

    def logits(x: jax.Array) -> jax.Array:
        made = (x @ weights.astype(jnp.float32).T) * scales[None]
        return 30.0 * jnp.tanh(made / 30.0) if softcap else made

    def greedy(x: jax.Array) -> jax.Array:
        zeros = jnp.zeros(len(x))
        return sampling.draw(logits(x), zeros, zeros, top_k=top_k, bias_V=jnp.zeros(vocabulary))[0]

    outside = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    largest, found = (jax.jit(f).lower(x).compile(outside)(x) for f in (logits, greedy))
    np.testing.assert_array_equal(found, np.argmax(largest, axis=-1))
