"""A PPM of given pairs, small: read, trained, compared and searched with, killed and resumed or not."""

import json

import numpy as np
import pytest

from rstar_jax import launch, parquet, weights
from rstar_jax.errors import UserError
from rstar_jax.evolve import ppm
from rstar_jax.evolve.summary import figures
from rstar_jax.report import read_report, tables
from rstar_jax.report.progress import Progress
from rstar_jax.settings import from_config
from rstar_jax.train import read_metrics
from rstar_jax.types import PreferencePair
from rstar_jax.weights import TINY_BASE
from tests.data.sum_trees import solution

SMALL = (
    "--config.heldout=2",
    "--config.heldout_pairs=0.3",
    "--config.evaluate.rollouts=2",
    "--config.evaluate.candidates=2",
    "--config.train.ppm.batch=8",
    "--config.train.ppm.seq_len=256",
    "--config.train.ppm.microbatch=2",
    "--config.train.ppm.lora.rank=0",
    "--config.train.ppm.learning_rate=0.003",
    "--config.train.ppm.checkpoint_every_steps=1",
    "--config.decode.leaves=4",
    "--config.decode.rows=2",
    "--config.decode.max_step_tokens=64",
    "--config.decode.context=384",
)


def settings(pairs, *overrides) -> ppm.PpmSettings:
    config = launch.override(
        launch.load("ppm").get_config("lora"), [*SMALL, f"--config.rows={pairs}", *overrides]
    )
    return from_config(ppm.PpmSettings, config.to_dict())


def labelled(a: int, b: int) -> list[dict]:
    """Labelled steps of two solutions of a sum, one that adds and one that does not."""
    question = f"What is {a} plus {b}?"
    return [
        {"prompt": question, "completions": solution(a, b, sign), "labels": [sign == "+"] * 3}
        for sign in "+-"
    ]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "stepwise.jsonl"
    rows = [row for i in range(24) for row in labelled(20 + i, 1 + i % 9)]
    rows.append({"prompt": "No pair?", "completions": ["alone"], "labels": [True]})
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def unbroken(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, ppm.run(settings(given, "--config.train.ppm.epochs=2"), folder)


def test_pairs_end_in_a_ppm_and_a_report_with_every_figure(unbroken):
    folder, report = unbroken
    assert read_report(folder / "report.json") == report
    found = report["ppm"]
    assert (found["pairs"]["read"], found["pairs"]["problems"]) == (49, 24)
    assert found["pairs"]["kept"] + found["pairs"]["heldout"] == 48
    assert found["pairs"]["lost"] == {"questions without a better and a worse way on from one place": 1}
    assert found["ppm_training"]["examples"] == 2 * found["pairs"]["kept"]
    assert found["compared"] == found["pairs"]["heldout"] > 0
    assert found["pair_accuracy"] > 0.9  # every right step adds, every wrong one takes away
    order = found["pair_order"]
    assert sum(order["margins"]) == sum(n for n, _ in order["by_depth"].values()) == order["pairs"] > 0
    measured = [row for row in read_metrics(folder / "ppm/metrics.jsonl") if "held_out_accuracy" in row]
    assert len(measured) == 2  # after each epoch
    assert measured[-1]["held_out_accuracy"] == pytest.approx(found["pair_accuracy"])
    assert "of steps at depth 1" in tables.render(report)
    assert 0 <= found["search_accuracy"] <= 1 and 0 <= found["policy_pass1"] <= 1
    assert [s["name"] for s in report["stages"]] == ["pairs", "ppm", "compare", "evaluate"]
    expected = {s["name"]: s["estimate"] for s in report["stages"]}
    assert expected["ppm"]["memory_mb"] and expected["evaluate"]["memory_mb"]
    shown = tables.render(report)
    for line in ("pairs to learn", "in the right order", "with search", "lost: questions without"):
        assert line in shown, line
    card = (folder / "ppm/model/README.md").read_text()
    assert "given pairs" in card and "preference pairs" in card


def test_no_problem_is_both_learnt_and_held_out(unbroken):
    folder, _ = unbroken
    parts = [parquet.read_rows(folder / "pairs" / name, PreferencePair) for name in (ppm.TRAIN, ppm.HELDOUT)]
    learnt, held = ({pair.problem_id for pair in part} for part in parts)
    assert learnt and held and not learnt & held
    assert not list((folder / "pairs").glob(".*"))


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


STAGES = ("read the preference pairs", "train the PPM", "compare held-out pairs", "evaluate the search")


def test_killed_in_every_stage_and_resumed_it_gives_the_same(unbroken, given, tmp_path, monkeypatch):
    folder, report = unbroken
    update, due, steps = Progress.update, list(STAGES), []

    def kill(self, done=None, **values):
        update(self, done, **values)
        if self.current == "train the PPM" and "total" in values:
            steps.append(done)
        if due and self.current == due[0] and (done or 0) > (self.current == "train the PPM"):
            due.pop(0)
            raise Killed

    monkeypatch.setattr(Progress, "update", kill)
    asked = settings(given, "--config.train.ppm.epochs=2")
    for _ in STAGES:
        with pytest.raises(Killed):
            ppm.run(asked, tmp_path)
    again = ppm.run(asked, tmp_path)
    assert figures(again) == figures(report)
    assert steps[:3] == [1, 2, 2]  # the step after the last checkpoint was done twice
    model = "ppm/model/model.safetensors"
    assert (tmp_path / model).read_bytes() == (folder / model).read_bytes()


def test_rounds_forms_train_it_without_any_search(unbroken, tmp_path):
    """The pairs that it wrote are pairs that it reads; nothing is held out, nothing searched."""
    none = ("--config.heldout=", "--config.heldout_pairs=0", "--config.limit=8")
    pairs = unbroken[0] / "pairs" / ppm.TRAIN
    report = ppm.run(settings(pairs, *none), tmp_path)
    assert [s["name"] for s in report["stages"]] == ["pairs", "ppm"]
    assert report["ppm"]["pairs"]["kept"] == 8 and report["ppm"]["pair_accuracy"] is None
    base, trained = weights.load_pretrained(TINY_BASE), weights.load_reward_model(tmp_path / "ppm/model")
    names = base.params().keys()
    assert any((np.asarray(base.params()[n]) != np.asarray(trained.decoder.params()[n])).any() for n in names)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["--config.rows=nowhere.jsonl"], r"config\.rows: 'nowhere\.jsonl' given.*Math-Shepherd"),
        (["--config.heldout_pairs=1"], r"config\.heldout_pairs: 1\.0 given"),
        (["--config.limit=-1"], r"config\.limit: -1 given"),
        (["--config.policy.ppm=tiny"], r"config\.policy\.ppm: 'tiny' given, but that one is trained here"),
        (["--config.policy.bootstrap=tiny"], r"config\.policy\.bootstrap: 'tiny' given, but a PPM is"),
        (["--config.heldout_pairs=0.9999"], r"config\.heldout_pairs: 0\.9999 given, which leaves none"),
        (["--config.evaluate.strategy=nothing"], r"evaluate\.strategy"),
    ],
)
def test_bad_options_are_named(given, tmp_path, overrides, why):
    with pytest.raises(UserError, match=why):
        ppm.run(settings(given, *overrides), tmp_path)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row for row in labelled(2, 3) if all(row["labels"])], r"all 3 labels of steps are right"),
        ([{"prompt": "1?", "chosen": "a", "rejected": "a"}], r"pairs\.jsonl:1: both sides are '\\na\\n"),
        ([{"question": "1?", "answer": "2"}], r"pairs\.jsonl:1: columns answer, question"),
    ],
)
def test_labels_that_cannot_teach_end_it_before_anything_is_trained(tmp_path, rows, why):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=why):
        ppm.run(settings(path), tmp_path / "run")
    assert read_report(tmp_path / "run/report.json")["stages"] == []


def test_other_pairs_in_its_folder_are_refused(unbroken, given):
    text = given.read_text()
    try:
        given.write_text(text + "\n" + json.dumps(labelled(1, 1)[0]))
        with pytest.raises(UserError, match=r"made from other contents of config\.rows"):
            ppm.run(settings(given, "--config.train.ppm.epochs=2"), unbroken[0])
    finally:
        given.write_text(text)
