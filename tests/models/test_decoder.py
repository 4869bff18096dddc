"""The decoder's own promises: what may see what, and that all ways to run a text give the same states."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rstar_jax.models import Decoder, Rope, cache, init_random, layers, resize_vocab, rope
from rstar_jax.models.cache import lay_out
from rstar_jax.models.config import Remat
from rstar_jax.models.decoder import REMAT
from tests.models import zoo

B, N, P, S = 3, 2, 5, 4
LENGTH = np.array([5, 3, 0], np.int32)  # a full, a part-filled and an empty prefix


forward = nnx.jit(lambda model, *args: model(*args))


def seen_tokens(model: Decoder, tokens: jax.Array, at: int, **kwargs: Any) -> np.ndarray:
    """Which tokens the logits at one place depend on, by the gradient of the (untied) embedding's rows."""

    def loss(model: Decoder) -> jax.Array:
        return jnp.sum(jnp.square(model(tokens, **kwargs)[0, at]))

    return np.abs(nnx.jit(nnx.grad(loss))(model).embed[...]).max(axis=1)[np.asarray(tokens[0])] > 0


def test_a_token_sees_itself_and_what_stands_before(tiny: Decoder) -> None:
    assert seen_tokens(tiny, jnp.arange(8)[None], 4).tolist() == [True] * 5 + [False] * 3


def test_a_token_sees_its_own_segment_only(tiny: Decoder) -> None:
    segments = jnp.array([[1, 1, 1, 2, 2, 2, 0, 0]])
    seen = seen_tokens(tiny, jnp.arange(8)[None], 4, segment_ids=segments)
    assert seen.tolist() == [False] * 3 + [True] * 2 + [False] * 3


def test_rows_do_not_influence_each_other(tiny: Decoder) -> None:
    tokens = jnp.asarray(np.random.default_rng(0).integers(64, size=(3, 7)))
    together, alone = forward(tiny, tokens), forward(tiny, tokens[1:2])
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-5, atol=1e-5)


LAYOUTS = {f"{layers} layers": layers for layers in (1, 2, 5)}  # one cache, a cache per layer, a scan
FAMILIES = ("mistral", "gemma2", "gemma3", "deepseek-v2")


@pytest.mark.parametrize("name", [*LAYOUTS, *FAMILIES])
def test_prefill_and_extend_equal_the_whole_text(tiny: Decoder, name: str) -> None:
    if name in LAYOUTS:
        c = dataclasses.replace(tiny.config, layers=LAYOUTS[name])
    else:
        c = zoo.config(name)
        c = dataclasses.replace(c, window=c.window and 3)  # less than the prefix, and than the suffix
    model = init_random(c, seed=1)
    tokens = np.random.default_rng(0).integers(64, size=(B, N, P + S)).astype(np.int32)
    tokens[:, :, :P] = tokens[:, :1, :P]
    own = tokens[:, :, P:]
    states, cache = nnx.jit(lambda m, *args: m.prefill(*args))(model, tokens[:, 0, :P], LENGTH)
    extend = nnx.jit(lambda model, *args: model.extend(*args))
    prepared = nnx.jit(lambda m, cache, *args: m.share(lay_out(cache), *args, S))(model, cache, LENGTH)

    def run(T: int, start_shape: tuple[int, ...], prefix: Any) -> np.ndarray:
        suffix, found = model.empty_suffix(B, N, S), []
        for at in range(0, S, T):
            start = jnp.full(start_shape, at, jnp.int32)
            x, suffix, _ = extend(model, own[:, :, at : at + T], start, prefix, LENGTH, suffix)
            found.append(x)
        return np.concatenate(found, axis=2)

    ways = [run(S, (), cache), run(1, (B,), prepared)]  # test_suffix_starts.py has the other starts
    hidden = nnx.jit(lambda m, *args: m.hidden(*args))
    padded, segments = np.zeros((2, B * N, P + S), np.int32)
    for row, (b, n) in enumerate(np.ndindex(B, N)):
        whole = np.concatenate([tokens[b, n, : LENGTH[b]], own[b, n]])
        padded[row, : len(whole)], segments[row, : len(whole)] = whole, 1
    wanted = np.asarray(hidden(model, padded, None, segments)).reshape(B, N, P + S, -1)
    for b, n in np.ndindex(B, N):
        end = LENGTH[b] + S
        np.testing.assert_allclose(states[b, : LENGTH[b]], wanted[b, n, : LENGTH[b]], rtol=1e-4, atol=1e-5)
        for way in ways:
            np.testing.assert_allclose(way[b, n], wanted[b, n, LENGTH[b] : end], rtol=1e-4, atol=1e-5)


def test_a_text_beyond_the_short_factors_has_the_long_ones(tiny: Decoder) -> None:
    """By row, whatever stands beside it; and a leaf whose prefix fills the range of the short ones, too."""
    rope = dataclasses.replace(
        zoo.config("phi3.5-short").rope,
        short_factor=(1.0, 1.0),
        long_factor=(2.0, 7.0),
        original_max_position_embeddings=6,
    )
    long_only = dataclasses.replace(rope, short_factor=rope.long_factor)
    model, long, short = (
        init_random(dataclasses.replace(tiny.config, rope=r, layers=1), seed=0)
        for r in (rope, long_only, dataclasses.replace(rope, long_factor=rope.short_factor))
    )
    tokens = jnp.asarray(np.random.default_rng(0).integers(64, size=(2, 8)))
    segments = jnp.asarray([[1] * 6 + [0] * 2, [1] * 8])
    found, if_long, if_short = (forward(m, tokens, None, segments) for m in (model, long, short))
    np.testing.assert_allclose(found[0, :6], if_short[0, :6], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], if_long[1], rtol=1e-5, atol=1e-6)
    assert jnp.abs(if_long - if_short)[:, 1:6].max() > 0.01
    length = jnp.array([5, 6])

    @nnx.jit
    def after(model: Decoder) -> jax.Array:
        _, cache = model.prefill(tokens[:, :6], length)
        suffix = model.empty_suffix(2, 1, 2)
        return model.extend(tokens[:, None, 6:], jnp.int32(0), cache, length, suffix)[0]

    found = after(model)
    np.testing.assert_allclose(found[0], after(short)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], after(long)[1], rtol=1e-5, atol=1e-6)


def test_many_layers_in_a_scan_equal_few_unrolled(monkeypatch: pytest.MonkeyPatch, tiny: Decoder) -> None:
    tokens = jnp.arange(10)[None]
    unrolled = forward(tiny, tokens)
    scan(monkeypatch)
    assert "scan" in str(jax.make_jaxpr(tiny)(tokens))
    np.testing.assert_allclose(jax.jit(lambda t: tiny(t))(tokens), unrolled, rtol=1e-5, atol=1e-6)


def scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the layers."""
    monkeypatch.setattr("rstar_jax.models.decoder.UNROLL_UP_TO", 0)
    monkeypatch.setattr("rstar_jax.models.cache.UNROLL_TEXTS_UP_TO", {"cpu": 0})


def test_on_a_cpu_deep_decoders_run_unrolled_and_on_a_tpu_in_a_scan(tiny: Decoder) -> None:
    deep = init_random(dataclasses.replace(tiny.config, layers=cache.UNROLL_UP_TO + 1), seed=0)
    assert "scan" not in str(jax.make_jaxpr(deep.hidden)(jnp.arange(4)[None]))
    again = functools.partial(deep.hidden, remat="full")  # unrolled, it would hold four times as much
    assert "scan" in str(jax.make_jaxpr(again)(jnp.arange(4)[None]))
    assert not cache.texts_unrolled(cache.UNROLL_UP_TO + 1, "tpu")


@pytest.mark.parametrize("given", [False, True])
def test_on_a_cpu_angles_are_computed_once_for_all_layers(tiny: Decoder, given: bool) -> None:
    positions = [jnp.arange(8)[None] + 3] if given else []
    compiled = jax.jit(lambda tokens, *more: tiny(tokens, *more)).lower(jnp.arange(8)[None], *positions)
    text = compiled.compile().as_text()  # a branch each way
    assert tiny.config.layers > 1 and text.count(" conditional(") == 1 and text.count(" cosine(") <= 2


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("first", [-2.0, np.nan])
def test_rotary_tables_are_right_wherever_the_first_position_is(first: float, mapped: bool) -> None:
    positions = jnp.array([[first, 0, 1], [0, 1, 2]])
    tables = functools.partial(rope.tables, Rope(), dim=4, max_positions=8)
    angles = np.asarray(positions)[..., None] * np.array([1, 0.01])
    found = jax.jit(jax.vmap(tables) if mapped else tables)(positions)
    for table, exact in zip(found, (np.cos(angles), np.sin(angles)), strict=True):
        np.testing.assert_allclose(table, exact, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_norm_of_a_single_row_has_the_gradients_of_the_formula(tiny: Decoder, rows: int) -> None:
    x, w = jax.random.normal(jax.random.key(0), (rows, 5, 8)), jnp.linspace(0.5, 2, 8)

    def formula(x: jax.Array, w: jax.Array) -> jax.Array:
        return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + tiny.config.norm_eps) * w[None, None]

    def loss(norm: Any) -> Any:
        return jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.sin(norm(x, w))), argnums=(0, 1)))(x, w)

    ours = functools.partial(layers.rms_norm, dataclasses.replace(tiny.config, norm_offset=False))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), loss(ours), loss(formula)
    )


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("name", ["gemma2-scanned", "deepseek-v2-lite"])
def test_remat_changes_no_gradient_but_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, name: str, scanned: bool
) -> None:
    """In unrolled layers and in a scan; "dots" keeps more than "full" and less than "none"."""
    if scanned:
        scan(monkeypatch)
    model, tokens = init_random(zoo.config(name), seed=0), jnp.arange(12).reshape(2, 6)

    def loss(params: Any, remat: Remat) -> jax.Array:
        return jnp.sum(jnp.square(nnx.merge(graph, params).hidden(tokens, remat=remat)))

    graph, params = nnx.split(model)
    found = {r: jax.jit(jax.grad(functools.partial(loss, remat=r)))(params) for r in REMAT}
    for other in ("dots", "full"):
        for a, b in zip(jax.tree.leaves(found["none"]), jax.tree.leaves(found[other]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, float(jnp.abs(a).max())))
    kept = {
        r: sum(x.size for x in jax.tree.leaves(jax.vjp(functools.partial(loss, remat=r), params)[1]))
        for r in REMAT
    }
    assert kept["full"] < kept["dots"] < kept["none"]


def test_bfloat16_stays_near_float32(tiny: Decoder) -> None:
    half = Decoder(tiny.config, tiny.params(), compute_dtype=jnp.bfloat16)
    tokens = jnp.asarray(np.random.default_rng(0).integers(64, size=(2, 12)))
    exact, rough = forward(tiny, tokens), forward(half, tokens)
    assert rough.dtype == jnp.float32
    assert 0 < jnp.abs(rough - exact).max() < 0.05 * jnp.abs(exact).max()


def test_new_vocabulary_rows_start_at_the_mean(tiny: Decoder) -> None:
    grown = resize_vocab(tiny, 67)
    for name in ("embed", "head"):
        table, new = np.asarray(tiny.params()[name]), np.asarray(grown.params()[name])
        np.testing.assert_array_equal(new[:64], table)
        np.testing.assert_allclose(new[64:], np.tile(table.mean(axis=0), (3, 1)), rtol=1e-5, atol=1e-7)
    tokens = jnp.arange(9)[None]
    np.testing.assert_allclose(forward(grown, tokens)[..., :64], forward(tiny, tokens), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(resize_vocab(grown, 64).params()["embed"], tiny.params()["embed"])


def test_wrong_parameters_are_refused(tiny: Decoder) -> None:
    params = tiny.params()
    with pytest.raises(ValueError, match="head"):
        Decoder(tiny.config, {k: v for k, v in params.items() if k != "head"})
    with pytest.raises(ValueError, match="norm"):
        Decoder(tiny.config, params | {"norm": jnp.ones(3)})
