"""The catalogue: what it lists is what the engine calls, and is made without weights."""

import dataclasses
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax import compilations
from rstar_jax.compilations import DeviceProgram, abstract
from rstar_jax.engine import DecodeConfig, ScoreRequest, StepDecoder, StepRequest, StepScorer
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.engine.sizes import Sizes
from rstar_jax.models import Decoder, DecoderConfig, from_policy, init_random
from rstar_jax.queues import call
from rstar_jax.transforms.quantize import to_int8
from tests.engine.decode_settings import STOPS, V

ONE_LAYER = DecoderConfig(vocab_size=V, width=32, layers=1, heads=4, kv_heads=2, head_dim=8, mlp=48)
# Sizes of its own, that no other test has compiled. Prefixes take 64 columns and 128, candidates 64 and 66;
# where all begin together more than 16 pages are copied, and the longest two of the requests wait.
CONFIG = DecodeConfig(leaves=9, rows=2, max_step_tokens=66, context=80, chunk=22, page_size=8)


def search(decoder: StepDecoder, scorer: StepScorer, asked: list[StepRequest]) -> None:
    """Go two steps deep from each request, an interpreter's few tokens behind each step."""
    for depth in range(2):
        found, following = call(decoder, asked), []
        for request, samples in zip(asked, found, strict=True):
            steps = tuple(np.array(s.tokens, np.int32) for s in samples if s.finish != "length")
            call(scorer, [ScoreRequest(request.prefix, steps, request.problem)])
            if steps:
                text, name = np.concatenate([request.prefix, steps[0], [1, 2, 3]]), (*request.name, depth)
                following.append(dataclasses.replace(request, prefix=text, name=name))
        asked = following


def test_what_is_compiled_ahead_is_what_a_search_calls(
    asked: list[StepRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = init_random(ONE_LAYER, 0)
    policy.embed[...] = policy.embed[...] * 12
    # Some as Orbax restores weights, some as a training leaves them: to JAX two sets of programs.
    policy.embed[...] = jax.device_put(policy.embed[...], jax.devices()[0])
    decoder = StepDecoder(policy, STOPS, CONFIG, seed=3)
    scorer = StepScorer(from_policy(policy), CONFIG)
    decoder.load(), scorer.load()
    listed = {*decoder._caches.replicas[0].catalogue.decoding(1, [5])}
    listed |= {*scorer._caches.replicas[0].catalogue.scoring(1)}
    before = compilations.counts()
    compilations.together([*decoder.programs(candidates=[5]), *scorer.programs()], threads=3)
    made = compilations.counts().since(before)
    assert made.programs + made.cached >= len(listed)
    ahead = [*decoder.stats.programs, *scorer.stats.programs]
    run, called = DeviceProgram.__call__, list[DeviceProgram]()

    def watched(self: DeviceProgram, *arguments: Any) -> Any:
        assert jax.tree.flatten(abstract(arguments)) == jax.tree.flatten(self.arguments), self
        called.append(self)
        return run(self, *arguments)

    monkeypatch.setattr(DeviceProgram, "__call__", watched)
    before = compilations.counts()
    asked = sorted(asked, key=lambda request: len(request.prefix))
    search(decoder, scorer, [dataclasses.replace(r, problem=i) for i, r in enumerate(asked)])
    after = compilations.counts().since(before)
    assert {*called} <= listed
    assert {p.name for p in called} == {p.name for p in listed}, "the search is too small to tell"
    assert (after.programs, after.cached) == (0, 0)
    assert [*decoder.stats.programs, *scorer.stats.programs] == ahead
    jax.jit(lambda x: x * 3 + 1)(np.ones(11))
    made = compilations.counts().since(before)
    assert made.programs + made.cached == 1  # or else nothing was counted


@pytest.mark.parametrize("shortest", [1, 70, 300])
@pytest.mark.parametrize("candidates", [[1], [1, 5], [0]])
def test_what_goes_through_the_layers_is_counted_without_a_catalogue(
    shortest: int, candidates: list[int]
) -> None:
    for config in (CONFIG, DecodeConfig(leaves=5, halves=2, context=500, max_step_tokens=200)):
        rows = Catalogue(EngineModel(ONE_LAYER, jnp.dtype(jnp.float32)), config)
        through = {"read", "read on", "decode", "score"}
        policy = sum(row.name in through for row in rows.decoding(shortest, candidates))
        ppm = sum(row.name in through for row in rows.scoring(shortest))
        assert Sizes(config).through_layers(shortest, candidates, scores=False) == policy
        assert Sizes(config).through_layers(shortest, candidates, scores=True) == policy + ppm


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Threads in which programs are compiled from now on, by name, on a machine with a second core."""
    found = dict[str, list[int]]()
    monkeypatch.setattr(compilations, "_cores", lambda: 2)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **about: (
            found.setdefault(about["fun_name"], []).append(threading.get_ident())
            if "backend_compile" in event
            else None
        )
    )
    return found


def test_what_the_first_step_needs_is_compiled_beside_what_is_read(
    asked: list[StepRequest], compiled: dict[str, list[int]]
) -> None:
    config = dataclasses.replace(CONFIG, leaves=2, rows=1, max_step_tokens=8, chunk=8)
    model = init_random(dataclasses.replace(ONE_LAYER, mlp=40), 0)  # no other test has compiled for it
    call(StepDecoder(model, STOPS, config, seed=3), asked[2:3])
    here = threading.get_ident()
    assert compiled["jit(read)"] == [here] and len(compiled["jit(advance)"]) == 1
    assert here not in compiled["jit(advance)"] + compiled["jit(admit)"] + compiled["jit(empty)"]
    assert not compilations._SOON


def test_what_scores_is_compiled_beside_what_is_read(compiled: dict[str, list[int]]) -> None:
    model = from_policy(init_random(dataclasses.replace(ONE_LAYER, mlp=24), 0))
    suffixes = tuple(np.full(length, 3, np.int32) for length in (1, 2, 40))  # of two widths
    call(StepScorer(model, CONFIG), [ScoreRequest(np.arange(5, dtype=np.int32), suffixes)])
    here = threading.get_ident()
    assert compiled["jit(read)"] == [here]
    assert len(compiled["jit(values)"]) == 2 and here not in compiled["jit(values)"]
    assert not compilations._SOON


@pytest.mark.parametrize("weights", ["full", "int8"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("layers", [2, 13])
def test_it_needs_no_weights(weights: Any, dtype: Any, layers: int) -> None:
    c = DecoderConfig(
        vocab_size=V, width=32, layers=layers, heads=4, kv_heads=2, head_dim=8, mlp=48, tied=layers == 2
    )
    model, config = init_random(c, 0, dtype=dtype), dataclasses.replace(CONFIG, weights=weights)
    if weights == "int8":
        to_int8(model)
    decoder = StepDecoder(model, {}, config, seed=0)
    decoder.load()
    real = decoder._caches.replicas[0].catalogue
    rules = decoder._rules.table, decoder._rules.bias
    made = Catalogue(EngineModel(c, jnp.dtype(dtype)), config, real.pages, None, *rules)
    assert made.decoding(1, ()) == real.decoding(1, ())
    assert len({*made.decoding(1, ())}) == len(made.decoding(1, ()))


def test_a_reward_models_head_is_a_parameter(policy: Decoder) -> None:
    reward = from_policy(policy)
    scorer = StepScorer(reward, CONFIG)
    scorer.load()
    real = scorer._caches.replicas[0].catalogue
    shape = EngineModel.of(reward.decoder)
    params = shape.abstract_params(abstract(reward.params()))
    assert Catalogue(shape, CONFIG, real.pages, params).scoring(1) == real.scoring(1)
