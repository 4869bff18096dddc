"""Trainings: curves of the policy's and the reward model's, by round, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rstar_jax.report import tables
from rstar_jax.report.cells import NOTHING, count, decimal, percent, seconds
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Series
from rstar_jax.report.page.contents import Contents, Training
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, Markup, element
from rstar_jax.report.sections import reward_name

# What is drawn of a training, by metric: its title and whether it is a share. What the same was on held-out
# rows stands beside it.
CURVES = {
    "loss": ("loss", False),
    "accuracy": ("accuracy", True),
    "margin": ("margin of the pairs", False),
    "sign": ("values on the right side of 0", True),
    "distance": ("distance from the values", False),
    "learning_rate": ("learning rate", False),
    "grad_norm": ("norm of the gradient", False),
    "tokens_per_s": ("tokens a second", False),
    "mfu": ("share of the chips' peak (MFU)", True),
    "peak_memory_gib": ("memory at its peak, GiB", False),
    "skipped": ("steps skipped so far", False),
}
_HELD_OUT = "held_out_"
METRICS = (*CURVES, *(f"{_HELD_OUT}{name}" for name in CURVES))
_DRAWN = 6  # trainings in a chart, the latest ones
_WITH_HELD_OUT = 3  # where each has two lines


def learning(contents: Contents) -> Section | None:
    """Curves and figures of all trainings."""
    body: list[Content] = []
    for kind, name in (("policy", "policy"), ("ppm", reward_name(contents.report))):
        found = [one for one in contents.trainings if one.name.rpartition("/")[2] == kind]
        if drawn := parts.charts(_curve(f"The {name}", metric, found) for metric in CURVES):
            body += [element("h3", f"The {name}"), drawn]
    if rows := [(name, *_cells(found)) for name, found in _found(contents)]:
        shown = [k for k, _ in enumerate(_COLUMNS, 1) if any(row[k] != NOTHING for row in rows)]
        columns = ("", *(list(_COLUMNS)[k - 1] for k in shown))
        body.append(parts.table("Trainings", columns, [(row[0], *(row[k] for k in shown)) for row in rows]))
    if (found := tables.tokens(contents.report)).rows:
        body.append(parts.shown(found))
    if sure := _delimiters(contents):
        body.append(sure)
    return Section("trainings", "Trainings", body) if body else None


def _curve(name: str, metric: str, trainings: Sequence[Training]) -> Markup | None:
    """The chart of a metric, None where no training has it, or no step was skipped."""
    title, share = CURVES[metric]
    held_out = any(_HELD_OUT + metric in one.metrics for one in trainings)
    drawn = [
        series
        for one in trainings[-(_WITH_HELD_OUT if held_out else _DRAWN) :]
        for series in _series(one, metric)
    ]
    if metric == "skipped" and not any(value for one in drawn for _, value in one.points):
        return None
    note = "Dashed: on rows that are not learnt." if held_out else ""
    return chart.lines(f"{name}: {title}", drawn, "step", "%" if share else "", shares=share, note=note)


def _series(training: Training, metric: str) -> Iterator[Series]:
    before = training.name.rpartition("/")[0]
    label = before.replace("round", "round ") if before else training.name
    if metric in training.metrics:
        yield Series(label, training.metrics[metric])
    if held_out := training.metrics.get(_HELD_OUT + metric):
        yield Series(f"{label}, held out", held_out, beside=True)


def _accuracy(found: Mapping[str, Any]) -> float | None:
    accuracy = found.get("pair_accuracy")
    return (found.get("metrics") or {}).get("accuracy") if accuracy is None else accuracy


def _held_out(found: Mapping[str, Any], name: str) -> float | None:
    return (found.get("held_out") or {}).get(name)


def _speed(found: Mapping[str, Any]) -> float | None:
    tokens, spent = found.get("tokens"), found.get("seconds")
    return tokens / spent if tokens and spent else None


# The columns of a training's figures, each with what makes its cell; those that are empty are left out.
_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "examples": lambda found: count(found.get("examples")),
    "tokens": lambda found: count(found.get("tokens")),
    "steps": lambda found: count(found.get("steps")),
    "skipped": lambda found: count(found.get("skipped") or None),
    "first loss": lambda found: decimal(found.get("first_loss")),
    "last loss": lambda found: decimal(found.get("last_loss")),
    "accuracy, %": lambda found: percent(_accuracy(found)),
    "held-out loss": lambda found: decimal(_held_out(found, "loss")),
    "held-out accuracy, %": lambda found: percent(_held_out(found, "accuracy")),
    "seconds": lambda found: seconds(found.get("seconds")),
    "tokens a second": lambda found: count(None if (speed := _speed(found)) is None else round(speed)),
    "MFU, %": lambda found: percent(found.get("mfu")),
}


def _cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(cell(found) for cell in _COLUMNS.values())


def _found(contents: Contents) -> list[tuple[str, dict]]:
    """The results of trainings, by name, as the report has them."""
    name = reward_name(contents.report)
    rounds = [
        (f"round {r.round}, the {kind}", found)
        for r in contents.report.rounds
        for kind, found in (("policy", r.policy_training), (name, r.ppm_training))
    ]
    raw = contents.raw
    others = [
        ("the policy", (raw.get("warm_start") or {}).get("policy_training")),
        (f"the {name}", (raw.get("ppm") or {}).get("ppm_training")),
    ]
    return [(name, found) for name, found in [*rounds, *others] if found]


def _delimiters(contents: Contents) -> Content:
    """The policies' probabilities of each delimiter where it should stand."""
    found = [(name, one["delimiters"]) for name, one in _found(contents) if one.get("delimiters")]
    names: Sequence[str] = list(dict.fromkeys(token for _, sure in found for token in sure))
    rows = [(name, *(f"{sure[n]:.5f}" if n in sure else "-" for n in names)) for name, sure in found]
    title = "Probability of each delimiter where it stands"
    return parts.unfold(title, parts.table(title, ("", *names), rows)) if rows else None
