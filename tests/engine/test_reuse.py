"""What was read once is not read again, and gives what reading it anew gives."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from rstar_jax.engine import DecodeConfig, ScoreRequest, StepDecoder, StepRequest, StepScorer
from rstar_jax.engine.pages import PageTree
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, RewardModel
from rstar_jax.queues import call
from tests.engine.decode_settings import CONFIG, STOPS, V

LONG = dataclasses.replace(CONFIG, context=160, page_size=8)
TOOL = [9, 11, 13]  # what an interpreter puts behind a step


def grow(
    decoder: StepDecoder, config: DecodeConfig, depth: int, *, handles: bool = False
) -> list[list[tuple[int, ...]]]:
    """A search of three problems, which goes on from the first and last live candidate of each leaf; by
    their handles, or by their texts alone."""
    rng = np.random.default_rng(0)
    leaves = [(p, rng.integers(V, size=int(n)).tolist(), None) for p, n in enumerate([30, 7, 21])]
    found = []
    for level in range(depth):
        asked = [
            StepRequest(np.array(text, np.int32), 3, 1.0, (p, level, i), problem=p, after=handle)
            for i, (p, text, handle) in enumerate(leaves)
        ]
        answers = call(decoder, asked)
        found += [[s.tokens for s in row] for row in answers]
        following = []
        for (p, text, _), row in zip(leaves, answers, strict=True):
            alive = [s for s in row if s.finish != "length"]
            assert not any(s.handle for s in row if s.finish == "length")
            for sample in alive[:1] + alive[2:]:
                tool = TOOL if sample.finish == "code" else []
                handle = sample.handle if handles else None
                following.append((p, [*text, *sample.tokens, *tool], handle))
        leaves = [leaf for leaf in following if len(leaf[1]) < config.context - 30][:6]
    return found


def test_a_search_reads_every_token_once(policy: Decoder) -> None:
    decoder = StepDecoder(policy, STOPS, LONG, seed=3)
    reused = grow(decoder, LONG, 4)
    assert any(len(row) for row in reused[3:])  # it went on below the roots
    stats = decoder.stats
    tools = stats.prefilled - (29 + 6 + 20)  # the prompts without their last token
    assert 0 <= tools <= 4 * 6 * (len(TOOL) + 1) and stats.reused > 100 and stats.reread == 0
    # Anew for every request: the same search.
    anew = StepDecoder(policy, STOPS, LONG, seed=3)
    keys = itertools.count()
    anew._caches.replicas[0].key = lambda prefix: next(keys)  # nothing is found again
    assert grow(anew, LONG, 4) == reused
    assert anew.stats.reused == 0 and anew.stats.prefilled > 2 * stats.prefilled


def test_a_step_is_gone_on_from_where_its_handle_says(policy: Decoder) -> None:
    """The same steps and the same counts as when its text is looked for."""
    by_text, by_handle = (StepDecoder(policy, STOPS, LONG, seed=3) for _ in range(2))
    found = grow(by_text, LONG, 4)
    roots, match = [], PageTree.match

    def matched(tree, key, tokens, at=None):
        roots.append(at is None)
        return match(tree, key, tokens, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageTree, "match", matched)
        assert grow(by_handle, LONG, 4, handles=True) == found
    assert sum(roots) == 3 < len(roots)  # the prompts alone, as nothing was evicted
    for name in ("prefilled", "reused", "reread", "generated"):
        assert getattr(by_handle.stats, name) == getattr(by_text.stats, name)


def test_a_handle_is_a_hint_that_may_have_come_to_nothing(policy: Decoder) -> None:
    """Released, of another cache, or of a step whose last tokens were spelt otherwise after all."""
    text = np.arange(1, 30, dtype=np.int32) % V

    def next_steps(decoder, tokens, handle):
        asked = np.concatenate([text, np.array(tokens, np.int32)])
        (found,) = call(decoder, [StepRequest(asked, 3, 1.0, (2,), problem=0, after=handle)])
        return [sample.tokens for sample in found]

    decoder, other = (StepDecoder(policy, STOPS, LONG, seed=5) for _ in range(2))
    (samples,) = call(decoder, [StepRequest(text, 8, 1.0, (1,), problem=0)])
    first, second, *_ = [sample for sample in samples if sample.handle]
    assert len(first.tokens) > 3
    expected = next_steps(other, first.tokens, first.handle)
    assert expected == next_steps(decoder, first.tokens, first.handle)
    cut = first.tokens[:2] + (1, 2, 3)
    reused = decoder.stats.reused
    assert next_steps(decoder, cut, first.handle) == next_steps(other, cut, None)
    assert decoder.stats.reused - reused == len(text) + 2  # as far as they are the same
    first.handle.release()  # which somebody goes on from: nothing is lost
    assert expected == next_steps(decoder, first.tokens, first.handle)
    free = second.handle.tree.free
    second.handle.release()
    assert second.handle.tree.free > free
    assert next_steps(decoder, second.tokens, second.handle) == next_steps(other, second.tokens, None)


def test_a_pool_that_is_too_small_costs_time_and_nothing_else(policy: Decoder) -> None:
    roomy = grow(StepDecoder(policy, STOPS, LONG, seed=3), LONG, 4)
    tight = StepDecoder(policy, STOPS, LONG, seed=3)
    for cache in tight._caches.replicas:
        cache.pages = 2 * LONG.context // LONG.page_size
    assert grow(tight, LONG, 4, handles=True) == roomy
    assert tight._caches.replicas[0].tree.evicted > 0
    assert 0 < tight.stats.reread <= tight._caches.replicas[0].tree.evicted
    assert tight.stats.reread <= tight.stats.prefilled
    assert tight._caches.replicas[0].tree.free >= 0


@pytest.fixture
def two_texts() -> list[np.ndarray]:
    """Long ones that have their beginning in common."""
    rng = np.random.default_rng(0)
    one = rng.integers(V, size=80).astype(np.int32)
    return [one, np.concatenate([one[:20], rng.integers(V, size=60)]).astype(np.int32)]


def test_a_text_that_begins_like_the_one_that_must_go_is_read_anew(
    policy: Decoder, reward: RewardModel, two_texts: list[np.ndarray]
) -> None:
    decoder, scorer = StepDecoder(policy, STOPS, CONFIG, seed=3), StepScorer(reward, CONFIG)
    for cache in (*decoder._caches.replicas, *scorer._caches.replicas):
        cache.pages = -(-CONFIG.context // CONFIG.page_size) + 1  # the fewest that are accepted
    for i, text in enumerate(two_texts):
        assert decoder.submit([StepRequest(text, 2, 1.0, (i,), problem=7)]) == [i]
        assert [ticket for ticket, _ in decoder.poll(block=True)] == [i]
        scorer.submit([ScoreRequest(text, (text[:3],), problem=7)])
        assert [ticket for ticket, _ in scorer.poll(block=True)] == [i]


def test_values_are_true_whatever_pages_there_are(policy: Decoder, reward: RewardModel) -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(V, size=45).astype(np.int32)
    a, b = (rng.integers(V, size=40).astype(np.int32) for _ in range(2))
    behind = np.concatenate([text, b])
    found = []
    for pages in (-(-CONFIG.context // CONFIG.page_size) + 1, 60):
        scorer = StepScorer(reward, CONFIG)
        for cache in scorer._caches.replicas:
            cache.pages = pages
        first = call(scorer, [ScoreRequest(text, (a, b), problem=1)])[0]
        found.append([*first, *call(scorer, [ScoreRequest(behind, (a[:3],), problem=1)])[0]])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_what_is_cancelled_never_comes_and_frees_its_slots(
    policy: Decoder, reward: RewardModel, asked: list[StepRequest]
) -> None:
    wanted = call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked[:1])
    decoder = StepDecoder(policy, STOPS, CONFIG, seed=4)
    tickets = decoder.submit(asked)
    decoder.poll()
    decoder.poll()
    decoder.cancel(tickets)
    assert decoder.poll(block=True) == [] and not decoder._busy
    assert call(decoder, asked[:1]) == wanted
    scorer = StepScorer(reward, CONFIG)
    requests = [ScoreRequest(r.prefix, (r.prefix,)) for r in asked]
    tickets = scorer.submit(requests)
    scorer.poll()
    scorer.cancel(tickets[1:])
    assert [ticket for ticket, _ in scorer.poll(block=True)] == tickets[:1]
    assert scorer.poll(block=True) == [] and not scorer._values


def test_nothing_stays_held(policy: Decoder) -> None:
    decoder = StepDecoder(policy, STOPS, LONG, seed=3)
    grow(decoder, LONG, 3)
    tree = decoder._caches.replicas[0].tree
    branches, seen = [b for roots in tree._roots.values() for b in roots], 0
    while branches:
        branch = branches.pop()
        seen += 1
        assert branch.holds == 0 and not branch.evicted
        branches += branch.children
    held = decoder.held()
    # A branch wastes no more than what is free of its last page, and the start of its first that it copied.
    assert 0 <= held["pages_used"] * LONG.page_size - held["tokens_held"] <= 2 * seen * (LONG.page_size - 1)


def test_a_pool_that_holds_no_text_is_refused(policy: Decoder) -> None:
    with pytest.raises(UserError, match=r"decode.cache_mb: 1\.0 MB"):
        StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, context=10_000, cache_mb=1), seed=0)


def test_two_halves_give_what_one_gives(policy: Decoder, asked: list[StepRequest]) -> None:
    whole = call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked)
    halves = call(StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, halves=2), seed=4), asked)
    assert [[s.tokens for s in row] for row in halves] == [[s.tokens for s in row] for row in whole]


def test_results_come_as_they_are_done_and_requests_at_any_time(
    policy: Decoder, asked: list[StepRequest]
) -> None:
    wanted = call(StepDecoder(policy, STOPS, CONFIG, seed=4), asked)
    decoder = StepDecoder(policy, STOPS, CONFIG, seed=4)
    assert decoder.poll() == [] and decoder.poll(block=True) == []
    found, tickets, polls = {}, decoder.submit(asked[:5]), 0
    while len(found) < len(asked):
        polls += 1
        if polls == 3:
            tickets += decoder.submit(asked[5:])
        done = decoder.poll(block=polls > 3)
        assert done or polls <= 3
        found |= dict(done)
    assert polls > 4 and decoder.poll(block=True) == []
    assert [[s.tokens for s in found[t]] for t in tickets] == [[s.tokens for s in row] for row in wanted]
    with pytest.raises(UserError, match="empty prefix"):
        decoder.submit([asked[0], dataclasses.replace(asked[0], prefix=np.zeros(0, np.int32))])
    assert decoder.poll(block=True) == []  # of those, none was taken


def test_values_are_read_on_from_what_was_scored(reward: RewardModel) -> None:
    rng, config = np.random.default_rng(5), reward.decoder.config
    raw = jax.jit(lambda params, score, tokens: RewardModel(Decoder(config, params), score).raw(tokens))
    scorer, text = StepScorer(reward, LONG), rng.integers(V, size=20).tolist()
    for _ in range(4):
        steps = [rng.integers(V, size=int(n)).tolist() for n in rng.integers(1, 20, size=3)]
        suffixes = tuple(np.array(step, np.int32) for step in steps)
        request = ScoreRequest(np.array(text, np.int32), suffixes, problem=7)
        values = call(scorer, [request])[0]
        for value, step in zip(values, steps, strict=True):
            whole = raw(reward.decoder.params(), reward.score[...], np.array([[*text, *step]], np.int32))
            assert value == pytest.approx(np.tanh(np.asarray(whole)[0, -1]), abs=1e-5)
        text += steps[1]
    assert scorer.stats.prefilled == 20  # the prompt; all else was read when it was scored


def test_ahead_of_a_search_only_what_it_asks_for_is_compiled(policy: Decoder) -> None:
    config = dataclasses.replace(CONFIG, leaves=3, context=500, max_step_tokens=16)
    decoder = StepDecoder(policy, STOPS, config, seed=3)
    assert len(decoder.programs(shortest=300)) < len(decoder.programs()) // 2
    assert len(decoder.programs(300, [5])) < len(decoder.programs(300, [1, 5]))
