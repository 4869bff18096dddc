"""Trainings: curves of the policy's and the PPM's, by round, and their figures."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_jax.report.cells import count, percent, seconds
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Series
from rstar_jax.report.page.contents import Contents, Training
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, element

# What is drawn of a training, by metric: its title and whether it is a share.
CURVES = {
    "loss": ("loss", False),
    "accuracy": ("accuracy", True),
    "margin": ("margin of the pairs", False),
    "learning_rate": ("learning rate", False),
    "grad_norm": ("norm of the gradient", False),
}
_NAMES = {"policy": "The policy", "ppm": "The PPM"}
_DRAWN = 6  # trainings in a chart, the latest ones


def learning(contents: Contents) -> Section | None:
    """Curves and figures of all trainings."""
    body: list[Content] = []
    for kind, name in _NAMES.items():
        found = [one for one in contents.trainings if one.name.rpartition("/")[2] == kind]
        curves = [
            chart.lines(
                f"{name}: {title}",
                [_series(one, metric) for one in found[-_DRAWN:] if metric in one.metrics],
                "step",
                "%" if share else "",
                shares=share,
            )
            for metric, (title, share) in CURVES.items()
        ]
        if drawn := parts.charts(curves):
            body += [element("h3", name), drawn]
    if rows := _rows(contents):
        columns = ("", "examples", "tokens", "steps", "first loss", "last loss", "accuracy, %", "seconds")
        body.append(parts.table("Trainings", columns, rows))
    if sure := _delimiters(contents):
        body.append(sure)
    return Section("trainings", "Trainings", body) if body else None


def _series(training: Training, metric: str) -> Series:
    before = training.name.rpartition("/")[0]
    label = before.replace("round", "round ") if before else training.name
    return Series(label, training.metrics[metric])


def _rows(contents: Contents) -> list[tuple[str, ...]]:
    rows = []
    for name, found in _found(contents):
        metrics = found.get("metrics") or {}
        accuracy = found.get("pair_accuracy")
        rows.append(
            (
                name,
                count(found.get("examples")),
                count(found.get("tokens")),
                count(found.get("steps")),
                _loss(found.get("first_loss")),
                _loss(found.get("last_loss")),
                percent(metrics.get("accuracy") if accuracy is None else accuracy),
                seconds(found.get("seconds")),
            )
        )
    return rows


def _found(contents: Contents) -> list[tuple[str, dict]]:
    """The results of trainings, by name, as the report has them."""
    rounds = [
        (f"round {r.round}, the {kind}", found)
        for r in contents.report.rounds
        for kind, found in (("policy", r.policy_training), ("PPM", r.ppm_training))
    ]
    raw = contents.raw
    others = [
        ("the policy", (raw.get("warm_start") or {}).get("policy_training")),
        ("the PPM", (raw.get("ppm") or {}).get("ppm_training")),
    ]
    return [(name, found) for name, found in [*rounds, *others] if found]


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _delimiters(contents: Contents) -> Content:
    """The policies' probabilities of each delimiter where it should stand."""
    found = [(name, one["delimiters"]) for name, one in _found(contents) if one.get("delimiters")]
    names: Sequence[str] = list(dict.fromkeys(token for _, sure in found for token in sure))
    rows = [(name, *(f"{sure[n]:.5f}" if n in sure else "-" for n in names)) for name, sure in found]
    title = "Probability of each delimiter where it stands"
    return parts.unfold(title, parts.table(title, ("", *names), rows)) if rows else None
