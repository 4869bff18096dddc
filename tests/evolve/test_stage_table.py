"""Stages by name: a round in parts, on other machines, gives what the whole round gives."""

import dataclasses
import shutil
from collections.abc import Callable

import pytest

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.evaluate.reward_order import Order
from rstar_jax.evolve import rounds, stage_table
from rstar_jax.evolve.settings import STAGE_NAMES
from rstar_jax.evolve.summary import figures
from rstar_jax.report import results
from tests.evolve.small_runs import small


def one(*stages):
    return small("--config.rounds=(1,)", *([f"--config.stages={','.join(stages)}"] if stages else []))


def test_the_names_of_the_options_are_the_rows_of_the_table():
    assert (*stage_table.STAGES,) == STAGE_NAMES and set(STAGE_NAMES) < set(results.KINDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, rounds.run(one(), folder)


def test_a_round_in_parts_on_several_machines_is_the_round(whole, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    rounds.run(one("search"), here)
    assert sorted(p.parent.name for p in here.glob("round1/*/DONE.json")) == ["search"]
    shutil.copytree(here, there)  # another machine gets the folder
    rounds.run(one("curate", "policy"), there)
    assert sorted(p.parent.name for p in there.glob("round1/*/DONE.json")) == ["curate", "policy", "search"]
    report = rounds.run(one(), there)  # and the first goes on with it
    expected = figures(whole[1])
    found = figures(report)
    for report_ in (found, expected):
        report_["config"] = None  # says which stages
    assert found == expected


def test_what_is_not_there_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"round1/policy starts from round1/curate.*--config.stages=curate"):
        rounds.run(one("policy", "ppm"), tmp_path)
    with pytest.raises(UserError, match=r"round1/evaluate starts from round1/policy.*--config.stages=policy"):
        rounds.run(one("evaluate"), tmp_path)
    settings = dataclasses.replace(one("search"), rounds=(2,))
    with pytest.raises(UserError, match=r"round 2 starts from round1/policy, which is not there"):
        rounds.run(settings, tmp_path)


def test_a_name_that_is_no_stage_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"config.stages: \('serach',\).*Did you mean 'search'"):
        one("serach")


@pytest.mark.parametrize("kind", dict.fromkeys(results.KINDS.values()), ids=lambda kind: kind.__name__)
def test_results_come_back_from_json_and_those_of_the_last_release_by_their_old_names(kind: type):
    def value(field):
        named: dict[str, Callable] = {"int": lambda: 3, "float": lambda: 0.5, "str": lambda: "a"}
        named["Order"] = lambda: Order(
            pairs=2, by_depth={"1": [2, 0.5]}, margins=[1, 1], answers=1, answer_pairs=0
        )
        named["ValueErrors"] = lambda: results.ValueErrors(
            steps=2, dropped=0, loss=0.1, distance=0.2, sign=1.0, calibration=0.1, given=[1, 1]
        )
        named["HeldOutTokens"] = lambda: results.HeldOutTokens(
            source="suite", solutions=2, tokens=9, loss=0.5, accuracy=0.5, base_loss=1.5, base_accuracy=0.25
        )
        return named.get(str(field.type).split(" ")[0], lambda: {"x": 1})()

    result = kind(**{field.name: value(field) for field in dataclasses.fields(kind)})
    stored = results.to_json(result)
    assert results.of_json(kind, {**stored, "of a later release": 1}) == result
    for field in dataclasses.fields(kind):
        if "was" in field.metadata:
            stored[field.metadata["was"]] = stored.pop(field.name)
    assert results.of_json(kind, stored) == result


def results_of(folder):
    return records.read_signed(folder / "round1" / "curate" / "DONE.json")["result"]


def test_a_report_holds_failures_under_both_names(whole):
    (first,) = whole[1]["rounds"]
    assert first["failures"] == first["deaths"] == results_of(whole[0])["failures"]
    assert records.read_signed(whole[0] / "report.json")["rounds"][0]["failures"] == first["failures"]
