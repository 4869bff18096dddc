"""Small code problems, their tests' expectations computed by another way than their solutions go.

Each: function, question, solution (its steps, without delimiters), arguments of the calls, the other way.
"""

from __future__ import annotations

import calendar
import collections
import dataclasses
import fractions
import itertools
import json
import math
import statistics
from collections.abc import Callable
from typing import Any

from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Problem


@dataclasses.dataclass(frozen=True)
class Code:
    """other: what the function should return, computed differently."""

    name: str
    question: str
    bodies: tuple[str, ...]
    calls: tuple[list[Any], ...]
    other: Callable[..., Any]

    @property
    def problem(self) -> Problem:
        tests = [[arguments, self.other(*arguments)] for arguments in self.calls]
        asked = f"Write a function `{self.name}` that {self.question}."
        return Problem(self.name, asked, json.dumps({"function": self.name, "tests": tests}), level=1)

    @property
    def steps(self) -> tuple[str, ...]:
        """The solution as a policy would write it."""
        return tuple(CODE_STEPS.render(self.bodies))


def _runs(text: str) -> list[list[Any]]:
    return [[c, len(list(group))] for c, group in itertools.groupby(text)]


def _leap(year: int) -> bool:
    return calendar.monthrange(year, 2)[1] == 29


CODES = (
    Code(
        "gcd",
        "returns the greatest common divisor of two positive numbers",
        (
            "# Euclid\ndef gcd(a, b):\n    while b:\n        a, b = b, a % b",
            "    # it is what is left\n    return a",
        ),
        ([12, 18], [7, 13], [270, 192], [5, 5]),
        lambda a, b: max(d for d in range(1, a + 1) if a % d == b % d == 0),
    ),
    Code(
        "is_prime",
        "tells whether a number is prime",
        (
            "# Numbers below 2 are none\ndef is_prime(n):\n    if n < 2:\n        return False",
            "    # Try all divisors up to the root\n    return all(n % d for d in range(2, int(n**0.5) + 1))",
        ),
        tuple([n] for n in (-3, 0, 1, 2, 9, 91, 97, 7919)),
        lambda n: n > 1 and (math.factorial(n - 1) + 1) % n == 0,  # Wilson
    ),
    Code(
        "runs",
        "returns the runs of equal letters of a text, each as (letter, length)",
        (
            "# Go through the letters\ndef runs(text):\n    found = []",
            "    # Lengthen the last run or begin one\n    for c in text:\n"
            "        if found and found[-1][0] == c:\n"
            "            found[-1] = (c, found[-1][1] + 1)\n        else:\n            found.append((c, 1))",
            "    return found",
        ),
        (["aabccc"], [""], ["é"]),
        _runs,
    ),
    Code(
        "count_words",
        "counts how often each word of a text occurs",
        (
            "# Count\ndef count_words(text):\n    counts = {}\n    for word in text.split():\n"
            "        counts[word] = counts.get(word, 0) + 1\n    return counts",
        ),
        (["a b a"], ["  "], ["to be or not to be"]),
        lambda text: dict(collections.Counter(text.split())),
    ),
    Code(
        "mean",
        "returns the mean of a list of numbers, None for an empty one",
        (
            "# Sum over count\n"
            "def mean(numbers):\n    return sum(numbers) / len(numbers) if numbers else None",
        ),
        ([[1, 2, 4]], [[0.1, 0.2, 0.3]], [[]]),
        lambda numbers: statistics.fmean(numbers) if numbers else None,
    ),
    Code(
        "transpose",
        "transposes a matrix given as a list of rows",
        ("# numpy does it\nimport numpy as np\ndef transpose(rows):\n    return np.array(rows).T",),
        ([[[1, 2, 3], [4, 5, 6]]], [[[7]]]),
        lambda rows: [[row[j] for row in rows] for j in range(len(rows[0]))],
    ),
    Code(
        "leap",
        "tells whether a year is a leap year",
        ("# The rule\ndef leap(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",),
        tuple([year] for year in (1900, 2000, 2023, 2024)),
        _leap,
    ),
    Code(
        "binary",
        "writes a number above 0 in base 2",
        (
            "# Digits from the last\ndef binary(n):\n    digits = ''",
            "    while n:\n        digits = str(n % 2) + digits\n        n //= 2\n    return digits",
        ),
        tuple([n] for n in (1, 2, 5, 255, 10**12)),
        lambda n: f"{n:b}",
    ),
    Code(
        "choose",
        "returns how many ways there are to choose k of n things",
        (
            "# Pascal's triangle\ndef choose(n, k):\n    row = [1]",
            "    for _ in range(n):\n        row = [a + b for a, b in zip([0] + row, row + [0])]",
            "    return row[k] if k <= n else 0",
        ),
        ([5, 2], [0, 0], [40, 20], [3, 7]),
        math.comb,
    ),
    Code(
        "harmonic",
        "returns the sum of 1/i for i from 1 to n",
        ("# Add them up\ndef harmonic(n):\n    return sum(1 / i for i in range(1, n + 1))",),
        tuple([n] for n in (1, 2, 50)),
        lambda n: float(sum(fractions.Fraction(1, i) for i in range(1, n + 1))),
    ),
    Code(
        "balanced",
        "tells whether the round brackets of a text are balanced",
        (
            "# Keep the depth\ndef balanced(text):\n    depth = 0",
            "    for c in text:\n        depth += (c == '(') - (c == ')')\n"
            "        if depth < 0:\n            return False",
            "    return depth == 0",
        ),
        (["(a(b)c)"], [")("], ["(("], [""]),
        lambda text: _strike(text) == "",
    ),
    Code(
        "roots",
        "returns the whole numbers x with x*x + b*x + c = 0, rising",
        (
            "# Solve it exactly\nfrom sympy import solve, symbols\nx = symbols('x')",
            "def roots(b, c):\n    found = solve(x**2 + b*x + c, x)",
            "    return sorted(int(r) for r in set(found) if r.is_integer)",
        ),
        ([-5, 6], [0, 1], [2, 1]),
        lambda b, c: [x for x in range(-100, 101) if x * x + b * x + c == 0],
    ),
)


def _strike(text: str) -> str:
    """The brackets that are left when innermost pairs are struck out."""
    left = "".join(c for c in text if c in "()")
    while "()" in left:
        left = left.replace("()", "")
    return left
