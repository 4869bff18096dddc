"""Scoring new tokens only equals reading the whole text."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from rstar_jax.engine import ScoreRequest, StepScorer
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, DecoderConfig, RewardModel
from rstar_jax.queues import call
from tests.engine.decode_settings import CONFIG, V


def reread(reward: RewardModel, text: np.ndarray) -> float:
    row = np.zeros((1, CONFIG.context), np.int32)
    row[0, : len(text)] = text
    return float(
        raw(reward.decoder.params(), reward.score[...], row, reward.decoder.config)[0, len(text) - 1]
    )


@functools.partial(jax.jit, static_argnums=3)
def raw(
    params: dict[str, jax.Array], score: jax.Array, tokens: jax.Array, config: DecoderConfig
) -> jax.Array:
    return RewardModel(Decoder(config, params), score).raw(tokens)


@pytest.fixture
def wanted() -> list[ScoreRequest]:
    """Ragged in prefixes, in numbers of suffixes (none, and more than share a row) and in their lengths."""
    rng = np.random.default_rng(0)
    return [
        ScoreRequest(
            rng.integers(V, size=prefix).astype(np.int32),
            tuple(rng.integers(V, size=k).astype(np.int32) for k in rng.integers(1, 24, size=n)),
        )
        for prefix, n in zip([1, 5, 64, 65, 70, 30, 12], [3, 0, 9, 4, 1, 5, 2], strict=True)
    ]


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_equals_reading_the_whole_text(reward: RewardModel, wanted: list[ScoreRequest], scale: float) -> None:
    found = call(StepScorer(reward, CONFIG, scale=scale), wanted)
    for request, values in zip(wanted, found, strict=True):
        assert values.shape == (len(request.suffixes),) and values.dtype == np.float32
        for suffix, value in zip(request.suffixes, values, strict=True):
            raw = reread(reward, np.concatenate([request.prefix, suffix]))
            assert value == pytest.approx(np.tanh(raw / scale), abs=1e-5)


def test_values_do_not_depend_on_company(reward: RewardModel, wanted: list[ScoreRequest]) -> None:
    scorer = StepScorer(reward, CONFIG)
    together = call(scorer, wanted)
    backwards = call(scorer, wanted[::-1])[::-1]
    for request, one, other in zip(wanted, together, backwards, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_allclose(one, call(scorer, [request])[0], atol=1e-6)


def test_other_problems_change_no_bit_of_a_value(reward: RewardModel, wanted: list[ScoreRequest]) -> None:
    named = [dataclasses.replace(request, problem=i) for i, request in enumerate(wanted)]
    together = call(StepScorer(reward, CONFIG), named)
    for request, values in zip(named, together, strict=True):
        np.testing.assert_array_equal(call(StepScorer(reward, CONFIG), [request])[0], values)


def test_an_empty_suffix_has_the_value_of_the_prefix(reward: RewardModel) -> None:
    prefix, suffix = np.arange(10, dtype=np.int32), np.array([4, 5], np.int32)
    empty = np.zeros(0, np.int32)
    first, second = call(StepScorer(reward, CONFIG), [ScoreRequest(prefix, (empty, suffix))])[0]
    assert first == pytest.approx(np.tanh(reread(reward, prefix)), abs=1e-5)
    assert second == pytest.approx(np.tanh(reread(reward, np.concatenate([prefix, suffix]))), abs=1e-5)


def test_a_text_beyond_the_context_has_the_least_value(reward: RewardModel) -> None:
    prefix = np.ones(CONFIG.context - 2, np.int32)
    beyond = np.ones(CONFIG.context + 5, np.int32)
    suffixes = np.array([1, 2], np.int32), np.array([1, 2, 3], np.int32)
    found = call(StepScorer(reward, CONFIG), [ScoreRequest(prefix, suffixes), ScoreRequest(beyond, suffixes)])
    assert found[0][0] > -1 and found[0][1] == -1
    assert found[1].tolist() == [-1, -1]


def test_counts_what_was_asked(reward: RewardModel, wanted: list[ScoreRequest]) -> None:
    scorer = StepScorer(reward, CONFIG)
    assert call(scorer, []) == []
    call(scorer, wanted)
    assert scorer.stats.scored == sum(len(s) for request in wanted for s in request.suffixes)
    assert scorer.stats.prefilled == sum(len(r.prefix) for r in wanted if r.suffixes)
    assert 0 < scorer.stats.occupancy <= 1


def test_bad_requests_are_named(reward: RewardModel) -> None:
    scorer, one = StepScorer(reward, CONFIG), np.ones(1, np.int32)
    with pytest.raises(UserError, match="request 0: an empty prefix"):
        call(scorer, [ScoreRequest(np.zeros(0, np.int32), (one,))])
    with pytest.raises(UserError, match=f"request 0, suffix 1: token {V}"):
        call(scorer, [ScoreRequest(one, (one, one * V))])
