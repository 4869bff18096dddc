r"""One spelling for what is spelt in several ways; the meaning stays.

`clean` is for both gradings of `answer.py`. What it returns is LaTeX without decoration: one kind of
fraction, minus and bracket, one space at most, no `\text{}`; units that were marked as such by `\text{}`
stand behind `UNIT`, amounts of money behind or before one of `MONEY`.
"""

from __future__ import annotations

import re

from rstar_jax.grading import characters, markup, printed
from rstar_jax.text.boxed import boxed

# Nobody's answer is longer. Checked before any pattern is tried; the patterns here and in `equal.py` take at
# most quadratic time, which is milliseconds at this length.
MAX_CHARS = 1000
_MAX_SOLUTION = 20_000  # a text with the answer in its last box

UNIT, DOLLAR = "\ue000", "\u00a4"
MONEY = DOLLAR + "€£¥₹"
_ROW_END = "\ue001"

# takes `\left(1\right)` and `\hspace{2em}`, not `\leftarrow`
_DROPPED = re.compile(
    r"\\(?:left|right|middle|displaystyle|textstyle|limits|quad|qquad|[bB]igg?[lrm]?|hspace\{[^{}]*\}"
    r"|phantom\{[^{}]*\}|label\{[^{}]*\}|tag\{[^{}]*\})(?![a-zA-Z])"
)
# takes `p=2 \quad q=5`, not `2 \quad 5`: the space stands for a comma
_APART = re.compile(r"(?<=[^,;\s]) ?(?:\\q?quad ?)+(?=[a-z](?:_\w)? ?=)")
# (pattern, spelling) of commands that mean the same. A command ends where its letters do: the row that takes
# `\leq 2` does not take `\leqno`.
_ALIASES = tuple(
    (re.compile(pattern), spelt)
    for pattern, spelt in (
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\leq?(?:slant)?(?![a-zA-Z])", r"\\le "),
        (r"\\geq?(?:slant)?(?![a-zA-Z])", r"\\ge "),
        # `\neq 0`, `\not= 0`
        (r"\\neq?(?![a-zA-Z])|\\not ?=", r"\\ne "),
        (r"\\mid(?![a-zA-Z])", "|"),
        (r"\\var(phi|epsilon|theta|rho|sigma|kappa)(?![a-zA-Z])", r"\\\1"),
        (r"\\backslash(?![a-zA-Z])", r"\\setminus "),
        # `\mathbb{R}-\{0\}`, `R / \{0\}`; not `R-1`
        (r"(\\mathbb ?\{?[RZNQC]\}?|R) ?[-/] ?(?=\\\{)", r"\1\\setminus "),
        # `\bar{z}`, `\bar z`; not `\bar{AB}`
        (r"\\(?:bar|overline)(?: ?\{ ?([a-zA-Z]) ?\}| ([a-zA-Z])(?![a-zA-Z]))", r"\\overline{\1\2}"),
        (r"\\(?:lt|gt)(?![a-zA-Z])", lambda m: {"l": "<", "g": ">"}[m[0][1]]),
        (r"\\(?:land|wedge|&)(?![a-zA-Z])", " and "),
        (r"\\(?:lor|vee)(?![a-zA-Z])", " or "),
        (r"\\(?:varnothing|empty)(?![a-zA-Z])", r"\\emptyset "),
        (r"\\(?:langle|lparen)(?![a-zA-Z])|\\lbrack(?![a-zA-Z])", lambda m: "[" if "brack" in m[0] else "("),
        (r"\\(?:rangle|rparen)(?![a-zA-Z])|\\rbrack(?![a-zA-Z])", lambda m: "]" if "brack" in m[0] else ")"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\(?:colon|ratio)(?![a-zA-Z])", ":"),
        (r"\\dfn(?![a-zA-Z])", ""),
        (r"\\(?:text)?euro?(?![a-zA-Z])", "€"),
        (r"\\(?:text)?(?:pounds|sterling)(?![a-zA-Z])", "£"),
        (r"\\yen(?![a-zA-Z])", "¥"),
        # `f^{\prime\prime}`, `f^\prime`
        (r"\^ ?\{ ?((?:\\prime ?)+)\}|\^ ?(\\prime)(?![a-zA-Z])", lambda m: "'" * m[0].count("prime")),
        (r"\\(?:[lcd]?dots[cbm]?|hdots)(?![a-zA-Z])", r"\\ldots "),
        (r"\\(?:ast|star)(?![a-zA-Z])", "*"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:infin|infinity)(?![a-zA-Z])", r"\\infty "),
        (r"\\degree(?![a-zA-Z])|\\textdegree(?![a-zA-Z])", r"^\\circ "),
        # `\vec{AB}`; `\vec{a}` has a row below
        (r"\\(?:overrightarrow|vec) ?\{ ?([A-Z]{2}) ?\}", r"v_{\1}"),
        (r"\\lg(?![a-zA-Z])", r"\\log_{10}"),
        (r"\\(?:overrightarrow|vec|hat|widehat|boldsymbol|bm)(?![a-zA-Z])", r"\\mathbf"),
        (r"\\(?:R|reals)(?![a-zA-Z])", r"\\mathbb{R}"),
        # `\mathbf R`, `\mathrm{R}`; not `\mathbf{RS}`
        (r"\\math(?:bf|bb|rm)\s*\{?R\}?(?![a-zA-Z])", r"\\mathbb{R}"),
        (r"\\approxeq(?![a-zA-Z])|\\simeq(?![a-zA-Z])", r"\\approx "),
        (
            # `\operatorname{arcsin} x`; not `\operatorname{rank} A`
            r"\\operatorname\s*\{((?:arc)?(?:sin|cos|tan|cot|sec|csc)|(?:sin|cos|tan)h|ln|log|exp|gcd|lcm|max|min)\}",
            r"\\\1 ",
        ),
    )
)
_WORD = (
    r"\\(?:text(?:bf|rm|it|sf|tt|normal|up|sc)?|math(?:rm|bf|it|sf|tt|normal|cal|scr)|[mf]box|operatorname)"
)
# takes `\text{cm}^2`, the power with it, not `\frac{1}{2}`
_WRAPPED = re.compile(rf"{_WORD}\s*\{{([^{{}}]*)\}}(\s*\^\s*(?:\{{\d\}}|\d))?")
# takes `sq. cm` and `km/h`, not `5 cm`
_UNIT_TEXT = re.compile(r"[A-Za-z][A-Za-z .^/\d\-\u00b5]*")
_SINGLE_UNITS = frozenset("mgshlLANJWVKCF")
# takes `(B)`, `b)` and `[C]`, not `(K)` or `B`
_CHOICE = re.compile(r"\(?([A-Ja-j])\)|\[?([A-J])[.:\]]")
# takes `cis 60^\circ` and `cis(\pi/3)`, which are cos + i sin, not `precis 60`, the end of a word
_CIS = re.compile(
    r"\\?(?<![a-zA-Z])cis ?"
    r"(?:\(([^()]*)\)|(\d*(?:\.\d+)?(?:\\frac\{[^{}]*\}\{[^{}]*\}|\\[a-zA-Z]+(?!\{))?"
    r"(?: ?\^ ?\{? ?\\circ ?\}?)?)(?![a-zA-Z]))"
)
# takes `The answer is 12`, `Option B` and `#### 12`, not `option 12`
_ANNOUNCED = re.compile(
    r"#+ |(?:(?:approximately|about|roughly|around|approx\.?)|(?:result|total|solution|output|value):)"
    r" (?=[\d$\\\-.])"
    r"|(?:(?:so|thus|hence|therefore),? )?"
    r"(?:(?:the )?(?:(?:final|correct) )?ans(?:wer)?(?:(?: choice| option)? is| ?[:=])+"
    r"|(?:the )?(?:correct )?(?:option|choice|answer)(?: is| ?:)? (?=\(?[A-Ja-j]\)?[.:]?$)) ?",
    re.IGNORECASE,
)
# takes `<answer>12</answer>`, not `<a>12</b>`
_ELEMENT = re.compile(r"<([a-z]+)>(.*)</\1>", re.DOTALL)
# takes `1 in 4` and `3 out of 5`, not `1 in a million`
_OUT_OF = re.compile(rf"(\d+) ?{UNIT}?(?:out of|in) ?(\d+)")
# takes `12 345 678`, not `12 34` or `0.12 345`
_THOUSANDS_SPACED = re.compile(r"(?<![\d.,_^])(\d{1,3})((?: \d{3})+)(?!\d)(?! ?\d)")


def clean(text: str) -> str:
    r"""The answer in a text, in one spelling: what its last `\boxed{}` holds, or the text. "" if too long."""
    text = _answer_of(text)
    if text.startswith("<") and (m := _ELEMENT.fullmatch(text.strip())):
        text = m[2]
    if len(text) > MAX_CHARS:
        return ""
    text = characters.plain(printed.respelt(text))
    rows = "matrix" in text or "array" in text or "cases" in text
    if "\\" in text:
        text = _plain_tex(markup.plain(text), rows)
    if "$" in text:
        # One sign is money before a number alone, `$5 million`, and else a formula that is not closed, `$x`.
        text = re.sub(r"^\$(?=[\d.,]+(?: [a-z]+illion| thousand)?\.?$)", DOLLAR, text).replace("$", "")
    if "{" in text:
        # `1{,}234` -> `1234`
        text = re.sub(r"(?<=\d)(?:\{,\}|\{ \})(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\{ +", "{", re.sub(r" +", " ", text.replace("~", " "))).replace(" }", "}")
    if " & " in text and not rows:
        text = text.replace(" & ", " and ")
    if "\\" in text:
        text = markup.braced(text)
    # `\frac{1,000}{3}` -> `\frac{1000}{3}`
    text = re.sub(r"\{(\d{1,3}(?:,\d{3})+)\}", lambda m: m[0].replace(",", ""), text)
    if "cis" in text:
        text = _CIS.sub(lambda m: rf"(\cos({m[1] or m[2]})+i\sin({m[1] or m[2]}))", text)
    if "^" in text:
        # `3 x 10^2` -> `3\times 10^2`
        text = re.sub(r"(?<=\d) [xX] ?(?=10 ?\^)", r"\\times ", text)
        # `5^{th}` -> `5th`
        text = re.sub(r"(?<=\d) ?\^ ?\{? ?(st|nd|rd|th) ?\}?(?![a-z])", r"\1", text)
    if "+" in text:
        # `3 +/- 2` -> `3 \pm  2`
        text = re.sub(r"\+ ?/ ?-", r"\\pm ", text)
    if "\\" in text:
        text = _without_over(text)
        # `0.\dot{1}2\dot{3}` -> `0.\overline{123}`
        text = re.sub(r"\\dot ?\{?(\d)\}?(\d*)\\dot ?\{?(\d)\}?", r"\\overline{\1\2\3}", text)
        # `0.\dot{3}` -> `0.\overline{3}`
        text = re.sub(r"\\(?:bar|dot|overline) ?\{?(\d+)\}?", r"\\overline{\1}", text)
        # `0. 1 \overline{6}` -> `0. 1\overline{6}`
        text = re.sub(r"(?<=\d) (?=\\overline\{\d+\}$)", "", text)
    return _trimmed(text)


def _plain_tex(text: str, rows: bool) -> str:
    """The text with one command of several for the same thing, and without those for spaces and words.

    rows: whether two backslashes may end a row.
    """
    # A doubled backslash before a command is a row's end in a matrix and a slip of escaping elsewhere.
    text = re.sub(r"\\\\(?=[a-zA-Z])", r"\\", text) if not rows else text
    # `\(12\)` -> `12`
    text = re.sub(r"\\[()\[\]]", "", text.replace(r"\\", _ROW_END))
    # `\$5` -> `¤5`
    text = re.sub(r"\\(?:\$|(?:math|text)dollar(?![a-z]))", DOLLAR, text)
    # `5\%` -> `5%`
    text = re.sub(r"\\([%#_])", r"\1", text)
    # `1,\!234` -> `1,234` and `1\,234` -> `1234`
    text = re.sub(r"(?<=\d)(,?) ?\\[,!:;] ?(?=\d{3}(?!\d))", r"\1", text)
    text = re.sub(r"\\!", "", text)
    text = _DROPPED.sub(" ", _APART.sub(", ", text))
    for pattern, spelt in _ALIASES:
        text = pattern.sub(spelt, text)
    # `2\, x` -> `2  x`
    text = re.sub(r"\\[,;: ]|\\(?=$)", " ", text)
    return _unwrapped(text.replace(_ROW_END, r"\\" if rows else " "))


def _answer_of(text: str) -> str:
    if len(text) > _MAX_SOLUTION:
        text = text[-_MAX_SOLUTION:]
    if "box" not in text:
        return text
    # `\fbox{12}` -> `\boxed{12}`
    text = re.sub(r"\\(?:fbox|framebox)(?= ?\{)", r"\\boxed", text)
    content = boxed(text)
    if content is not None:
        return content
    # One that TeX would close behind the next sign: `\\boxed5`, `\\boxed 12`.
    bare = list(re.finditer(r"\\boxed(?![a-zA-Z{])", text))
    return text[bare[-1].end() :].partition("$")[0] if bare else text


def _unwrapped(text: str) -> str:
    """Without text commands; a unit behind a number or a bracket keeps a mark."""

    def word(m: re.Match[str]) -> str:
        inner, power = m[1].strip(" ~"), re.sub(r"[\s^{}]", "", m[2] or "")
        before = m.string[: m.start()].rstrip()
        is_unit = _UNIT_TEXT.fullmatch(inner) and (len(inner) > 1 or inner in _SINGLE_UNITS)
        if inner.lower() in ("and", "or", "if", "to", "for", "when", "where", "base", "x", "times"):
            is_unit = None
        if is_unit and before and (before[-1].isalnum() or before[-1] in ")}%") and before[-2:] != "\\}":
            return f" {UNIT}{inner}{'^' + power if power else ''}"
        # A base or an exponent takes no spaces.
        return f" {inner} {m[2] or ''}" if len(inner) > 1 else f"{inner}{m[2] or ''}"

    for _ in range(8):
        plain = _WRAPPED.sub(word, text)
        if plain == text:
            break
        text = plain
    # `5\rm cm` -> `5cm`
    return re.sub(r"\\rm(?![a-z]) ?", "", text)


def _without_over(text: str) -> str:
    # `{5 \choose 2}` -> `\binom{5}{2}`
    text = re.sub(r"\{? ?([^{}\\]+?) ?\\choose(?![a-z]) ?([^{}\\]+?) ?(?:\}|$)", r"\\binom{\1}{\2}", text)
    if text.count(r"\over") != 1 or r"\over " not in text + " ":
        return text
    text = text.strip()
    if text.startswith("{") and text.endswith("}") and "{" not in text[1:-1]:
        text = text[1:-1]
    above, _, below = text.partition(r"\over")
    if set("{}") & set(above + below):
        return text
    return rf"\frac{{{above.strip()}}}{{{below.strip()}}}"


def _trimmed(text: str) -> str:
    """Without what stands around an answer: spaces, full stops, braces, choices' brackets, "=" before it."""
    text = re.sub(r" +", " ", text).strip()
    # `1 , 2` -> `1, 2`
    text = re.sub(r" (?=[,;])", "", text)
    # `= 12` -> `12`
    text = re.sub(r"^(?:=|\\approx|\\therefore|\\implies|\\Rightarrow)+ ?", "", text)
    if text.startswith("**"):
        # `**B** 12` -> `B 12`
        text = re.sub(r"^\*\*([^*]+)\*\* ?", r"\1 ", text).strip()
    if m := _ANNOUNCED.match(text):
        text = text[m.end() :].strip()
    text = text.rstrip(",;: ").strip()
    if not text.endswith(("...", r"\ldots")):
        # `12 .` -> `12`, but `3 p.m.` stays
        text = re.sub(r"(?<![ap]\.m)(?: ?\.)+$", "", text).strip()
    text = _unquoted(text)
    if m := _OUT_OF.fullmatch(text):
        text = f"{m[1]}/{m[2]}"
    if text.endswith("}") and text.count("}") == text.count("{") + 1:
        text = text[:-1].rstrip()
    while text.startswith("{") and text.endswith("}") and _closes(text):
        text = text[1:-1].strip()
    if choice := _CHOICE.fullmatch(text):
        return choice[1] or choice[2]
    text = _THOUSANDS_SPACED.sub(lambda m: m[1] + m[2].replace(" ", ""), text)
    # `(0, +\infty)` -> `(0, \infty)`, but `1 + \infty` stays
    return re.sub(r"(?<![A-Za-z])\+ ?(?=\\infty)", lambda m: "" if _leads(m) else m[0], text)


def _unquoted(text: str) -> str:
    """Without the pairs of quotes or asterisks around it."""
    while (
        len(text) > 2 and text[0] in "'\"*`_" and text[-1] == text[0] and text[0] not in text.strip(text[0])
    ):
        text = text[1:-1].strip()
    return text


def without_money(text: str) -> str:
    return re.sub(f"[{MONEY}]", "", text)


def _leads(m: re.Match[str]) -> bool:
    before = m.string[: m.start()].rstrip()
    return not before or before[-1] in "([,{<>=" or before.endswith((r"\le", r"\ge", r"\in"))


def _closes(text: str) -> bool:
    """Return whether the first brace is closed by the last."""
    depth = 0
    for i, c in enumerate(text):
        if c in "{}" and text[i - 1 : i] != "\\":
            depth += 1 if c == "{" else -1
            if depth == 0 and i < len(text) - 1:
                return False
    return depth == 0
