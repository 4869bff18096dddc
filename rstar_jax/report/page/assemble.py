"""The page and its Markdown form, from what was found in a working directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rstar_jax.report.notes import notes
from rstar_jax.report.page import judged, learning, overview, provenance, rounds, searching, times
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section, frame
from rstar_jax.report.page.markup import seen
from rstar_jax.report.tables import Table, tables_of

# In the order shown; None where there is nothing to show.
_FIRST: tuple[Callable[[Contents], Section | None], ...] = (
    overview.overview,
    judged.evaluation,
    rounds.accuracy,
    rounds.coverage,
    rounds.paper,
    searching.scaling,
    learning.learning,
    judged.probes,
    searching.failures,
)
_LAST: tuple[Callable[[Contents], Section | None], ...] = (
    times.times,
    provenance.problems,
    provenance.provenance,
)


def page(
    contents: Contents,
    further: Sequence[Section] = (),
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> str:
    """Return report.html. further: sections behind the figures, such as the trees'. scripts, styles: as in
    `frame`."""
    first, last = ([found for make in some if (found := make(contents))] for some in (_FIRST, _LAST))
    title, header = overview.title(contents), overview.header(contents)
    return frame(title, [*first, *further, *last], scripts, styles, header=header)


def markdown(contents: Contents) -> str:
    """Return the figures as Markdown: the tables that a terminal shows, and the notes below them."""
    parts = [f"# {_plain(overview.title(contents))}", _plain(overview.lead(contents))]
    parts += [f"- {_plain(fault)}" for fault in contents.faults]
    found = tables_of(contents.report)
    for make in (rounds.paper_table, searching.scaling_table):
        if (table := make(contents)) is not None:
            found.append(table)
    parts += [_table(table) for table in found]
    if said := notes(contents.report):
        parts.append("\n".join(f"- {_plain(note)}" for note in said))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    columns = [_plain(name) or " " for name in table.columns]
    marks = [":--", *["--:"] * (len(columns) - 1)]
    rows = [columns, marks, *([_plain(cell) for cell in row] for row in table.rows)]
    return f"## {_plain(table.title)}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _plain(text: str) -> str:
    r"""A text as Markdown shows it: `a|b <c>` -> `a\|b \<c>`; on one line."""
    shown = seen(" ".join(text.split()), 2000)
    for mark in "\\`*_[]<|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
