"""Checkpoints and options -> the functions that a search is handed.

The one place where text meets arrays: search speaks of steps, the engine of token ids.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from rstar_jax import models
from rstar_jax.decode import DecodeConfig, ScoreRequest, StepDecoder, StepRequest, StepScorer
from rstar_jax.errors import UserError
from rstar_jax.language import grammar
from rstar_jax.language.prompts import PROMPTS
from rstar_jax.language.tokenizer import Tokenizer
from rstar_jax.models import quantize
from rstar_jax.search import Functions, Leaf
from rstar_jax.types import Candidate, Finish, Grade, Problem, StepVerdict
from rstar_jax.verify import Task

# The interpreter writes outputs and the user questions; a policy never does.
_NEVER_SAMPLED = (grammar.OUTPUT, grammar.END_OUTPUT, grammar.USER, grammar.ASSISTANT)


class Meter:
    """Busy seconds by kind of work. Safe to use from threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.tokens = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Adds the wall time of the block to `kind`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[kind] += time.perf_counter() - began

    def result(self) -> dict[str, object]:
        """JSON-ready: seconds by kind, and tokens written, duplicates included."""
        return {
            "seconds": {kind: round(value, 3) for kind, value in sorted(self.seconds.items())},
            "tokens": self.tokens,
        }


class Reasoner:
    """A policy, optionally a PPM, and a task (which holds the policy's prompt), ready for a search.

    policy, ppm: Hugging Face folders. dtype: of the computation, and of the weights unless decode.weights
    says otherwise. ppm_scale: as StepScorer's scale. cache: of the policy's converted weights. Raises
    UserError for a folder that does not hold such a model.
    """

    def __init__(
        self,
        policy: Path,
        ppm: Path | None,
        task: Task,
        *,
        decode: DecodeConfig,
        dtype: str,
        seed: int,
        ppm_scale: float = 1.0,
        cache: Path | None = None,
    ):
        self._tokenizer = Tokenizer.load(policy)
        self._task = task
        self.meter = Meter()
        self._device = threading.Lock()
        tokenizer = self._tokenizer
        never = [
            i
            for token in _NEVER_SAMPLED
            for i in tokenizer.encode(token)[:1]
            if len(tokenizer.encode(token)) == 1
        ]
        model = models.load_pretrained(policy, dtype=jnp.dtype(dtype), cache=cache)
        never += range(tokenizer.vocab_size, model.config.vocab_size)  # spare rows are no tokens
        _hold(model, decode)
        stops: dict[int | tuple[int, ...], Finish] = {**tokenizer.stop_sequences()}
        for end in (*model.config.end_ids, tokenizer.eos_id):
            if end is not None and end < model.config.vocab_size:
                stops.setdefault((end,), "length")
        self._decoder = StepDecoder(model, stops, decode, seed=seed, forbidden=never)
        self._scorer = None
        if ppm is not None:
            reward = models.load_reward_model(ppm, dtype=jnp.dtype(dtype))
            ids, rows = tokenizer.used_ids, reward.decoder.config.vocab_size
            if rows < ids:
                raise UserError(
                    f"{ppm}: its embeddings have {rows} rows, but the tokenizer of {policy} has {ids} ids. "
                    "A PPM that was trained from this policy is expected."
                )
            _hold(reward, decode)
            self._scorer = StepScorer(reward, decode, scale=ppm_scale)

    def grade(self, requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """The task's verdicts on final answers, in order."""
        with self.meter.time("execution"):
            return self._task.check_finals(requests)

    def same(self, problem: Problem, one: str, other: str) -> bool:
        """Whether two answers to a problem are one to the task; its reference is not looked at."""
        with self.meter.time("execution"):
            return self._task.same(problem, one, other)

    def result(self) -> dict[str, object]:
        """JSON-ready: what the meter counted and how the engine was used."""
        stats = self._decoder.stats
        engine = {
            "generated": stats.generated,
            "prefilled": stats.prefilled,
            "scored": self._scorer.stats.scored if self._scorer else 0,
            "occupancy": round(stats.occupancy, 4),
            "compile_seconds": round(
                stats.compile_seconds + (self._scorer.stats.compile_seconds if self._scorer else 0.0), 3
            ),
        }
        return {**self.meter.result(), "engine": engine}

    def functions(self, round: int) -> Functions:
        """What a search is handed. `round` names the randomness of its samples."""

        def propose(leaves: Sequence[Leaf]) -> list[list[Candidate]]:
            requests = [
                StepRequest(
                    prefix=self._tokens(self._task.prompt(leaf.problem), leaf.steps),
                    n=leaf.n,
                    temperature=leaf.temperature,
                    name=(round, problem_key(leaf.problem.id), leaf.tree, leaf.node),
                    problem=problem_key(leaf.problem.id),
                )
                for leaf in leaves
            ]
            with self._device, self.meter.time("decode"):
                sampled = self._decoder.propose(requests)
                self.meter.tokens += sum(len(s.tokens) for samples in sampled for s in samples)
            return [[self._candidate(s.tokens, s.logprob, s.finish) for s in samples] for samples in sampled]

        def check(requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
            with self.meter.time("execution"):
                return self._task.check_steps(requests)

        def score(requests: Sequence[tuple[Problem, tuple[str, ...], list[str]]]) -> list[np.ndarray]:
            assert self._scorer is not None
            encoded = [
                ScoreRequest(
                    # As it was trained, whatever the policy is asked with.
                    prefix=self._tokens(PROMPTS["finetuned"](problem.problem), steps),
                    suffixes=tuple(self._steps((text,)) for text in texts),
                    problem=problem_key(problem.id),
                )
                for problem, steps, texts in requests
            ]
            with self._device, self.meter.time("ppm"):
                return self._scorer.score(encoded)

        return Functions(propose, check, self.grade, score if self._scorer else None)

    def _tokens(self, prompt: str, steps: tuple[str, ...]) -> np.ndarray:
        return np.concatenate([np.asarray(self._tokenizer.encode(prompt), np.int32), self._steps(steps)])

    def _steps(self, steps: tuple[str, ...]) -> np.ndarray:
        return np.asarray(self._tokenizer.encode_steps(steps), np.int32)

    def _candidate(self, tokens: tuple[int, ...], logprob: float, finish: str) -> Candidate:
        text = self._tokenizer.decode(tokens)
        if tokens and tokens[-1] not in self._tokenizer.stop_ids:
            # A vocabulary without the stops: their text may be followed by the rest of its last token, or be
            # written with tokens that the engine was not told of.
            text, finish = grammar.cut_at_stop(text)
        return Candidate(text, tokens, logprob, finish)  # type: ignore[arg-type]


def _hold(model: nnx.Module, decode: DecodeConfig) -> None:
    """Makes of a loaded model's weights what the engine is to hold."""
    if decode.weights == "int8":
        quantize.to_int8(model)


def problem_key(problem_id: str) -> int:
    """A problem's name as 31 bits, the same in every process and release."""
    return int.from_bytes(hashlib.sha256(problem_id.encode()).digest()[:4], "big") >> 1
