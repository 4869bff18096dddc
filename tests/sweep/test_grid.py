"""Points of a sweep: values split at their commas, names, and options that do not go together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.errors import UserError
from rstar_jax.sweep import grid
from rstar_jax.sweep.settings import SweepSettings
from tests.sweep.fakes import resolve


def points(*over, **given):
    return grid.points(SweepSettings(over=over, **given), resolve)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5,1,2", ["0.5", "1", "2"]),
        ("(8,16),(4,(8,2)),7", ["(8,16)", "(4,(8,2))", "7"]),
        ("\"a,b\",'c,d',e", ["a,b", "c,d", "e"]),
        ("('a,b','c)'),d", ["('a,b','c)')", "d"]),
        ('"",x', ["", "x"]),
        (" 1 , 2 ", ["1", "2"]),
        ("it's,b", ["it's", "b"]),
        ("hf:a/b:train", ["hf:a/b:train"]),
    ],
)
def test_values_are_split_at_commas_outside_brackets_and_quotes(text, expected):
    assert grid.values(text, "--config.over.x") == expected


@given(st.lists(st.lists(st.integers(), max_size=3).map(lambda of: str(tuple(of))), min_size=1, max_size=4))
def test_tuples_come_out_as_they_went_in(values):
    assert grid.values(",".join(values), "") == values


@pytest.mark.parametrize("text", ["(1,2", "'a", "1,,2", "", "1,", "[(1],2)"])
def test_values_that_do_not_end_or_are_empty_are_refused(text):
    with pytest.raises(UserError, match=r"--config\.over\.x="):
        grid.values(text, "--config.over.x")


def test_every_value_meets_every_other_and_every_seed():
    found = points("c=0.5,1", "d=(1,2),3", seeds=2, options=("seed=5",))
    assert [point.name for point in found][:3] == [
        "c=0.5,d=1,2,seed=5-" + found[0].name[-8:],
        "c=0.5,d=1,2,seed=6-" + found[1].name[-8:],
        "c=0.5,d=3,seed=5",
    ]
    assert len(found) == len({point.name for point in found}) == 8
    assert (found[0].settings.c, found[0].settings.d, found[0].seed) == (0.5, (1, 2), 5)
    assert found[0].setting == found[1].setting != found[2].setting


def test_the_order_of_options_and_further_values_rename_no_point():
    names = {point.name for point in points("c=1,2", "d=3,4")}
    assert names == {point.name for point in points("d=3,4", "c=1,2")}
    assert names < {point.name for point in points("d=3,4,5", "c=0,1,2", seeds=2)}


def test_pairs_in_the_place_of_a_grid():
    found = points("c=1,2", "d=3,4", zip=True)
    assert [(point.settings.c, point.settings.d) for point in found] == [(1, (3,)), (2, (4,))]
    assert [point.name for point in points(seeds=3, zip=True)] == ["seed=0", "seed=1", "seed=2"]


def test_names_are_those_of_files():
    long, slash = points(f"name={'x' * 300},/tmp/../a b")
    assert "/" not in slash.name and " " not in slash.name
    assert len(long.name) < 120


@pytest.mark.parametrize(
    ("over", "given", "message"),
    [
        (("e=1,2",), {}, r"config.over.e: no such option. Known here: c, d, job, name, seed"),
        (("c=1,x",), {}, r"config.over.c: 'x' \(str\) given, a finite number expected"),
        (("c=1,1.0",), {}, "points c=1,seed=0 and c=1.0,seed=0 are the same"),
        (("c=1,2",), {"options": ("c=3",)}, "--config.c: given beside --config.over.c"),
        (("c=1,2",), {"options": ("seds=3",)}, "--config.seds: neither a sweep nor .* mean 'seed"),
        (("seed=1,2",), {"seeds": 2}, "--config.over.seed: given beside --config.seeds"),
        (("c=1,2", "d=1"), {"zip": True}, "as many values of each option expected; given: c 2, d 1"),
        ((), {}, "nothing to sweep"),
    ],
)
def test_what_no_point_could_do_is_told_before_any(over, given, message):
    with pytest.raises(UserError, match=message):
        points(*over, **given)
