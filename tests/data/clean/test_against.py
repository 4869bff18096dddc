"""Overlaps with benchmarks: each kind is found, and what is merely alike is not."""

from __future__ import annotations

import pytest

from rstar_jax.data.clean import Against, CleanConfig
from rstar_jax.data.clean.forms import forms
from rstar_jax.data.clean.index import GramIndex
from rstar_jax.data.clean.rows import grams
from rstar_jax.problems.suite import generate
from rstar_jax.types import Problem

QUESTION = (
    "A farmer has 12 cows and 35 sheep on a round meadow of radius 40 meters. Each cow eats 9 square meters "
    "of grass a day, each sheep eats 4. After how many days is all grass eaten, if none of it grows again?"
)


def kinds(question: str, *known: str, **options) -> list[str]:
    against = Against(
        {"bench": [Problem(str(i), text, "1") for i, text in enumerate(known)]}, CleanConfig(**options)
    )
    return [overlap.kind for overlap in against.overlaps(forms([question]))]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (QUESTION.upper().replace(" ", "  "), "exact"),
        (QUESTION.replace("12", "$12$"), "exact"),
        (QUESTION.replace("farmer", "peasant").replace("round", "circular"), "near"),
        (QUESTION + " Round your result to the nearest integer.", "near"),
        (QUESTION.replace("12", "17").replace("35", "6"), "twin"),
        (QUESTION.replace("12", "seven").replace("35", "1,200"), "twin"),
    ],
)
def test_each_kind_is_found(question, kind):
    assert kinds(question, "What is 1 + 1?", QUESTION) == [kind]


def test_a_quotation_in_other_surroundings_is_found_by_its_words():
    words = QUESTION.split()
    other = "Yesterday my teacher, who is fond of animals, asked the whole class a question:"
    question = f"{other} {' '.join(words[:24])} and 99 hens, which nobody counted but the cat, nor ever will."
    assert kinds(question, " ".join(words[:24])) in (["near"], ["ngram"])
    none = {"contained": 1.0, "least_jaccard": 1.0, "twin_jaccard": 1.0}
    assert kinds(question, " ".join(words[:24]), **none) == ["ngram"]
    assert kinds(question, " ".join(words[:24]), **none, ngrams=()) == []


def test_another_question_is_not_found():
    assert (
        kinds("A baker sells 12 loaves and 35 rolls a day. How much does he earn in a week?", QUESTION) == []
    )


@pytest.mark.parametrize("variants", [60, 70, 150])
def test_many_variants_of_one_template_hide_none(variants):
    known = [QUESTION.replace("12", str(100 + i)).replace("35", str(400 + i)) for i in range(variants)]
    assert "twin" in kinds(QUESTION.replace("12", "17").replace("35", "6"), *known)
    reworded = known[5].replace("farmer", "peasant").replace("round", "circular")
    assert "near" in kinds(reworded, *known)


def test_blank_questions_and_no_benchmarks_overlap_with_nothing():
    assert kinds("", "", QUESTION) == [] and kinds(QUESTION) == []


def test_a_question_of_two_benchmarks_is_found_in_both():
    against = Against({name: [Problem("x", QUESTION, "1")] for name in ("one", "other")}, CleanConfig())
    found = against.overlaps(forms(["What?", QUESTION]))
    assert [(o.row, against.problems[o.other][0], o.kind) for o in found] == [
        (1, "one", "exact"),
        (1, "other", "exact"),
    ]


def test_questions_of_one_family_with_other_numbers_are_twins():
    """Suite problems of one family and phrasing differ in numbers (and names) alone."""
    known = generate(60, seed=1, split="heldout")
    against = Against({"heldout": known}, CleanConfig())
    texts = forms([problem.question for problem in generate(600, seed=2, split="train")])
    found = against.overlaps(texts)
    assert {overlap.kind for overlap in found} == {"twin"} and len({overlap.row for overlap in found}) > 60


def test_the_index_counts_shared_grams():
    texts = [problem.question for problem in generate(40, seed=1, split="train")]
    runs = grams(forms(texts).words, 3)
    rows, others, shared = GramIndex(runs).shared(runs)
    for row, other, count in zip(rows.tolist(), others.tolist(), shared.tolist(), strict=True):
        assert count == len(set(runs[row].tolist()) & set(runs[other].tolist()))
    pairs = set(zip(rows.tolist(), others.tolist(), strict=True))
    for row in range(40):
        for other in range(40):
            assert ((row, other) in pairs) == bool(set(runs[row].tolist()) & set(runs[other].tolist()))
