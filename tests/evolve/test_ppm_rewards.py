"""Each reward model from files alone: what rows teach it, in every form, and which rows it refuses."""

import dataclasses
import json
import re

import pytest

from rstar_jax import curate, parquet, weights
from rstar_jax.curate import CurateConfig, StepValues
from rstar_jax.data.examples import Tally
from rstar_jax.errors import UserError
from rstar_jax.evolve import given, ppm
from rstar_jax.evolve.given_values import contrasts_in
from rstar_jax.evolve.pair_stage import COMPARED, HELDOUT
from rstar_jax.report import read_report, tables
from rstar_jax.tasks import MathTask
from rstar_jax.types import PreferencePair, Tree
from tests.data.sum_trees import solution, sum_tree
from tests.evolve.test_ppm_job import labelled, settings

TREES = [sum_tree(20 + i, 1 + i % 9) for i in range(24)]
ALONE = ("--config.heldout=", "--config.train.ppm.epochs=3")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "trees-0-00000.parquet"
    parquet.write_rows(path, Tree, TREES)
    return path


def read(rows, folder, reward, tally=None):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return list(given.examples([path], MathTask(), CurateConfig(), tally or Tally(), reward))


def test_trees_give_each_objective_what_a_round_would_have_given_it(shard):
    for reward in ("ppm", "pqm", "orm"):
        expected = curate.curate(TREES, CurateConfig(), 1, reward)
        found = list(given.examples([shard], MathTask(), CurateConfig(), Tally(), reward))
        assert found == (expected.values if reward == "pqm" else expected.pairs) and found
    assert all(pair.final for pair in found)


def test_labels_on_steps_are_values_laid_over_each_other(tmp_path):
    """A step of several solutions has the mean of its labels, and is learnt once."""
    steps = solution(1, 2, "+")
    other = [steps[0], *solution(1, 2, "-", "y")[1:]]
    rows = [
        {"prompt": "1 + 2?", "completions": steps, "labels": [True, True, True]},
        {"prompt": "1 + 2?", "completions": other, "labels": [False, False, False]},
        {"question": "1 + 2?", "steps": other, "values": [0.5, -0.5, -1]},
    ]
    one, two = read(rows, tmp_path, "pqm")
    assert one.steps == tuple(steps) and two.steps == tuple(other)
    assert one.values == pytest.approx((0.5 / 3, 1, 1)) and one.weights == (1, 1, 1)
    assert two.values == pytest.approx((0.5 / 3, -0.75, -1)) and two.weights == (0, 1, 1)


def test_values_on_one_side_of_0_can_be_told_apart(tmp_path):
    tally = Tally()
    (found,) = read([{**VALUES, "values": [1, 0.25]}], tmp_path, "pqm", tally)
    assert found.values == (1, 0.25)
    tally.require_labels(1, "f", "value", "rows", "A value needs a label.")


def test_rows_with_weights_are_taken_as_they_are_also_from_parquet(tmp_path):
    values = StepValues("p", "1 + 2?", ("a\n", "b\n"), (0.25, -1.0), (0.0, 2.0), 3)
    parquet.write_rows(tmp_path / "values.parquet", StepValues, [values])
    files = [tmp_path / "values.parquet"]
    assert list(given.examples(files, MathTask(), CurateConfig(), Tally(), "pqm")) == [values]
    assert read([dataclasses.asdict(values)], tmp_path, "pqm") == [values]


def test_an_orm_learns_whole_solutions_alone(tmp_path):
    tally = Tally()
    pairs = read(labelled(20, 3), tmp_path, "orm", tally)
    assert len(pairs) == 1 and pairs[0].final
    assert sum(tally.lost.values()) == len(read(labelled(20, 3), tmp_path, "ppm")) - 1 > 0


def test_held_out_values_are_compared_as_pairs_of_steps(shard):
    values = given.examples([shard], MathTask(), CurateConfig(), Tally(), "pqm")
    pairs = list(contrasts_in(values))
    assert len(pairs) == 2 * len(TREES) and not any(pair.final for pair in pairs)  # one against two
    assert {pair.margin for pair in pairs} == {2.0}


def test_a_pqm_is_trained_from_trees_and_held_to_values_and_pairs(shard, tmp_path):
    report = ppm.run(settings(shard.parent, "--config.train.reward=pqm", *ALONE), tmp_path)
    found = report["ppm"]
    values = found["pair_order"]["values"]
    assert found["pairs"]["kept"] == 3 * (found["pairs"]["problems"] - found["pairs"]["heldout"] / 3)
    assert values["steps"] == 9 * found["pairs"]["heldout"] / 3 == sum(values["given"]) > 0
    assert 0 <= values["calibration"] <= values["distance"] + 1e-6 and values["distance"] <= 2
    assert values["sign"] > 0.5
    assert found["compared"] == parquet.count_rows(tmp_path / "pairs" / COMPARED) > 0
    assert found["pair_order"]["by_depth"].keys() == {"1"}
    assert weights.check_reward_model(tmp_path / "ppm/model")
    shown = tables.render(report)
    for line in ("Solutions with values given", "mean distance from the true value", "on its side of 0"):
        assert line in shown, line
    assert "PPM" not in shown.replace(str(tmp_path), "")
    assert "held-out steps" in (tmp_path / "report.html").read_text()


def test_an_orm_is_trained_from_labels_and_its_report_names_it(tmp_path):
    rows = [row for i in range(24) for row in labelled(20 + i, 1 + i % 9)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = ppm.run(settings(tmp_path / "rows.jsonl", "--config.train.reward=orm", *ALONE), tmp_path / "run")
    order = report["ppm"]["pair_order"]
    assert order["by_depth"].keys() == {"whole"} and sum(order["margins"]) == order["pairs"] > 0
    assert order["calibration"] is not None and order["values"] is None
    assert all(pair.final for pair in parquet.read_rows(tmp_path / "run/pairs" / HELDOUT, PreferencePair))
    shown = tables.render(report)
    assert "Pairs of whole solutions given" in shown and "ORM ppm/model" in shown
    assert "pairs of whole solutions" in (tmp_path / "run/ppm/model/README.md").read_text()


PAIR = {"prompt": "1?", "chosen": "a", "rejected": "b"}
VALUES = {"question": "1?", "steps": ["a\n", "b\n"], "values": [1, -1]}


@pytest.mark.parametrize(
    ("reward", "rows", "why"),
    [
        ("pqm", [PAIR], r"rows\.jsonl:1: these are preference pairs, which fit .*reward=ppm .*; values of"),
        (
            "ppm",
            [VALUES],
            r"rows\.jsonl:1: these are values of steps, which fit .*=pqm; pairs expected",
        ),
        ("pqm", [{"question": "1?", "steps": ["a"]}], r"these are solutions, which fit --config=sft"),
        ("orm", [{"query": "1?", "response": "a"}], r"these are solutions, which fit --config=sft"),
        ("orm", [PAIR], r"no pair of whole solutions left of 1 rows .*fit --config\.train\.reward=ppm"),
        ("pqm", [{**VALUES, "values": [1, 1.5]}], r"rows\.jsonl:1: values has 1\.5, a number from -1 to 1"),
        ("pqm", [{**VALUES, "values": [1]}], r"values is \[1\], a number for each of 2 steps"),
        ("pqm", [{**VALUES, "values": [1, float("nan")]}], r"values has (nan|NaN), a number from -1 to 1"),
        ("pqm", [{**VALUES, "weights": [1, -1]}], r"weights has -1, a number from 0 to 1e\+06 expected"),
        ("pqm", [{**VALUES, "weights": [10**400, 1]}], r"weights has 1000.*, a number from 0 to 1e\+06"),
        ("pqm", [{**VALUES, "weights": [0, 1e-300]}], r"weights has 1e-300, 0 or a number from 1e-06 on"),
        ("pqm", [{**VALUES, "weights": [1, 1], "round": 2**70}], r"round is 1180.*, a whole number"),
        ("pqm", [{**VALUES, "weights": [1, 1], "problem_id": [7]}], r"problem_id is \[7\], text expected"),
        (
            "pqm",
            [{**VALUES, "weights": [1, 1], "problem_id": "\ud800"}],
            r"problem_id holds half a character",
        ),
        ("pqm", [{**VALUES, "steps": []}], r"steps is \[\], a list of step texts"),
        ("pqm", [{**VALUES, "values": [1, 1]}], r"all values that are learnt are 1:"),
        ("pqm", [{**VALUES, "values": [-1, -1], "weights": [1, 1]}], r"all values that are learnt are -1:"),
        ("pqm", [{**VALUES, "weights": [0, 0]}], r"no value has a weight above 0"),
        ("pqm", [], r"no rows in it; StepValues"),
    ],
)
def test_rows_that_cannot_teach_an_objective_are_refused_by_name(tmp_path, reward, rows, why):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    asked = settings(path, f"--config.train.reward={reward}", "--config.heldout_pairs=0", *ALONE)
    with pytest.raises(UserError, match=why):
        ppm.run(asked, tmp_path / "run")


POSITIVE = [{**VALUES, "question": f"{i}?", "values": [1, 0.25]} for i in range(12)]
LABELS = labelled(20, 3)
RIGHT = [{**LABELS[0], "prompt": f"{i}?"} for i in range(12)]


@pytest.mark.parametrize(
    ("reward", "rows", "share", "why"),
    [
        (
            "pqm",
            POSITIVE,
            0.3,
            "no place in [1-9]+ held-out rows has a step of value 0 or more beside one of",
        ),
        ("pqm", POSITIVE, 0.01, "none of 12 problems with values of steps is held out"),
        ("orm", [*LABELS, *RIGHT], 0.3, "none of 1 problems with pairs of whole solutions is held out"),
        (
            "ppm",
            LABELS,
            0.01,
            r"none of 1 problems with preference pairs is held out \(config\.heldout_pairs=0",
        ),
        ("ppm", LABELS, 0, ""),
    ],
)
def test_measures_that_held_out_rows_cannot_give_are_told(
    tmp_path, monkeypatch, capsys, reward, rows, share, why
):
    def stop(*_):
        raise UserError("read")

    monkeypatch.setattr(ppm.train_stages, "fit_reward", stop)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = (f"--config.train.reward={reward}", f"--config.heldout_pairs={share}", *ALONE)
    with pytest.raises(UserError, match="read"):
        ppm.run(settings(tmp_path / "rows.jsonl", *asked), tmp_path / "run")
    report, said = read_report(tmp_path / "run/report.json"), capsys.readouterr()
    assert re.search(why, report["ppm"]["pairs"]["note"]) and bool(report["ppm"]["pairs"]["note"]) == bool(
        why
    )
    assert re.search(why, " ".join((said.out + said.err).split()))
    assert re.search(why, " ".join(tables.render(report).split()))


def test_an_orm_that_would_guide_a_search_is_refused(shard):
    with pytest.raises(UserError, match=r"best_of_n --config\.evaluate\.scores=orm"):
        settings(shard, "--config.train.reward=orm")


def test_a_warm_start_refuses_what_reward_models_learn(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(VALUES))
    with pytest.raises(UserError, match=r"rows\.jsonl:1: these are values of steps, .*; solutions expected"):
        given.solutions([tmp_path / "rows.jsonl"], MathTask())


def test_the_option_goes_by_its_old_name_for_a_release(shard, caplog):
    from rstar_jax.settings import from_config

    assert from_config(ppm.PpmSettings, {"pairs": str(shard)}).rows == str(shard)
    assert "config.pairs is called rows now" in caplog.text
