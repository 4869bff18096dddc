"""A sweep's table: Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_jax import records
from rstar_jax.compare.table import table
from rstar_jax.sweep.figures import Cell

JSON, CSV, MARKDOWN = "sweep.json", "sweep.csv", "sweep.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointResult:
    """A point's standing. status: "done", "failed", "not done", or "begun" where no sweep saw its end, as of
    one that was run elsewhere; why: what is wrong with it."""

    name: str
    swept: dict[str, str]
    seed: int | None
    status: str
    minutes: float | None
    folder: str
    why: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep's findings. of: the job's config. options: the same at all points. over: what was swept."""

    of: str
    options: tuple[str, ...]
    over: dict[str, list[str]]
    points: tuple[PointResult, ...]
    cells: tuple[Cell, ...]


def write(found: Sweep, root: Path) -> str:
    """Write all three files, each whole or absent; returns the Markdown."""
    text = markdown(found)
    records.write_json(root / JSON, dataclasses.asdict(found))
    for name, content in ((CSV, _csv(found)), (MARKDOWN, text)):
        with records.replacing(root / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return text


def markdown(found: Sweep) -> str:
    """The sweep as tables, with a newline at the end."""
    done = sum(point.status == "done" for point in found.points)
    begun = sum(point.status == "begun" for point in found.points)
    told = f"; {begun} begun, by others or cut off: the figures that they have so far" if begun else ""
    parts = ["# Sweep\n", f"`{found.of}`, {done} of {len(found.points)} points done{told}.\n"]
    if found.options:
        parts.append("The same everywhere: " + ", ".join(f"`{option}`" for option in found.options) + ".\n")
    if found.cells:
        seeds = any(len(cell.seeds) > 1 for cell in found.cells)
        parts.append(_figures(found, seeds))
        tested = sum(cell.difference is not None for cell in found.cells)
        about = (
            "Percent; in brackets 95 percent intervals over problems"
            + (", of the mean over seeds. Over seeds: Student's t of the seeds' means" if seeds else "")
            + ". Differences are to the first setting that has the figure, in points, paired by problem"
            + (" and by seed; one counts where both intervals exclude 0" if seeds else "")
            + f". {tested} tested: by chance alone one in 20 comes out as other than noise.\n"
        )
        parts.append("\n" + about)
    parts.append("## Points\n")
    rows = [[p.name, p.status, "-" if p.minutes is None else f"{p.minutes:.1f}", p.why] for p in found.points]
    parts.append(table(["point", "status", "minutes", ""], rows) + "\n")
    return "\n".join(parts)


def _figures(found: Sweep, seeds: bool) -> str:
    several = [name for name, values in found.over.items() if len(values) > 1] or list(found.over)
    heads = ["benchmark", "metric", *several, *(["seeds"] if seeds else []), "percent"]
    heads += [
        *(["over seeds"] if seeds else []),
        "difference",
        *(["over seeds"] if seeds else []),
        "",
        "note",
    ]
    return table(heads, [_row(cell, several, seeds) for cell in found.cells])


def _row(cell: Cell, options: Sequence[str], seeds: bool) -> list[str]:
    d = cell.difference
    row = [f"{cell.benchmark}{cell.stage and f', {cell.stage}'}", cell.metric]
    row += [cell.swept[name] for name in options]
    row += [str(len(cell.seeds))] if seeds else []
    row.append(_interval(cell.figure))
    row += [_interval(cell.over_seeds)] if seeds else []
    row.append("" if d is None else f"{_interval(d)}, p = {d.p:.2g}")
    row += ["" if d is None else _interval(cell.difference_over_seeds)] if seeds else []
    return [*row, cell.verdict, "; ".join(cell.notes)]


def _interval(figure: Any) -> str:
    if figure is None:
        return "-"
    value, low, high = (
        f"{100 * number:.1f}".replace("-0.0", "0.0") for number in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high})"


def _csv(found: Sweep) -> str:
    """A row for each cell; numbers are shares, not percent."""
    over = list(found.over)
    heads = ["benchmark", "stage", "metric", *over, "seeds", "value", "low", "high", "problems"]
    heads += ["seeds_low", "seeds_high", "difference", "difference_low", "difference_high", "p"]
    heads += ["difference_seeds_low", "difference_seeds_high", "verdict", "values"]
    with io.StringIO(newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(heads)
        for cell in found.cells:
            rows.writerow(_csv_row(cell, over))
        return text.getvalue()


def _csv_row(cell: Cell, over: Sequence[str]) -> list[Any]:
    f, s, d, ds = cell.figure, cell.over_seeds, cell.difference, cell.difference_over_seeds
    row = [cell.benchmark, cell.stage, cell.metric, *(cell.swept[name] for name in over), len(cell.seeds)]
    row += [f.value, f.low, f.high, f.problems]
    row += [s.low, s.high] if s else ["", ""]
    row += [d.value, d.low, d.high, d.p] if d else [""] * 4
    row += [ds.low, ds.high] if ds else ["", ""]
    return [*row, cell.verdict, " ".join(f"{seed}:{value:.6g}" for seed, value in cell.seeds.items())]
