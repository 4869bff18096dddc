"""Models, a task and options -> the queues that a search is handed.

The one place where text meets arrays: search speaks of steps, the engine of token ids.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from rstar_jax import models, weights
from rstar_jax.engine import DecodeConfig, Sample, ScoreRequest, StepDecoder, StepRequest, StepScorer
from rstar_jax.inference import devices
from rstar_jax.inference.reading import StepText
from rstar_jax.inference.verifier import Verifier, problem_key
from rstar_jax.queues import Coded
from rstar_jax.search import Leaf, Queues
from rstar_jax.search.contract import ScoreRequest as ScoreAsked
from rstar_jax.tasks import Checker, Role
from rstar_jax.text import opening
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.transforms import decode_layout, quantize
from rstar_jax.types import Candidate, Finish


class Reasoner(Verifier):
    """A policy, optionally a PPM, and a task at work, ready for a search. role: as what the policy is asked.

    policy, ppm: Hugging Face folders. decode: also says on which devices. dtype: of the computation, and of
    the weights unless decode.weights says otherwise. ppm_scale: as StepScorer's scale, for a PPM of ours.
    cache: of the policy's converted weights. demand: tokens of text that searches will go back to, by which
    the engine's caches are sized; 0: not known. held: weights that are on the devices already. Raises
    UserError for a folder that holds no such model.
    """

    def __init__(
        self,
        policy: Path,
        ppm: Path | None,
        checker: Checker,
        *,
        role: Role,
        decode: DecodeConfig,
        dtype: str,
        seed: int,
        ppm_scale: float = 1.0,
        cache: Path | None = None,
        demand: int = 0,
        held: weights.Handover | None = None,
    ):
        super().__init__(checker)
        grammar = self._task.grammar
        self._tokenizer = Tokenizer.load(weights.tokenizer_folder(policy), grammar)
        self._role: Role = role
        tokenizer = self._tokenizer
        never = [
            i
            for token in grammar.never_sampled
            for i in tokenizer.encode(token)[:1]
            if len(tokenizer.encode(token)) == 1
        ]
        model = weights.load_pretrained(policy, dtype=jnp.dtype(dtype), cache=cache, held=held)
        sequences = tokenizer.stop_sequences()
        never += _control(tokenizer, model.config) - {ids[0] for ids in sequences if len(ids) == 1}
        stops: dict[int | tuple[int, ...], Finish] = {**sequences}
        _hold(model, decode)
        mesh = devices.mesh(decode)
        rows = model.config.vocab_size
        self._decode = decode
        self._decoder = StepDecoder(
            model,
            stops,
            decode,
            seed=seed,
            forbidden=never,
            opening=opening.automaton(tokenizer, grammar.opening, rows) if grammar.opening else None,
            mesh=mesh,
            demand=demand,
        )
        self._devices = 1 if mesh is None else mesh.size
        self._faults = {"repeats": "repeats itself", "astray": f"no {grammar.opening}"}
        self._scorer = None
        if ppm is not None:
            reward = weights.load_reward_model(ppm, dtype=jnp.dtype(dtype), held=held)
            rows = reward.decoder.config.vocab_size
            prompt = functools.partial(self._task.prompt, role="ppm")
            self._read = StepText.of(ppm, reward.reading, rows, tokenizer, prompt)
            _hold(reward, decode)
            scale = 1.0 if reward.of_probability else ppm_scale
            self._scorer = StepScorer(reward, decode, scale=scale, mesh=mesh, demand=demand)
        device = self.meter.gauge("device", lambda: time.perf_counter() - self._compile_seconds)
        self._decoder.stats.on_device = device("policy")
        if self._scorer is not None:
            self._scorer.stats.on_device = device("ppm")

    def queues(self, round: int, trees: str = "") -> Queues:
        """Return the queues of one search at a time. `round` names the randomness of its samples.

        trees: what they are for, to those who keep what they are told (`ServedReasoner.queues`).
        """
        del trees
        decode, ppm = (functools.partial(self.meter.time, kind) for kind in ("decode", "ppm"))
        request = functools.partial(self._step_request, round)
        return self._verified(
            Coded(self._decoder, request, self._candidates, decode),
            self._scorer and Coded(self._scorer, self._score_request, lambda _, values: values, ppm),
        )

    def _step_request(self, round: int, leaf: Leaf) -> StepRequest:
        key = problem_key(leaf.problem.id)
        return StepRequest(
            prefix=self._tokens(leaf),
            n=leaf.n,
            temperature=leaf.temperature,
            name=(round, key, leaf.tree_index, leaf.node),
            problem=key,
            opens=bool(self._task.grammar.opening) and not leaf.steps,
            after=leaf.handle,
        )

    def _score_request(self, asked: ScoreAsked) -> ScoreRequest:
        problem, steps, texts = asked
        return ScoreRequest(
            prefix=self._read.prefix(problem.question, steps),
            suffixes=tuple(map(self._read.suffix, texts)),
            problem=problem_key(problem.id),
        )

    def _candidates(self, _: Leaf, samples: Sequence[Sample]) -> list[Candidate]:
        self.meter.tokens += sum(len(sample.tokens) for sample in samples)
        return [self._candidate(sample) for sample in samples]

    def _tokens(self, leaf: Leaf) -> np.ndarray:
        prompt = self._tokenizer.encode_prompt(self._task.prompt(leaf.problem.question, self._role))
        return np.asarray([*prompt, *self._tokenizer.encode_steps(leaf.steps, leaf.token_ids)], np.int32)

    def _candidate(self, sample: Sample) -> Candidate:
        tokens, finish = sample.tokens, sample.finish
        text = self._tokenizer.decode(tokens)
        if tokens and tokens[-1] not in self._tokenizer.stop_ids:
            # A vocabulary without the stops: their text may be followed by the rest of its last token, or be
            # written with tokens that the engine was not told of.
            text, finish = self._task.grammar.cut_at_stop(text)
        fault = self._faults.get(sample.cut, "") if finish == "length" else ""
        return Candidate(text, tokens, sample.logprob, finish, fault, sample.handle)

    @property
    def tokens(self) -> int:
        """Sampled until now, those of candidates that are still being written included."""
        return self._decoder.stats.generated

    def on_compile(self, told: Callable[[str], None]) -> None:
        """Has `told` called with the name of each program before it is compiled, and with "" after."""
        self._decoder.stats.on_compile = told
        if self._scorer is not None:
            self._scorer.stats.on_compile = told

    def result(self) -> dict[str, Any]:
        """JSON-ready: seconds by kind and how the engine was used.

        Kinds over and above the `Verifier`'s: "device", in which it worked at something whose result was not
        seen yet, without those in which the host compiled and could see none; "device_awaited", in which the
        host did nothing but wait for it; "decode" and "ppm", in the engine's calls, waiting included.
        """
        stats = self._decoder.stats
        engine = {
            "devices": self._devices,
            "attention": self._decoder.attention,
            **self._decoder.held(),
            "generated": stats.generated,
            "prefilled": stats.prefilled,
            "reused": stats.reused,
            "reread": stats.reread,
            "scored": self._scorer.stats.scored if self._scorer else 0,
            "occupancy": round(stats.occupancy, 4),
            "compile_seconds": round(self._compile_seconds, 3),
        }
        if self._scorer:
            theirs, names = self._scorer.stats, ("prefilled", "reused", "reread")
            engine["ppm"] = {**self._scorer.held(), **{name: getattr(theirs, name) for name in names}}
        return {**super().result(), "engine": engine}

    @property
    def _compile_seconds(self) -> float:
        stats = self._decoder.stats
        return stats.compile_seconds + (self._scorer.stats.compile_seconds if self._scorer else 0.0)

    def _seconds(self) -> dict[str, float]:
        awaited = self._decoder.stats.awaited + (self._scorer.stats.awaited if self._scorer else 0.0)
        return {"device": 0.0, **super()._seconds(), "device_awaited": awaited}

    def load(self) -> list[str]:
        """Makes the engine's caches; returns a line for a log about each of them."""
        lines = []
        for name, engine in (("policy", self._decoder), ("reward model", self._scorer)):
            if engine is not None:
                engine.load()
                held, size, context = engine.held(), self._decode.page_size, self._decode.context
                tokens = held["pages"] * size
                lines.append(
                    f"cache of the {name}: {held['pages_mb']:,} MB in {held['pages']:,} pages of {size}: "
                    f"{tokens:,} tokens, or {tokens // context:,} texts of {context:,}."
                )
        return lines

    def rereading(self) -> str:
        """Name the engine that has read more again, for want of pages, than it has written or scored, and
        what helps; empty if none has."""
        counts = {"the policy wrote": (self._decoder.stats.reread, self._decoder.stats.generated)}
        if self._scorer:
            counts["the PPM scored"] = self._scorer.stats.reread, self._scorer.stats.scored
        said = [
            f"{again:,} tokens were read again where {who} {new:,}"
            for who, (again, new) in counts.items()
            if again > new
        ]
        if not said:
            return ""
        return (
            f"{' and '.join(said)}, as the cache holds too few texts: raise config.decode.cache_mb, or "
            "search fewer trees at a time (the option `batch`)"
        )

    def programs(self, shortest: int = 1, candidates: Iterable[int] = ()) -> list[Callable[[], None]]:
        """Return functions that compile most of what a search may need, a program each; they may be run
        before it, by several threads. shortest, candidates: as `StepDecoder.programs`; the PPM's prompts may
        be shorter."""
        scored = self._scorer.programs() if self._scorer else []
        return [*self._decoder.programs(shortest, candidates), *scored]


def _control(tokenizer: Tokenizer, config: models.DecoderConfig) -> set[int]:
    """Ids that stand in no step: ends of text, chat marks, padding, and spare rows, which are no tokens.

    A general model likes to end its text where a step should go on, and a step cut there is lost.
    """
    ends = {*config.end_ids, tokenizer.eos_id, tokenizer.bos_id, *tokenizer.control_ids} - {None}
    return {i for i in ends if i < config.vocab_size} | {*range(tokenizer.vocab_size, config.vocab_size)}


def _hold(model: models.Decoder | models.RewardModel, decode: DecodeConfig) -> None:
    """Makes of a loaded model's weights what the engine is to hold."""
    decoder = model.decoder if isinstance(model, models.RewardModel) else model
    if decode.weights == "int8":
        quantize.to_int8(model)
    decode_layout.keep_apart(decoder, decoder.config)
