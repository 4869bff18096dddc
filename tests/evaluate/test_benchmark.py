"""Accuracy by level."""

from rstar_jax.evaluate.benchmark import accuracy, by_level, graded
from rstar_jax.types import Problem


def test_levels_are_counted_apart_and_unknown_ones_in_all_alone():
    shares = by_level([1, 1, 2, 5, 0], [True, False, True, False, True])
    assert shares == {"all": 0.6, "level1": 0.5, "level2": 1.0, "level3": None, "level5": 0.0}


PROBLEMS = [Problem(str(i), "?", str(i), level=1) for i in range(4)]


def test_answers_are_graded_in_one_call_and_keep_their_places():
    calls = []

    def grade(requests):
        calls.append(requests)
        return ["right" if a == p.answer else "wrong" for p, a in requests]

    assert graded(PROBLEMS, ["0", None, "7", "3"], grade) == ["right", None, "wrong", "right"]
    assert len(calls) == 1
    assert graded(PROBLEMS, [None] * 4, grade) == [None] * 4
    assert len(calls) == 1


def test_no_answer_and_an_ungraded_one_are_not_right_and_stay_in_the_denominator():
    shares = accuracy(PROBLEMS, ["right", None, "wrong", "ungraded"])
    assert shares["all"] == shares["level1"] == 1 / 4


def test_nothing_measured_is_not_zero():
    assert by_level([], []) == {"all": None, "level1": None, "level2": None, "level3": None}
