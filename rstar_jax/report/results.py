"""What each stage found out: written into its manifest as JSON, read by the report.

A field that had another name in the last release says so (`was`), and manifests of that release are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rstar_jax.evaluate.reward_order import Order

T = TypeVar("T")
Shares = dict[str, float]  # by level, and of "all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Searching:
    """Fields of every stage that searches.

    layers: what shuts programs in. rereading: what to do about a cache that is too small. seconds: by kind
    (`inference.Reasoner.result`); kinds overlap. tokens: written. engine: how it was used. served: what a
    server was asked, where the policy is behind one (`served.ServedPolicy.stats`).
    """

    layers: dict[str, str] = dataclasses.field(default_factory=dict)
    rereading: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    tokens: int | None = None
    engine: dict[str, Any] = dataclasses.field(default_factory=dict)
    served: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult(Searching):
    """Trees of the training problems."""

    problems: int
    trees: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurateResult:
    """What a round's trees teach, and what they show.

    coverage: share of problems solved, by level. failures: candidate steps that were no valid nodes, by
    cause. difficulty, dropped: problems and trajectories by kind. ungradable: ids of problems. suspects:
    problems whose label may be wrong, a line each.
    """

    coverage: dict[str, float | None]
    trajectories: int
    steps: int
    tokens: int
    sft_rows: int
    pairs: int
    difficulty: dict[str, int]
    dropped: dict[str, int]
    failures: dict[str, int] = dataclasses.field(metadata={"was": "deaths"})
    ungraded: int
    unknown_steps: int
    ungradable: list[str]
    suspects: list[str] = dataclasses.field(default_factory=list)
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutTokens:
    """A policy on solutions of held-out problems, which it did not learn: what it writes of them, without
    prompts and output.

    source: who wrote them; likelier ones where a policy did. solutions, tokens: how many. loss: in nats a
    token. accuracy: share of tokens that are its likeliest. base_loss, base_accuracy: of the base, before it
    was trained, on the same ones.
    """

    source: str
    solutions: int
    tokens: int
    loss: float
    accuracy: float
    base_loss: float
    base_accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A training; all but `note` is None or empty where there was nothing to learn from.

    device, device_awaited, truncated: as in `train.TrainSummary`; None in those of earlier releases.
    delimiters: the policy's probability of each where it stands. as_sampled: steps that the policy learnt by
    the ids they were sampled with, where its tokenizer spells them otherwise. pair_accuracy: of a PPM or an
    ORM, on the pairs that it learns. held_out: figures on rows that it did not learn.
    heldout_tokens: what those are of a policy.
    skipped, kept_step, mfu: as in `train.TrainSummary`; None in those of earlier releases.
    """

    examples: int | None = None
    dropped: int | None = None
    truncated: int | None = None
    tokens: int | None = None
    steps: int | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    seconds: float = 0.0
    device: float | None = None
    device_awaited: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    delimiters: dict[str, float] | None = None
    as_sampled: int | None = None
    pair_accuracy: float | None = None
    held_out: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: int | None = None
    kept_step: int | None = None
    mfu: float | None = None
    heldout_tokens: HeldOutTokens | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateResult(Searching):
    """Held-out accuracy of a policy alone and, where it was searched with, of the search; shares by level.

    order: that in which the reward model put steps and answers of the search.
    """

    policy_pass1: Shares
    policy_ungraded: int
    policy_answered: float
    policy_steps: int
    policy_failures: dict[str, int] = dataclasses.field(metadata={"was": "policy_deaths"})
    unknown_steps: int
    search_accuracy: Shares | None = None
    search_solved: float | None = None
    search_ungraded: int = 0
    search_cut_off: int | None = None
    order: Order | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsResult:
    """Given solutions of a warm start. lost: how many, by reason."""

    read: int
    kept: int
    converted: int
    lost: dict[str, int]
    heldout_seen: int
    note: str = ""
    layers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairsResult:
    """Given pairs, or values, of a training of a reward model. read: rows, or problems of trees. kept,
    heldout: pairs, or rows of values. lost: how many, by reason."""

    read: int
    kept: int
    heldout: int
    problems: int
    lost: dict[str, int]
    heldout_seen: int
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueErrors:
    """Errors of a PQM on values that it did not learn: fields of `train.ValueErrors`."""

    steps: int
    dropped: int
    loss: float
    distance: float
    sign: float | None = None
    calibration: float
    given: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareResult:
    """The order that a reward model puts held-out pairs in: fields of `train.PairOrder`, the last three empty
    in those of earlier releases; accuracy and loss are None where there are no pairs. values: of a PQM."""

    pairs: int = 0
    dropped: int = 0
    accuracy: float | None = None
    loss: float | None = None
    by_depth: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    margins: list[int] = dataclasses.field(default_factory=list)
    calibration: float | None = None
    values: ValueErrors | None = None


def to_json(result: Any) -> dict[str, Any]:
    """Return a result's fields as JSON takes them."""
    return {name: _lists(value) for name, value in dataclasses.asdict(result).items()}


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(one) for name, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


def of_json(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a result of what `to_json` gave, in this release or the last. What is not there, or null, is as it
    is by default; what has no name any more is left out."""
    found, hints = {}, get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = field.name if field.name in values else field.metadata.get("was", "")
        if values.get(name) is not None:
            found[field.name] = _inner(hints[field.name], values[name])
    return kind(**found)


def _inner(hint: Any, value: Any) -> Any:
    """Make the dataclasses of a field that holds one, one or none, several, or several by name."""
    inner = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
    if not inner:
        return value
    kind: Any = inner[0]
    if get_origin(hint) is dict:
        return {name: of_json(kind, one) for name, one in value.items()}
    return of_json(kind, value) if isinstance(value, Mapping) else tuple(of_json(kind, one) for one in value)


# By stage: of a run, of a warm start, and of a training of a PPM.
KINDS: dict[str, type] = {
    "base": EvaluateResult,
    "search": SearchResult,
    "curate": CurateResult,
    "policy": TrainResult,
    "ppm": TrainResult,
    "evaluate": EvaluateResult,
    "rows": RowsResult,
    "pairs": PairsResult,
    "compare": CompareResult,
}
