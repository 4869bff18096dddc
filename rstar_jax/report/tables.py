"""The paper's tables for one run, from its report: drawn on a terminal, aligned plain text elsewhere.

The tables of arXiv 2501.04519 that a run reproduces: share of the training problems solved by round and
level, pass@1 of the policy alone and accuracy with search by round. Then where the time went, why steps
died, and where the files are.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rstar_jax.report.benchmarks import benchmarks, by_level, samples
from rstar_jax.report.cells import NOTHING, count, decimal, lasting, percent, seconds, share, sum_known
from rstar_jax.report.notes import notes
from rstar_jax.report.results import CompareResult, of_json
from rstar_jax.report.sections import (
    Alone,
    Compiled,
    EvaluationReport,
    Ppm,
    PpmReport,
    Report,
    Round,
    RunReport,
    StageTimes,
    WarmStart,
    WarmStartReport,
    ppms,
    reward_name,
    round_number,
    warm_starts,
)
from rstar_jax.report.table import Table, plain

PARTS = ("decode", "execution", "ppm", "training", "host")  # kinds of work, which overlap
# By what a report has that others have not.
_KINDS: dict[str, type[Report]] = {
    "warm_start": WarmStartReport,
    "ppm": PpmReport,
    "evaluation": EvaluationReport,
}
CAUSES = 8  # causes of death shown; rarer ones are added up


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Every table that report.json's content has something for, in the order shown."""
    return tables_of(typed_report(report))


def render(report: Mapping[str, Any]) -> str:
    """The tables as plain text, columns aligned, with a newline at the end."""
    typed = typed_report(report)
    return plain_text(tables_of(typed), notes(typed))


def plain_text(found: Sequence[Table], lines: Sequence[str] = ()) -> str:
    """Tables and the lines below them as plain text, columns aligned, with a newline at the end."""
    return "\n".join([*map(plain, found), *(f"{line}\n" for line in lines)])


def show(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Draws the tables on a terminal (standard output unless given); prints plain text anywhere else."""
    typed = typed_report(report)
    draw(tables_of(typed), notes(typed), console)


def draw(found: Sequence[Table], lines: Sequence[str] = (), console: Console | None = None) -> None:
    """Draws any tables and the lines below them, as `show` does."""
    console = console or Console()
    if not console.is_terminal:
        console.print(Text(plain_text(found, lines)), soft_wrap=True, end="")
        return
    for table in found:
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
        for i, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
    for line in lines:
        console.print(Text(line))


def typed_report(report: Mapping[str, Any]) -> Report:
    """Return the contents of report.json as the dataclass of its kind."""
    kind = next((kind for key, kind in _KINDS.items() if report.get(key)), RunReport)
    return of_json(kind, report)


def tables_of(report: Report) -> list[Table]:
    """Return every table that a report has something for, in the order shown."""
    makers: tuple[Callable[[Report], Table], ...] = (
        benchmarks, by_level, samples, coverage, solutions_given, pairs_given, accuracy, tokens, data,
        failures, times, shares, estimates,
    )  # fmt: skip
    return [table for make in makers if (table := make(report)).rows]


def coverage(report: Report) -> Table:
    """Share of the training problems with a right trajectory, in percent, by level and round."""
    shares = [r.coverage or {} for r in report.rounds]
    met = {key for share in shares for key in share if key.startswith("level")}
    levels = [("all", "all problems"), *((key, f"level {key[5:]}") for key in sorted(met))]
    rows = [
        (label, *(percent(share.get(level)) for share in shares))
        for level, label in levels
        if any(share.get(level) is not None for share in shares)
    ]
    return Table("Training problems solved by search, %", _by_round(report.rounds), tuple(rows))


def accuracy(report: Report) -> Table:
    """Held-out accuracy in percent: the policy alone (the base first), then with search; of all problems,
    so that an answer that could not be graded counts as not right."""
    warm, base = warm_starts(report), report.base
    made = [*warm, *ppms(report), *report.rounds]
    searched = [None if isinstance(r, WarmStart) else r.search_accuracy for r in made]
    rows = [
        ("policy alone, pass@1", percent(base.policy_pass1), *(percent(r.policy_pass1) for r in made)),
        ("with search", NOTHING, *map(percent, searched)),
    ]
    for start in warm:  # what it teaches first of all
        k, alone = start.samples or 0, base if isinstance(base, Alone) else Alone()
        rows += [
            ("policy alone, reached an answer", percent(alone.answered), percent(start.answered)),
            (f"majority of {k} samples", percent(alone.majority), percent(start.majority)),
            (f"one of {k} samples right", percent(alone.pass_at_k), percent(start.pass_at_k)),
        ]
    shown = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    columns = ("", "base", *_by_round(made, reward_name(report))[1:])
    if ppms(report):  # which has one policy
        columns, shown = ("", *columns[2:]), [(label, *cells) for label, _, *cells in shown]
    return Table("Held-out problems answered right, %", columns, tuple(shown))


def solutions_given(report: Report) -> Table:
    """The solutions that a warm start was given: how many were learnt, and why the others were not."""
    rows: list[tuple[str, str]] = []
    for warm in warm_starts(report):
        told = warm.rows or {}
        rows += [("read", count(told.get("read"))), ("kept to learn", count(told.get("kept")))]
        rows += [(f"lost: {reason}", count(n)) for reason, n in (told.get("lost") or {}).items()]
    return Table("Solutions given", ("", "rows"), tuple(row for row in rows if row[1] != NOTHING))


# Of what a reward model learns, by its name.
_LEARNT = {"PQM": "solutions with values", "ORM": "pairs of whole solutions"}


def pairs_given(report: Report) -> Table:
    """The pairs or values that a reward model was given: how many were learnt, why others were not, the order
    of held-out pairs, and of a PQM its errors on held-out values."""
    rows: list[tuple[str, str]] = []
    learnt = _LEARNT.get(reward_name(report), "pairs")
    for ppm in ppms(report):
        told = ppm.pairs or {}
        rows += [("rows read", count(told.get("read"))), (f"{learnt} to learn", count(told.get("kept")))]
        rows += [(f"lost: {reason}", count(n)) for reason, n in (told.get("lost") or {}).items()]
        rows += [(f"{learnt} held out", count(told.get("heldout")))]
        order = ppm.pair_order or CompareResult()
        of = "of these" if learnt != _LEARNT["PQM"] else f"{count(order.pairs)} pairs in these"
        rows += [(f"{of} in the right order, %", percent(ppm.pair_accuracy))]
        for depth, (pairs, accuracy) in order.by_depth.items():
            what = "of whole solutions" if depth == "whole" else f"of steps at depth {depth}"
            rows.append((f"{what} ({count(pairs)}), %", percent(accuracy)))
        rows += [("distance of its sureness from the truth", decimal(order.calibration))]
        if (errors := order.values) is not None:
            rows += [
                ("values held out", count(errors.steps)),
                ("mean distance from the true value", decimal(errors.distance)),
                ("on its side of 0, %", percent(errors.sign)),
                ("distance of mean values from true means", decimal(errors.calibration)),
            ]
    return Table(f"{_capital(learnt)} given", ("", ""), tuple(row for row in rows if row[1] != NOTHING))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def tokens(report: Report) -> Table:
    """Policies on solutions of held-out problems, which they did not learn; the base before each training, on
    the same ones."""
    made = [*warm_starts(report), *report.rounds]
    found = [one.heldout_tokens for one in made]
    rows = [
        ("loss, nats a token", *(decimal(f and f.loss) for f in found)),
        ("the base's", *(decimal(f and f.base_loss) for f in found)),
        ("likeliest tokens right, %", *(percent(f and f.accuracy) for f in found)),
        ("the base's, %", *(percent(f and f.base_accuracy) for f in found)),
        ("solutions", *(count(f and f.solutions) for f in found)),
        ("tokens", *(count(f and f.tokens) for f in found)),
    ]
    told = dict.fromkeys(f.source for f in found if f and f.source)
    title = f"The policy on held-out solutions ({'; '.join(told)})"
    return Table(title, _by_round(made), tuple(rows) if told else ())


def _of_answers(round: Round) -> float | None:
    return round.heldout_order and round.heldout_order.answer_accuracy


def data(report: Report) -> Table:
    """Table of what each round's search gave its training: problems by difficulty, trajectories, rows and
    pairs."""
    name = reward_name(report)
    lines: tuple[tuple[str, Callable[[Round], str]], ...] = (
        ("problems", lambda r: count(r.problems)),
        ("easy (every trajectory right)", lambda r: count((r.difficulty or {}).get("easy"))),
        ("medium (some right)", lambda r: count((r.difficulty or {}).get("medium"))),
        ("hard (unsolved)", lambda r: count((r.difficulty or {}).get("hard"))),
        ("trajectories", lambda r: count(r.trajectories)),
        ("solutions for the policy", lambda r: count(r.sft_rows)),
        (f"pairs for the {name}" if name != "PQM" else "pairs of steps", lambda r: count(r.pairs)),
        (f"{name} right on its pairs, %", lambda r: percent(r.ppm_pair_accuracy)),
        ("on held-out pairs of steps, %", lambda r: percent(r.heldout_order and r.heldout_order.accuracy)),
        ("on held-out pairs of answers, %", lambda r: percent(_of_answers(r))),
        # What should not happen is shown where it did.
        ("answers that could not be graded", lambda r: count(r.ungraded or None)),
        ("problems with such answers alone", lambda r: count(len(r.ungradable or ()) or None)),
        ("problems whose label may be wrong", lambda r: count(len(r.suspects or ()) or None)),
        ("steps the sandbox could not tell of", lambda r: count(r.unknown_steps or None)),
        ("held-out answers not graded", lambda r: count(r.heldout_ungraded or None)),
        ("held-out problems cut off by a budget", lambda r: count(r.heldout_cut_off or None)),
        ("held-out steps it could not tell of", lambda r: count(r.heldout_unknown_steps or None)),
    )
    rows = [(label, *map(cell, report.rounds)) for label, cell in lines]
    shown = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    return Table("What the searches gave", _by_round(report.rounds), tuple(shown))


def failures(report: Report) -> Table:
    """Candidate steps that were dropped, by cause and round, the commonest cause first."""
    made = [*warm_starts(report), *ppms(report), *report.rounds]
    found = [r.failures or (None if isinstance(r, Ppm) else r.deaths) or {} for r in made]
    counts = [collections.Counter({c: n or 0 for c, n in failed.items()}) for failed in found]
    total = sum(counts, collections.Counter())
    common = [cause for cause, _ in total.most_common(CAUSES)]
    rows = [(cause, *(f"{c[cause]:,}" for c in counts)) for cause in common]
    if len(total) > len(common):
        rest = (sum(n for cause, n in c.items() if cause not in common) for c in counts)
        rows.append((f"{len(total) - len(common)} other causes", *(f"{n:,}" for n in rest)))
    if rows:
        dead = [(r.steps, sum(c.values())) for r, c in zip(made, counts, strict=True)]
        rows.append(("steps dead, % of all", *(percent(n / steps if steps else None) for steps, n in dead)))
    return Table("Why steps died", _by_round(made, reward_name(report)), tuple(rows))


def times(report: Report) -> Table:
    """Seconds, share of the whole and peak memory of each stage; what it compiled, and found compiled."""
    stages = report.stages
    whole = sum(s.seconds or 0.0 for s in stages)
    made = [s.compiled or Compiled() for s in stages]

    def compiled(c: Compiled) -> tuple[str, str, str]:
        return count(c.programs), count(c.cached), seconds(c.seconds)

    rows = [
        (s.name or "?", seconds(s.seconds), share(s.seconds, whole), count(s.peak_mb), *compiled(c))
        for s, c in zip(stages, made, strict=True)
    ]
    if rows:
        peak = report.peak_mb or max((s.peak_mb for s in stages if s.peak_mb is not None), default=None)
        programs, cached = sum_known(c.programs for c in made), sum_known(c.cached for c in made)
        total = count(programs), count(cached), seconds(sum_known(c.seconds for c in made))
        rows.append(("all stages", seconds(whole), share(whole, whole), count(peak), *total))
    columns = ("stage", "seconds", "%", "peak MB", "compiled", "found compiled", "seconds for that")
    return Table("Time and memory", columns, tuple(rows))


def clocked(report: Report) -> list[StageTimes]:
    """The stages that tell waiting from working. None where only those do that ask neither device nor
    sandbox, such as curate: the run's other stages are then of a release that did not."""
    stages = [s for s in report.stages if s.sandbox is not None]
    return stages if any(s.device or s.sandbox for s in stages) else []


def shares(report: Report) -> Table:
    """Table of what the device, the sandbox and the host did of the stages' wall time, and how long each
    waited. They work at the same time: each has a whole of its own."""
    stages = clocked(report)
    if not stages:
        return _kinds_of_work(report)
    whole = sum(s.seconds or 0.0 for s in stages)

    def total(name: str) -> float:
        return sum_known(getattr(s, name) for s in stages) or 0.0

    def row(label: str, busy: float | None, waiting: float | None) -> tuple[str, ...]:
        return label, seconds(busy), share(busy, whole), seconds(waiting), share(waiting, whole)

    rows = [row(name, total(name), max(0.0, whole - total(name))) for name in ("device", "sandbox", "host")]
    rows += [row(f"host, for the {name}", None, total(f"{name}_awaited")) for name in ("device", "sandbox")]
    if (compiling := sum_known(s.compiled and s.compiled.seconds for s in stages)) is not None:
        rows.append(row("host, compiling (threads added up)", compiling, None))
    columns = ("", "busy, s", "%", "waiting, s", "%")
    of = "" if len(stages) == len(report.stages) else f" in {len(stages)} of {len(report.stages)} stages"
    return Table(f"Where the time went, of {whole:,.1f} s{of}", columns, tuple(rows))


def _kinds_of_work(report: Report) -> Table:
    """Table of the seconds of each kind of work, as releases measured them that did not tell waiting from
    working: kinds overlap, and their shares add up to more than the whole."""
    whole = sum(s.seconds or 0.0 for s in report.stages)
    totals = {part: sum_known(getattr(s, part) for s in report.stages) for part in PARTS}
    rows = [(name, seconds(t), share(t, whole)) for name, t in totals.items() if t is not None]
    compiling = sum_known(s.compiled and s.compiled.seconds for s in report.stages)
    if rows and compiling is not None:
        rows.append(("compiling, within these", seconds(compiling), share(compiling, whole)))
    return Table("Where the time went (kinds of work overlap)", ("", "seconds", "%"), tuple(rows))


def estimates(report: Report) -> Table:
    """Table of what each stage was expected to need before the run, and by what the last search before it
    found; and what it did: memory, time, tokens (written by a search, read by a training).

    The memory of accelerators is not measured: nothing stands beside its estimate.
    """
    rows = [
        (
            s.name or "?",
            count(expected.memory_mb),
            count(s.peak_mb if (expected.parts or {}).get("runtime") is not None else None),
            count(expected.tokens),
            count(expected.later and expected.later.tokens),
            count(s.tokens),
            lasting(expected.hours),
            lasting(expected.later and expected.later.hours),
            lasting(None if s.seconds is None else s.seconds / 3600),
        )
        for s in report.stages
        if (expected := s.estimate) is not None
    ]
    columns = (
        *("", "MB estimated", "MB", "tokens estimated", "after its search", "tokens"),
        *("time estimated", "after its search", "time"),
    )
    return Table("Estimates, and what it took", columns, tuple(rows))


def _by_round(made: Sequence[Round | WarmStart | Ppm], reward: str = "PPM") -> tuple[str, ...]:
    names = {WarmStart: "warm start", Ppm: reward}
    return ("", *(f"round {round_number(r)}" if isinstance(r, Round) else names[type(r)] for r in made))
