"""Top of the page: where the run stands and its headline figures."""

from __future__ import annotations

from collections.abc import Iterator

from rstar_jax.report.cells import NOTHING, percent
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, Markup, element
from rstar_jax.report.page.parts import cards, items, paragraph, table
from rstar_jax.report.sections import Alone, PpmReport, RunReport, WarmStartReport, reward_name

JOBS = {
    "evolve": "Rounds of self-evolution",
    "sft": "A warm start",
    "ppm": "A reward model of given rows",
    "evaluate": "An evaluation",
    "judge": "A reward model as a judge",
    "synthesise": "New problems",
}


def title(contents: Contents) -> str:
    """The page's title."""
    return f"{JOBS.get(contents.job, contents.job.capitalize() or 'A folder')}: {contents.root.name}"


def lead(contents: Contents) -> str:
    """A sentence that says how far it is."""
    done = sum(stage.state == "done" for stage in contents.stages)
    begun = [stage for stage in contents.stages if stage.state == "begun"]
    if not contents.stages:
        found = [name for name in ("evaluation", "judge") if getattr(contents, name)]
        return (
            f"Made from {' and '.join(f'{name}.json' for name in found)}." if found else "No stage is known."
        )
    if done == len(contents.stages):
        seconds = contents.report.seconds or 0.0
        return f"Finished: {_stages(done)} in {_duration(seconds)}."
    told = (
        "No stage has finished yet"
        if not done
        else f"Unfinished: {done} of {len(contents.stages)} stages done"
    )
    if begun:
        told += ", begun: " + ", ".join(f"{s.name} ({s.detail})" if s.detail else s.name for s in begun)
    return f"{told}. This page shows what there is."


def overview(contents: Contents) -> Section:
    """The headline figures, what could not be read, and, unfinished, what is left."""
    body: list[Content] = []
    if contents.faults:
        listed = items(contents.faults)
        body.append(element("div", [paragraph("Some files could not be read:"), listed], {"class": "warn"}))
    figures = list(_headline(contents))
    if figures:
        body.append(cards(figures))
    if any(stage.state != "done" for stage in contents.stages):
        rows = [(s.name, s.state, s.detail or NOTHING) for s in contents.stages]
        body.append(table("Stages", ("stage", "state", ""), rows, words=(1, 2)))
    return Section("overview", "Overview", body or paragraph("Nothing has been measured yet."))


def header(contents: Contents) -> Markup:
    return element("p", lead(contents), {"class": "lead"})


def _headline(contents: Contents) -> Iterator[tuple[str, str, str, str]]:
    report = contents.report
    if isinstance(report, RunReport):
        yield from _of_rounds(report)
    elif isinstance(report, WarmStartReport):
        warm, base = report.warm_start, report.base
        pairs = [
            ("Held-out, policy alone", warm.policy_pass1, base.policy_pass1),
            ("Reached an answer", warm.answered, base.answered if isinstance(base, Alone) else None),
        ]
        for name, after, before in pairs:
            if after is not None:
                yield name, percent(after), "%", _before(before, "before")
    elif isinstance(report, PpmReport):
        ppm = report.ppm
        if ppm.pair_accuracy is not None:
            yield "Held-out pairs in the right order", percent(ppm.pair_accuracy), "%", f"of {ppm.compared:,}"
        if ppm.search_accuracy is not None:
            yield (
                "Held-out, with search",
                percent(ppm.search_accuracy),
                "%",
                _before(ppm.policy_pass1, "alone"),
            )
    # An evaluation's first figure is its protocol's; a judgement's last one is its benchmark's mean.
    for source, place in ((contents.evaluation, 0), (contents.judge, -1)):
        for one in (source or {}).get("benchmarks") or []:
            if figures := list((one.get("figures") or {}).items()):
                metric, figure = figures[place]
                interval = f"{percent(figure['low'])} to {percent(figure['high'])}"
                yield f"{one['name']}, {metric}", percent(figure["value"]), "%", interval
    if report.seconds:
        value, _, unit = _duration(report.seconds).partition(" ")
        yield "Time in stages", value, unit, _stages(len(report.stages))


def _of_rounds(report: RunReport) -> Iterator[tuple[str, str, str, str]]:
    rounds, base = report.rounds, report.base
    best = report.best.round if report.best and report.best.figure else None
    ways = (
        ("Training problems solved", [(r.coverage or {}).get("all") for r in rounds], None),
        ("Held-out, policy alone", [r.policy_pass1 for r in rounds], base.policy_pass1),
        ("Held-out, with search", [r.search_accuracy for r in rounds], None),
    )
    for name, by_round, before in ways:
        known = [(r.round, share) for r, share in zip(rounds, by_round, strict=True) if share is not None]
        if not known:
            continue
        last, share = known[-1]
        if name.startswith("Held-out") and best in dict(known):
            last, share = best, dict(known)[best]
        beside = _before(before, "the base")
        if before is None and known[0][0] != last:
            beside = _before(known[0][1], f"in round {known[0][0]}")
        said = f"round {last}" + (", whose models are the run's" if last == best else "")
        yield name, percent(share), "%", said + (f"; {beside}" if beside else "")
    if rounds and rounds[-1].ppm_pair_accuracy is not None:
        yield (
            f"{reward_name(report)} right on its pairs",
            percent(rounds[-1].ppm_pair_accuracy),
            "%",
            f"round {rounds[-1].round}",
        )


def _stages(count: int) -> str:
    return "1 stage" if count == 1 else f"{count} stages"


def _before(share: float | None, when: str) -> str:
    return "" if share is None else f"{percent(share)} {when}"


def _duration(seconds: float) -> str:
    """Write a time with its unit: "42 s", "3.6 min", "5.2 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
