"""What a report says in sentences below its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rstar_jax.evaluate.outcome import Measured
from rstar_jax.report.cells import count, percent
from rstar_jax.report.sections import (
    BestRound,
    Report,
    RunReport,
    Source,
    measured,
    ppms,
    reward_name,
    round_number,
    warm_starts,
)

_NAMED = 5  # ids in a note; the report has all of them


def notes(report: Report) -> list[str]:
    """Collect what became of the sources' rows and what the rounds have to say, such as that nothing was
    solved; then what shut the programs in."""
    said = [line for name, source in report.sources.items() for line in _source(name, source)]
    said += [f"Round {round_number(r)}: {r.note}" for r in report.rounds if r.note]
    told = [(part or {}).get("note") for w in warm_starts(report) for part in (w.rows, w.policy_training)]
    said += [f"Warm start: {note}." for note in told if note]
    told = [note for p in ppms(report) for note in ((p.pairs or {}).get("note"), p.note)]
    said += [f"The {reward_name(report)}: {note}." for note in told if note]
    if isinstance(report, RunReport) and (told := best_line(report.best)):
        said.append(told)
    said += [protocol_line(m) for m in measured(report)]
    said += [f"{s.name or '?'}: {s.note}." for s in report.stages if s.note]
    said += [f"{s.name or '?'}: {served_line(s.served)}." for s in report.stages if s.served]
    if report.layers:
        said.append(f"Sandbox: {layers_line(report.layers)}.")
    return [*said, *files(report)]


def best_line(best: BestRound | None) -> str:
    """Tell whose models are a run's, by which rule, and what that does to the figure; "" where no round has
    made any."""
    if best is None or best.round is None:
        return ""
    begun = f"The run's models are round {best.round}'s"
    if best.figure is None:
        return f"{begun}, the last: no round is evaluated on held-out problems."
    how = {"search": "with search", "policy": "by the policy alone"}.get(best.figure, best.figure)
    told = f"{begun}, with {_share(best.share, best.interval)} of the held-out problems right {how}"
    if best.compared < 2:
        return f"{told}: the only round evaluated."
    told += f": the highest of {best.compared} rounds, of equals the later"
    if best.last != best.round:
        found = "not evaluated" if best.last_share is None else _share(best.last_share, best.last_interval)
        told += f". Round {best.last}, the last: {found}"
    return f"{told}. The choice was made on these problems, which flatters its figure: measure it on others."


def _share(share: float | None, interval: tuple[float, float] | None) -> str:
    spread = "" if interval is None else f" ({percent(interval[0])} to {percent(interval[1])})"
    return f"{percent(share)} %{spread}"


def protocol_line(measured: Measured) -> str:
    """Tell how a benchmark was measured."""
    told = ", ".join(f"{name} {value}" for name, value in measured.protocol.items())
    return f"{measured.name}, {measured.problems:,} problems of {measured.source}: {told}."


def _source(name: str, source: Source) -> list[str]:
    """Say which rows of a source were left out, and which of its answers are known to be wrong."""
    said = []
    if source.left_out:
        kinds = ", ".join(f"{rows:,} {reason}" for reason, rows in source.left_out.items())
        said.append(f"Problems, {name}: {source.problems or 0:,}; rows left out: {kinds}.")
    if wrong := source.known_wrong:
        what = known_wrong(wrong, source.corrected, source.corrections)
        said.append(f"Problems, {name}: {what}.")
    return said


def known_wrong(ids: Sequence[str], corrected: bool, option: str) -> str:
    """Tell of answers that are known to be wrong, and what was done, or can be, by an option."""
    named = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    what = "corrected" if corrected else f"--{option}=known mends them"
    return f"{len(ids):,} with answers known to be wrong ({named}): {what}"


def files(report: Report) -> list[str]:
    """Name the results' places in a line; the report names every file."""
    names = {"ppm": reward_name(report)}
    models = (f"{names.get(kind, kind)} {path}" for kind, path in (report.models or {}).items() if path)
    made = ", ".join(["everything measured report.json", *models])
    return [f"Files, in {report.folder}: {made}."] if report.folder else []


def layers_line(layers: Mapping[str, str]) -> str:
    """The sandbox's layers by name, and of the missing ones why; the report says what each does here."""
    lost = {name: what for name, what in layers.items() if str(what).startswith("missing")}
    held = ", ".join(name for name in layers if name not in lost)
    return "; ".join([*filter(None, [held]), *(f"{name} {what}" for name, what in lost.items())])


def served_line(asked: Mapping[str, Any]) -> str:
    """Tell what a server was asked, and what went wrong only where something did."""
    parts = [f"{count(asked.get('requests'))} requests to {asked.get('model')} at {asked.get('server')}"]
    wrong = {"retries": "sent again", "stalls": "stalled", "refused": "put off by the server"}
    wrong |= {"given_up": "candidates given up", "known": "answered before"}
    parts += [f"{count(asked[name])} {what}" for name, what in wrong.items() if asked.get(name)]
    parts.append(f"{count(asked.get('tokens_in'))} tokens read and {count(asked.get('tokens_out'))} written")
    if asked.get("slots_busy") is not None:
        parts.append(
            f"{asked['slots_busy']} of {count(asked.get('slots'))} slots busy while there was more to ask"
        )
    return ", ".join(parts)
