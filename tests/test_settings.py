"""Options: typed, complete, and with errors that name the key."""

import dataclasses
from typing import Literal

import pytest

from rstar_jax.errors import UserError
from rstar_jax.settings import from_config, to_config_dict, to_dict


@dataclasses.dataclass(frozen=True)
class Inner:
    rollouts: tuple[int, ...] = (8, 16)
    vote: Literal["ppm", "majority"] = "ppm"
    limit: float | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    seed: int = 0
    search: Inner = Inner()


def test_defaults_survive_the_way_there_and_back():
    given = Outer(seed=3, search=Inner(rollouts=(1,), limit=0.5))
    assert from_config(Outer, to_config_dict(given).to_dict()) == given
    assert to_dict(given)["search"]["rollouts"] == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search": {"rolouts": (1,)}}, r"config\.search\.rolouts: no such option\. Did you mean 'rollouts'"),
        ({"seed": "x"}, r"config\.seed: 'x' \(str\) given, a whole number expected"),
        ({"seed": True}, r"config\.seed: True \(bool\) given"),
        (
            {"search": {"rollouts": ("a",)}},
            r"config\.search\.rollouts: 'a' given, a whole number expected, or several",
        ),
        ({"search": {"vote": "loudest"}}, r"one of 'ppm', 'majority' expected"),
        ({"search": {"limit": float("nan")}}, r"config\.search\.limit: nan \(float\) given"),
        ({"search": 3}, r"config\.search: 3 given, a group of options expected"),
    ],
)
def test_a_bad_option_is_named(values, message):
    with pytest.raises(UserError, match=message):
        from_config(Outer, values)


def test_whole_numbers_serve_as_floats():
    assert from_config(Outer, {"search": {"limit": 2}}).search.limit == 2.0
