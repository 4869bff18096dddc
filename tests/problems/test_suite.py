"""The embedded suite: exact answers, splits that cannot meet, determinism, balance."""

from __future__ import annotations

import collections
import random

import pytest

from rstar_jax.errors import UserError
from rstar_jax.problems.family import split_of
from rstar_jax.problems.suite import FAMILIES, generate


def test_at_least_24_families_evenly_over_three_levels():
    levels = collections.Counter(family.level for family in FAMILIES.values())
    assert sum(levels.values()) >= 24
    assert levels.keys() == {1, 2, 3} and len(set(levels.values())) == 1


def test_same_seed_same_problems_and_other_seed_others():
    first = generate(81, seed=3, split="train")
    assert first == generate(81, seed=3, split="train")
    assert first == generate(200, seed=3, split="train")[:81]
    others = {p.question for p in generate(81, seed=4, split="train")}
    assert sum(p.question in others for p in first) < 10


def test_levels_and_families_are_balanced_at_any_count():
    for count in (10, 40, 120, 240):
        problems = generate(count, seed=0, split="train")
        levels = collections.Counter(p.level for p in problems)
        families = collections.Counter(p.id.split("/")[2] for p in problems)
        assert len(problems) == count
        assert max(levels.values()) - min(levels.values()) <= 1
        assert max(families.values()) - (min(families.values()) if count >= 27 else 1) <= 1


def test_levels_may_be_chosen_and_do_not_change_the_problems():
    hard = generate(60, seed=3, split="heldout", levels=(2, 3))
    assert collections.Counter(p.level for p in hard) == {2: 30, 3: 30}
    assert set(hard) < set(generate(120, seed=3, split="heldout"))


def test_ids_are_unique_and_questions_fresh():
    problems = generate(1500, seed=0, split="heldout")
    assert len({p.id for p in problems}) == 1500
    assert len({p.question for p in problems}) == 1500
    assert problems[0].id == f"suite/heldout/{problems[0].id.split('/')[2]}/0"


def test_no_held_out_problem_in_training_whatever_the_seeds():
    train = {p.question for seed in range(4) for p in generate(1000, seed=seed, split="train")}
    held = {p.question for seed in range(4) for p in generate(400, seed=seed + 100, split="heldout")}
    assert not train & held


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_share_no_question_and_both_are_wide(name):
    family, seen = FAMILIES[name], {}
    for split in ("train", "heldout"):
        rng = random.Random(name)
        drawn = [family.instance(rng, split).params for _ in range(300)]
        # Asked in one way by one person: what differs is what the question tells.
        seen[split] = {family.phrasings[0].format(**params, who="Ann", what="pens") for params in drawn}
    assert not seen["train"] & seen["heldout"]
    assert len(seen["train"]) > 60 and len(seen["heldout"]) > 20


def test_the_split_is_a_property_of_the_parameters_alone():
    family = FAMILIES["shop"]
    shares = [split_of("shop", family.draw(random.Random(i))) for i in range(2000)]
    assert 0.15 < shares.count("heldout") / 2000 < 0.25
    assert split_of("shop", {"a": 2, "b": 3}) == split_of("shop", {"b": 3, "a": 2})


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_asks_in_several_ways_and_leaves_nothing_unfilled(name):
    family = FAMILIES[name]
    assert len(family.phrasings) >= 3
    assert len({p.split("{")[0] for p in family.phrasings}) >= 2 or len(set(family.phrasings)) >= 3
    rng = random.Random(1)
    asked = {instance.phrasing for _ in range(60) if (instance := family.instance(rng, "train"))}
    assert asked == set(range(len(family.phrasings)))
    instance = family.instance(rng, "train")
    assert "{" not in instance.question and str(instance.answer)


def test_answers_are_of_several_kinds():
    answers = [p.answer for p in generate(270, seed=0, split="train")]
    assert any(a.isdigit() for a in answers)
    assert any("/" in a for a in answers)
    assert any(a.startswith("(") for a in answers)
    assert any(a.isalpha() for a in answers)


def test_bad_count_or_split_is_named():
    with pytest.raises(UserError, match="-1"):
        generate(-1, seed=0, split="train")
    with pytest.raises(UserError, match="'test'"):
        generate(3, seed=0, split="test")  # type: ignore[arg-type]
    assert generate(0, seed=0, split="train") == []
