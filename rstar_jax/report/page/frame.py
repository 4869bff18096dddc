"""The frame of a page: head, content security policy, navigation and sections in one offline file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

from rstar_jax.report.page.markup import Content, Markup, element, render

STYLE = resources.files("rstar_jax.report.page").joinpath("style.css").read_text(encoding="utf-8")
_ID = re.compile(r"[a-z][a-z0-9-]*")  # takes "where-time-went"; not "1" or "a b"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page. id: what links name. body: HTML, or text that is escaped."""

    id: str
    title: str
    body: Content


def frame(
    title: str,
    sections: Sequence[Section],
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    *,
    header: Content = None,
) -> str:
    """Return a whole HTML page that loads nothing and runs nothing but `scripts`.

    scripts, styles: source text of ours, joined to the one script, a module at the page's end, and added to
    the one style; their SHA-256 are all that the page's policy allows, so that no attribute may hold either.
    header: below the title. Raises ValueError for a section's id that is none or is there twice, and for a
    script or style that would end its own element.
    """
    ids = [section.id for section in sections]
    if len(set(ids)) < len(ids) or not all(_ID.fullmatch(one) for one in ids):
        raise ValueError(f"sections {ids}: different names of small letters, digits and hyphens expected")
    style, script = "\n".join([STYLE, *styles]), "\n".join(scripts)
    for source in (style, script):
        if re.search(r"</(script|style)|<!--", source, re.IGNORECASE):
            raise ValueError("a script or style with '</script', '</style' or '<!--', which would end it")
    policy = f"default-src 'none'; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    if script:
        policy += f"; script-src {_hash(script)}"
    head = element(
        "head",
        [
            element("meta", None, {"charset": "utf-8"}),
            element("meta", None, {"http-equiv": "Content-Security-Policy", "content": policy}),
            element("meta", None, {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            element("meta", None, {"name": "color-scheme", "content": "light dark"}),
            element("title", title),
            element("style", Markup(style)),
        ],
    )
    links = [
        element("li", element("a", section.title, {"href": f"#{section.id}"}))
        for section in sections
        if section.title
    ]
    body = [
        element("a", "Skip to the content", {"class": "skip", "href": "#content"}),
        element("header", [element("h1", title), header]),
        element("nav", element("ul", links), {"aria-label": "Sections"}),
        element("main", map(_section, sections), {"id": "content", "tabindex": "-1"}),
        element("script", Markup(script), {"type": "module"}) if script else None,
    ]
    return f"<!doctype html>\n{element('html', [head, element('body', body)], {'lang': 'en'})}\n"


def _section(section: Section) -> Markup:
    heading = f"{section.id}-heading"
    return element(
        "section",
        [element("h2", section.title, {"id": heading}), render(section.body)],
        {"id": section.id, "aria-labelledby": heading},
    )


def _hash(source: str) -> str:
    """Name a source as a policy does: the browser hashes the text between the tags, line ends as \\n."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
