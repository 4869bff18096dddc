"""Rounds: coverage by level, what searches gave, held-out accuracy, and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rstar_jax.evaluate.intervals import of_share
from rstar_jax.evaluate.paper import BENCHMARKS, WAYS, Beside, beside_evaluation, beside_report
from rstar_jax.report import tables
from rstar_jax.report.notes import best_line
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Bars, Series
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, Markup
from rstar_jax.report.sections import Report, RunReport
from rstar_jax.report.tables import Table


def coverage(contents: Contents) -> Section | None:
    """Training problems solved, by level and round."""
    report = contents.report
    found = [r for r in report.rounds if r.coverage]
    if not found:
        return None
    names = [f"round {r.round}" for r in found]
    levels = sorted({key for r in found for key in r.coverage or {} if key.startswith("level")})
    series = [Bars(f"level {key[5:]}", [(r.coverage or {}).get(key) for r in found]) for key in levels]
    by_level = chart.bars("Training problems solved, by level", names, series)
    every = chart.lines(
        "Training problems solved",
        [Series("all problems", _points([(r.round, (r.coverage or {}).get("all")) for r in found]))],
        "round",
        "%",
        shares=True,
        zero=True,
        whole=True,
        note="Share with a right trajectory in the search of the round.",
    )
    body = [
        parts.charts([every, by_level]),
        parts.shown(tables.coverage(report)),
        parts.shown(tables.data(report)),
    ]
    return Section("coverage", "Coverage", body)


def accuracy(contents: Contents) -> Section | None:
    """Held-out accuracy of the policy alone and with search."""
    report = contents.report
    found = tables.accuracy(report)
    if not found.rows:
        return None
    body: list[Content] = []
    heldout = report.sources.get("heldout")
    problems = heldout.problems if heldout else None
    if report.rounds:
        base = report.base.policy_pass1
        alone = [base, *(r.policy_pass1 for r in report.rounds)]
        searched = [None, *(r.search_accuracy for r in report.rounds)]
        groups = ["base", *(f"round {r.round}" for r in report.rounds)]
        series = [
            Bars("policy alone, pass@1", alone, [_interval(share, problems) for share in alone]),
            Bars("with search", searched, [_interval(share, problems) for share in searched]),
        ]
        note = f"{problems:,} held-out problems; whiskers are 95 % intervals." if problems else ""
        every = chart.bars("Held-out problems answered right", groups, series, note=note)
        body.append(parts.charts([every, _levels(report)]))
    body.append(parts.shown(found))
    if isinstance(report, RunReport) and (told := best_line(report.best)):
        body.append(parts.paragraph(told))
    return Section("accuracy", "Held-out accuracy", body)


def paper(contents: Contents) -> Section | None:
    """Our figures beside the paper's, by benchmark and round."""
    rows, found = _rows(contents), paper_table(contents)
    if found is None:
        return None
    comparable = sum(row.comparable for row in rows)
    told = (
        f"{comparable} of {len(rows)} of these figures may be compared with the paper's; the others stand "
        "beside them for orientation."
        if comparable
        else "None of these figures may be compared with the paper's: they stand beside them for orientation."
    )
    body = [
        parts.paragraph(told),
        _beside_chart(rows),
        parts.shown(found, words=(4,)),
        parts.paragraph("Paper: rStar-Math, arXiv 2501.04519, with Qwen2.5-Math-7B unless said.", "note"),
    ]
    return Section("paper", "Against the paper", body)


def paper_table(contents: Contents) -> Table | None:
    """Our figures beside the paper's; None where there is none."""
    listed = tuple(
        (
            f"{BENCHMARKS[row.paper.benchmark]}, {WAYS[row.paper.way]}",
            "base" if not row.paper.round else f"round {row.paper.round}",
            f"{100 * row.paper.share:.1f}",
            _ours(row),
            "yes" if row.comparable else f"no: {'; '.join(row.why)}",
        )
        for row in _rows(contents)
    )
    columns = ("paper's benchmark and way", "round", "paper, %", "here, %", "comparable")
    return Table("The paper's figures and this run's", columns, listed) if listed else None


def _rows(contents: Contents) -> list[Beside]:
    rows = beside_report(contents.raw) if contents.job == "evolve" else []
    return [*rows, *beside_evaluation(contents.evaluation)] if contents.evaluation else rows


def _beside_chart(rows: Sequence[Beside]) -> Markup | None:
    series = list[Series]()
    for way, name in (("solved", "solved"), ("policy", "policy alone"), ("search", "with search")):
        of = [row for row in rows if row.paper.way == way and row.paper.benchmark in ("train", "math500")]
        if of:
            series.append(Series(f"{name}, here", [(row.paper.round, row.ours.share) for row in of]))
            paper = [(row.paper.round, row.paper.share) for row in of]
            series.append(Series(f"{name}, paper", paper, beside=True))
    note = "Paper: its 747k training problems and MATH-500. Here: this run's own problems."
    drawn = chart.lines(
        "Here and in the paper", series, "round", "%", shares=True, zero=True, whole=True, note=note
    )
    return parts.charts([drawn])


def _ours(row: Beside) -> str:
    share = f"{100 * row.ours.share:.1f}"
    if row.ours.low is None or row.ours.high is None:
        return share
    return f"{share} ({100 * row.ours.low:.1f} to {100 * row.ours.high:.1f})"


def _levels(report: Report) -> Markup | None:
    """Accuracy by level of the last round that has both."""
    with_search = [r for r in report.rounds if r.search_accuracy_by_level or r.policy_pass1_by_level]
    if not with_search:
        return None
    last = with_search[-1]
    ways: tuple[tuple[str, Mapping[str, float | None]], ...] = (
        ("policy alone, pass@1", last.policy_pass1_by_level or {}),
        ("with search", last.search_accuracy_by_level or {}),
    )
    levels = sorted({key for _, shares in ways for key in shares if key.startswith("level")})
    series = [Bars(name, [shares.get(key) for key in levels]) for name, shares in ways if shares]
    title = f"Held-out problems by level, round {last.round}"
    return chart.bars(title, [f"level {key[5:]}" for key in levels], series) if levels else None


def _interval(share: float | None, problems: int | None) -> tuple[float, float] | None:
    found = of_share(share, problems)
    return None if found is None else (found.low, found.high)


def _points(found: Sequence[tuple[int | None, float | None]]) -> list[tuple[float, float]]:
    return [(float(x), y) for x, y in found if x is not None and y is not None]
