r"""The answer that a text states: what the last `\boxed{...}` of it holds."""

from __future__ import annotations

import re

_MARKS = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
# Between two boxes of one answer: `, y = `, ` and `; not `. Let me check: `.
_WORD = r"(?:\\text\s*\{\s*)?(?:and|or)\b,?\s*\}?"
_BETWEEN = re.compile(
    rf"[\s$]*(?:[,;]|\\q?quad|{_WORD})(?:[\s$]|\\[ ,;]|\\q?quad|{_WORD})*"
    r"(?:([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*)?[\s$]*"
)
_NAMED = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*\$?\s*$")


def boxed(text: str) -> str | None:
    r"""Return what the last balanced `\boxed{...}` holds, stripped; None if there is none.

    Backslash escapes (`\{`, `\}`) do not count as braces. Of nested boxes the innermost last one counts.
    Boxes with nothing but a separator and a name between them are one answer: `x=\boxed{2}, y=\boxed{3}`
    is `x = 2, y = 3`.
    """
    found: list[tuple[int, int, int]] = []  # where boxes begin, where their contents do and end
    opened: list[tuple[int, int] | None] = []  # the same of every open brace, None if it is no box
    for mark in _MARKS.finditer(text):
        if mark.group() == "{":
            opened.append(None)
        elif mark.group() == "}":
            begun = opened.pop() if opened else None
            if begun is not None:
                found.append((*begun, mark.start()))
        elif mark.group().endswith("{") and mark.group() != "\\{":
            opened.append((mark.start(), mark.end()))
    if not found:
        return None
    found.sort(key=lambda box: box[1])
    start, inner, end = found[-1]
    parts = [text[inner:end].strip()]
    for earlier, content, closed in reversed(found[:-1]):
        between = _BETWEEN.fullmatch(text, closed + 1, start) if start - closed < 60 else None
        if not between:
            break
        parts[0] = _called(between[1], parts[0])
        parts.insert(0, text[content:closed].strip())
        start = earlier
    if len(parts) > 1:
        name = _NAMED.search(text, max(0, start - 40), start)
        parts[0] = _called(name and name[1], parts[0])
    return ", ".join(parts)


def _called(name: str | None, value: str) -> str:
    return f"{name} = {value}" if name else value
