"""Parts of sections: tables, figures with the data behind them, headline figures, lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rstar_jax.report.page.markup import Content, Markup, element
from rstar_jax.report.tables import Table


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Sequence[int] = (),
) -> Markup:
    """Return a table whose first column names the rows; it scrolls sideways where it is too wide.

    words: further columns of words, aligned to the left.
    """
    head = [
        element("th", name, {"scope": "col", "class": "words" if k in words else None})
        if name
        else element("td")
        for k, name in enumerate(columns)
    ]
    body = []
    for label, *cells in rows:
        row = [element("th", label, {"scope": "row"})]
        row += [
            element("td", cell, {"class": "words" if k in words else None}) for k, cell in enumerate(cells, 1)
        ]
        body.append(element("tr", row))
    made = element(
        "table",
        [
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", body),
        ],
    )
    return element(
        "div", made, {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": f"Table: {caption}"}
    )


def shown(found: Table, *, words: Sequence[int] = ()) -> Markup:
    """Return a table of the terminal's."""
    return table(found.title, found.columns, found.rows, words=words)


def figure(title: str, note: str, drawing: Markup, data: Markup) -> Markup:
    """Return a drawing with its title, what it shows, and its data as a table to unfold."""
    caption = [title, element("small", note) if note else None]
    more = element("details", [element("summary", "Data as a table"), data])
    return element("figure", [element("figcaption", caption), drawing, more])


def charts(figures: Iterable[Markup | None]) -> Markup | None:
    """Return figures side by side where there is room; None where there is none."""
    there = [one for one in figures if one is not None]
    return element("div", there, {"class": "charts"}) if there else None


def cards(figures: Iterable[tuple[str, str, str, str]]) -> Markup:
    """Return headline figures: what, the value, its unit, and what to compare it with."""
    return element(
        "dl",
        [
            element(
                "div",
                [
                    element("dt", name),
                    element("dd", [value, element("small", unit) if unit else None], {"class": "value"}),
                    element("dd", beside, {"class": "beside"}) if beside else None,
                ],
            )
            for name, value, unit, beside in figures
        ],
        {"class": "figures"},
    )


def paragraph(text: Content, kind: str | None = None) -> Markup:
    return element("p", text, {"class": kind})


def items(texts: Iterable[Content]) -> Markup:
    return element("ul", [element("li", text) for text in texts])


def unfold(summary: str, content: Content) -> Markup:
    return element("details", [element("summary", summary), content])
