"""A PPM as a judge, small: scored, killed and resumed or not, judged again by another threshold."""

import json

import pytest

from rstar_jax import launch, models, parquet, weights
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.samples import StepScores
from rstar_jax.evolve import judge
from rstar_jax.evolve.judge_settings import JudgeSettings
from rstar_jax.inference.step_values import StepValues
from rstar_jax.settings import from_config
from rstar_jax.weights import TINY_BASE

SMALL = (
    "--config.benchmarks=processbench,prmbench,suite",
    "--config.problems=3",
    "--config.block=16",
    "--config.context=512",
    "--config.batch_tokens=2048",
)


@pytest.fixture(scope="module")
def ppm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppm") / "model"
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=1)
    model.score.set_value(model.score[...] * 20)
    weights.save_reward_model(model, folder, tokenizer_from=TINY_BASE)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "id": f"{subset}-{i}",
            "problem": f"What is {i} plus {i}?",
            "steps": [f"We add {i}.", f"So {2 * i + i % 2}."],
            "label": -1 if i % 2 == 0 else 1,
        }
        for subset in ("gsm8k", "math")
        for i in range(10)
    ]
    rows.append(rows[0] | {"id": "math-99", "steps": ["and so on " * 200]})
    (folder / "processbench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [
        {
            "id": f"prmbench/file/{kind}_q{i}/{i}",
            "problem": f"What is {i} plus 1?",
            "steps": ["1. We add.", f"2. So {i}."],
            "error_steps": [2] if kind == "circular" else [],
            "subject": kind,
        }
        for kind in ("circular", "multi_solutions")
        for i in range(4)
    ]
    (folder / "prmbench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def settings(ppm, data, *overrides) -> JudgeSettings:
    flags = [*SMALL, f"--config.ppm={ppm}", f"--config.data={data}", *overrides]
    config = launch.override(launch.load("judge").get_config(), flags)
    return from_config(JudgeSettings, config.to_dict())


@pytest.fixture(scope="module")
def unbroken(ppm, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, judge.run(settings(ppm, data), folder)


def test_a_judgement_says_what_it_is_of_and_names_what_it_did_not_read(unbroken, ppm):
    folder, _ = unbroken
    found = json.loads((folder / "judge.json").read_text())
    assert found["models"]["ppm"] == {"name": str(ppm), "sha256": weights.model_hash(ppm)}
    assert found["code"]["version"] and found["config"]["block"] == 16
    by_name = {one["name"]: one for one in found["benchmarks"]}
    assert [*by_name] == ["processbench", "prmbench", "suite"]
    process, prm, suite = by_name.values()
    assert process["samples"] == 20 and process["too_long"] == ["math-99"]
    assert process["counts"]["too long"] == 1 and "best F1 on the 10 solutions" in process["chosen"]
    assert {"gsm8k/F1", "math/F1", "average/F1"} <= process["figures"].keys()
    assert prm["samples"] == 8 and prm["threshold"] == 0 and "overall/PRMScore" in prm["figures"]
    assert suite["problems"] == 3 and suite["figures"]["pairs of steps"]["problems"] == 3
    assert len({one["fingerprint"] for one in found["benchmarks"]}) == 3
    rows = parquet.read_rows(folder / "processbench/scores-00001.parquet", StepScores)
    assert [len(row.values) for row in rows] == [2, 2, 2, 2, 0] and rows[-1].tokens > 512


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_killed_in_every_block_it_scores_nothing_twice_and_comes_to_the_same(
    unbroken, ppm, data, tmp_path, monkeypatch
):
    folder, found = unbroken
    scored, write = [], parquet.write_rows

    def kill(path, kind, rows):
        write(path, kind, rows)
        if kind is StepScores:
            scored.extend(row.id for row in rows)
            raise Killed

    monkeypatch.setattr(parquet, "write_rows", kill)
    for _ in range(20):
        try:
            again = judge.run(settings(ppm, data), tmp_path)
            break
        except Killed:
            continue
    assert (
        len(scored)
        == len(set(scored))
        == sum(one.counts["read"] + one.counts["too long"] for one in found.benchmarks)
    )
    assert again.benchmarks == found.benchmarks
    for path in folder.rglob("scores-*.parquet"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_damaged_block_alone_is_scored_again(unbroken, ppm, data, tmp_path, monkeypatch):
    _, found = unbroken
    judge.run(settings(ppm, data), tmp_path)
    path = tmp_path / "processbench/scores-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    read, values = [], StepValues.values
    monkeypatch.setattr(StepValues, "values", lambda self, some: read.append(len(some)) or values(self, some))
    assert judge.run(settings(ppm, data), tmp_path).benchmarks == found.benchmarks
    assert read == [16]
    assert [*path.parent.glob("*.damaged-1")]


def test_another_threshold_asks_the_ppm_nothing(unbroken, ppm, data, monkeypatch):
    folder, found = unbroken
    monkeypatch.delattr(weights, "load_reward_model")
    for threshold, right in ((-1.0, 1.0), (1.0, 0.0)):  # nothing is below one, everything below the other
        other = judge.run(settings(ppm, data, f"--config.threshold={threshold}"), folder)
        process, prm, suite = other.benchmarks
        assert (process.threshold, process.chosen) == (prm.threshold, prm.chosen) == (threshold, "given")
        assert process.figures["gsm8k/correct"].value == right and suite == found.benchmarks[2]
        assert process.figures["gsm8k/F1"].value == 0
    assert judge.run(settings(ppm, data), folder).benchmarks == found.benchmarks


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["--config.benchmarks=procesbench"],
            "config.benchmarks: 'procesbench' given, .*mean 'processbench'",
        ),
        (["--config.threshold=1.5"], "config.threshold: 1.5 given, a number from -1 to 1"),
        (["--config.threshold=(0.1,0.2)"], "config.threshold: .* one number, or none"),
        (["--config.limit=-1"], "config.limit: -1 given, 0 or more"),
        (["--config.benchmarks=trees"], "config.trees: '' given"),
        (["--config.ppm="], "config.ppm: '' given. A PPM .*config.predictions"),
        (["--config.ppm=nowhere"], "config.ppm: nowhere: no such folder"),
        ([f"--config.ppm={TINY_BASE}"], "config.ppm: .*a decoder, and no reward head.*It is a policy"),
        (["--config.data=nowhere"], "config.data: 'nowhere' given, a folder with processbench.jsonl"),
        (["--config.predictions=nowhere"], "config.predictions: 'nowhere' given"),
    ],
)
def test_bad_input_is_told(ppm, data, tmp_path, overrides, told):
    with pytest.raises(UserError, match=told):
        judge.run(settings(ppm, data, *overrides), tmp_path / "w")
    assert not (tmp_path / "w/judge.json").exists()


@pytest.mark.parametrize("option", ["data", "predictions"])
def test_files_of_another_form_are_told_of_the_option_that_named_them(ppm, data, tmp_path, option):
    (tmp_path / "processbench.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    chosen = settings(ppm, data, f"--config.{option}={tmp_path}")
    with pytest.raises(UserError, match=rf"config\.{option}: .*processbench\.jsonl:1: .*'question, answer'"):
        judge.run(chosen, tmp_path / "w")


def test_a_runs_folder_is_no_ppm_and_the_place_of_one_is_told(ppm, data, tmp_path):
    (tmp_path / "config.json").write_text('{"job": "evolve"}')
    with pytest.raises(UserError, match=r"config\.ppm: .*roundN/ppm/model of a run, is expected"):
        judge.run(settings(ppm, data, f"--config.ppm={tmp_path}"), tmp_path / "w")


def test_other_samples_or_another_ppm_need_another_folder(unbroken, ppm, data, tmp_path):
    folder, _ = unbroken
    (tmp_path / "processbench.jsonl").write_text(
        (data / "processbench.jsonl").read_text().replace("add", "sum")
    )
    (tmp_path / "prmbench.jsonl").write_text((data / "prmbench.jsonl").read_text())
    changed = (data / "processbench.jsonl").read_text()
    try:
        (data / "processbench.jsonl").write_text((tmp_path / "processbench.jsonl").read_text())
        with pytest.raises(UserError, match=r"other contents of config\.benchmarks\.processbench"):
            judge.run(settings(ppm, data), folder)
    finally:
        (data / "processbench.jsonl").write_text(changed)
