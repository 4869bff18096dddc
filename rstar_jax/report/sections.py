"""Contents of report.json as frozen dataclasses: written from the stages' results, read by the tables.

Fractions are 0 to 1, times are seconds, what was not measured is None. A report of an earlier release lacks
some of it, and may say it by names that are gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rstar_jax.evaluate.outcome import Evaluation, Measured
from rstar_jax.evaluate.reward_order import Order
from rstar_jax.report.results import CompareResult, HeldOutTokens

Shares = Mapping[str, float | None]  # by level ("level1", ...), and of "all"
Counts = dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """The policy that a run began with, alone."""

    policy_pass1: float | None = None
    policy_pass1_by_level: Shares | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alone(Base):
    """A policy alone, in a warm start.

    answered: share of held-out problems that got an answer. majority, pass_at_k: share right by the majority
    of `WarmStart.samples`, and with a right one among them. failures: steps that were none, by cause; deaths:
    the same under its old name, which will go. ungraded: answers that could not be graded. unknown_steps: of
    which the sandbox could not tell.
    """

    answered: float | None = None
    steps: int | None = None
    failures: Counts | None = None
    deaths: Counts | None = None
    majority: float | None = None
    majority_by_level: Shares | None = None
    pass_at_k: float | None = None
    ungraded: int = 0
    unknown_steps: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart(Alone):
    """The policy after it. rows, policy_training: results of these stages. heldout_tokens: as in `Round`."""

    rows: dict[str, Any] | None = None
    policy_training: dict[str, Any] | None = None
    heldout_tokens: HeldOutTokens | None = None
    samples: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ppm(Base):
    """A PPM trained on given pairs, and the policy that it was trained from.

    pairs, ppm_training: results of these stages. pair_accuracy: share of the held-out pairs in the right
    order; pair_order: all that was found of it. heldout_order: as in `Round`. search_accuracy: of the
    policy's search, guided by it. The others are as in `Alone`, of both.
    """

    pairs: dict[str, Any] | None = None
    ppm_training: dict[str, Any] | None = None
    compared: int | None = None
    pair_accuracy: float | None = None
    pair_order: CompareResult | None = None
    heldout_order: Order | None = None
    search_accuracy: float | None = None
    search_accuracy_by_level: Shares | None = None
    steps: int | None = None
    failures: Counts | None = None
    ungraded: int = 0
    unknown_steps: int | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """A round of self-evolution.

    coverage: share of the training problems solved. ungradable: problems without an answer that could be
    graded. suspects: those whose label may be wrong. heldout_cut_off: problems whose search had spent its
    time or tokens before any answer. failures, deaths, ungraded, unknown_steps: as in `Alone`, of the search.
    heldout_tokens: the policy on solutions of held-out problems.
    ppm_pair_accuracy: of the reward model on the pairs that it learns. heldout_order: that in which it put
    steps and answers of the held-out search.
    """

    round: int | None = None
    problems: int | None = None
    coverage: Shares | None = None
    policy_pass1: float | None = None
    policy_pass1_by_level: Shares | None = None
    search_accuracy: float | None = None
    search_accuracy_by_level: Shares | None = None
    trajectories: int | None = None
    steps: int | None = None
    tokens: int | None = None
    sft_rows: int | None = None
    pairs: int | None = None
    difficulty: Counts | None = None
    failures: Counts | None = None
    deaths: Counts | None = None
    ungraded: int | None = None
    unknown_steps: int | None = None
    ungradable: list[str] | None = None
    suspects: list[str] | None = None
    heldout_ungraded: int | None = None
    heldout_cut_off: int | None = None
    heldout_unknown_steps: int | None = None
    dropped: Counts | None = None
    policy_training: dict[str, Any] | None = None
    ppm_training: dict[str, Any] | None = None
    ppm_pair_accuracy: float | None = None
    heldout_order: Order | None = None
    heldout_tokens: HeldOutTokens | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestRound:
    """The round whose models are the run's (`evolve/best_round.py`).

    rule: by which it was chosen, in words. figure: the one that counted, "search" or "policy"; None where no
    round is evaluated. compared: rounds that had it. share: of the held-out problems answered right.
    interval: 95 percent, over problems. last: the last round that has made both models, and its own figures.
    """

    round: int | None = None
    rule: str = ""
    figure: str | None = None
    compared: int = 0
    share: float | None = None
    interval: tuple[float, float] | None = None
    last: int | None = None
    last_share: float | None = None
    last_interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """Programs that a stage compiled, that it found compiled on disk, and the seconds of both, added up over
    threads."""

    programs: int | None = None
    cached: int | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Later:
    """Needs of a stage by what the search before it found."""

    tokens: int | None = None
    hours: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Needs that a stage was expected to have (`evolve/announce.py`). parts: MiB by use. later: told once the
    search before it was curated, where one was."""

    memory_mb: int | None = None
    parts: dict[str, int] | None = None
    tokens: int | None = None
    hours: float | None = None
    chips: int | None = None
    later: Later | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Time of a stage, in seconds of its wall time.

    device, sandbox: in which the device worked, and in which programs of the policy ran or waited for a
    process. device_awaited, sandbox_awaited: in which the host did nothing but wait for the device, or for
    programs, grades and servers. host: the rest, in which it was busy itself. All None where an earlier
    release did not measure them (host then is what was left beside the others, which overlap).
    decode, ppm, training: in the calls that do it; execution: with checks or grades open, fetched or not.
    tokens: written by a search, read by a training. served: what a server was asked.
    """

    name: str | None = None
    seconds: float | None = None
    device: float | None = None
    device_awaited: float | None = None
    sandbox: float | None = None
    sandbox_awaited: float | None = None
    decode: float | None = None
    execution: float | None = None
    ppm: float | None = None
    training: float | None = None
    host: float | None = None
    peak_mb: int | None = None
    tokens: int | None = None
    compiled: Compiled | None = None
    note: str | None = None
    served: dict[str, Any] | None = None
    estimate: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Problems of one kind, as they were read. fingerprint: of all of them. left_out: rows of their sources
    that are not among them, by reason; examples: the first of each. known_wrong: ids of those whose answers
    are known to be wrong; corrected: whether the right ones were put there; corrections: the option that does
    so."""

    problems: int | None = None
    fingerprint: str | None = None
    left_out: Counts = dataclasses.field(default_factory=dict)
    examples: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    known_wrong: list[str] = dataclasses.field(default_factory=list)
    corrected: bool = False
    corrections: str = "config.problems.corrections"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """Contents of every report.

    sources: of the problems, by their kind ("train", "heldout").
    layers: of the sandbox, what each does, or "missing: why". folder: the run's. models: paths in it of the
    run's own ones, by kind: of rounds those of the best (`RunReport.best`). files: paths by label.
    """

    sources: dict[str, Source] = dataclasses.field(default_factory=dict)
    layers: dict[str, str] | None = None
    rounds: tuple[Round, ...] = ()
    stages: tuple[StageTimes, ...] = ()
    folder: str | None = None
    models: dict[str, str] | None = None
    files: dict[str, str] | None = None
    seed: int | None = None
    config: dict[str, Any] | None = None
    seconds: float | None = None
    peak_mb: int | None = None
    peak_children_mb: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunReport(Whole):
    """A run of rounds. estimates: what was assumed, and what the same rounds need with the paper's models.
    best: the round whose models are the run's; None as long as no round has made both."""

    base: Base = Base()
    best: BestRound | None = None
    estimates: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStartReport(Whole):
    """A warm start, which has no rounds."""

    base: Alone = Alone()
    warm_start: WarmStart = WarmStart()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PpmReport(Whole):
    """A training of a PPM alone, which has no rounds."""

    base: Base = Base()
    ppm: Ppm = Ppm()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationReport(Whole):
    """An evaluation on benchmarks, which has no rounds."""

    base: Base = Base()
    evaluation: Evaluation | None = None


Report = RunReport | WarmStartReport | PpmReport | EvaluationReport


def warm_starts(report: Report) -> list[WarmStart]:
    """The warm start of a report, if it is of one."""
    return [report.warm_start] if isinstance(report, WarmStartReport) else []


def ppms(report: Report) -> list[Ppm]:
    """The PPM of a report, if it is of one alone."""
    return [report.ppm] if isinstance(report, PpmReport) else []


def measured(report: Report) -> tuple[Measured, ...]:
    """The benchmarks of a report, if it is of an evaluation."""
    if isinstance(report, EvaluationReport) and report.evaluation is not None:
        return report.evaluation.benchmarks
    return ()


def reward_name(report: Report) -> str:
    """The name of the reward model that a report's rounds train: "PPM", "PQM" or "ORM"; else "PPM"."""
    train = (report.config or {}).get("train")
    return str(train.get("reward") or "ppm").upper() if isinstance(train, Mapping) else "PPM"


def round_number(round: Round) -> int | str:
    """The number of a round, "?" where a report lacks it."""
    return "?" if round.round is None else round.round
