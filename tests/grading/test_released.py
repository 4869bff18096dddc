"""The lenient grading: what it lets pass that the strict one does not, and what neither does."""

import pytest

from rstar_jax.grading.answer import GRADINGS, Grader

LENIENT = [
    ("0.33333", r"\frac{1}{3}"),  # within 1e-4 of the reference
    ("3.1416", "3.14159"),
    ("50", "0.5"),  # a hundred times
    ("0.01", "1"),  # a hundredth
    ("[1, 2]", "(1, 2)"),  # brackets do not count
    (r"\{1, 2\}", "[1, 2]"),
    ("5 kg", "5 cm"),  # nor do units
    (r"y = 2x + 1", r"2x + 1"),
]
BOTH = [
    ("0.5", r"\frac{1}{2}"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    ("x = 5", "5"),
    ("2x + 2y = 4", "x + y = 2"),
    (r"\begin{bmatrix}1 & 2\end{bmatrix}", r"\begin{pmatrix}1 & 2\end{pmatrix}"),
    ("1,234", "1234"),
]
NEITHER = [
    ("0.33", r"\frac{1}{3}"),
    ("1, 2", "1, 2, 3"),
    ("2x + 1", "2x + 2"),
    (r"\begin{pmatrix}1 & 3\end{pmatrix}", r"\begin{pmatrix}1 & 2\end{pmatrix}"),
    ("__import__('os').getpid()", "5"),
    ("", "5"),
]


@pytest.fixture(scope="module")
def verdicts():
    pairs = [*LENIENT, *BOTH, *NEITHER]
    found = {}
    for grading in GRADINGS:
        with Grader(workers=1, grading=grading) as grader:
            found[grading] = dict(zip(pairs, grader.grade(pairs), strict=True))
    return found


@pytest.mark.parametrize("pair", LENIENT)
def test_lenient_where_the_strict_rules_are_not(verdicts, pair):
    assert verdicts["released"][pair] == "right"


@pytest.mark.parametrize("pair", LENIENT[:-1])
def test_the_strict_rules_refuse_these(verdicts, pair):
    assert verdicts["strict"][pair] == "wrong"


@pytest.mark.parametrize("pair", BOTH)
def test_what_both_accept(verdicts, pair):
    assert {verdicts[grading][pair] for grading in GRADINGS} == {"right"}


@pytest.mark.parametrize("pair", NEITHER)
def test_what_neither_accepts(verdicts, pair):
    assert {verdicts[grading][pair] for grading in GRADINGS} == {"wrong"}


def test_a_reference_that_is_missing_is_ungraded():
    assert GRADINGS["released"]("5", "") == "ungraded"
