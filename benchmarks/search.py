"""A whole search on our engine against a loop in the manner of the authors' code, which grows the same trees.

    taskset -c 1 python benchmarks/search.py [--problems 8] [--rollouts 4] [--dtype bfloat16]
        [--shape smollm2-135m | --model FOLDER]

Policy and PPM are random models of one shape (by default 47 M parameters, the Qwen2 shape in small), or of a
folder. What they write is no language, so a step is its token ids, some tokens end a step and fewer an
answer, which is right or wrong by its checksum: the trees are real, and interpreter and tokenizer cost
nothing on either side. The reference has the same weights, the same sampling keys and the same UCT; but
every expansion prefills its whole prefix, each candidate attends to a copy of it, nothing goes on before the
last candidate of a wave has ended, and the PPM reads the whole text of every candidate (microsoft/rStar,
branch rStar-math). Finished rows are dropped from its batches, as a server would. A first run of both
compiles and does not count. Random models spread their weight over the whole vocabulary, where roundings
would tip a sample in a thousand: so the temperature is low and what is unlikely is cut off (min-p). In
float32 roundings then change next to no sample, in bfloat16 some: "equal trees" says how many trees have the
same nodes.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
import zlib
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from shape import add_flags, decoder

from rstar_jax.engine import (
    DecodeConfig,
    Sample,
    ScoreRequest,
    StepDecoder,
    StepRequest,
    StepScorer,
    programs,
    sampling,
)
from rstar_jax.engine.buckets import cache_bucket, padded, prefill_bucket
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import KV, Decoder, RewardModel, from_policy
from rstar_jax.models.cache import Suffix, lay_out
from rstar_jax.queues import Batched, Coded
from rstar_jax.search import Leaf, Queues, SearchConfig, grow_trees
from rstar_jax.transforms.decode_layout import for_decode
from rstar_jax.types import Candidate, Finish, Grade, Problem, StepVerdict, Tree

PROMPT, LONGEST = 200, 64  # tokens of a prompt; most of a step
ENDS = 1000 / 32_768  # share of the tokens, the first ones, that end a step
TEMPERATURE, MIN_P = 0.1, 0.02
CHUNK = 16  # of the reference: steps before finished rows are dropped
READ = 16  # of the reference: texts that its PPM reads at once


def ends(vocab_size: int) -> dict[int | tuple[int, ...], Finish]:
    """Tokens that end a step, every fifth of them an answer."""
    return {i: "answer" if i % 5 == 0 else "step" for i in range(round(ENDS * vocab_size))}


class Reference:
    """One wave after the other, each from nothing."""

    def __init__(self, policy: Decoder, ppm: RewardModel, rows: int) -> None:
        """rows: most sequences decoded, or read, at once."""
        self.policy, self.ppm, self.rows, self.stops = policy, ppm, rows, ends(policy.config.vocab_size)
        self.shape, self.params = EngineModel.of(policy), for_decode(policy.params(), policy.config)
        self.of_ppm = for_decode(ppm.decoder.params(), policy.config), ppm.score[...]

    def propose(self, requests: Sequence[StepRequest]) -> list[list[Sample]]:
        rows = [(i, k) for i, request in enumerate(requests) for k in range(request.n)]
        samples: list[list[Sample]] = [[] for _ in requests]
        for at in range(0, len(rows), self.rows):
            some = rows[at : at + self.rows]
            for (i, _), sample in zip(some, self._decode(requests, some), strict=True):
                samples[i].append(sample)
        return samples

    def _decode(self, requests: Sequence[StepRequest], rows: list[tuple[int, int]]) -> list[Sample]:
        """One sample for each (request, candidate)."""
        leaves = sorted({i for i, _ in rows})
        asked = [requests[i] for i in leaves]
        B, P = _size(len(leaves)), cache_bucket(max(len(request.prefix) for request in asked) - 1)
        length = np.zeros(B, np.int32)
        length[: len(asked)] = [len(request.prefix) - 1 for request in asked]
        tokens = padded([request.prefix[:-1] for request in asked], (B, P))
        cache = _prefill(self.params, tokens, length, shape=self.shape)
        names = programs.pad_names([request.name for request in asked], B)
        leaf_key = sampling.leaf_keys(sampling.seed_key(0), *names)

        R = _size(len(rows))
        who = np.pad(np.arange(len(rows)), (0, R - len(rows)), constant_values=-1)  # whose row it is
        leaf = np.array([leaves.index(rows[r][0]) for r in who])
        state = {
            "prefix": jax.tree.map(lambda a: jnp.moveaxis(a[:, leaf], 1, 0), cache),  # by row, as all else
            "suffix": jax.tree.map(jnp.zeros_like, _by_row(self.policy.empty_suffix(R, 1, LONGEST))),
            "length": jnp.asarray(length[leaf]),
            "key": leaf_key[leaf],
            "candidate": jnp.asarray([rows[r][1] for r in who]),
            "token": jnp.asarray([asked[i].prefix[-1] for i in leaf]),
            "temperature": jnp.asarray([asked[i].temperature for i in leaf]),
        }
        written: list[list[int]] = [[] for _ in rows]
        logprob = np.zeros(len(rows))
        for start in range(0, LONGEST, CHUNK):
            state, trace = _advance(self.params, state, start, shape=self.shape)
            for token, logp in zip(*map(np.asarray, trace), strict=True):
                for at in np.flatnonzero(who >= 0):
                    r = who[at]
                    written[r].append(int(token[at]))
                    logprob[r] += logp[at]
                    if written[r][-1] in self.stops or len(written[r]) == LONGEST:
                        who[at] = -1
            going = np.flatnonzero(who >= 0)
            if not len(going):
                break
            if (fewer := _size(len(going))) < len(who):
                kept = np.pad(going, (0, fewer - len(going)), mode="edge")
                state = jax.tree.map(lambda a: a[kept], state)  # noqa: B023
                who = np.where(np.arange(fewer) < len(going), who[kept], -1)
        return [
            Sample(tuple(t), float(logp), self.stops.get(t[-1], "length"))
            for t, logp in zip(written, logprob, strict=True)
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[np.ndarray]:
        """The PPM reads prefix and step of every candidate, texts of like length together."""
        texts = [
            (np.concatenate([request.prefix, suffix]), i, k)
            for i, request in enumerate(requests)
            for k, suffix in enumerate(request.suffixes)
        ]
        texts.sort(key=lambda text: len(text[0]))
        values = [np.zeros(len(request.suffixes), np.float32) for request in requests]
        for at in range(0, len(texts), READ):
            some = texts[at : at + READ]
            last = np.zeros(READ, np.int32)
            last[: len(some)] = [len(text) - 1 for text, _, _ in some]
            tokens = padded([text for text, _, _ in some], (READ, prefill_bucket(int(last.max()) + 1)))
            raw = np.asarray(_read(*self.of_ppm, tokens, last, shape=self.shape))
            for value, (_, i, k) in zip(raw, some, strict=False):
                values[i][k] = np.tanh(value)
        return values


def _size(count: int) -> int:
    """1, 4, 16, 64, … rows: each is a compilation."""
    return 1 if count <= 1 else 4 * _size(-(-count // 4))


def _by_row(suffix: Suffix) -> Any:
    """A suffix cache with its rows in front."""
    return suffix if len(suffix) > 1 else jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), suffix)


@functools.partial(jax.jit, static_argnames="shape")
def _prefill(params: Any, tokens: jax.Array, length: jax.Array, *, shape: EngineModel) -> KV:
    return shape.build(params).prefill(tokens, length)[1]


@functools.partial(jax.jit, static_argnames="shape", donate_argnums=1)
def _advance(params: Any, state: dict[str, Any], first: int, *, shape: EngineModel) -> Any:
    """CHUNK tokens more of every row: the state, and tokens and log-probabilities [CHUNK, R]."""
    model = shape.build(params)
    prefix = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), state["prefix"])
    shared = model.share(lay_out(prefix), state["length"], LONGEST)

    def step(carry: tuple[jax.Array, Suffix], start: jax.Array) -> Any:
        token, suffix = carry
        x, suffix, _ = model.extend(token[:, None, None], start, shared, state["length"], suffix)
        places = jnp.full(len(token), start)
        uniform = sampling.uniforms(state["key"], state["candidate"], places)
        token, logprob = sampling.draw(model.logits(x[:, 0, 0]), uniform, state["temperature"], min_p=MIN_P)
        return (token, suffix), (token, logprob)

    carry = state["token"], _by_row(state["suffix"])
    (token, suffix), trace = jax.lax.scan(step, carry, first + jnp.arange(CHUNK))
    return {**state, "token": token, "suffix": _by_row(suffix)}, trace


@functools.partial(jax.jit, static_argnames="shape")
def _read(params: Any, score: jax.Array, tokens: jax.Array, last: jax.Array, *, shape: EngineModel) -> Any:
    """The values before tanh [B] at the last token of each text."""
    x = shape.build(params).hidden(tokens)
    return RewardModel(shape.build(params), score).raw_of_hidden(x[jnp.arange(len(x)), last])


class Texts:
    """Problems and steps as tokens of a vocabulary: a step's text is its ids with spaces between them."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.stops = vocab_size, ends(vocab_size)

    def tokens(self, problem: Problem, steps: Sequence[str]) -> np.ndarray:
        """A prompt by the problem's name, and the steps."""
        drawn = np.random.default_rng(zlib.crc32(problem.id.encode()))
        written = [int(word) for step in steps for word in step.split()]
        prompt = drawn.integers(len(self.stops), self.vocab_size, size=PROMPT)
        return np.concatenate([prompt, written]).astype(np.int32)

    def asked(self, leaf: Leaf) -> StepRequest:
        prefix, name = (
            self.tokens(leaf.problem, leaf.steps),
            (int(leaf.problem.id), leaf.tree_index, leaf.node),
        )
        return StepRequest(prefix, leaf.n, leaf.temperature, name, leaf.problem.id)

    def wanted(self, request: tuple[Problem, tuple[str, ...], list[str]]) -> ScoreRequest:
        problem, steps, texts = request
        suffixes = tuple(np.array(text.split(), np.int32) for text in texts)
        return ScoreRequest(self.tokens(problem, steps), suffixes, problem.id)

    def check(self, requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
        last = [(steps[-1], self.stops[int(steps[-1].split()[-1])]) for _, steps in requests]
        return [StepVerdict(s, "answer", s) if end == "answer" else StepVerdict(s, "ok") for s, end in last]


def candidates(_: Leaf, samples: list[Sample]) -> list[Candidate]:
    return [Candidate(" " + " ".join(map(str, s.tokens)), s.tokens, s.logprob, s.finish) for s in samples]


def grade(requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
    return ["right" if zlib.crc32(text.encode()) % 4 == 0 else "wrong" for _, text in requests]


def ours(policy: Decoder, ppm: RewardModel, args: argparse.Namespace) -> Queues:
    sizes = {"leaves": args.leaves, "rows": args.rows, "max_step_tokens": LONGEST, "context": 2048}
    config = DecodeConfig(**sizes, min_p=MIN_P)
    texts = Texts(policy.config.vocab_size)
    engine, scorer = StepDecoder(policy, texts.stops, config, seed=0), StepScorer(ppm, config)
    propose = Coded(engine, texts.asked, candidates)
    score = Coded(scorer, texts.wanted, lambda _, values: values)
    return Queues(propose, Batched(texts.check), Batched(grade), score)


def reference(policy: Decoder, ppm: RewardModel, args: argparse.Namespace) -> Queues:
    engine, texts = Reference(policy, ppm, args.leaves * args.rows), Texts(policy.config.vocab_size)

    def propose(leaves: Sequence[Leaf]) -> list[list[Candidate]]:
        sampled = engine.propose([texts.asked(leaf) for leaf in leaves])
        return [candidates(leaf, samples) for leaf, samples in zip(leaves, sampled, strict=True)]

    def score(requests: Sequence[tuple[Problem, tuple[str, ...], list[str]]]) -> list[np.ndarray]:
        return engine.score([texts.wanted(request) for request in requests])

    return Queues(Batched(propose), Batched(texts.check), Batched(grade), Batched(score))


def run(queues: Queues, args: argparse.Namespace) -> tuple[list[Tree], float]:
    """The trees and the CPU seconds of a search."""
    problems = [Problem(str(i), "", "") for i in range(args.problems)]
    config = SearchConfig(
        rollouts=args.rollouts, candidates=args.candidates, max_depth=8, temperature=TEMPERATURE
    )
    begin = time.process_time()
    trees = grow_trees(problems, queues, config, round=0, training=True)
    return trees, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--rollouts", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--leaves", type=int, default=8, help="slots of our engine")
    parser.add_argument("--rows", type=int, default=4, help="of each slot; the reference has as many")
    parser.add_argument("--dtype", default="float32", choices=("bfloat16", "float32"))
    add_flags(parser)
    args = parser.parse_args()
    policy = decoder(args, args.dtype)
    ppm = from_policy(policy)
    found, rates = {}, {}
    for name, make in (("ours", ours), ("reference", reference)):
        _, first = run(make(policy, ppm, args), args)
        found[name], took = run(make(policy, ppm, args), args)
        count = sum(len(tree.trajectories()) for tree in found[name])
        rates[name] = count / took
        tokens = sum(node.tokens for tree in found[name] for node in tree.nodes)
        print(
            f"{name:9}: {count} trajectories, {tokens:,} tokens written, {took:.1f} CPU s "
            f"(the first run {first:.1f}): {3600 * count / took:,.0f} trajectories per CPU hour",
            flush=True,
        )
    same = sum(_nodes(a) == _nodes(b) for a, b in zip(found["ours"], found["reference"], strict=True))
    print(f"equal trees: {same} of {args.problems}; ratio {rates['ours'] / rates['reference']:.2f}")


def _nodes(tree: Tree) -> list[tuple[int, str, str]]:
    return [(node.parent, node.text, node.status) for node in tree.nodes]


if __name__ == "__main__":
    main()
