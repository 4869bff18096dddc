"""What questions are compared by: what counts as the same, and what does not."""

# ruff: noqa: RUF001
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.data.clean import normalise
from rstar_jax.data.clean.forms import forms
from rstar_jax.data.clean.rows import Rows, grams, similarity

SAME = [
    (r"Find  $x^{2}$.", r"find \(x^2\)"),
    ("What is\n x + y?", "what is x+y"),
    (r"\dfrac{1}{2} \leqslant y", r"$\frac{1}{2}\le y$"),
    (r"\left( a, b \right)", "(a,b)"),
    ("1,200 apples", r"$1,\!200$ apples"),
    ("1{,}200 apples", "1200 apples"),
    ("a ≤ b", r"a \leq b"),
    ("5 × 3 − 1", r"5 \times 3 - 1"),
    (r"a, b, \ldots, z", "a, b, ..., z"),
    (r"x \tag{1}", "x"),
    ("[i]good[/i] **sets**", "good sets"),
    ("\\begin{align*} x &= 1 \\\\ y &= 2 \\end{align*}", "x = 1 y = 2"),
    ("ﬁnd it", "find it"),
    (r"90^{\circ}", "90°"),
    ("a\0b", "a b"),
    ("x²+5x₁₂", "x^2+5x_{12}"),
    ("½ of 36", r"\frac12 of 36"),
    ("f''(x)", r"f^{\prime\prime}(x)"),
]
OTHER = [
    ("x + 1", "x - 1"),
    ("f(1, 200)", "f(1200)"),
    (r"\frac{1}{23}", r"\frac{12}{3}"),
    ("12 apples", "21 apples"),
    (r"\sin x", r"\cos x"),
    ("Compute 5!", "Compute 5"),
    (r"x \le y", r"x \ge y"),
    ("2.5", "25"),
    (r"\leftarrow", "arrow"),
    ("Compute 10² + 1.", "Compute 102 + 1."),
    ("x₁₂", "x12"),
    ("Find f'(2)", "Find f(2)"),
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(r"ab1,.{}\$[]() dfrac", max_size=40)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_the_same_have_one_normal_form(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_questions_have_other_normal_forms(one, other):
    assert normalise(one) != normalise(other)


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXT, max_size=6))
def test_texts_of_a_batch_do_not_influence_each_other(texts):
    together = forms(texts)
    for row, text in enumerate(texts):
        alone = forms([text])
        assert together.exact[row] == alone.exact[0]
        for name in ("normal", "numbers", "windows", "masked", "words"):
            np.testing.assert_array_equal(getattr(together, name)[row], getattr(alone, name)[0], err_msg=name)


@settings(deadline=None, max_examples=100)
@given(TEXT, TEXT)
def test_hashes_are_equal_where_normal_forms_are(one, other):
    texts = forms([one, other])
    assert (texts.exact[0] == texts.exact[1]) == (normalise(one) == normalise(other))


def test_a_batch_of_none_and_of_blanks():
    assert len(forms([]).exact) == 0
    blank = forms(["", " ", "\n\t"])
    assert blank.exact.tolist() == [0, 0, 0] and len(blank.windows.values) == 0


def test_numbers_are_those_of_the_text_in_words_or_digits():
    texts = forms(["Six of 12 boxes", "6 of twelve boxes", "6 of 13 boxes", "12 of 6 boxes", "1,200", "1200"])
    numbers = [texts.numbers[row].tolist() for row in range(6)]
    assert numbers[0] == numbers[1] and numbers[4] == numbers[5] and len(numbers[0]) == 2
    assert numbers[0] != numbers[2] and numbers[0] != numbers[3]


def test_masked_windows_are_those_of_a_text_with_other_numbers():
    texts = forms(
        ["Ann has 12 red apples and 7 pears", "Ann has five red apples and 1,000 pears", "Ann has no pears"]
    )
    assert texts.masked[0].tolist() == texts.masked[1].tolist() != texts.masked[2].tolist()
    assert texts.windows[0].tolist() != texts.windows[1].tolist()


def test_drawings_count_in_the_normal_form_alone():
    texts = forms(
        ["Find the area of it.", "Find the area of it. [asy]draw((0,0)--(1,1));[/asy]", "[asy] never ends"]
    )
    assert (
        texts.windows[0].tolist() == texts.windows[1].tolist()
        and texts.words[0].tolist() == texts.words[1].tolist()
    )
    assert texts.exact[0] != texts.exact[1] and len(texts.numbers[1]) == 4 and len(texts.words[2]) == 0


def rows(*texts: str) -> Rows:
    ends = np.cumsum([0, *map(len, texts)])
    return Rows(np.array([ord(c) for text in texts for c in text], np.uint64), ends)


@given(st.lists(st.tuples(st.text("abcd", max_size=8), st.text("abcd", max_size=8)), min_size=1, max_size=5))
def test_similarity_is_that_of_sets(pairs):
    left, right = (rows(*side).distinct() for side in zip(*pairs, strict=True))
    share, jaccard = similarity(left, right)
    for i, (one, other) in enumerate(pairs):
        both, either = set(one) & set(other), set(one) | set(other)
        assert share[i] == len(both) / max(1, min(len(set(one)), len(set(other))))
        assert jaccard[i] == len(both) / max(1, len(either))


@given(st.lists(st.text("ab", max_size=7), max_size=5), st.integers(2, 4))
def test_grams_are_the_runs_within_each_text(texts, n):
    found = grams(rows(*texts), n)
    runs = [[text[i : i + n] for i in range(len(text) - n + 1)] for text in texts]
    assert np.diff(found.offsets).tolist() == [len(of) for of in runs]
    names = dict(zip(found.values.tolist(), (run for of in runs for run in of), strict=True))
    assert [names[value] for value in found.values.tolist()] == [run for of in runs for run in of]


def test_taking_texts_keeps_their_values():
    texts = rows("abc", "", "de").take(np.array([2, 0, 1, 2]))
    assert [bytes(texts[i].astype(np.uint8)).decode() for i in range(4)] == ["de", "abc", "", "de"]
