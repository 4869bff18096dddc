r"""Answers as Python, sympy and numpy print them, respelt as LaTeX: what the policy's own programs write.

    Matrix([[1, 2], [3, 4]])   Interval.open(0, oo)   {x: 2, y: 3}   np.float64(0.5)   (1 < x) & (x < 3)

Text is rewritten by rules and never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A name that is called, `Fraction(1, 2)`; not `\max(1, 2)`.
_CALL = re.compile(r"(?<![\\\w.])((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\(")
_MODULES = re.compile(
    r"(?<![\\\w.])(?:(?:np|numpy|math|cmath|sp|sympy|mp|mpmath|fractions|decimal|jnp|torch)\.(?=[a-zA-Z])"
    r"|S\.(?=EmptySet|Reals|Integers|Naturals|Rationals|Complexes))"
)
_KEYWORD = re.compile(r"(?!real|imag)[a-z_]+ ?=(?!=).*", re.DOTALL)
_NAMED = re.compile(r"['\"]?([A-Za-z]\w{0,9})['\"]? ?: ?([^<>=|]+)")
_IMAGINARY = re.compile(r"(?<![\w.\\])(\d+\.?\d*(?:e[+-]?\d+)?)j(?!\w)")
_OTHER_UNITS = re.compile(r"(?<![a-zA-Z\\])[ik](?![a-zA-Z])")  # 2j of i+2j is a vector
_NUMPY = re.compile(r"\[[\[\]\s\d.eEjnaif+\-]*\]")
_UNSEPARATED = re.compile(r"[\dj]\.? +[\[\d.\-+]|\]\s*\[")
_NUMBER_TOKEN = re.compile(r"(?<=[\d.j]) +(?=[\d.\-+])")
# Euler's number where it is calculated with, `2*E` and `E**2`; not the name of a point, nor `E_1`.
_EULER = re.compile(r"(?<![\w\\}.])E(?= ?(?:\*|/|[-+] ))|(?:(?<=[*/(])|(?<=[-+] ))E(?![\w(:.])")
_SETS = {
    "EmptySet": r"\emptyset",
    "Reals": r"\mathbb{R}",
    "Integers": r"\mathbb{Z}",
    "Naturals": r"\mathbb{N}",
    "Rationals": r"\mathbb{Q}",
    "Complexes": r"\mathbb{C}",
}
_SET_NAME = re.compile(rf"(?<![\\\w.])({'|'.join(_SETS)})(?![\w(])(?:\(\))?")
_QUOTED = re.compile(r"(?<![\w}'\"])(['\"])([^'\",]*)\1")
_RELATIONS = {"Eq": "=", "Equality": "=", "Ne": r"\ne ", "Unequality": r"\ne "} | {
    name: sign
    for sign, names in (
        ("<", "Lt StrictLessThan"),
        (r"\le ", "Le LessThan"),
        (">", "Gt StrictGreaterThan"),
        (r"\ge ", "Ge GreaterThan"),
    )
    for name in names.split()
}


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_SAME_AS_ARGUMENT = _names(
    "Integer Float Decimal mpf Symbol Dummy int float str complex64 complex128 bool bool_ str_ longdouble",
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 sympify simplify expand",
    "nsimplify factor Poly deque list dict_values dict_keys dict_items",
)
_MATRICES = _names(
    "Matrix MutableDenseMatrix ImmutableDenseMatrix ImmutableMatrix MutableMatrix SparseMatrix",
    "MutableSparseMatrix ImmutableSparseMatrix array matrix Array tensor asarray",
)
_INVERSES = {f"a{name}": rf"\arc{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc")}
_MOST_REWRITES = 60
# Without one of these nothing is Python's; most answers are numbers.
_SIGNS = re.compile(r"[(\[{jE]|==|!=|[A-Z][a-z]{3}|\w\.[a-z]")


def respelt(text: str) -> str:
    """The text, with what Python prints as LaTeX writes it."""
    if not _SIGNS.search(text):
        return text
    text = _MODULES.sub("", text)
    if _NUMPY.fullmatch(text.strip()):
        spaced = re.sub(r"\s+", " ", text.strip())
        if _UNSEPARATED.search(spaced):
            spaced = re.sub(r" ?\] ?", "]", re.sub(r" ?\[ ?", "[", spaced)).replace("][", "], [")
            text = _NUMBER_TOKEN.sub(", ", spaced)
    if "(" in text:
        text = _calls(text)
    text = _SET_NAME.sub(lambda m: _SETS[m[1]], text)
    if not _OTHER_UNITS.search(text):
        text = _IMAGINARY.sub(lambda m: ("" if m[1] == "1" else m[1]) + "i", text)
    text = _EULER.sub("e", text)
    text = re.sub(r"(?<![=<>!:])==(?!=)", "=", text)
    text = re.sub(r"(?<=[\w)\]] )!= ?|(?<=[a-zA-Z)\]])!=(?!=)", r"\\ne ", text)
    if ") & (" in text or ") | (" in text:
        text = _conditions(text)
    if text[:1] in "[{(":
        text = _container(text)
    return text


def _calls(text: str) -> str:
    """The innermost calls first, so that arguments are respelt when what holds them is."""
    kept: list[str] = []
    for _ in range(_MOST_REWRITES):
        calls = [m for m in _CALL.finditer(text) if _known(m[1])]
        if not calls:
            break
        m = calls[-1]
        end = _closing(text, m.end() - 1)
        if end is None:
            break
        arguments = [a for a in _split(text[m.end() : end]) if not _KEYWORD.fullmatch(a)]
        written = _written(m[1], arguments)
        if written is None:
            # A name that is no function here after all: kept from being found again.
            kept.append(m[1])
            written = f"\ue010{len(kept) - 1}\ue011({text[m.end() : end]})"
        text = text[: m.start()] + written + text[end + 1 :]
    return re.sub("\ue010(\\d+)\ue011", lambda m: kept[int(m[1])], text)


def _known(name: str) -> bool:
    return (
        name in _FORMS
        or name in _SAME_AS_ARGUMENT
        or name in _MATRICES
        or name in _RELATIONS
        or name in _INVERSES
        or name in _SETS
        or name.startswith("Interval")
    )


def _written(name: str, arguments: list[str]) -> str | None:
    if name in _SETS:
        return _SETS[name]
    if name.startswith("Interval"):
        return _interval(name, arguments)
    if not arguments:
        return r"\emptyset" if name in ("set", "frozenset", "FiniteSet") else None
    if name in _SAME_AS_ARGUMENT:
        return arguments[0].strip("'\"")
    if name in _MATRICES:
        return _matrix(arguments[0])
    if name in _RELATIONS:
        return f"{arguments[0]} {_RELATIONS[name]} {arguments[1]}" if len(arguments) == 2 else None
    if name in _INVERSES:
        return rf"{_INVERSES[name]}({arguments[0]})"
    return _FORMS[name](arguments)


def _interval(name: str, arguments: list[str]) -> str | None:
    if len(arguments) not in (2, 3, 4):
        return None
    flags = [argument == "True" for argument in arguments[2:]] + [False, False]
    kind = name.partition(".")[2]
    left = flags[0] or kind in ("open", "Lopen") or "oo" in arguments[0]
    right = flags[1] or kind in ("open", "Ropen") or "oo" in arguments[1]
    return f"{'(' if left else '['}{arguments[0]}, {arguments[1]}{')' if right else ']'}"


def _matrix(argument: str) -> str:
    """Rows of a nested list as a matrix, a list as it is."""
    inner = argument.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return argument
    rows = _split(inner[1:-1])
    if not rows or not all(row.startswith("[") and row.endswith("]") for row in rows):
        # A vector; a list of two in square brackets would be a closed interval.
        return f"({inner[1:-1]})" if len(rows) == 2 else inner
    cells = (" & ".join(_split(row[1:-1])) for row in rows)
    return r"\begin{pmatrix} " + r" \\ ".join(cells) + r" \end{pmatrix}"


def _quotient(arguments: list[str]) -> str | None:
    arguments = [argument.strip("'\"") for argument in arguments]
    if len(arguments) == 1:
        return arguments[0]
    return rf"\frac{{{arguments[0]}}}{{{arguments[1]}}}" if len(arguments) == 2 else None


def _complex(arguments: list[str]) -> str | None:
    arguments = [argument.split("=")[-1].strip(" '\"") for argument in arguments]
    return f"({arguments[0]}+({arguments[1]})i)" if len(arguments) == 2 else arguments[0]


def _joined(sign: str) -> Callable[[list[str]], str]:
    return lambda arguments: sign.join(arguments)


def _binary(form: str) -> Callable[[list[str]], str | None]:
    return lambda arguments: form.format(*arguments) if len(arguments) == 2 else None


def _unary(form: str) -> Callable[[list[str]], str | None]:
    return lambda arguments: form.format(*arguments) if len(arguments) == 1 else None


def _items(arguments: list[str]) -> str:
    inner = arguments[0].strip()
    if len(arguments) == 1 and inner[:1] in "[{(" and inner[-1:] in "]})":
        return r"\{" + inner[1:-1] + r"\}"
    return r"\{" + ", ".join(arguments) + r"\}"


def _logarithm(arguments: list[str]) -> str | None:
    return rf"\log_{{{arguments[1]}}}({arguments[0]})" if len(arguments) == 2 else None


_FORMS: dict[str, Callable[[list[str]], str | None]] = {
    **dict.fromkeys(("Fraction", "Rational"), _quotient),
    **dict.fromkeys(("complex", "mpc"), _complex),
    **dict.fromkeys(("set", "frozenset", "FiniteSet"), _items),
    **dict.fromkeys(("Tuple", "Point", "Point2D", "Point3D"), lambda a: f"({', '.join(a)})"),
    **dict.fromkeys(("Abs", "abs", "fabs"), _unary("|{}|")),
    **dict.fromkeys(("factorial",), _unary("({})!")),
    **dict.fromkeys(("binomial", "comb"), _binary(r"\binom{{{}}}{{{}}}")),
    **dict.fromkeys(("ceil", "ceiling"), _unary(r"\lceil {}\rceil ")),
    **dict.fromkeys(("Max", "max"), lambda a: rf"\max({', '.join(a)})"),
    **dict.fromkeys(("Min", "min"), lambda a: rf"\min({', '.join(a)})"),
    "floor": _unary(r"\lfloor {}\rfloor "),
    "Union": _joined(r" \cup "),
    "Intersection": _joined(r" \cap "),
    "Complement": _binary(r"{} \setminus {}"),
    "And": _joined(r" \text{ and } "),
    "Or": _joined(r" \text{ or } "),
    "Contains": _binary(r"{} \in {}"),
    "sqrt": _unary(r"\sqrt{{{}}}"),
    "cbrt": _unary(r"\sqrt[3]{{{}}}"),
    "root": lambda a: rf"\sqrt[{a[1]}]{{{a[0]}}}" if len(a) == 2 else None,
    "exp": _unary(r"e^{{{}}}"),
    "log": _logarithm,
    "log2": _unary(r"\log_{{2}}({})"),
    "log10": _unary(r"\log_{{10}}({})"),
    "log1p": _unary(r"\ln(1+{})"),
}


def _conditions(text: str) -> str:
    """`(1 < x) & (x < 3)` in words."""
    for sign, word in ((" | ", "or"), (" & ", "and")):
        parts = _split(text, sign)
        if len(parts) > 1 and all(
            p.startswith("(") and p.endswith(")") and re.search("[<>=]", p) for p in parts
        ):
            return rf" \text{{ {word} }} ".join(
                _conditions(part[1:-1])
                for part in parts
                if not re.fullmatch(r"\(-oo < \w+\)|\(\w+ < oo\)", part)
            )
    return text


def _container(text: str) -> str:
    """Dictionaries as equations; lists and tuples of one as what they hold; quotes left out."""
    text = _QUOTED.sub(r"\2", text) if re.match(r"[\[({]+['\"]", text) else text
    end = _closing(text, 0)
    if end is None or text[end + 1 :].strip(" ."):
        return text
    items = _split(text[1:end])
    if text[0] == "[" and not items:
        return r"\emptyset"
    if text[0] == "{":
        return _dictionary(items) or text
    if text[0] == "(":
        return items[0] if len(items) == 1 and text[1:end].rstrip().endswith(",") else text
    found = [_dictionary(_split(item[1:-1])) for item in items if item.startswith("{") and item.endswith("}")]
    if items and len(found) == len(items) and all(found):
        if all(", " not in equations for equations in found if equations):
            return ", ".join(equations for equations in found if equations)
        return ", ".join(
            "(" + re.sub(r"[A-Za-z]\w* = ", "", equations) + ")" for equations in found if equations
        )
    if len(items) == 1 and (items[0][:1] == "(" or _holds_value(items[0])):
        return items[0]
    return text


def _holds_value(item: str) -> bool:
    """Whether a lone item of a list is a value or an equation: `[x]` may be the integer part of x."""
    if re.search(r"[<>=]", item):
        return True
    return not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+|sqrt|pi|(?<![a-zA-Z])[Iei](?![a-zA-Z])", "", item))


def _dictionary(items: list[str]) -> str | None:
    pairs = [_NAMED.fullmatch(item) for item in items]
    if not items or not all(pairs):
        return None
    return ", ".join(f"{pair[1]} = {pair[2].strip()}" for pair in pairs if pair)


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` is closed."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i
    return None


def _split(text: str, separator: str = ",") -> list[str]:
    """Parts between separators outside of brackets, without empty ones."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, i):
            parts.append(text[start:i].strip())
            start = i + len(separator)
    parts.append(text[start:].strip())
    return [part for part in parts if part]
