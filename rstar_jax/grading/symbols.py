r"""Names of several letters as one symbol, where the parser of algebra would multiply, derive or divide.

`\angle ABC`, `AB \cdot CD`, `\frac{dy}{dx}`, `\gcd(a, b)`; and one letter for the index of a sum.
"""

from __future__ import annotations

import re

# takes `\angle ABC` and `\overline{AB}`, not `\angle x`
_GEOMETRY = re.compile(r"\\(angle|triangle|overline|widehat) ?\{? ?([A-Z]{2,4})(?![a-zA-Z]) ?\}?")
# takes `AB\cdot CD`, lengths of segments, not `ABC`; `named` wants two of them, as a lone IR may be a
# product
_SEGMENT = re.compile(r"(?<![a-zA-Z\\_{])[A-Z]{2}(?![a-zA-Z])")
# takes `\frac{dy}{dx}` and `\frac{d^2 y}{dx^2}`, not `\frac{2y}{dx}`
_DERIVATIVE = re.compile(
    r"\\frac ?\{ ?((?:d|\\partial)(?: ?\^ ?\{?\d\}?)? ?[a-zA-Z]) ?\}"
    r" ?\{ ?((?:d|\\partial) ?[a-zA-Z](?: ?\^ ?\{?\d\}?)?) ?\}"
)
# takes `\gcd(a, b)`, not `\gcd(4, 6)`, a number
_DIVISOR = re.compile(r"\\(gcd|lcm) ?\(([^()]*[a-zA-Z][^()]*)\)")
# takes `\sum_{i=1}^n i`, not `\sum i`
_INDEXED = re.compile(r"\\(?:sum|prod) ?_ ?\{ ?([a-z]) ?=")
# takes `\pi` and `k`, not `2`
_TOKEN = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")


def named(text: str) -> str:
    """The text with symbols for such names."""
    if "\\" in text:
        text = _GEOMETRY.sub(_of_geometry, text)
        if r"\frac" in text:
            text = _DERIVATIVE.sub(lambda m: _symbol(5, re.sub(r"[ {}]", "", m[1] + "/" + m[2])), text)
        text = _DIVISOR.sub(
            lambda m: _symbol(6, m[1] + ",".join(sorted(re.sub(" ", "", m[2]).split(",")))), text
        )
        if len(index := _INDEXED.findall(text)) == 1:
            text = _with_index(text, index[0])
    if len(set(_SEGMENT.findall(text))) > 1:
        text = _SEGMENT.sub(lambda m: _symbol(4, "".join(sorted(m[0]))), text)
    return text


def _symbol(kind: int, name: str) -> str:
    return rf"\Theta_{{{kind}{''.join(f'{ord(c):03}' for c in name)}}}"


def _of_geometry(m: re.Match[str]) -> str:
    """An angle may be read from either side, so may a segment; a triangle from any corner."""
    letters = m[2] if m[2][0] < m[2][-1] else m[2][::-1]
    if m[1] == "triangle":
        letters = "".join(sorted(letters))
    return _symbol({"angle": 1, "triangle": 2}.get(m[1], 3), letters)


def _with_index(text: str, letter: str) -> str:
    if "k" in _TOKEN.findall(text):
        return text
    return _TOKEN.sub(lambda m: "k" if m[0] == letter else m[0], text)
