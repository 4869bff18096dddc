"""HTML made of elements, so that no text can become markup.

    element("p", "1 < 2", {"class": "note"})       <p class="note">1 &lt; 2</p>

A `str` is text and is escaped; `Markup` is HTML that `element` made. Models write the texts shown: what a
browser would not show as it stands (control characters, marks that turn the direction of writing) is shown
by its code, and a text of any length is cut to `LONGEST` characters, which is said.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping

LONGEST = 20_000  # characters of one text
# Takes "\x00", "\u202e" and "\ud800"; leaves "\n" and "\t".
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9:-]*")  # takes "aria-label" and "viewBox"; not "a b" or "on=1"
_VOID = frozenset(("br", "hr", "meta", "link", "img", "input"))
_REFUSED = re.compile(r"on|style$", re.IGNORECASE)  # attributes that the page's policy would not let work


class Markup(str):
    """HTML as it stands."""

    __slots__ = ()


Content = str | Iterable["Content"] | None


def seen(text: str, longest: int = LONGEST) -> str:
    """Return a text as plain characters that can be seen, at most `longest` of them and a note."""
    cut = text[:longest]
    shown = _UNSEEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", cut)
    return shown if len(cut) == len(text) else f"{shown} ... ({len(text):,} characters in all)"


def render(content: Content) -> Markup:
    """Return content as HTML: text escaped, markup as it is, nothing for None, and all of an iterable."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(seen(content)))
    return Markup("".join(map(render, content)))


def element(name: str, content: Content = None, attributes: Mapping[str, object] | None = None) -> Markup:
    """Return an element. An attribute that is None or False is left out, one that is True has no value.

    Raises ValueError for a name that is none, an event handler or an inline style.
    """
    parts = [name]
    for key, value in (attributes or {}).items():
        if not _NAME.fullmatch(key) or _REFUSED.match(key):
            raise ValueError(f"attribute {key!r} of <{name}>: not one that a page of ours may have")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{html.escape(seen(str(value)))}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in _VOID else f"{opening}{render(content)}</{name}>")
