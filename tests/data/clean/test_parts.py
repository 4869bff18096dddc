"""Questions of several parts are told from those whose labels are choices, conditions or formulas."""

import pytest

from rstar_jax.data.clean.parts import multi_part

SEVERAL = [
    ("(a) Find $x$. (b) Find $y$.", "1"),
    ("Let $n > 1$. (a) Prove that $n$ is odd. (b) How many such $n$ are there?", "3"),
    ("(i) What is the sum?\n(ii) What is the product?", "3"),
    ("A train leaves.\n1. Determine its speed.\n2. Determine its length.", "9"),
    ("Given $f$. \na) If $f(1)=2$, find $f(2)$.\nb) If $f(1)=3$, find $f(3)$.", "7"),
    ("[b]a)[/b] Is it prime?\n[b]b)[/b] Is it odd?", "yes"),
    ("Part A: Find m. Part B: Find n.", "2"),
    ("Prove it.", "(a) Yes, (b) No"),
    ("How old is Ann? How old is Ben?", "12 and 15"),
    ("What is x? What is y?", "3; 4"),
]
ONE = [
    ("Which shape is it? (A) Line (B) Circle (C) Plane", "A"),
    (
        "A table has properties: (i) every row holds every number; (ii) no two rows agree. Find its size.",
        "6",
    ),
    ("The graph has: (1) its maximum is 5, which occurs at $x=3$. (2) It passes (0,-13). What is m?", "3"),
    ("What leaves these remainders?\n\na) When divided by 2, 1.\n\nb) When divided by 3, 2.", "5"),
    ("If $f(a) = 2$ and $f(b) = 3$, find $f(a)f(b)$ and $g(a) + g(b)$?", "6"),
    ("Find $(1) + (2)$. Compute the sum.", "3"),
    ("Find all pairs.", "(2, 1), (3, 1), (1, 2), (1, 3)"),
    ("What is x? Express your answer as a fraction. Is it clear?", "1/2"),
    ("Where do the lines meet? Which point is it?", "(1, 2)"),
    ("Answer each of the following questions:\n1. Is 2 prime?\n2. Is 3 prime?\nAdd up the numbers.", "3"),
    ("How many? [asy] label(a) Find (b) Find ... [/asy]", "2"),
    ("", ""),
]


@pytest.mark.parametrize(("question", "answer"), SEVERAL)
def test_several_parts_are_found(question, answer):
    assert multi_part(question, answer)


@pytest.mark.parametrize(("question", "answer"), ONE)
def test_one_question_stays(question, answer):
    assert multi_part(question, answer) is None
