"""Constants told apart however large or small: rational ones exactly, others by digits enough for their size.

A neighbour of the script `symbolic.py`, like `expressions.py`. A constant that can be written out is a
fraction. One that cannot, `2^{10^9}+1`, is known by its residues modulo primes and by its size: two that
agree in all of them are taken for equal.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import sympy
from magnitude import Undecided

_MOST_BITS = 1 << 17  # of a fraction worth writing out
_MOST_FACTORS = 200_000  # of a factorial worth multiplying
_MOST_TERMS = 1_100  # of a sum
_MOST_DIGITS = 8_000  # of a constant that is no fraction
# Mersenne's, and those next to round numbers: of several sizes, so that no power is 1 modulo all of them.
_PRIMES = (2**61 - 1, 2**89 - 1, 2**107 - 1, 2**127 - 1, 10**18 + 9, 10**9 + 7)
_STEPWISE = (sympy.floor, sympy.ceiling, sympy.Abs, sympy.sign, sympy.Max, sympy.Min)
# Functions that grow, or near their limit, as the exponential of their argument.
_EXPONENTIAL = (
    *(sympy.exp, sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch, sympy.gamma),
    *(sympy.factorial, sympy.factorial2, sympy.zeta, sympy.binomial, sympy.fibonacci, sympy.lucas),
)


class _TooLarge(Exception):
    """A fraction that nobody writes out."""


class _Irrational(Exception):
    """A constant that is no fraction, or by rules that are not known here."""


def fraction(x: Any) -> Fraction | None:
    """A constant's exact value; None if it is no fraction or too large to be written out."""
    try:
        return _fraction(x)
    except (_TooLarge, _Irrational):
        return None


def same_constants(a: Any, b: Any) -> bool | None:
    """Compare two constants exactly; None where one of them is no fraction. Raises Undecided for monsters."""
    try:
        return _fraction(a) == _fraction(b)
    except _Irrational:
        return None
    except _TooLarge:
        pass
    agreed = 0
    for prime in _PRIMES:
        try:
            if _residue(a, prime) != _residue(b, prime):
                return False
        except _Irrational:
            return None
        except (ValueError, _TooLarge):  # divided by a multiple of this prime, or a tower of powers
            continue
        agreed += 1
    size_a, size_b = _log2(a), _log2(b)
    if agreed < 4 or size_a is None or size_b is None:
        raise Undecided
    return abs(size_a - size_b) <= 1e-9 * max(1.0, abs(size_a))


def digits_beyond(x: Any) -> int:
    """The decimal digits between the largest and the smallest part of a constant, 0 for an ordinary one.

    So many more are needed to tell it from its neighbours. Raises Undecided if there are too many.
    """
    digits = _spread(x)
    if digits > _MOST_DIGITS:
        raise Undecided
    return math.ceil(digits) if digits > 60 else 0


def _fraction(x: Any) -> Fraction:
    if x.is_Rational:
        return Fraction(int(x.p), int(x.q))
    if x.is_Add:
        return _small(sum(map(_fraction, x.args), Fraction()))
    if x.is_Mul:
        return _small(math.prod(map(_fraction, x.args), start=Fraction(1)))
    if x.is_Pow:
        return _power(_fraction(x.base), _fraction(x.exp))
    if isinstance(x, sympy.factorial):
        (n,) = _integers(x)
        if n * max(1, n.bit_length()) > _MOST_BITS:
            raise _TooLarge
        return Fraction(math.factorial(n))
    if isinstance(x, sympy.binomial):
        n, k = _integers(x)
        if min(n, 64 * k, 64 * abs(n - k)) > _MOST_BITS:
            raise _TooLarge
        return _small(Fraction(math.comb(n, k)))
    if isinstance(x, sympy.Sum | sympy.Product):
        return _series(x)
    if isinstance(x, _STEPWISE):
        values = [_fraction(arg) for arg in x.args]
        return _step(x.func, values)
    raise _Irrational


def _series(x: Any) -> Fraction:
    """A sum or product of so few terms that they are added one by one."""
    if len(x.limits) != 1 or len(x.limits[0]) != 3:
        raise _Irrational
    name, first, last = x.limits[0]
    if not (first.is_Integer and last.is_Integer and 0 <= last - first < _MOST_TERMS):
        raise _Irrational
    terms = (_fraction(x.function.subs(name, k)) for k in range(int(first), int(last) + 1))
    found = Fraction(isinstance(x, sympy.Product))
    for term in terms:
        found = _small(found * term if isinstance(x, sympy.Product) else found + term)
    return found


def _step(kind: Any, values: list[Fraction]) -> Fraction:
    if kind is sympy.Max:
        return max(values)
    if kind is sympy.Min:
        return min(values)
    value = values[0]
    if kind is sympy.Abs:
        return abs(value)
    if kind is sympy.sign:
        return Fraction((value > 0) - (value < 0))
    return Fraction(math.floor(value) if kind is sympy.floor else math.ceil(value))


def _integers(x: Any) -> list[int]:
    values = [_fraction(arg) for arg in x.args]
    if any(value.denominator != 1 or value < 0 for value in values):
        raise _Irrational
    return [int(value) for value in values]


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _small(value: Fraction) -> Fraction:
    if _bits(value) > _MOST_BITS:
        raise _TooLarge
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        base, exponent = _root(base, exponent.denominator), Fraction(exponent.numerator)
    if base == 0 and exponent < 0:
        raise _Irrational
    if base == 0:
        return Fraction(exponent == 0)
    if abs(base) == 1:
        return base ** (int(exponent) % 2)
    if abs(exponent) * (_bits(base) - 1) > _MOST_BITS:
        raise _TooLarge
    return base ** int(exponent)


def _root(base: Fraction, degree: int) -> Fraction:
    """The root of a number whose root is a fraction; of a negative one the principal root is complex."""
    if base < 0 or degree > _MOST_BITS:
        raise _Irrational
    above, exact_above = sympy.integer_nthroot(base.numerator, degree)
    below, exact_below = sympy.integer_nthroot(base.denominator, degree)
    if not (exact_above and exact_below):
        raise _Irrational
    return Fraction(int(above), int(below))


def _residue(x: Any, modulus: int) -> int:
    """A rational constant modulo a number. ValueError if a denominator has no inverse."""
    try:
        value = _fraction(x)
        return value.numerator * pow(value.denominator, -1, modulus) % modulus
    except _TooLarge:
        pass
    if x.is_Add:
        return sum(_residue(arg, modulus) for arg in x.args) % modulus
    if x.is_Mul:
        return math.prod(_residue(arg, modulus) for arg in x.args) % modulus
    if x.is_Pow:
        base = _residue(x.base, modulus)
        try:
            exponent = _fraction(x.exp)
            if exponent.denominator != 1:
                raise _Irrational
            return pow(base, int(exponent), modulus)
        except _TooLarge:
            if modulus not in _PRIMES or base == 0:
                raise
            return pow(base, _residue(x.exp, modulus - 1), modulus)  # Fermat
    if isinstance(x, sympy.factorial):
        (n,) = _integers(x)
        if n > _MOST_FACTORS:
            raise Undecided
        return _product(range(2, n + 1), modulus)
    if isinstance(x, sympy.binomial):
        n, k = _integers(x)
        k = min(k, n - k)
        if k > _MOST_FACTORS or n >= min(_PRIMES):
            raise Undecided
        below = _product(range(2, k + 1), modulus)
        return _product(range(n - k + 1, n + 1), modulus) * pow(below, -1, modulus) % modulus
    raise Undecided


def _product(factors: range, modulus: int) -> int:
    found = 1
    for factor in factors:
        found = found * factor % modulus
    return found


def _log2(x: Any) -> float | None:
    """The binary logarithm of a rational constant's absolute value; None where terms may cancel."""
    try:
        value = abs(_fraction(x))
        return math.log2(value.numerator) - math.log2(value.denominator) if value else None
    except _TooLarge:
        pass
    if x.is_Mul:
        parts = [_log2(arg) for arg in x.args]
        return None if None in parts else math.fsum(part for part in parts if part is not None)
    if x.is_Add:
        parts = [_log2(arg) for arg in x.args if arg != 0]
        sizes = sorted(part for part in parts if part is not None)
        if None in parts or not sizes or (len(sizes) > 1 and sizes[-1] - sizes[-2] < 60):
            return None
        return sizes[-1]
    if x.is_Pow:
        base, exponent = _log2(x.base), fraction(x.exp)
        try:
            return None if base is None or exponent is None else base * float(exponent)
        except OverflowError:
            return None
    if isinstance(x, sympy.factorial | sympy.binomial):
        sizes = [math.lgamma(n + 1) for n in _integers(x)]
        if len(sizes) == 1:
            return sizes[0] / math.log(2)
        n, k = _integers(x)
        return (sizes[0] - sizes[1] - math.lgamma(n - k + 1)) / math.log(2)
    return None


def _spread(x: Any) -> float:
    if x.is_Rational:
        return 0.30103 * max(int(x.p).bit_length(), int(x.q).bit_length())
    if x.is_Add:
        return max(map(_spread, x.args))
    if x.is_Mul:
        return sum(map(_spread, x.args))
    if x.is_Pow or isinstance(x, sympy.exp):
        base, exponent = x.as_base_exp()
        rough = _rough(exponent)
        return math.inf if rough > 1e9 else rough * max(_spread(base), _size(base)) + _spread(exponent)
    if not x.args:
        return 0.0
    inner = sum(_spread(arg) for arg in x.args if isinstance(arg, sympy.Expr))
    if isinstance(x, _EXPONENTIAL):
        rough = max(map(_rough, x.args))
        return inner + rough * math.log10(rough + 10)
    return inner + (_rough(x.args[0]) ** 2 if isinstance(x, sympy.erf | sympy.erfc) else 0.0)


def _size(x: Any) -> float:
    rough = _rough(x)
    return abs(math.log10(rough)) if 0 < rough < math.inf else 0.0


def _rough(x: Any) -> float:
    """The absolute value of a constant to a few digits; infinite where it is larger than a float may be."""
    if _spread(x) > 300:
        return math.inf
    try:
        return abs(complex(x.evalf(6)))
    except (TypeError, ValueError, OverflowError):
        return 0.0
