"""Layout of a cleaned answer: lists and their brackets, matrices, equations, plus or minus."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from fractions import Fraction

from rstar_jax.grading import spelling, symbols
from rstar_jax.grading.number import number

# takes `[\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}]`, not `\begin{cases} 1 \\ 2 \end{cases}`
_MATRIX = re.compile(
    r"[(\[]? ?\\begin ?\{(?:[pbB]?matrix|smallmatrix|array)\} ?(?:\{[lcr| ]*\})?(.*?)\\end ?\{\w+\} ?[)\]]?"
)
# takes `f^{-1}(x)`, `\angle ABC` and `x_1`, what an equation may define, not `x+1`
_NAME = re.compile(
    r"(?:\\(?:angle|triangle|overline|underline|mathbf|frac|sin|cos|tan|log|ln|max|min|gcd|operatorname|alpha"
    r"|beta|gamma|theta|lambda|phi|omega|mu|sigma|Delta|pi|det|arg|cot|sec|csc|lim|star|cdot|prime)(?![a-zA-Z])"
    r"|\^ ?\{?-1\}?|[a-zA-Z']|_\{[^{}]*\}|_\w|\([a-zA-Z, \d]*\)|[|{} ])+"
)
_LETTER = r" ?(?:[a-zA-Z]|\\(?:theta|phi|rho|alpha|beta|lambda|mu))(?:_\{?\w\}?)? ?"
# takes `(x, y)`, `(r, \theta)` and `\begin{pmatrix}x\\y\end{pmatrix}`, not `(x, 2)`
_LETTERS = re.compile(
    rf"\({_LETTER}(?:,{_LETTER})+\)"
    rf"|\\begin ?\{{[pb]matrix\}}{_LETTER}(?:(?:\\\\|&){_LETTER})+(?:\\\\)? ?\\end ?\{{[pb]matrix\}}"
)
# takes `log(8)`, as programs print the natural logarithm, not `\log(8)` or `log 100`, a school's
_PRINTED_LOG = re.compile(r"(?<![a-zA-Z\\])log ?\(")
# takes `\log 8/\log 2`, two logarithms divided by each other, not `\log x/2`
_LOG_QUOTIENT = re.compile(r"(\\(?:log|ln)(?: ?_ ?\{?\w+\}?)?) ?(\w+) ?/ ?(?=\\(?:log|ln)(?![a-z]))")
# takes `\max\{1, 2\}`, not `\max(1, 2)`
_OF_SET = re.compile(r"(\\(?:max|min|gcd)) ?\\\{([^{}]*)\\\}")
# takes `C(10,3)`, `C_{10}^3` and `{}_{10}C_3`, the school's ways to count, not `C_1`
_CHOOSE = re.compile(
    r"(?<![a-zA-Z\\])C\((\d+), ?(\d+)\)|(?<![a-zA-Z\\])C ?_ ?\{?(\d+)\}? ?\^ ?\{?(\d+)\}?"
    r"|(?:\{ ?\})?[_^] ?\{?(\d+)\}? ?C ?_ ?\{?(\d+)\}?"
)
# takes `A_5^3` and `P_5^3`, not `P_5`
_ARRANGE = re.compile(r"(?<![a-zA-Z\\])[AP] ?_ ?\{?(\d+)\}? ?\^ ?\{?(\d+)\}?")
# takes `7!!`, not `7!` or `7!!!`
_DOUBLE_FACTORIAL = re.compile(r"(?<![\d.!])(\d{1,3})!!(?!!)")
# takes `(1, 2)^T` and `[1, 2]^{\top}`, not `(1, 2)^t`
_TRANSPOSED = re.compile(r"([(\[].*[)\]]) ?\^ ?\{? ?(?:T|\\top) ?\}?")
# takes `x = n, for even n`, where what is quantified begins, not `formula`
_FOR = re.compile(r"[,;]? ?\(?(?:(?<![a-zA-Z\\])(?:for|where)|\\forall)(?![a-zA-Z])")
# takes `for all real numbers x` and `\forall x \in \mathbb{R}`, not `for all even n`
_FOR_ALL = re.compile(
    r"[,;]? ?\(?(?:for (?:all|any|every|each)|\\forall)"
    r"(?: ?(?:real|numbers?|positive|integers?|[a-z]\b|in\b|\\in(?![a-z])|\\mathbb ?\{? ?[RZNQ]\b"
    r"|[^a-zA-Z\\ ]))* ?"
)
# takes `f(x) = \begin{cases} x \\ -x \end{cases}`, not `2y = \begin{cases} x \\ -x \end{cases}`
_BY_CASES = re.compile(
    r"(y|[a-zA-Z](?:\([a-zA-Z]\)|_\{?[a-z]\}?)) ?= ?(\\begin ?\{cases\}.*\\end ?\{cases\})"
)
# takes `f'(x)` and `x_1''`, not `5'`: the parser leaves them out; as an index they make another symbol
_PRIMES = re.compile(r"(?:(?<=[a-zA-Z)}])|(?<=_\d))['\"]+")
# takes `\sin x`, not `\sinh x`
TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")


@dataclasses.dataclass
class List:
    kind: str  # "" without brackets, "{}", "()", "[]", "(]", "[)"
    items: list[str]
    name: str | None = None  # the one letter that all of them are said to be, of `x = 1, x = 2`

    def may_name(self, other: List) -> bool:
        """Return whether no item of the other is said to be another letter's: `x = 1, y = 2` are not x = 1,
        2."""
        if self.name is None:
            return True
        names = {other.name, *(assigned(item)[0] for item in other.items if "=" in item)}
        return all(name == self.name or not re.fullmatch(r"[a-zA-Z]", name) for name in names if name)

    def expanded(self) -> list[str]:
        """The items, with the two values of each that has a sign of plus or minus."""
        return [value for item in self.items for value in signed(item)]


def squeezed(text: str) -> str:
    """Without spaces, save between digits: `1 2` is not 12."""
    # `( 1, 2 3 )` -> `(1,2 3)`; `\sin x` needs its space
    return re.sub(r"(?<!\d) | (?!\d)", "", text) if not re.search(r"\\[a-zA-Z]+ [a-zA-Z]", text) else text


def is_relation(text: str) -> bool:
    return bool(re.search(r"[<>=]|\\(?:le|ge|ne|in)(?![a-zA-Z])", text))


def unquantified(text: str) -> tuple[str, str | None]:
    """A statement and what it holds for, as it is written; None if that is not everything, `for even n`."""
    m = _FOR.search(text) if "for" in text or "where" in text else None
    if m is None:
        return text, ""
    return text[: m.start()].rstrip(" ,;("), (
        text[m.start() :] if _FOR_ALL.fullmatch(text, m.start()) else None
    )


def assigned(text: str) -> tuple[str | None, str]:
    """(the name on the left of an equation, what it is); (None, the text) if it is no such thing."""
    if m := _BY_CASES.fullmatch(text):
        return m[1], m[2]
    whole = text
    text, quantified = unquantified(text)
    if quantified is None:
        return None, whole
    sides = re.split(r"=|\\approx(?![a-z])|\\in(?![a-z])", text)
    if (
        len(sides) < 2
        or not all(side.strip() for side in sides)
        or re.search(r"[<>]|\\(?:le|ge|ne)(?![a-z])|:=", text)
    ):
        return None, text
    # `x = 1, y = 2` says what several are
    parts = re.split(r",| or | and ", text)
    if len(parts) > 1 and sum(map(is_relation, parts)) > 1:
        return None, text
    left, right = sides[0].strip(), sides[-1].strip()
    if len(sides) == 2 and number(left) is not None and re.fullmatch(r"[a-zA-Z]", right):
        left, right = right, left
    is_point = _LETTERS.fullmatch(left)
    values = {number(side) for side in text.split("=")[1:]} - {None}
    if len(values) > 1:
        return None, text  # 5 = 6
    is_name = len(left) <= 40 and _NAME.fullmatch(left) and re.search(r"[a-zA-Z]", left)
    if is_point or is_name:
        return re.sub(r"[ {}]", "", left), right
    return None, text


def worked(text: str) -> tuple[str, str] | None:
    """The sides of an equation of two numbers that shows how the second is found, `3+2=5`."""
    sides = text.split("=")
    if len(sides) != 2 or number(sides[1]) is None or re.search(r"[<>]", text):
        return None
    if not re.search(r"\d", sides[0]) or re.search(r"[a-zA-Z,]", re.sub(r"\\[a-zA-Z]+", "", sides[0])):
        return None
    left, right = sides[0].strip(), sides[1].strip()
    return (left, right) if left != right else None


def rounded(text: str) -> str | None:
    """Return what stands before "approximately"; "" if the numbers are too far apart; None if it is not
    there."""
    sides = re.split(r"\\approx(?![a-z])", text)
    if (
        len(sides) != 2
        or not all(side.strip() for side in sides)
        or is_relation(text)
        or _NAME.fullmatch(sides[0])
    ):
        return None
    exact, rough = number(sides[0]), number(sides[1])
    if exact is not None and rough is not None:
        places = min(len(side.strip().partition(".")[2]) for side in sides)
        if abs(exact - rough) > Fraction(1, 2 * 10**places):
            return ""
    return sides[0].strip()


def signed(text: str) -> list[str]:
    """The values of an expression with signs of plus or minus; \\mp goes with \\pm."""
    count = text.count(r"\pm")
    if not 1 <= count <= 2 or (count == 2 and r"\mp" in text):
        return signed(text.replace(r"\mp", r"\pm")) if r"\mp" in text and not count else [text]
    values = []
    for signs in itertools.product("+-", repeat=count):
        value = text
        for sign in signs:
            value = value.replace(r"\pm", sign, 1)
        value = value.replace(r"\mp", "-" if signs[0] == "+" else "+")
        # `+1`, `x = + 2` -> `1`, `x =2`
        values.append(re.sub(r"(^|=|\{|\() ?\+ ?", r"\1", value.strip()))
    return values


def both_signs(text: str, listed: List | None) -> List | None:
    """`(\\pm 1, 2)` as the points (1, 2) and (-1, 2)."""
    if listed and listed.kind == "()" and r"\pm" in text and len(points := signed(text)) > 1:
        return List("", points)
    return listed


def list_of(text: str) -> List | None:
    """The list at the text's top level; None if it is none."""
    body = text.strip()
    if number(body) is not None:
        return None  # 1,234
    if re.fullmatch(r"\].*[\[\]]|[\[(].*\[", body):
        # The other way to write open ends: ]0, 1[
        body = ("(" if body[0] == "]" else body[0]) + body[1:-1] + (")" if body[-1] == "[" else body[-1])
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if body.startswith(opening) and body.endswith(closing) and len(body) > len(opening):
            parts = split(body[len(opening) : len(body) - len(closing)], ",")
            if parts is None:
                continue
            if opening == r"\{":
                return List("{}", parts)
            if len(parts) < 2:
                return None
            return List(opening + closing, parts)
    parts = split(body, ",")
    if parts is not None and len(parts) == 1 and not is_relation(body):
        parts = [piece for part in split(body, " or ") or [body] for piece in split(part, " and ") or [part]]
    if parts is not None and len(parts) == 1 and " or " in body and not re.search(r"[<>]|\\[lg]e|\\ne", body):
        pieces = split(body, " or ") or []
        lefts = {assigned(piece)[0] for piece in pieces}
        parts = pieces if len(lefts) == 1 and None not in lefts else parts
    if parts is not None and (len(parts) > 1 or len(signed(parts[0])) > 1):
        return List("", *_named_once(parts))
    return None


def _named_once(parts: list[str]) -> tuple[list[str], str | None]:
    """`x = 1, 2` and `x = 1, x = 2` as 1 and 2, and their letter; `and` before the last item left out."""
    parts = [part for part in (re.sub(r"^(?:and|or) ", "", part) for part in parts) if part]
    parts = [
        piece
        for part in parts
        for piece in (re.split(r" (?:and|or) ", part) if not re.search(r"[<>]|\\[lg]e", part) else [part])
    ]
    names = [assigned(part) for part in parts]
    lefts = {left for left, _ in names}
    if len(lefts - {None}) == 1 and names[0][0] is not None and (len(lefts) == 1 or None in lefts):
        left = names[0][0]
        return [right for _, right in names], left if re.fullmatch(r"[a-zA-Z]", left) else None
    if (
        None not in lefts
        and all(left and re.fullmatch(r"(?:[a-z]|\\[a-z]+)_\w", left) for left in lefts)
        and len({x.partition("_")[0] for x in lefts if x}) == 1
    ):
        return [right for _, right in names], None
    return parts, None


def may_stand_for(a: List, b: List) -> bool:
    kinds = {a.kind, b.kind}
    if kinds == {"", "{}"} or kinds == {"", "()"}:
        return True
    # Python prints lists in square brackets; a closed interval has two ends and is the reference's to name.
    if kinds == {"{}", "[]"}:
        return not (_may_be_interval(a.items) or _may_be_interval(b.items))
    if kinds == {"()", "[]"}:
        return len(a.items) == len(b.items) and not _may_be_interval(a.items)
    return kinds == {"", "[]"} and (b.kind == "" or not _may_be_interval(b.items))


def _may_be_interval(items: list[str]) -> bool:
    """Return whether two items may be the ends of an interval: the second is not known to be less, or no
    number."""
    if len(items) != 2:
        return False
    low, high = map(number, items)
    return not (low is not None and high is not None and low > high) and items[0][0] not in "([{"


def split(text: str, separator: str) -> list[str] | None:
    """Parts between top-level separators; None if brackets do not match or a part is empty."""
    if separator == "," and ";" in text and "," not in text:
        separator = ";"
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        c = text[i]
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0 and text.startswith(separator, i):
            parts.append(text[start:i].strip())
            start = i = i + len(separator)
            continue
        i += 1
    parts.append(text[start:].strip())
    if depth or not all(parts):
        return None
    return (
        None
        if separator == "," and any(mark in text for mark in (r"\cup", r"\mid", "|", r"\begin"))
        else parts
    )


def rows_of(text: str) -> list[list[str]] | None:
    """The cells of a matrix, in LaTeX or as nested Python lists; None if it is none."""
    if m := _MATRIX.fullmatch(text):
        inner = m[1].replace(r"\hline", " ").strip().removesuffix("\\\\").strip()
        if r"\begin" in inner:
            return None
        return [[cell.strip() for cell in row.split("&")] for row in inner.split("\\\\")]
    if (m := _TRANSPOSED.fullmatch(text)) and (listed := list_of(m[1])) and listed.kind in ("()", "[]"):
        return [[item] for item in listed.items]
    rows = list_of(text) if text.startswith("[[") or text.startswith("([") else None
    cells = [list_of(row) for row in rows.items] if rows else []
    return [cell.items for cell in cells if cell] if cells and all(cells) else None


def _counts(text: str) -> str:
    """The text with binomials, arrangements and double factorials in signs that the parser knows."""
    if "!!" in text:
        text = _DOUBLE_FACTORIAL.sub(lambda m: str(math.prod(range(int(m[1]), 0, -2))), text)
    if re.search(r"[ACP]", text):
        text = _CHOOSE.sub(lambda m: r"\binom{{{}}}{{{}}}".format(*filter(None, m.groups())), text)
        text = _ARRANGE.sub(lambda m: str(math.perm(int(m[1]), int(m[2]))) if int(m[1]) < 300 else m[0], text)
    return text


def latex(text: str) -> str:
    if text[:1] == "[" and text[-1:] == "]" and not set("[],") & set(text[1:-1]):
        text = rf"\lfloor {text[1:-1]}\rfloor "  # of a letter; a lone number in brackets is a list of one
    if "\\" in text:
        text = _OF_SET.sub(r"\1(\2)", text)
    text = symbols.named(text)
    if "log" in text or r"\ln" in text:
        text = _LOG_QUOTIENT.sub(r"\1(\2)/", text)
        text = _PRINTED_LOG.sub(r"\\ln(", text)
    text = _counts(text)
    text = spelling.without_money(text).replace(spelling.UNIT, "")
    text = _PRIMES.sub(lambda m: f"_{{{90 + len(m[0].replace(chr(34), 2 * chr(39)))}}}", text)
    # `(0, 1) U (2, 3)` -> `(0, 1)\cup(2, 3)`
    text = re.sub(r"\) ?U ?\(", r")\\cup(", text.replace("**", "^"))
    text = re.sub(
        # `sqrt(2)`, `2pi`; not `\sqrt{2}`
        r"(?<![a-zA-Z\\])(sqrt|arcsin|arccos|arctan|sinh?|cosh?|tanh?|cot|sec|csc|log|ln|exp|pi|infinity|oo|inf)(?![a-zA-Z])",
        lambda m: r"\infty " if m[1] in ("infinity", "oo", "inf") else rf"\{m[1]} ",
        text,
    )
    # `\sqrt(2)` -> `\sqrt{2}`
    text = re.sub(r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}", text)
    if TRIGONOMETRIC.search(text):
        # `\sin 30^\circ` -> `\sin {(\frac{30 \pi}{180})}`
        text = re.sub(r"(\d+(?:\.\d+)?) ?\^ ?(?:\\circ|\{ ?\\circ ?\})", r"{(\\frac{\1 \\pi}{180})}", text)
    # `x^(1/2)` -> `x^{1/2}`
    return re.sub(r"\^ ?\((-?[\w/ +\-*]+)\)", r"^{\1}", text)
