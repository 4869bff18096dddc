"""Requests to the engine, its answers, options and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Literal

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.types import Finish, Handle


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """Options of the engine, shared by policy and reward model.

    leaves: leaf slots on the device, each with one shared prefix. rows: candidates of a leaf decoded at once;
        as one ends the next begins. Fewer rows are better filled, more share more of the prefix's reading.
        A request's samples depend on no other request, but for roundings: leaves, rows and n below rows shape
        matrices, where these are very small (under some 32 rows) so does a wider cache, and what of a text
        is cached was computed by another program. In float32 that changes next to no token, in bfloat16 some.
    max_step_tokens: longest step, in tokens. context: longest prefix and step together, in tokens.
    top_k: sample among the k likeliest tokens only; 0 for all. top_p: sample among the fewest tokens whose
        probabilities sum to p; 1 for all.
    min_p: drop tokens less than so many times as likely as the likeliest; 0: none. guard: a candidate whose
        last so many tokens are one period repeated, four times or more, ends there and is no step; 0: off.
        Of 14,400 programs that were written to be run 48 ends none, of 123,000 paragraphs of mathematics 96
        one, which was rambling.
    chunk: decode steps before the host looks; it looks sooner when an eighth of the slots got free, as trees
        wait for their leaves.
    halves: batches that leaves are decoded in; 2: the host looks after one while the device works
        on the other.
    page_size: tokens of a page of the cache; 128 suits a TPU. cache_mb: memory for the keys and values of
        texts, for policy and PPM each; 0: half of what the device has free; on a CPU what the trees of a
        search have use for, but no more than a quarter of what is free (`engine/memory.py`).
    devices: how many of this host's devices decode; 0: all of its accelerators, or one CPU. tensor: so many
        devices hold one model together; each such group decodes for itself, with leaves and pages of its own.
    precompile: compile most of what a search may need before it starts, which is worth it where compiling is
        slow and the compilation cache is kept.
    weights: how models are held: "full", or "int8": quantized once they are loaded
        (`transforms/quantize.py`), for half the memory of bfloat16; what is written and valued then differs
        a little. Training never does this.
    kernels: whether candidates attend by kernels of ours: "auto": on TPUs; "on": wherever there are some,
        which on an NVIDIA GPU were never timed (`benchmarks/gpu_decode.py` does; A100 or later, for their
        shared memory); "off".
    """

    leaves: int = 32
    rows: int = 4
    max_step_tokens: int = 2048
    context: int = 4096
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    guard: int = 96
    chunk: int = 16
    halves: int = 1
    page_size: int = 16
    cache_mb: int = 0
    devices: int = 0
    tensor: int = 1
    precompile: bool = False
    weights: Literal["full", "int8"] = "full"
    kernels: Literal["auto", "on", "off"] = "auto"

    @property
    def batches(self) -> list[int]:
        """Leaf slots of each batch."""
        return [self.leaves // self.halves + (i < self.leaves % self.halves) for i in range(self.halves)]

    def __post_init__(self) -> None:
        positive = "leaves", "rows", "max_step_tokens", "context", "chunk", "halves", "page_size", "tensor"
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(f"decode.{name}: {getattr(self, name)} given, at least 1 expected.")
        for name in ("cache_mb", "devices"):
            if getattr(self, name) < 0:
                raise UserError(f"decode.{name}: {getattr(self, name)} given, 0 (choose) or more expected.")
        if self.weights not in ("full", "int8"):
            raise UserError(f"decode.weights: '{self.weights}' given, 'full' or 'int8' expected.")
        if self.kernels not in ("auto", "on", "off"):
            raise UserError(f"decode.kernels: '{self.kernels}' given, 'auto', 'on' or 'off' expected.")
        if self.halves > self.leaves:
            raise UserError(
                f"decode.halves: {self.halves} given, no more than decode.leaves ({self.leaves}) expected."
            )
        if self.top_k < 0:
            raise UserError(f"decode.top_k: {self.top_k} given, 0 (all tokens) or more expected.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"decode.top_p: {self.top_p} given, a number in (0, 1] expected.")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"decode.min_p: {self.min_p} given, a number in [0, 1] expected.")
        if self.guard < 0 or 0 < self.guard < 4:
            raise UserError(f"decode.guard: {self.guard} given, 0 (off) or at least 4 tokens expected.")


@dataclasses.dataclass(frozen=True)
class StepRequest:
    """n candidate steps after one prefix.

    prefix: int32 [P], P >= 1. temperature: 0 is greedy. name: non-negative integers below 2**32 that name
    the leaf (problem, tree, node …); with the seed, the candidate and the position they are the randomness.
    problem: texts of one problem are looked for among what is cached of it; None: this is alone. It changes
    roundings alone. opens: whether the candidates must begin as the decoder's `opening` says.
    after: the handle of the Sample that the prefix goes on from: all that stood before that is the same.
    """

    prefix: np.ndarray
    n: int
    temperature: float
    name: tuple[int, ...]
    problem: Hashable = None
    opens: bool = False
    after: Handle | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def key(self) -> Hashable:
        """Under which its text is cached."""
        return self.name if self.problem is None else self.problem


# Why a candidate was ended before a stop came, and before it was too long: by the guard, or because it did
# not begin as it must.
Cut = Literal["", "repeats", "astray"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One candidate step.

    tokens: ids sampled, stop token included. logprob: sum over them, nats, of log softmax(logits /
    temperature) before top-k and top-p cut it (temperature 1 where greedy). finish: by the stop token;
    "length" if none came within `max_step_tokens` or the context (no tokens if the prefix fills it), or if
    it was ended early. cut: by what, then.
    handle: where its keys and values are kept; equal samples of a request share one. None: nowhere.
    """

    tokens: tuple[int, ...]
    logprob: float
    finish: Finish
    cut: Cut = ""
    handle: Handle | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
    """Values wanted for some continuations of one prefix. prefix: int32 [P], P >= 1; suffixes: int32 [S].

    problem: as in StepRequest.
    """

    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    problem: Hashable = None

    @property
    def key(self) -> Hashable:
        """Under which its text is cached."""
        return id(self) if self.problem is None else self.problem


@dataclasses.dataclass
class Stats:
    """Counts of the engine's work since it was made.

    generated, prefilled, scored: tokens run (padding not counted). reused: tokens of prefixes whose keys and
    values were in the pool. reread: of prefilled, those that had been there and had to make room, at most.
    busy, steps: row-steps that gave a
    token, and all row-steps run. seconds: wall time in device calls, without compile_seconds (the first
    call of each compiled shape). programs: names of those shapes, in the order met.
    awaited: of these seconds, those in which the host waited for results.
    on_compile: called with the name of a program before it is compiled, and with "" after.
    on_device: called with how many programs are under way whose results are awaited, as it changes.
    """

    generated: int = 0
    prefilled: int = 0
    reused: int = 0
    reread: int = 0
    scored: int = 0
    busy: int = 0
    steps: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    awaited: float = 0.0
    programs: list[str] = dataclasses.field(default_factory=list)
    on_compile: Callable[[str], None] | None = dataclasses.field(default=None, compare=False, repr=False)
    on_device: Callable[[int], None] = dataclasses.field(default=lambda _: None, compare=False, repr=False)

    @property
    def occupancy(self) -> float:
        """Share of row-steps that gave a token somebody asked for."""
        return self.busy / self.steps if self.steps else 0.0

    @property
    def tokens(self) -> int:
        return self.generated + self.prefilled + self.scored


def check_prefix(prefix: np.ndarray, vocab_size: int, where: str) -> None:
    """Raises UserError unless `prefix` is a row of at least one token, all of them of the vocabulary."""
    if np.ndim(prefix) != 1 or (len(prefix) and np.asarray(prefix).dtype.kind not in "iu"):
        kind = f"shape {np.shape(prefix)} of {np.asarray(prefix).dtype}"
        raise UserError(f"{where}: a prefix of {kind} given, a row of whole numbers expected.")
    if len(prefix) == 0:
        raise UserError(f"{where}: an empty prefix given, at least one token expected (the prompt's).")
    check_tokens(prefix, vocab_size, where)


def check_tokens(tokens: np.ndarray, vocab_size: int, where: str) -> None:
    """Raises UserError if some token id lies outside of [0, vocab_size) or is no whole number."""
    if len(tokens) and np.asarray(tokens).dtype.kind not in "iu":
        raise UserError(f"{where}: {np.asarray(tokens).dtype} given, whole numbers expected.")
    if len(tokens) and (np.min(tokens) < 0 or np.max(tokens) >= vocab_size):
        worst = int(np.max(tokens)) if np.max(tokens) >= vocab_size else int(np.min(tokens))
        raise UserError(
            f"{where}: token {worst} given, ids below the model's vocabulary of {vocab_size} expected. "
            "Was the tokenizer given more tokens than the model (models.resize_vocab)?"
        )
