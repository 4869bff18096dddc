"""PPM probes: judge.json, and evaluation.json, whose figures have the same form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rstar_jax.evaluate.reward_order import Order
from rstar_jax.report.cells import NOTHING, decimal, percent
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Bars, Series
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, Markup, element
from rstar_jax.report.results import CompareResult, ValueErrors
from rstar_jax.report.sections import ppms, reward_name


def probes(contents: Contents) -> Section | None:
    """Worth of a PPM as a judge of steps, and how often it orders its training's pairs rightly."""
    body: list[Content] = []
    rounds, name = contents.report.rounds, reward_name(contents.report)
    learnt = [(float(r.round or 0), r.ppm_pair_accuracy) for r in rounds if r.ppm_pair_accuracy is not None]
    held_out = [(float(r.round or 0), r.heldout_order) for r in rounds if r.heldout_order]
    if learnt or held_out:
        metrics = [(float(r.round or 0), (r.ppm_training or {}).get("metrics") or {}) for r in rounds]
        steps = [(x, order.accuracy) for x, order in held_out if order.accuracy is not None]
        answers = [(x, order.answer_accuracy) for x, order in held_out if order.answer_accuracy is not None]
        series = [
            Series("pairs that it learnt", learnt),
            Series("pairs of steps, held out", steps),
            Series("pairs of answers, held out", answers),
            Series("values at their bounds", [(x, m["saturated"]) for x, m in metrics if "saturated" in m]),
        ]
        title = f"The {name}: pairs in the right order"
        note = "Learnt ones: the last tenth of its steps. Held-out ones: from the searches of its evaluation."
        drawn = chart.lines(title, series, "round", "%", shares=True, zero=True, whole=True, note=note)
        body.append(parts.charts([drawn, *(_held_out(held_out[-1][1], "last round") if held_out else ())]))
    for ppm in ppms(contents.report):
        if ppm.pair_order:
            body.append(parts.charts(_held_out(ppm.pair_order, "given pairs")))
            body.append(parts.charts([_values(ppm.pair_order.values)]))
        if ppm.heldout_order:
            body.append(parts.charts(_held_out(ppm.heldout_order, "pairs of its search")))
    for one in (contents.judge or {}).get("benchmarks") or []:
        body += _benchmark(one)
        body.append(parts.charts([_calibration(one)]))
    return Section("probes", f"{name} probes", body) if body else None


def _held_out(order: Order | CompareResult, label: str) -> Iterator[Markup | None]:
    """The histogram of held-out pairs, and how many are in the right order at each depth."""
    if not order.pairs or not order.margins:
        return
    width = 4 / len(order.margins)
    names = [f"{-2 + i * width:g} to {-2 + (i + 1) * width:g}" for i in range(len(order.margins))]
    share = [count / order.pairs for count in order.margins]
    title = f"Held-out pairs by the difference of their values: {label}"
    yield chart.bars(title, names, [Bars(label, share)], note="Right of 0 is the right order.")
    depths = [f"{depth} ({pairs:,.0f})" for depth, (pairs, _) in order.by_depth.items()]
    title = f"Held-out pairs in the right order, by depth: {label}"
    note = "In brackets: pairs. Half of those of equal values count."
    yield chart.bars(title, depths, [Bars(label, [a for _, a in order.by_depth.values()])], note=note)


def _values(errors: ValueErrors | None) -> Markup | None:
    """The histogram of the values that a PQM gives to held-out steps."""
    if errors is None or not errors.steps:
        return None
    width = 2 / len(errors.given)
    names = [f"{-1 + i * width:g} to {-1 + (i + 1) * width:g}" for i in range(len(errors.given))]
    title = f"Values given to {errors.steps:,} held-out steps"
    note = (
        f"Mean distance from the true ones: {decimal(errors.distance)}; of mean values from true means, "
        f"bar by bar: {decimal(errors.calibration)}."
    )
    return chart.bars(title, names, [Bars("steps", [n / errors.steps for n in errors.given])], note=note)


def evaluation(contents: Contents) -> Section | None:
    """Benchmarks of an evaluation, with their intervals and protocols."""
    found = (contents.evaluation or {}).get("benchmarks") or []
    if not found:
        return None
    body: list[Content] = []
    metrics = list(dict.fromkeys(name for one in found for name in one.get("figures") or {}))
    series = [
        Bars(
            metric,
            [_value(one, metric) for one in found],
            [_interval((one.get("figures") or {}).get(metric)) for one in found],
        )
        for metric in metrics[:6]
    ]
    names = [str(one.get("name")) for one in found]
    drawn = chart.bars("Benchmarks", names, series, note="Whiskers are 95 % intervals over problems.")
    body.append(parts.charts([drawn]))
    for one in found:
        body += _benchmark(one)
        protocol = one.get("protocol") or {}
        rows = [(name, str(value)) for name, value in protocol.items()]
        if rows:
            title = f"Protocol of {one.get('name')}"
            body.append(parts.unfold(title, parts.table(title, ("option", "value"), rows, words=(1,))))
    return Section("evaluation", "Benchmarks", body)


def _benchmark(one: Mapping[str, Any]) -> Iterator[Content]:
    name = str(one.get("name"))
    yield element("h3", name)
    size = one.get("problems")
    told = [
        f"{size:,} problems" if isinstance(size, int) else "",
        f"from {one['source']}" if one.get("source") else "",
    ]
    yield parts.paragraph(", ".join(filter(None, told)), "note")
    figures: dict[str, Any] = dict(one.get("figures") or {})
    figures |= {key.replace("_", " "): one[key] for key in ("tool", "no_tool") if one.get(key)}
    figures |= one.get("by_level") or {}
    rows = [
        (metric, percent(f.get("value")), _span(f), f"{f['problems']:,}" if f.get("problems") else NOTHING)
        for metric, f in figures.items()
        if isinstance(f, Mapping)
    ]
    if rows:
        yield parts.table(f"{name}: figures", ("", "%", "95 % interval", "problems"), rows)
    others: list[tuple[str, str]] = []
    for part in ("areas", "correlations", "costs"):
        others += [(f"{part}: {key}", _number(value)) for key, value in (one.get(part) or {}).items()]
    others += [(f"samples: {key}", _number(value)) for key, value in (one.get("counts") or {}).items()]
    for key in ("ece", "threshold", "disagreements"):
        if one.get(key) is not None:
            others.append((key, _number(one[key])))
    if others:
        yield parts.table(f"{name}: further", ("", "value"), others)


def _calibration(one: Mapping[str, Any]) -> Markup | None:
    """A reliability diagram: the share that is right against what the PPM says."""
    bins = [b for b in one.get("calibration") or [] if isinstance(b, Mapping)]
    said = [
        (float(b["predicted"]), float(b["right"]))
        for b in bins
        if _known(b, "predicted") and _known(b, "right")
    ]
    if not said:
        return None
    series = [Series("the reward model", said), Series("calibrated", [(0.0, 0.0), (1.0, 1.0)], beside=True)]
    return chart.lines(f"{one.get('name')}: calibration", series, "said", "% right", shares=True, zero=True)


def _known(bin: Mapping[str, Any], name: str) -> bool:
    return isinstance(bin.get(name), int | float)


def _value(one: Mapping[str, Any], metric: str) -> float | None:
    return ((one.get("figures") or {}).get(metric) or {}).get("value")


def _interval(figure: Mapping[str, Any] | None) -> tuple[float, float] | None:
    if not figure or figure.get("low") is None or figure.get("high") is None:
        return None
    return figure["low"], figure["high"]


def _span(figure: Mapping[str, Any]) -> str:
    found = _interval(figure)
    return NOTHING if found is None else f"{percent(found[0])} to {percent(found[1])}"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
