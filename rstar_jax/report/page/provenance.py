"""Where the figures come from: problems, suspects, corrections, models, the sandbox, options, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rstar_jax.report import tables
from rstar_jax.report.cells import count
from rstar_jax.report.notes import notes
from rstar_jax.report.page import parts
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, element
from rstar_jax.report.sections import ppms, warm_starts

_LISTED = 200  # suspects and examples that are shown


def problems(contents: Contents) -> Section | None:
    """Sources of the problems, answers that are known or thought to be wrong, and what was given to learn."""
    report, body = contents.report, list[Content]()
    rows = [
        (
            name,
            count(source.problems),
            count(sum(source.left_out.values())),
            count(len(source.known_wrong)),
            ("yes" if source.corrected else "no") if source.known_wrong else "-",
            (source.fingerprint or "-")[:16],
        )
        for name, source in report.sources.items()
    ]
    if rows:
        columns = ("", "problems", "rows left out", "known to be wrong", "corrected", "fingerprint")
        body.append(parts.table("Problems", columns, rows))
    for name, source in report.sources.items():
        if source.left_out:
            left = [
                (reason, f"{rows:,}", "; ".join(source.examples.get(reason, [])[:3]))
                for reason, rows in source.left_out.items()
            ]
            title = f"Rows of {name} that were left out"
            body.append(parts.table(title, ("why", "rows", "examples"), left, words=(2,)))
        if source.known_wrong:
            told = ", ".join(source.known_wrong[:_LISTED])
            body.append(parts.unfold(f"Answers of {name} known to be wrong", parts.paragraph(told)))
    body += _suspects(contents)
    given = [tables.solutions_given(report)] if warm_starts(report) else []
    given += [tables.pairs_given(report)] if ppms(report) else []
    body += [parts.shown(one) for one in given if one.rows]
    return Section("problems", "Problems and labels", body) if body else None


def provenance(contents: Contents) -> Section:
    """All that a figure of the page depends on."""
    report, body = contents.report, list[Content]()
    said = notes(report)
    if said:
        body += [element("h3", "Notes"), parts.items(said)]
    rows = [("folder", str(contents.root))]
    rows += [("seed", str(report.seed))] if report.seed is not None else []
    rows += [(f"model: {kind}", path) for kind, path in (report.models or {}).items()]
    rows += [(f"checksum of {name}", digest) for name, digest in contents.inputs.items()]
    for source in (contents.evaluation, contents.judge):
        for kind, model in ((source or {}).get("models") or {}).items():
            told = ", ".join(f"{name} {value}" for name, value in model.items())
            rows.append((f"measured {kind}", told))
        rows += [
            (f"measured by {name}", str(value)) for name, value in ((source or {}).get("code") or {}).items()
        ]
    rows += [(f"page made by {name}", version) for name, version in contents.versions.items()]
    body.append(parts.table("Provenance", ("", "value"), rows, words=(1,)))
    if report.layers:
        layers = list(report.layers.items())
        body.append(parts.table("The sandbox's layers", ("layer", "what it does"), layers, words=(1,)))
    for made, options in (
        ("the run", report.config),
        ("the evaluation", (contents.evaluation or {}).get("config")),
        ("the judge", (contents.judge or {}).get("config")),
    ):
        if options:
            title = f"Options of {made}"
            listed = list(_flat(options))
            body.append(parts.unfold(title, parts.table(title, ("option", "value"), listed, words=(1,))))
    return Section("provenance", "Config and provenance", body)


def _suspects(contents: Contents) -> Iterator[Content]:
    """Problems whose label may be wrong, as `roundN/curate/suspects.jsonl` lists them."""
    rows = [
        (
            str(one.get("id", "?")),
            str(one.get("question", "")),
            str(one.get("label", "")),
            str(one.get("answer", "")),
            f"{one.get('votes', '?')} of {one.get('trajectories', '?')}",
        )
        for one in contents.suspects[:_LISTED]
    ]
    if rows:
        yield element("h3", "Suspects")
        yield parts.paragraph(
            "No trajectory comes to the label of these problems, and half of all or more agree on another."
        )
        columns = ("problem", "question", "its label", "found", "votes")
        yield parts.table("Problems whose label may be wrong", columns, rows, words=(1,))


def _flat(options: Mapping[str, Any], where: str = "config") -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}.{name}")
        else:
            yield f"{where}.{name}", json.dumps(value, ensure_ascii=False)
