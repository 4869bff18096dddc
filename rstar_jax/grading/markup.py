r"""TeX around an answer: commands that only colour, size or set it apart, and arguments without their braces.

`plain` leaves out the first, `braced` writes the second out: `\frac\pi2` as `\frac{\pi}{2}`, as TeX reads it.
"""

from __future__ import annotations

import re

_SIZES = r"tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge"
_SHAPES = (
    r"bf|it|rm|sf|tt|em|sl|sc|bfseries|mdseries|itshape|upshape|slshape|scshape|rmfamily|sffamily|ttfamily"
)
# takes `{\bf 13}`, not `{13 \bf}`: the group of a switch is what its command would be given
_SWITCHED = re.compile(rf"\{{ ?\\(?:{_SHAPES})(?![a-zA-Z]) ?([^{{}}]*)\}}")
# takes `\large 13` and `13 \tag{1}`, not `\largest`
_SWITCH = re.compile(
    rf"\\(?:{_SIZES}|bf|it|sf|tt|em|sl|sc|bfseries|itshape|scriptstyle|scriptscriptstyle|displaylimits"
    r"|nonumber|notag|centering|noindent|hfill|hfil|vfill|newline|par|strut|mathstrut|null|relax|protect"
    r"|allowbreak|nobreak|(?:[vh]space\*?|[vh]phantom|phantom|color|label|tag\*?) ?\{[^{}]*\})(?![a-zA-Z])"
)
# takes `\textcolor{blue}{13}`, a command whose last argument is the answer, not `\overline{13}`
_WRAPPER = re.compile(
    r"\\(?:(?:textcolor|mathcolor|colorbox) ?(?:\[[^\[\]]*\])? ?\{[^{}]*\}|fcolorbox ?\{[^{}]*\} ?\{[^{}]*\}"
    r"|color ?(?:\[[^\[\]]*\])? ?\{[^{}]*\}(?= ?\{)|bbox ?\[[^\[\]]*\]|underline|uline|uuline|emph|ensuremath"
    r"|(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|it|sf)|boldsymbol|bm)(?= ?\{[^{}]*\{)"
    r"|mathop|mathbin|mathrel|mathord|mathstrut|ovalbox|shadowbox|doublebox|textnormal)(?![a-zA-Z])"
)
# takes `\begin{align*} x &= 1 \end{align*}`, not `\begin{cases} 1 \end{cases}`
_LINES = re.compile(
    r"\\begin ?\{((?:align|aligned|equation|gather|gathered|split|multline|flalign|eqnarray|center|math"
    r"|displaymath)\*?)\}(.*?)\\end ?\{\1\}",
    re.DOTALL,
)
# takes `\begin{cases} x = 1 \\ y = 2 \end{cases}`, not `\begin{cases} 1 & x > 0 \end{cases}`
_CASES = re.compile(r"\\begin ?\{cases\}((?:(?!\\begin|&).)*?)\\end ?\{cases\}", re.DOTALL)
# takes `\{\begin{array}{l} x = 1 \\ y = 2 \end{array}`, not `\begin{array}{l} 1 \end{array}`
_BRACED_ROWS = re.compile(
    r"(?:\\left ?)?\\\{ ?\\begin ?\{array\} ?\{[^{}]*\}(.*?)\\end ?\{array\}(?: ?\\right ?\.)?", re.DOTALL
)
# takes `x_1 = 5`, not `2x = 5`
_EQUATION = re.compile(r"[a-zA-Z](?:_\{?\w\}?)? ?=[^=<>]+")
# takes `\frac12` and `2^\pi`, not `2^{3}`: arguments follow, perhaps without their braces
_TAKES = re.compile(r"\\(?:[dtc]?frac|[dt]?binom|sqrt)(?![a-zA-Z])|[\^_](?= ?\\(?:[dtc]?frac|sqrt|[a-zA-Z]))")
# takes `\circ`, which is no argument of a power, not `\pi`
_NOT_TAKEN = re.compile(
    r"\\(?:circ|prime|ast|star|degree|text|math|operatorname|mbox|boxed|left|right|dagger|top)"
)
# takes `\pi`, not `\{`
_COMMAND = re.compile(r"\\[a-zA-Z]+")


def plain(text: str) -> str:
    """The text without what only sets it apart from other text; lines of an equation as a list."""
    if "\\begin" in text:
        text = _LINES.sub(lambda m: _listed(m[2]), text)
        text = _BRACED_ROWS.sub(r"\\begin{cases}\1\\end{cases}", text)
        text = _CASES.sub(_solution, text)
    text = _SWITCHED.sub(r"\\text{\1}", text)
    for _ in range(20):
        m = _WRAPPER.search(text)
        if not m:
            break
        after = text[m.end() :].lstrip()
        argument = group(after, 0)
        inner = after if argument is None else argument[0] + after[argument[1] :]
        text = text[: m.start()] + inner
    return _SWITCH.sub(" ", text)


def _listed(body: str) -> str:
    """The lines of an equation; one that begins with its sign goes on with the line before it."""
    found = ""
    for line in re.split(r"\\\\(?:\[[^\[\]]*\])?", body):
        line = line.replace("&", "").strip().strip(",")
        if line:
            found += line if not found or line[0] in "=<>" or line.startswith(r"\approx") else ", " + line
    return found


def _solution(m: re.Match[str]) -> str:
    lines = [line.strip().rstrip(",.;") for line in m[1].split(r"\\") if line.strip()]
    return ", ".join(lines) if all(map(_EQUATION.fullmatch, lines)) else m[0]


def group(text: str, start: int) -> tuple[str, int] | None:
    """The content of the braces that open at `start`, and where they end; None without such braces."""
    if text[start : start + 1] != "{":
        return None
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and text[i - 1 : i] != "\\":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return text[start + 1 : i], i + 1
    return None


def braced(text: str) -> str:
    r"""The arguments of fractions, roots, binomials and of exponents that are commands, in braces."""
    written, at = [], 0
    while m := _TAKES.search(text, at):
        written.append(text[at : m.end()])
        at = m.end()
        if m[0][0] in "^_" and _NOT_TAKEN.match(text, at + (text[at] == " ")):
            continue
        if m[0] == r"\sqrt" and (index := re.compile(r" ?\[([^\[\]]*)\]").match(text, at)):
            written.append(f"[{index[1].strip()}]")
            at = index.end()
        for _ in range(2 if m[0].endswith(("frac", "binom")) else 1):
            argument = _argument(text, at)
            if argument is None:
                break
            written.append("{" + braced(argument[0]) + "}")
            at = argument[1]
    return "".join(written) + text[at:]


def _argument(text: str, at: int) -> tuple[str, int] | None:
    """The next argument and where it ends: a group, a command with its own arguments, or one sign."""
    while text[at : at + 1] == " ":
        at += 1
    if (found := group(text, at)) is not None:
        return found
    if m := _COMMAND.match(text, at):
        end = m.end()
        if m[0] == r"\sqrt" and (index := re.compile(r" ?\[[^\[\]]*\]").match(text, end)):
            end = index.end()
        if m[0].endswith(("frac", "binom")) or m[0] == r"\sqrt":
            for _ in range(1 if m[0] == r"\sqrt" else 2):
                inner = _argument(text, end)
                if inner is None:
                    return None
                end = inner[1]
        return text[at:end], end
    return (text[at], at + 1) if text[at : at + 1].isalnum() else None
