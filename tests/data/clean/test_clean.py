"""A set is cleaned: what goes, what stays, and what is said about it."""

from __future__ import annotations

import dataclasses
import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.data.clean import REASONS, CleanConfig, clean
from rstar_jax.errors import UserError
from rstar_jax.problems.suite import generate
from rstar_jax.types import Problem
from tests.data.clean.test_against import QUESTION


def problem(question: str, answer: str = "1", id: str = "x") -> Problem:
    return Problem(id, question, answer)


def reasons(problems, against=None, **options) -> list[str]:
    names = [*REASONS, ""]
    return [names[code] for code in clean(problems, against, CleanConfig(**options)).reasons]


NEAR = QUESTION.replace("farmer", "peasant")


def test_each_reason_is_given():
    rows = [
        problem(" \n"),
        problem("What is it?", " "),
        problem("(a) Find x. (b) Find y."),
        problem(QUESTION),
        problem(QUESTION.replace("12", "17")),
        problem(NEAR),
        problem("Which prime number lies between 24 and 30?"),
        problem("Which  prime NUMBER lies between $24$ and $30$"),
        problem("Compute the determinant of a matrix of three rows, all of whose entries equal seven."),
        problem("Now compute the determinant of a matrix of three rows, all of whose entries equal seven."),
    ]
    known = {"bench": [problem(QUESTION)]}
    expected = [
        "blank", "blank", "multi_part", "exact_benchmark", "", "near_benchmark", "", "exact_duplicate", "",
        "near_duplicate",
    ]  # fmt: skip
    assert reasons(rows, known) == expected
    assert reasons(rows, known, drop_twins=True)[4] == "twin_benchmark"
    assert reasons(rows, known, near=1, exact=False, multi_part=False)[2:] == (
        ["", "exact_benchmark", "", "near_benchmark", "", "", "", ""]
    )
    done = clean(rows, known)
    assert done.kept.tolist() == [4, 6, 8] and done.report.kept == 3 and done.report.rows == 10
    assert done.report.twins_kept == 1 and done.report.dropped["blank"] == 2
    assert done.report.overlaps == {"bench": {"exact": 1, "near": 1, "ngram": 0, "twin": 1}}


def test_an_example_names_what_was_repeated_and_the_report_is_json():
    rows = [problem(QUESTION, id="first"), problem("What else?"), problem(QUESTION.lower(), id="last")]
    report = clean(rows).report
    (example,) = report.examples
    assert (example.reason, example.row, example.id, example.other_id) == (
        "exact_duplicate",
        2,
        "last",
        "first",
    )
    assert example.other == QUESTION
    assert json.loads(json.dumps(dataclasses.asdict(report)))["dropped"] == {"exact_duplicate": 1}
    told = "\n".join(report.lines())
    assert "2 of 3 problems kept" in told and "row 2, last" in told and "as first" in told
    assert all(len(line) < 140 for line in report.lines())


def test_no_more_examples_than_asked_for():
    rows = [problem(QUESTION)] * 9
    assert len(clean(rows, config=CleanConfig(examples=2)).report.examples) == 2
    assert clean(rows, config=CleanConfig(examples=0)).report.examples == ()


def test_a_near_duplicate_has_the_same_numbers_and_the_same_answer():
    assert reasons([problem(QUESTION), problem(NEAR)]) == ["", "near_duplicate"]
    assert reasons([problem(QUESTION), problem(NEAR.replace("12", "13"))]) == ["", ""]
    assert reasons([problem(QUESTION), problem(NEAR, "2")]) == ["", ""]
    assert reasons([problem(QUESTION, r"\frac{1}{2}"), problem(NEAR, r"$\dfrac12$")]) == [
        "",
        "near_duplicate",
    ]


def test_an_earlier_row_that_was_dropped_takes_no_other_along():
    parts = "(a) Find x. (b) Find y."
    assert reasons([problem(parts), problem(parts)]) == ["multi_part", "multi_part"]
    assert reasons([problem(QUESTION, " "), problem(QUESTION)]) == ["blank", ""]


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_which_questions_stay_does_not_depend_on_the_order_of_rows(shuffler, repeats):
    """But for near duplicates, which are grouped by their neighbours."""
    problems = generate(60, seed=3, split="train")
    rows = problems + [dataclasses.replace(p, question=p.question.upper() + " ") for p in problems[:repeats]]
    shuffler.shuffle(rows)
    known, config = {"bench": problems[50:]}, CleanConfig(near=1)
    done = clean(rows, known, config)
    stay = sorted(rows[row].question.upper().strip() for row in done.kept)
    assert stay == sorted(p.question.upper() for p in problems[:50])


def test_problems_of_a_template_are_no_duplicates():
    problems = generate(3000, seed=0, split="train")
    different = {(p.question, p.answer) for p in problems}
    assert len(clean(problems).kept) >= 0.99 * len(different)


def test_planted_near_duplicates_are_found_among_many():
    problems = generate(3000, seed=0, split="train")
    random_ = random.Random(0)
    long = [row for row, p in enumerate(problems) if len(p.question) > 80]
    planted = random_.sample(long, 60)
    rows = problems + [
        dataclasses.replace(problems[row], question=f"Now {problems[row].question}") for row in planted
    ]
    done = clean(rows)
    assert np.count_nonzero(done.kept >= 3000) <= 1


def test_rows_are_read_by_index_and_memory_is_flat():
    problems = generate(500, seed=0, split="train")

    class Many:
        def __len__(self):
            return 30_000

        def __getitem__(self, row):
            return dataclasses.replace(problems[row % 500], question=f"{problems[row % 500].question} {row}")

    tracemalloc.start()
    clean(problems)  # what is held whatever the size
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    assert len(clean(Many(), config=CleanConfig(near=1)).kept) == 30_000
    assert tracemalloc.get_traced_memory()[1] - before < 30e6  # of texts alone there are 6 MB, of windows 40
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Problem("a7", None, "1"), r"row 1 \(id 'a7'\) has question None \(NoneType\), text expected"),
        (Problem("a7", "What?", 3), r"row 1 \(id 'a7'\) has answer 3 \(int\), text expected"),
        ({"question": "What?"}, "row 1 is dict, a problem expected"),
    ],
)
def test_a_row_that_is_no_problem_is_named(row, message):
    with pytest.raises(UserError, match=message):
        clean([problem("What?"), row])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near": 0}, r"clean.near: 0 given"),
        ({"contained": 1.5}, r"clean.contained: 1.5 given"),
        ({"ngrams": (1,)}, r"clean.ngrams: \(1,\) given"),
        ({"examples": -1}, r"clean.examples: -1 given"),
    ],
)
def test_nonsense_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        CleanConfig(**options)


def test_an_empty_set_is_clean():
    assert clean([]).report.lines() == ["0 of 0 problems kept"]
