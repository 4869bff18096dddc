"""Worked solutions: clean ones are right; flawed ones fail at their rates and print what they compute."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random

import pytest

from rstar_jax.errors import UserError
from rstar_jax.problems.family import FORGET
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import HABITS, FlawRates, clean_solution, sample_solution
from rstar_jax.settings import from_config, to_dict
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS

NO_FLAWS = FlawRates(
    habits=tuple((name, (0.0,) * len(rates)) for name, rates in HABITS.items()),
    crash=(0.0, 0.0, 0.0),
    slip=(0.0, 0.0, 0.0),
)


def run(steps: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(CODE_STEPS.program(steps), {})
    return printed.getvalue().strip()


@pytest.mark.parametrize("name", FAMILIES)
def test_clean_solutions_give_the_reference_answer_in_both_splits(name):
    rng = random.Random(name)
    for i in range(60):
        instance = FAMILIES[name].instance(rng, "heldout" if i % 3 == 0 else "train")
        steps = clean_solution(instance)
        assert run(steps) == instance.answer, instance
        assert boxed(steps[-1]) == instance.answer
        assert f"{CODE_STEPS.output}{instance.answer}{CODE_STEPS.end_output}" in steps[-2]


@pytest.mark.parametrize("name", FAMILIES)
def test_solutions_are_steps_of_the_grammar(name):
    rng = random.Random(0)
    instance = FAMILIES[name].instance(rng, "train")
    steps = clean_solution(instance)
    finishes = [CODE_STEPS.finish_of(step) for step in steps]
    assert finishes == ["step"] * (len(steps) - 2) + ["code", "answer"]
    assert steps[0].startswith("<code>\n# Step 1: ") and steps[-2].startswith(
        "\n# Now print the final answer"
    )
    assert CODE_STEPS.parse("".join(steps)) == steps


@pytest.mark.parametrize("name", FAMILIES)
def test_every_habit_changes_the_text_and_some_instance_of_it_is_wrong(name):
    family = FAMILIES[name]
    habits = [(i, habit) for i, step in enumerate(family.steps) for habit in step.habits]
    assert len({i for i, _ in habits}) >= 1 and len(habits) >= 2
    for i, habit in habits:
        assert habit != family.steps[i].code
        steps = list(family.steps)
        steps[i : i + 1] = [dataclasses.replace(steps[i], code=habit)] if habit != FORGET else []
        flawed = dataclasses.replace(family, steps=tuple(steps))
        rng, wrong = random.Random(2), 0
        for _ in range(40):
            instance = family.instance(rng, "train")
            code = [step.code.format(**instance.params) for step in flawed.steps]
            names: dict[str, object] = {}
            try:
                exec("\n".join(code), names)
                wrong += str(names[family.result]) != instance.answer
            except Exception:
                wrong += 1
        assert wrong >= 10, f"{name}, step {i + 1}: {habit!r} is right in {40 - wrong} of 40"


def test_without_flaws_every_sample_is_right_and_the_same_seed_gives_the_same():
    for name in FAMILIES:
        first = [sample_solution(name, random.Random(i), NO_FLAWS) for i in range(5)]
        assert all(right for _, _, right in first)
        assert first == [sample_solution(name, random.Random(i), NO_FLAWS) for i in range(5)]


def test_flawed_solutions_report_what_their_own_code_prints():
    rng, rates, stopped = random.Random(0), FlawRates(), 0
    for i in range(600):
        _, steps, right = sample_solution(list(FAMILIES)[i % len(FAMILIES)], rng, rates)
        if CODE_STEPS.finish_of(steps[-1]) == "answer":
            assert boxed(steps[-1]) == run(steps)
        else:
            stopped += 1
            assert not right
            run(steps[:-1])
            with pytest.raises(Exception):  # noqa: B017 - whatever the broken step raises
                run(steps)
    assert 10 < stopped < 120


def test_the_default_rates_make_a_weak_base_with_easy_and_hard_families():
    rng, rates = random.Random(0), FlawRates()
    share = {name: sum(sample_solution(name, rng, rates)[2] for _ in range(150)) / 150 for name in FAMILIES}
    by_level = [sum(share[f.name] for f in FAMILIES.values() if f.level == level) for level in (1, 2, 3)]
    assert 0.2 < sum(share.values()) / len(share) < 0.45
    assert by_level[0] > by_level[1] > by_level[2]
    assert min(share.values()) < 0.1 and max(share.values()) > 0.5


def test_only_training_problems_are_worked_by_default():
    rng = random.Random(0)
    held = {FAMILIES["weekday"].instance(rng, "heldout").question for _ in range(300)}
    assert not any(sample_solution("weekday", rng, FlawRates())[0] in held for _ in range(300))


def test_crash_and_slip_rates_do_what_they_say():
    crash = dataclasses.replace(NO_FLAWS, crash=(1.0, 1.0, 1.0))
    slip = dataclasses.replace(NO_FLAWS, slip=(1.0, 1.0, 1.0))
    rng = random.Random(0)
    crashed = [sample_solution("shop", rng, crash) for _ in range(50)]
    assert all(len(steps) == 1 and not right for _, steps, right in crashed)
    slipped = [sample_solution("shop", rng, slip) for _ in range(50)]
    assert sum(right for *_, right in slipped) < 10


def test_bad_rates_are_named():
    with pytest.raises(UserError, match=r"no family 'shpo'.*'shop'"):
        FlawRates(habits=(*HABITS.items(), ("shpo", (0.1,))))
    with pytest.raises(UserError, match="1 rates for 'shop', 2 expected"):
        FlawRates(habits=tuple({**HABITS, "shop": (0.1,)}.items()))
    with pytest.raises(UserError, match="no rates for shop"):
        FlawRates(habits=tuple(item for item in HABITS.items() if item[0] != "shop"))
    with pytest.raises(UserError, match=r"1\.5"):
        FlawRates(crash=(1.5, 0.0, 0.0))


def test_rates_survive_the_way_through_a_config():
    assert from_config(FlawRates, to_dict(FlawRates())) == FlawRates()
