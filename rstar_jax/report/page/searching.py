"""Searches: test-time scaling and why steps failed."""

from __future__ import annotations

import functools

from rstar_jax.evaluate.scaling import ONE_RIGHT
from rstar_jax.report import tables
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Row, Series
from rstar_jax.report.page.contents import Contents, Scaling
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content
from rstar_jax.report.sections import reward_name
from rstar_jax.report.tables import Table


def scaling(contents: Contents) -> Section | None:
    """Accuracy against tokens, the PPM's included, of each round and by each vote."""
    found = [one for one in contents.scaling if one.search]
    if not found:
        return None
    by_round = [
        Series(
            f"round {one.round}", [(cut.tokens + cut.ppm_tokens, cut.shares[one.vote]) for cut in one.search]
        )
        for one in found
    ]
    last = found[-1]
    by_vote = [
        Series(name, [(cut.tokens + cut.ppm_tokens, cut.shares[name]) for cut in last.search])
        for name in last.search[0].shares
    ]
    if last.alone:
        alone = [(cut.tokens, cut.shares[ONE_RIGHT]) for cut in last.alone[-1:]]
        by_vote.append(Series("policy alone", alone))
    name = reward_name(contents.report)
    draw = functools.partial(
        chart.lines, x=f"tokens a problem, policy and {name}", y="%", shares=True, log=True
    )
    body: list[Content] = [
        parts.paragraph(
            "Each held-out tree is cut behind its first 1, 2, 4, ... trajectories, in the order in which "
            "their answers were written, and votes again. Tokens are those that the policy wrote until then "
            f"(dropped repeats included) and those of steps that the {name} read; means over problems."
        ),
        parts.charts(
            [
                draw(f"Accuracy by {last.vote} vote", by_round),
                draw(
                    f"Round {last.round}, by vote",
                    by_vote,
                    note=f"'{ONE_RIGHT}' is the best that any vote could do.",
                ),
            ]
        ),
        parts.shown(made) if (made := scaling_table(contents)) else None,
    ]
    return Section("scaling", "Test-time scaling", body)


def scaling_table(contents: Contents) -> Table | None:
    """All cuts of all rounds; None where there is none."""
    found = [one for one in contents.scaling if one.search]
    if not found:
        return None
    votes = [f"{name}, %" for name in found[-1].search[0].shares]
    columns = ("", "trajectories", "tokens", f"{reward_name(contents.report)} tokens", *votes)
    return Table("Test-time scaling", columns, tuple(row for one in found for row in _rows(one)))


def failures(contents: Contents) -> Section | None:
    """Causes for which candidate steps were dropped."""
    found = tables.failures(contents.report)
    if not found.rows:
        return None
    causes = found.rows[:-1]
    rounds = found.columns[1:]
    rows = [
        Row(cause, [(name, float(cell.replace(",", ""))) for name, cell in zip(rounds, cells, strict=True)])
        for cause, *cells in causes
    ]
    data = parts.table("Data: failed steps, by cause", found.columns, causes)
    drawn = chart.stacks("Failed steps, by cause", rows, "steps", data=data)
    return Section("failures", "Why steps failed", [parts.charts([drawn]), parts.shown(found)])


def _rows(one: Scaling) -> list[tuple[str, ...]]:
    return [
        (
            f"round {one.round}",
            f"{cut.trajectories:,}",
            f"{cut.tokens:,.0f}",
            f"{cut.ppm_tokens:,.0f}",
            *(f"{100 * share:.1f}" for share in cut.shares.values()),
        )
        for cut in one.search
    ]
