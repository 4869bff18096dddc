"""The suite's own solutions, found again for problems that were drawn somewhere else."""

import dataclasses

from rstar_jax.problems.references import reference_solutions
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.text.grammar import CODE_STEPS


def test_every_problem_that_was_drawn_has_the_solution_that_answers_it():
    problems = generate(3 * len(FAMILIES), seed=5, split="heldout")
    for some in (problems, problems[-4:], problems[::7]):
        found = reference_solutions(some, seed=5, split="heldout")
        assert list(found) == [p.id for p in some]
        for problem in some:
            assert rf"\boxed{{{problem.answer}}}" in found[problem.id][-1]
            assert CODE_STEPS.finish_of(found[problem.id][-1]) == "answer"


def test_of_others_there_is_none():
    problems = generate(6, seed=5, split="heldout")
    others = [dataclasses.replace(p, source="jsonl:mine") for p in problems]
    elsewhere = [dataclasses.replace(p, question=f"{p.question} Why?") for p in problems]
    for some in (others, elsewhere, []):
        assert reference_solutions(some, seed=5, split="heldout") == {}
    # What another seed draws under the same id is another problem.
    found = reference_solutions(problems, seed=6, split="heldout")
    assert set(found) <= {p.id for p in problems} and len(found) < len(problems)
