"""The paper's tables for one run, from its report: drawn on a terminal, aligned plain text elsewhere.

The tables of arXiv 2501.04519 that a run reproduces: share of the training problems solved by round and
level, pass@1 of the policy alone and accuracy with search by round. Then where the time went, why steps
died, and where the files are.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

PARTS = ("decode", "execution", "ppm", "training", "host")  # of a stage's seconds
CAUSES = 8  # causes of death shown; rarer ones are added up
NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of text; the first column is words, the rest numbers, aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Every table that the report has something for, in the order shown."""
    makers: tuple[Callable[[Mapping[str, Any]], Table], ...] = (
        coverage, solutions_given, accuracy, data, failures, times, shares, estimates,
    )  # fmt: skip
    return [table for make in makers if (table := make(report)).rows]


def render(report: Mapping[str, Any]) -> str:
    """The tables as plain text, columns aligned, with a newline at the end."""
    return "\n".join([*map(_plain, tables(report)), *(f"{note}\n" for note in notes(report))])


def show(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Draw the tables on a terminal (standard output unless given); print plain text anywhere else."""
    console = console or Console()
    if not console.is_terminal:
        console.print(Text(render(report)), soft_wrap=True, end="")
        return
    for table in tables(report):
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
        for i, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
    for note in notes(report):
        console.print(Text(note))


def coverage(report: Mapping[str, Any]) -> Table:
    """Share of the training problems with a right trajectory, in percent, by level and round."""
    rounds = _rounds(report)
    met = {key for r in rounds for key in (_get(r, "coverage") or {}) if key.startswith("level")}
    levels = [("all", "all problems"), *((key, f"level {key[5:]}") for key in sorted(met))]
    rows = [
        (label, *(percent(_get(r, "coverage", level)) for r in rounds))
        for level, label in levels
        if any(_get(r, "coverage", level) is not None for r in rounds)
    ]
    return Table("Training problems solved by search, %", _by_round(rounds), tuple(rows))


def accuracy(report: Mapping[str, Any]) -> Table:
    """Held-out accuracy in percent: the policy alone (the base first), then with search; of all problems,
    so that an answer that could not be graded counts as not right."""
    rounds, warm = _rounds(report), _warm_start(report)
    base = _get(report, "base", "policy_pass1")
    columns = ("", "base", *("warm start" for _ in warm), *_by_round(rounds)[1:])
    policies = [*warm, *rounds]
    rows = [
        ("policy alone, pass@1", percent(base), *(percent(r.get("policy_pass1")) for r in policies)),
        ("with search", NOTHING, *(percent(r.get("search_accuracy")) for r in policies)),
    ]
    for start in warm:  # what it teaches first of all
        k = start.get("samples") or 0
        labels = ("policy alone, reached an answer", f"majority of {k} samples", f"one of {k} samples right")
        for key, label in zip(("answered", "majority", "pass_at_k"), labels, strict=True):
            rows.append((label, percent(_get(report, "base", key)), percent(start.get(key))))
    shown = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    return Table("Held-out problems answered right, %", columns, tuple(shown))


def solutions_given(report: Mapping[str, Any]) -> Table:
    """The solutions that a warm start was given: how many were learnt, and why the others were not."""
    rows: list[tuple[str, str]] = []
    for warm in _warm_start(report):
        result = _get(warm, "rows") or {}
        rows += [("read", count(result.get("read"))), ("kept to learn", count(result.get("kept")))]
        rows += [(f"lost: {reason}", count(n)) for reason, n in (result.get("lost") or {}).items()]
    return Table("Solutions given", ("", "rows"), tuple(row for row in rows if row[1] != NOTHING))


def data(report: Mapping[str, Any]) -> Table:
    """Table of what each round's search gave its training: problems by difficulty, trajectories, rows and
    pairs."""
    rounds = _rounds(report)
    lines: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
        ("problems", lambda r: count(r.get("problems"))),
        ("easy (every trajectory right)", lambda r: count(_get(r, "difficulty", "easy"))),
        ("medium (some right)", lambda r: count(_get(r, "difficulty", "medium"))),
        ("hard (unsolved)", lambda r: count(_get(r, "difficulty", "hard"))),
        ("trajectories", lambda r: count(r.get("trajectories"))),
        ("solutions for the policy", lambda r: count(r.get("sft_rows"))),
        ("pairs for the PPM", lambda r: count(r.get("pairs"))),
        ("PPM right on its pairs, %", lambda r: percent(r.get("ppm_pair_accuracy"))),
        # What should not happen is shown where it did.
        ("answers that could not be graded", lambda r: count(r.get("ungraded") or None)),
        ("problems with such answers alone", lambda r: count(len(r.get("ungradable") or ()) or None)),
        ("steps the sandbox could not tell of", lambda r: count(r.get("unknown_steps") or None)),
        ("held-out answers not graded", lambda r: count(r.get("heldout_ungraded") or None)),
        ("held-out problems cut off by a budget", lambda r: count(r.get("heldout_cut_off") or None)),
        ("held-out steps it could not tell of", lambda r: count(r.get("heldout_unknown_steps") or None)),
    )
    rows = [(label, *map(cell, rounds)) for label, cell in lines]
    shown = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    return Table("What the searches gave", _by_round(rounds), tuple(shown))


def failures(report: Mapping[str, Any]) -> Table:
    """Candidate steps that were dropped, by cause and round, the commonest cause first."""
    rounds = [*_warm_start(report), *_rounds(report)]
    counts = [
        collections.Counter({c: n or 0 for c, n in (r.get("failures") or r.get("deaths") or {}).items()})
        for r in rounds
    ]
    total = sum(counts, collections.Counter())
    common = [cause for cause, _ in total.most_common(CAUSES)]
    rows = [(cause, *(f"{c[cause]:,}" for c in counts)) for cause in common]
    if len(total) > len(common):
        others = (sum(n for cause, n in c.items() if cause not in common) for c in counts)
        rows.append((f"{len(total) - len(common)} other causes", *(f"{n:,}" for n in others)))
    if rows:
        dead = [(r.get("steps"), sum(c.values())) for r, c in zip(rounds, counts, strict=True)]
        rows.append(("steps dead, % of all", *(percent(n / steps if steps else None) for steps, n in dead)))
    return Table("Why steps died", _by_round(rounds), tuple(rows))


def times(report: Mapping[str, Any]) -> Table:
    """Seconds, share of the whole and peak memory of each stage; what it compiled, and found compiled."""
    stages = _stages(report)
    whole = sum(s.get("seconds") or 0.0 for s in stages)

    def compiled(value: Callable[[str], float | None]) -> tuple[str, str, str]:
        return count(value("programs")), count(value("cached")), _seconds(value("seconds"))

    rows = [
        (
            str(s.get("name", "?")),
            _seconds(t := s.get("seconds")),
            _share(t, whole),
            count(s.get("peak_mb")),
            *compiled(lambda key, s=s: _get(s, "compiled", key)),
        )
        for s in stages
    ]
    if rows:
        peaks = [s["peak_mb"] for s in stages if s.get("peak_mb") is not None]
        peak = report.get("peak_mb") or (max(peaks) if peaks else None)
        total = compiled(lambda key: _sum(_get(s, "compiled", key) for s in stages))
        rows.append(("all stages", _seconds(whole), _share(whole, whole), count(peak), *total))
    columns = ("stage", "seconds", "%", "peak MB", "compiled", "found compiled", "seconds for that")
    return Table("Time and memory", columns, tuple(rows))


def shares(report: Mapping[str, Any]) -> Table:
    """Table of how the stages' time divides over decoding, execution, PPM, training and the host's own
    work."""
    stages = _stages(report)
    whole = sum(s.get("seconds") or 0.0 for s in stages)
    totals = {part: _sum(s.get(part) for s in stages) for part in PARTS}
    rows = [(name, _seconds(t), _share(t, whole)) for name, t in totals.items() if t is not None]
    compiling = _sum(_get(s, "compiled", "seconds") for s in stages)
    if rows and compiling is not None:
        rows.append(("compiling, within these", _seconds(compiling), _share(compiling, whole)))
    return Table("Where the time went", ("", "seconds", "%"), tuple(rows))


def estimates(report: Mapping[str, Any]) -> Table:
    """Table of what each stage was expected to need, and what it did: memory, hours, tokens (written by a
    search, read by a training).

    The memory of accelerators is not measured: nothing stands beside its estimate.
    """
    rows = []
    for stage in _stages(report):
        if expected := stage.get("estimate"):
            seconds = stage.get("seconds")
            peak_mb = stage.get("peak_mb") if _get(expected, "parts", "runtime") else None
            rows.append(
                (
                    str(stage.get("name", "?")),
                    count(expected.get("memory_mb")),
                    count(peak_mb),
                    count(expected.get("tokens")),
                    count(stage.get("tokens")),
                    _hours(expected.get("hours")),
                    _hours(None if seconds is None else seconds / 3600),
                )
            )
    columns = ("", "MB estimated", "MB", "tokens estimated", "tokens", "hours estimated", "hours")
    return Table("Estimates, and what it took", columns, tuple(rows))


def notes(report: Mapping[str, Any]) -> list[str]:
    """Collect what the rounds have to say, such as that nothing was solved; then what shut the programs
    in."""
    lines = [f"Round {r.get('round', '?')}: {r['note']}" for r in _rounds(report) if r.get("note")]
    warm_notes = (
        _get(warm, part, "note") for warm in _warm_start(report) for part in ("rows", "policy_training")
    )
    lines += [f"Warm start: {note}." for note in warm_notes if note]
    lines += [f"{s.get('name', '?')}: {s['note']}." for s in _stages(report) if s.get("note")]
    if layers := report.get("layers"):
        lines.append(f"Sandbox: {layers_line(layers)}.")
    return [*lines, *files(report)]


def files(report: Mapping[str, Any]) -> list[str]:
    """Name the results' places in a line; the report names every file."""
    folder = report.get("folder")
    models = (
        f"{kind.replace('ppm', 'PPM')} {path}" for kind, path in (report.get("models") or {}).items() if path
    )
    contents = ", ".join(["everything measured report.json", *models])
    return [f"Files, in {folder}: {contents}."] if folder else []


def layers_line(layers: Mapping[str, str]) -> str:
    """The sandbox's layers by name, and of the missing ones why; the report says what each does here."""
    missing = {name: text for name, text in layers.items() if str(text).startswith("missing")}
    present = ", ".join(name for name in layers if name not in missing)
    return "; ".join([*filter(None, [present]), *(f"{name} {text}" for name, text in missing.items())])


def percent(fraction: float | None) -> str:
    """0.5 -> "50.0"."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return NOTHING if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.1f}"


def _hours(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.2f}"


def _share(part: float | None, whole: float) -> str:
    return NOTHING if part is None or not whole else f"{100 * part / whole:.1f}"


def _sum(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _rounds(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(report.get("rounds") or [])


def _warm_start(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the section of a warm start; none in the report of rounds."""
    return [warm] if (warm := report.get("warm_start")) else []


def _stages(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(report.get("stages") or [])


def _by_round(rounds: list[Mapping[str, Any]]) -> tuple[str, ...]:
    return ("", *(f"round {r.get('round', '?')}" if "rows" not in r else "warm start" for r in rounds))


def _get(value: Mapping[str, Any], *keys: str) -> Any:
    for key in keys:
        inner = value.get(key)
        if inner is None:
            return None
        value = inner
    return value


def _plain(table: Table) -> str:
    widths = [max(len(row[i]) for row in (table.columns, *table.rows)) for i in range(len(table.columns))]

    def line(row: tuple[str, ...]) -> str:
        cells = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  " + "  ".join(cells).rstrip()

    rule = "  " + "  ".join("-" * width for width in widths)
    return "\n".join([table.title, line(table.columns), rule, *map(line, table.rows)]) + "\n"
