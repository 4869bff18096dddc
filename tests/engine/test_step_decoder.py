"""Decoding against a full forward pass per token, and against itself in other company."""

import dataclasses
import functools
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.engine import DecodeConfig, Sample, Stats, StepDecoder, StepRequest
from rstar_jax.engine.seats import SeatedLeaf, shared_out
from rstar_jax.errors import UserError
from rstar_jax.kernels import attention_mesh
from rstar_jax.models import Decoder, DecoderConfig, init_random
from rstar_jax.models.linear import Unstacked
from rstar_jax.queues import call
from tests.engine.decode_settings import CONFIG, STOPS, V


@functools.partial(jax.jit, static_argnums=2)
def forward(params: dict[str, jax.Array], tokens: jax.Array, config: DecoderConfig) -> jax.Array:
    return Decoder(config, params)(tokens)


def reference(
    policy: Decoder, request: StepRequest, candidate: int, seed: int, config: DecodeConfig = CONFIG
) -> Sample:
    """One candidate by a forward pass over all of the text for each token, drawn in float64 on the host."""
    key = jax.random.key(seed, impl="threefry2x32")
    for part in (*request.name, candidate):
        key = jax.random.fold_in(key, part)
    text, total = list(request.prefix), 0.0
    for position in range(config.max_step_tokens):
        row = np.zeros((1, config.context), np.int32)
        row[0, : len(text)] = text
        logits = np.asarray(forward(policy.params(), row, policy.config)[0, len(text) - 1], np.float64)
        weights = np.exp((logits - logits.max()) / (request.temperature or 1.0))
        if request.temperature:
            u = float(jax.random.uniform(jax.random.fold_in(key, position)))
            token = int(np.searchsorted(np.cumsum(weights), u * weights.sum(), side="right"))
        else:
            token = int(np.argmax(logits))
        total += float(np.log(weights[token] / weights.sum()))
        text.append(token)
        if token in STOPS or len(text) == config.context:
            break
    return Sample(tuple(text[len(request.prefix) :]), total, STOPS.get(text[-1], "length"))


@pytest.fixture(scope="module")
def decoder(policy: Decoder) -> StepDecoder:
    return StepDecoder(policy, STOPS, CONFIG, seed=4)


def tokens(samples: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[s.tokens for s in row] for row in samples]


def test_equals_decoding_without_a_cache(
    policy: Decoder, decoder: StepDecoder, asked: list[StepRequest]
) -> None:
    found = call(decoder, asked)
    for i, request in enumerate(asked):
        assert len(found[i]) == request.n
        for candidate in (0, request.n - 1):
            expected = reference(policy, request, candidate, seed=4)
            assert found[i][candidate].tokens == expected.tokens
            assert found[i][candidate].finish == expected.finish
            assert found[i][candidate].logprob == pytest.approx(expected.logprob, abs=1e-3)
    finishes = {s.finish for row in found for s in row}
    assert finishes >= {"length", "step"}  # the data shows both ways to end


def test_samples_do_not_depend_on_company(decoder: StepDecoder, asked: list[StepRequest]) -> None:
    together = tokens(call(decoder, asked))
    assert tokens(call(decoder, asked[::-1])[::-1]) == together
    assert [tokens(call(decoder, [request]))[0] for request in asked] == together
    fewer = [dataclasses.replace(request, n=2) for request in asked]
    assert tokens(call(decoder, fewer)) == [row[:2] for row in together]


@pytest.mark.parametrize("change", [{"leaves": 2}, {"rows": 3}, {"chunk": 5}])
def test_samples_do_not_depend_on_the_slots(
    policy: Decoder, decoder: StepDecoder, asked: list[StepRequest], change: dict[str, int]
) -> None:
    other = StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, **change), seed=4)
    assert tokens(call(other, asked[:6])) == tokens(call(decoder, asked[:6]))


def test_a_leaf_alone_sits_in_every_slot(policy: Decoder, asked: list[StepRequest]) -> None:
    """Its candidates then begin together: as many steps as the longest of them has tokens."""
    alone, crowd = (StepDecoder(policy, STOPS, CONFIG, seed=4) for _ in range(2))
    request = dataclasses.replace(asked[0], n=CONFIG.leaves * CONFIG.rows)
    found = call(alone, [request])[0]
    longest = max(len(s.tokens) for s in found)
    assert alone.stats.steps == longest * request.n
    assert alone.stats.busy == sum(len(s.tokens) for s in found)
    others = [dataclasses.replace(r, name=(9, i)) for i, r in enumerate(asked[: CONFIG.leaves])]
    assert tokens(call(crowd, [request, *others]))[0] == [s.tokens for s in found]
    assert len(set(s.tokens for s in found)) > 1


def test_a_chunk_ends_with_a_leaf_though_none_waits_for_its_slot(policy: Decoder) -> None:
    """Its tree waits: what that goes on with is asked for once the leaf is told."""
    steps: list[int] = []
    free = StepDecoder(policy, {}, CONFIG, seed=0, on_progress=lambda stats: steps.append(stats.steps))
    lengths = CONFIG.context - 2, 5  # room for two tokens, and for a whole step
    asked = [StepRequest(np.ones(length, np.int32), CONFIG.rows, 1.0, (length,)) for length in lengths]
    found = call(free, asked)
    assert [{len(s.tokens) for s in samples} for samples in found] == [{2}, {CONFIG.max_step_tokens}]
    assert steps[0] == 2 * CONFIG.leaves * CONFIG.rows < steps[-1] and CONFIG.chunk > 2


def test_leaves_that_were_cancelled_do_not_hold_up_those_that_are_done(policy: Decoder) -> None:
    """Their rows go on until they end; the slots are not free on the device before."""
    steps: list[int] = []

    def on_progress(stats: Stats) -> None:
        steps.append(stats.steps)
        if len(steps) == 1:
            free.cancel(others)

    free = StepDecoder(policy, {}, CONFIG, seed=0, on_progress=on_progress)
    lengths = [5] * (CONFIG.leaves - 1) + [CONFIG.context - CONFIG.chunk - 3]  # room for a chunk and three
    asked = [StepRequest(np.ones(n, np.int32), CONFIG.rows, 1.0, (i,)) for i, n in enumerate(lengths)]
    *others, last = free.submit(asked)
    ((ticket, samples),) = free.poll(block=True)
    assert ticket == last and {len(s.tokens) for s in samples} == {CONFIG.chunk + 3}
    tokens = CONFIG.leaves * CONFIG.rows
    assert steps[:2] == [CONFIG.chunk * tokens, (CONFIG.chunk + 3) * tokens]


@pytest.mark.parametrize(
    ("counts", "slots", "shares"),
    [
        ([8], 4, [2, 2, 2, 2]),
        ([8], 1, [8]),
        ([5, 2], 4, [1, 2, 2, 2]),
        ([2, 1], 4, [2, 1]),  # nothing to share
        ([8, 8, 3], 5, [4, 4, 4, 4, 3]),
    ],
)
def test_free_slots_are_shared_out(counts: list[int], slots: int, shares: list[int]) -> None:
    text = np.zeros(1, np.int32)
    leaves = [SeatedLeaf(i, StepRequest(text, n, 1.0, (i,)), None, i, i) for i, n in enumerate(counts)]
    seats = shared_out(leaves, 2, slots)
    assert [seat.end - seat.first for seat in seats] == shares
    for leaf in leaves:
        mine = [seat for seat in seats if seat.leaf is leaf]
        assert [k for seat in mine for k in range(seat.first, seat.end)] == list(range(leaf.request.n))


def test_seed_name_and_candidate_all_matter(
    policy: Decoder, decoder: StepDecoder, asked: list[StepRequest]
) -> None:
    request = asked[0]
    mine = tokens(call(decoder, [request]))[0]
    assert len(set(mine)) > 1
    assert tokens(call(StepDecoder(policy, STOPS, CONFIG, seed=5), [request]))[0] != mine
    assert tokens(call(decoder, [dataclasses.replace(request, name=(11, 99))]))[0] != mine


def test_logprobs_are_the_same_to_the_bit_in_one_bucket(decoder: StepDecoder) -> None:
    rng = np.random.default_rng(0)
    asked = [StepRequest(rng.integers(V, size=k).astype(np.int32), 3, 1.0, (k,)) for k in range(10, 20)]
    assert call(decoder, asked[::-1])[::-1] == call(decoder, asked)


def test_limits_end_a_step(decoder: StepDecoder, policy: Decoder) -> None:
    free = StepDecoder(policy, {}, CONFIG, seed=0)  # nothing stops it
    near, full, beyond = (
        StepRequest(np.ones(length, np.int32), 2, 1.0, (0,)) for length in (CONFIG.context - 3, 96, 200)
    )
    short = StepRequest(np.ones(5, np.int32), 2, 1.0, (1,))
    found = call(free, [near, full, beyond, short])
    assert [[len(s.tokens) for s in row] for row in found] == [[3, 3], [0, 0], [0, 0], [24, 24]]
    assert {s.finish for row in found for s in row} == {"length"}
    assert found[1][0].logprob == 0


def test_wider_caches_are_made_as_steps_grow(policy: Decoder) -> None:
    config = DecodeConfig(leaves=2, rows=1, max_step_tokens=70, context=200, chunk=16)
    rng = np.random.default_rng(0)
    asked = [StepRequest(rng.integers(V, size=20).astype(np.int32), 1, 0.0, (i,)) for i in range(2)]
    found = call(StepDecoder(policy, {}, config, seed=0), asked)
    for request, row in zip(asked, found, strict=True):
        text = np.concatenate([request.prefix, np.array(row[0].tokens)])
        assert len(row[0].tokens) == 70
        likeliest = np.argmax(forward(policy.params(), text[None], policy.config)[0], axis=-1)
        assert (likeliest[19:-1] == text[20:]).all()


def test_forbidden_tokens_are_never_sampled(policy: Decoder, asked: list[StepRequest]) -> None:
    banned = range(8, V)
    found = call(StepDecoder(policy, STOPS, CONFIG, seed=0, forbidden=banned), asked[:4])
    assert all(token < 8 for row in found for s in row for token in s.tokens)


def test_what_does_not_begin_as_it_must_ends_there(policy: Decoder, asked: list[StepRequest]) -> None:
    """And is otherwise what it was; requests that do not ask for it are as they were."""
    opening = np.full((2, V), -2, np.int8)
    opening[0, 20:], opening[1, 8:40] = 1, -1  # two tokens of some kinds
    plain = call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked)
    decoder = StepDecoder(policy, STOPS, CONFIG, seed=4, opening=opening)
    assert tokens(call(decoder, asked)) == tokens(plain)
    found = call(decoder, [dataclasses.replace(request, opens=True) for request in asked])
    cuts = set()
    for wanted, sample in zip(chain(*plain), chain(*found), strict=True):
        state = at = 0
        while at < len(wanted.tokens) and wanted.tokens[at] not in STOPS and state >= 0:
            state, at = int(opening[state, wanted.tokens[at]]), at + 1
        astray = state == -2
        assert sample.tokens == (wanted.tokens[:at] if astray else wanted.tokens)
        assert (sample.finish, sample.cut) == (("length", "astray") if astray else (wanted.finish, ""))
        cuts.add((astray, at))
    assert cuts >= {(True, 1), (True, 2), (False, 2)}


def test_a_guard_that_is_longer_than_any_step_is_left_out(policy: Decoder, asked: list[StepRequest]) -> None:
    """And one that is not ends what repeats itself, and says so."""
    longest = CONFIG.max_step_tokens
    off = StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, guard=longest), seed=4)
    assert off._rules.table.need is None
    one = StepDecoder(policy, {}, dataclasses.replace(CONFIG, guard=8), seed=4, bias={9: 1e6})
    assert {(s.tokens, s.finish, s.cut) for row in call(one, asked[:4]) for s in row} == {
        ((9,) * 8, "length", "repeats")
    }


def test_nothing_asked(decoder: StepDecoder, asked: list[StepRequest]) -> None:
    assert call(decoder, []) == []
    none = dataclasses.replace(asked[0], n=0)
    mixed = call(decoder, [none, asked[1], none])
    assert mixed[0] == mixed[2] == [] and len(mixed[1]) == asked[1].n


def test_training_between_calls_is_seen(policy: Decoder, asked: list[StepRequest]) -> None:
    model = init_random(policy.config, 1)
    decoder = StepDecoder(model, STOPS, CONFIG, seed=4)
    before = call(decoder, asked[:1])
    model.embed[...] = policy.embed[...]
    for name, param in model.layers.items():
        param[...] = policy.layers[name][...]
    after = call(decoder, asked[:1])
    assert after != before
    assert tokens(after) == tokens(call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked[:1]))


def test_a_second_model_of_the_shape_compiles_nothing(policy: Decoder, asked: list[StepRequest]) -> None:
    call(StepDecoder(policy, STOPS, CONFIG, seed=0), asked[:2])
    seen: list[int] = []
    other = StepDecoder(
        init_random(policy.config, 3), STOPS, CONFIG, seed=1, on_progress=lambda s: seen.append(s.generated)
    )
    found = call(other, asked[:2])
    stats = other.stats
    assert stats.programs == [] and stats.compile_seconds == 0 and stats.seconds > 0
    assert stats.generated == sum(len(s.tokens) for row in found for s in row) == stats.busy == seen[-1]
    assert stats.prefilled == sum(len(request.prefix) - 1 for request in asked[:2])
    assert 0 < stats.occupancy <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": -1}, "n = -1"),
        ({"n": 2**31}, "n = 2147483648"),
        ({"n": 1.5}, "n = 1.5"),
        ({"prefix": np.array([1.5, 2.0])}, "float64"),
        ({"prefix": np.array([[1, 2]])}, r"shape \(1, 2\)"),
        ({"temperature": -0.5}, "temperature -0.5"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"name": (1, -2)}, r"name \(1, -2\)"),
        ({"name": (2**32,)}, "name"),
        ({"prefix": np.zeros(0, np.int32)}, "empty prefix"),
        ({"prefix": np.array([1, V])}, f"token {V}"),
        ({"prefix": np.array([1, -3])}, "token -3"),
    ],
)
def test_bad_requests_are_named(
    decoder: StepDecoder, asked: list[StepRequest], change: dict, message: str
) -> None:
    with pytest.raises(UserError, match=f"request 1: .*{message}"):
        call(decoder, [asked[0], dataclasses.replace(asked[1], **change)])


def test_logits_that_are_no_numbers_end_it_and_leave_nothing_behind(
    policy: Decoder, asked: list[StepRequest]
) -> None:
    model = init_random(policy.config, 1)
    decoder = StepDecoder(model, STOPS, CONFIG, seed=4)
    call(decoder, asked[:2])
    model.embed[...] = jnp.asarray(policy.embed[...]).at[9].set(jnp.nan)
    for name, param in model.layers.items():
        param[...] = policy.layers[name][...]
    with pytest.raises(
        UserError, match=r"leaf \(11, \d+\), candidate \d: the policy's logits after \d+ tokens"
    ):
        call(decoder, asked)
    assert decoder.poll(block=True) == []
    model.embed[...] = policy.embed[...]
    expected = call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked)
    assert tokens(call(decoder, asked)) == tokens(expected)


def test_bad_settings_are_named(policy: Decoder) -> None:
    with pytest.raises(UserError, match=r"stop sequence 0: \(64,\)"):
        StepDecoder(policy, {64: "step"}, CONFIG, seed=0)
    with pytest.raises(UserError, match="bias: nan given for token 3"):
        StepDecoder(policy, STOPS, CONFIG, seed=0, bias={3: float("nan")})
    with pytest.raises(UserError, match=r"decode\.weights: 'int4'"):
        DecodeConfig(weights="int4")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="all 64 tokens"):
        StepDecoder(policy, STOPS, CONFIG, seed=0, forbidden=range(V))
    with pytest.raises(UserError, match=r"decode\.kernels: .yes. given, .auto., .on. or .off."):
        DecodeConfig(kernels="yes")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"decode\.rows: 0"):
        DecodeConfig(rows=0)
    with pytest.raises(UserError, match=r"decode\.top_p: 0"):
        DecodeConfig(top_p=0.0)


def test_layers_unrolled_as_on_a_gpu(
    policy: Decoder, decoder: StepDecoder, asked: list[StepRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = call(decoder, asked)
    for module in ("cache", "decoder"):
        monkeypatch.setattr(f"rstar_jax.models.{module}.UNROLL_UP_TO", 0)
    monkeypatch.setattr(attention_mesh, "platform", lambda mesh: "cuda")
    config = dataclasses.replace(policy.config, max_positions=policy.config.max_positions + 1)
    model = Decoder(config, policy.params())  # of another shape: empty caches are made by compiled programs
    there = StepDecoder(model, STOPS, CONFIG, seed=4)
    found = call(there, asked)
    assert isinstance(there._caches.replicas[0].params["layers.q"], Unstacked)
    assert tokens(found) == tokens(expected)
    for some, others in zip(found, expected, strict=True):
        np.testing.assert_allclose([s.logprob for s in some], [s.logprob for s in others], atol=1e-4)
