"""Options of an evaluation on benchmarks (`evaluation.py`)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

from rstar_jax.data.known import Columns
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evaluate import metrics
from rstar_jax.evaluate.protocol import Protocol
from rstar_jax.evaluate.shapes import SHAPES
from rstar_jax.evolve.settings import (
    EvaluateSettings,
    PolicySettings,
    ProblemSettings,
    RunSettings,
    SearchSettings,
    TrainSettings,
)
from rstar_jax.served import ServedConfig, is_served
from rstar_jax.settings import nearest, require
from rstar_jax.tasks import VerifySettings

_AS_IT_IS = -1  # of a number: as the protocol says
# Options of a protocol that may be given, and the least that a number may be.
_LEAST: dict[str, float] = {
    **{"k": 1, "temperature": 0, "top_p": 0, "rollouts": 1, "candidates": 1, "c": 0, "beam_width": 1},
    **{"subtrees": 1, "top_k": 0, "max_depth": 1, "max_tokens": 0, "max_seconds": 0},
}
_WORDS = ("strategy", "scores", "vote")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """An evaluation on benchmarks.

    benchmarks: which ones, joined by commas: rows of `evaluate/benchmarks.py`, or problems of your own as
        NAME=FILE, with any source of problems in the place of FILE. data: a folder of files named after
        benchmarks, such as aime2024.jsonl; what has none there is read from the hub.
    limit: so many of each benchmark's problems, the first ones; 0: all. columns: which columns hold what, in
        files whose keys do not tell. bad: whether a row that cannot be used is "fatal", or to "drop": then it
        is counted. corrections: answers that are put in the place of wrong ones, as a run's: "known", or a
        file of rows {question, answer}; empty: none, as figures of others are of the sets as they are.
    policy: folder or hub id of the policy, or the address of its server, http://HOST:PORT/v1#MODEL; "tiny" is
        the bundled base. ppm: folder or hub id of a PPM, also of others; empty: none. ppm_value: what the
        PPM's training compared (`train.ppm.ppm_value`). run: a run's folder instead of these, for the models
        of its best round (`evolve/best_round.py`), or a warm start's, for its policy.
    protocol: "benchmark": each benchmark's own; "paper": 64 searches of each problem. What follows overrides
        it, and is otherwise -1 or empty. strategy: how a sample is found, a row of `search.STRATEGIES`.
    k: samples of each problem. greedy: whether the policy's greedy solution of each problem is measured, too.
    temperature, top_p: at which tokens are sampled. vote, top_k: how a problem's samples choose its answer.
    max_tokens, max_seconds: budgets of each sample.
    rollouts, candidates, beam_width, subtrees, scores: as in `settings.EvaluateSettings`.
    c, max_depth: as in `settings.SearchSettings`. prompt: how the policy is asked; "bootstrap" for one that
        was never trained on steps.
    metrics: which figures, joined by commas, such as pass@8,maj@8,search; empty: all that can be had.
    shapes: others' forms in which results are written, too, joined by commas: lm_eval, inspect; empty: none.
    seed: names all randomness of sampling. dtype: the type of numbers that models compute with.
    batch: samples that grow at a time. shard: samples whose trees one file holds.
    """

    job: str = "evaluate"
    benchmarks: str = "suite"
    data: str = ""
    limit: int = 0
    columns: Columns = Columns()
    bad: Literal["fatal", "drop"] = "drop"
    corrections: str = ""
    policy: str = "tiny"
    ppm: str = ""
    ppm_value: Literal["tanh", "raw"] = "tanh"
    run: str = ""
    protocol: Literal["benchmark", "paper"] = "benchmark"
    strategy: str = ""
    k: int = _AS_IT_IS
    greedy: bool = True
    temperature: float = -1.0
    top_p: float = -1.0
    rollouts: int = _AS_IT_IS
    candidates: int = _AS_IT_IS
    c: float = -1.0
    beam_width: int = _AS_IT_IS
    subtrees: int = _AS_IT_IS
    scores: str = ""
    vote: str = ""
    top_k: int = _AS_IT_IS
    max_depth: int = _AS_IT_IS
    max_tokens: int = _AS_IT_IS
    max_seconds: float = -1.0
    prompt: Literal["", "finetuned", "bootstrap"] = ""
    metrics: str = ""
    shapes: str = "lm_eval,inspect"
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch: int = 256
    shard: int = 256
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = DecodeConfig()
    served: ServedConfig = ServedConfig()
    distributed: DistributedConfig = DistributedConfig()

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value, expected = getattr(self, name), f"{least} or more, or -1 (as the protocol says),"
            require(value == _AS_IT_IS or value >= least, name, value, expected)
        for name, least in (("limit", 0), ("batch", 1), ("shard", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(self.top_p <= 1, "top_p", self.top_p, "a number above 0 and up to 1")
        require(self.top_p != 0, "top_p", self.top_p, "a number above 0 and up to 1")
        require(self.policy, "policy", "", "'tiny', a model's folder, a hub id or a server's address")
        for group in ("decode", "served"):
            if (top_p := getattr(self, group).top_p) != 1:
                raise UserError(
                    f"config.{group}.top_p: {top_p} given, which a protocol fixes. Give config.top_p."
                )
        if self.verify.grading != "strict":
            raise UserError(
                f"config.verify.grading: '{self.verify.grading}' given, but here every answer is judged by "
                "all gradings. Leave it out."
            )
        if self.run and (self.ppm or self.policy != "tiny"):
            raise UserError("config.run: given beside config.policy or config.ppm. Leave one out.")
        if self.ppm and is_served(self.policy):
            raise UserError(
                f"config.ppm: {self.ppm!r} given, but a served policy (config.policy) is searched with "
                "without a PPM. Leave it out."
            )
        metrics.require_named(self.figures)
        for name in self.written_shapes:
            hint = f"names of {', '.join(SHAPES)}. {nearest(name, SHAPES)} Each"
            require(name in SHAPES, "shapes", name, hint)

    @property
    def figures(self) -> tuple[str, ...]:
        """The metrics that were asked for."""
        return _listed(self.metrics)

    @property
    def written_shapes(self) -> tuple[str, ...]:
        """The forms of others that were asked for."""
        return _listed(self.shapes)

    def given(self) -> dict[str, Any]:
        """Options of the protocol that were asked for."""
        numbers = {name: getattr(self, name) for name in _LEAST if getattr(self, name) != _AS_IT_IS}
        words = {name: getattr(self, name) for name in _WORDS if getattr(self, name)}
        return {**words, **numbers, **({} if self.greedy else {"greedy": False})}

    def as_run(self, protocol: Protocol) -> RunSettings:
        """The same options as those of a run, by which the stages know them: one that evaluates alone."""
        p, chain = protocol, protocol.of_chains
        return RunSettings(
            rounds=(1,),
            seed=self.seed,
            problems=ProblemSettings(seed=0),
            policy=PolicySettings(init=self.policy, dtype=self.dtype),
            search=SearchSettings(
                rollouts=(1,),
                escalation=((),),
                candidates=(1,),
                c=p.c,
                max_depth=p.max_depth,
                batch=self.batch,
                shard=self.shard,
                prompt=("bootstrap" if p.prompt == "bootstrap" else "finetuned",),
            ),
            verify=self.verify,
            decode=dataclasses.replace(self.decode, top_p=p.top_p),
            train=TrainSettings(ppm=dataclasses.replace(TrainSettings().ppm, ppm_value=self.ppm_value)),
            evaluate=EvaluateSettings(
                strategy=p.tree_strategy,
                rollouts=1 if chain else p.rollouts,
                candidates=1 if chain else p.candidates,
                temperature=p.temperature,
                beam_width=p.beam_width,
                subtrees=p.subtrees,
                scores=cast(Any, p.scores),
                max_tokens=p.max_tokens,
                max_seconds=p.max_seconds,
            ),
            served=dataclasses.replace(self.served, top_p=p.top_p),
        )


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())
