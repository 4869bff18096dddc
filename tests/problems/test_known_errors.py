"""Solutions with a known first error, and other words for the same solution."""

import pytest

from rstar_jax.problems.known_errors import PROBES, right_solution, wrong_solutions
from rstar_jax.problems.suite import FAMILIES, drawn, generate
from rstar_jax.problems.worked import clean_solution
from rstar_jax.text.grammar import CODE_STEPS


@pytest.fixture(scope="module")
def some():
    """Three problems of every family."""
    return [*drawn(81, seed=3, split="heldout")]


def test_they_are_the_suites_problems(some):
    assert [problem for problem, _ in some] == generate(81, seed=3, split="heldout")
    assert {instance.family for _, instance in some} == {*FAMILIES}
    assert all(problem.question == instance.question for problem, instance in some)


def test_a_wrong_solution_is_right_up_to_its_error_and_has_another_answer(some):
    for _, instance in some:
        right, wrong = right_solution(instance), wrong_solutions(instance)
        assert [*right.steps] == clean_solution(instance) and right.first_error == -1
        assert wrong and len({solution.first_error for solution in wrong}) == len(wrong)
        for solution in wrong:
            at = solution.first_error
            assert solution.steps[:at] == right.steps[:at] and solution.steps[at] != right.steps[at]
            assert len(solution.steps) == len(right.steps)
            assert solution.steps[-1].endswith(CODE_STEPS.end_answer)
            assert solution.steps[-1] != right.steps[-1]
        assert wrong == wrong_solutions(instance)  # the same at every call


def code(steps):
    """What is run of steps, comments and empty lines aside."""
    lines = CODE_STEPS.program(steps).splitlines()
    return [line for line in lines if line and not line.startswith("#") and line != "pass"]


@pytest.mark.parametrize("probe", PROBES)
def test_other_words_leave_truth_and_answer_as_they_are(some, probe):
    for _, instance in some:
        pairs = [(right_solution(instance), right_solution(instance, probe))]
        pairs += zip(wrong_solutions(instance), wrong_solutions(instance, probe), strict=True)
        for plain, probed in pairs:
            assert probed.steps != plain.steps and probed.steps[-1] == plain.steps[-1]
            first = [code(plain.steps)[0]] if probe == "repeated step" and len(plain.steps) > 2 else []
            repeated = code(probed.steps) if not first else code(probed.steps)[-len(code(plain.steps)) :]
            assert repeated == code(plain.steps)
            if plain.first_error >= 0:
                assert code(probed.steps[probed.first_error : probed.first_error + 1]) == code(
                    plain.steps[plain.first_error : plain.first_error + 1]
                )
