r"""Calls as Python, sympy and numpy print them, respelt as LaTeX: `Fraction(1, 2)`, `Interval.open(0, oo)`.

    Matrix([[1, 2], [3, 4]])   Union(Interval(0, 1), {2})   Piecewise((x, x > 0), (0, True))

Part of `printed.py`. Text is rewritten by rules and never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# takes `Fraction(1, 2)` and `Interval.open(0, 1)`, names that are called, not `\max(1, 2)`
_CALL = re.compile(r"(?<![\\\w.])((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\(")
# takes `evaluate=False`, not `real=1` or `x == 1`
_KEYWORD = re.compile(r"(?!real|imag)[a-z_]+ ?=(?!=).*", re.DOTALL)
SETS = {
    "EmptySet": r"\emptyset",
    "Reals": r"\mathbb{R}",
    "Integers": r"\mathbb{Z}",
    "Naturals": r"\mathbb{N}",
    "Rationals": r"\mathbb{Q}",
    "Complexes": r"\mathbb{C}",
}
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


def calls(text: str) -> str:
    """The innermost calls first, so that arguments are respelt when what holds them is."""
    kept: list[str] = []
    for _ in range(_MOST_REWRITES):
        calls = [m for m in _CALL.finditer(text) if _known(m[1])]
        if not calls:
            break
        m = calls[-1]
        end = closing(text, m.end() - 1)
        if end is None:
            break
        arguments = [a for a in split_arguments(text[m.end() : end]) if not _KEYWORD.fullmatch(a)]
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
        or name in SETS
        or name.startswith("Interval")
    )


def _written(name: str, arguments: list[str]) -> str | None:
    if name in SETS:
        return SETS[name]
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
    rows = split_arguments(inner[1:-1])
    if not rows or not all(row.startswith("[") and row.endswith("]") for row in rows):
        # A vector; a list of two in square brackets would be a closed interval.
        return f"({inner[1:-1]})" if len(rows) == 2 else inner
    cells = (" & ".join(split_arguments(row[1:-1])) for row in rows)
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


def _lambda(arguments: list[str]) -> str | None:
    """A function of one variable, for `_image`."""
    return f"{arguments[1]}\ue012{arguments[0]}" if len(arguments) == 2 else None


def _image(arguments: list[str]) -> str | None:
    r"""`ImageSet(Lambda(_n, 2*_n*pi), Integers)` as `\{2*n*pi \mid n \in \mathbb{Z}\}`."""
    if len(arguments) != 2 or "\ue012" not in arguments[0] or arguments[1] not in ("Integers", "S.Integers"):
        return None
    expression, _, letter = arguments[0].partition("\ue012")
    name = letter.strip("_")
    expression = re.sub(rf"(?<!\w){re.escape(letter)}(?!\w)", name, expression)
    return rf"\{{{expression} \mid {name} \in \mathbb{{Z}}\}}"


def _over_range(sign: str) -> Callable[[list[str]], str | None]:
    """`Sum(k, (k, 1, n))` as a sum of LaTeX's, so for products and integrals."""

    def written(arguments: list[str]) -> str | None:
        bounds = [split_arguments(bound[1:-1]) for bound in arguments[1:] if bound[:1] == "("]
        if len(arguments) != 2 or not bounds or len(bounds[0]) != 3:
            return None
        name, low, high = bounds[0]
        if sign == "int":
            return rf"\int_{{{low}}}^{{{high}}} {arguments[0]} d{name}"
        return rf"\{sign}_{{{name}={low}}}^{{{high}}} ({arguments[0]})"

    return written


def _pieces(arguments: list[str]) -> str | None:
    """`Piecewise((x, x >= 0), (-x, True))` as cases."""
    rows = [split_arguments(argument[1:-1]) for argument in arguments]
    if not all(len(row) == 2 for row in rows):
        return None
    written = (f"{value} & {condition}".replace("& True", r"& \text{otherwise}") for value, condition in rows)
    return r"\begin{cases} " + r" \\ ".join(written) + r" \end{cases}"


def _range(arguments: list[str]) -> str | None:
    if not all(re.fullmatch(r"-?\d{1,9}", argument) for argument in arguments):
        return None
    numbers = range(*map(int, arguments[:3])) if arguments[2:3] != ["0"] else range(0)
    return ", ".join(map(str, numbers)) if 0 < len(numbers) <= 100 else None


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
    "Lambda": _lambda,
    "ImageSet": _image,
    "Piecewise": _pieces,
    "range": _range,
    "conjugate": _unary(r"\overline{{{}}}"),
    "Sum": _over_range("sum"),
    "Product": _over_range("prod"),
    "Integral": _over_range("int"),
    "gcd": lambda a: rf"\gcd({', '.join(a)})",
    "log": lambda a: rf"\log_{{{a[1]}}}({a[0]})" if len(a) == 2 else None,
    "log2": _unary(r"\log_{{2}}({})"),
    "log10": _unary(r"\log_{{10}}({})"),
    "log1p": _unary(r"\ln(1+{})"),
}


def closing(text: str, start: int) -> int | None:
    """Find where the bracket that opens at `start` is closed."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i
    return None


def split_arguments(text: str, separator: str = ",") -> list[str]:
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
