"""A warm start, small: given solutions become a policy that rounds start from, killed and resumed or not."""

import json
import random

import numpy as np
import pytest

from rstar_jax import launch, parquet, weights
from rstar_jax.data.corrections import KNOWN
from rstar_jax.errors import UserError
from rstar_jax.evolve import rounds, sft
from rstar_jax.evolve.run_models import of_run
from rstar_jax.evolve.summary import figures
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import FlawRates, clean_solution, sample_solution
from rstar_jax.report import read_report, tables
from rstar_jax.report.progress import Progress
from rstar_jax.settings import from_config
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import SftRow
from rstar_jax.weights import TINY_BASE
from tests.evolve.small_runs import small

SMALL = (
    "--config.heldout=6",
    "--config.base=finetuned",
    "--config.samples=2",
    "--config.train.policy.epochs=1",
    "--config.train.policy.batch=3",
    "--config.train.policy.seq_len=256",
    "--config.train.policy.checkpoint_every_steps=1",
    "--config.decode.leaves=4",
    "--config.decode.rows=2",
    "--config.decode.max_step_tokens=64",
    "--config.decode.context=384",
)
WORKING = {
    "question": "Ann sold 48 clips, and half as many in May. How many did she sell?",
    "answer": "She sold 48/2 = <<48/2=24>>24 in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72",
}


def settings(rows, *overrides) -> sft.SftSettings:
    config = launch.override(
        launch.load("sft").get_config("lora"), [*SMALL, f"--config.rows={rows}", *overrides]
    )
    return from_config(sft.SftSettings, config.to_dict())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Flawed solutions of the suite, a working that is converted, and one that cannot be."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("given") / "rows.jsonl"
    given = [sample_solution(family, rng, FlawRates())[:2] for family in list(FAMILIES)[:10]]
    lines = [{"question": question, "steps": steps} for question, steps in given]
    lines += [WORKING, {"question": "x?", "answer": "It is so.\n#### 3"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def unbroken(rows, tmp_path_factory):
    """The folder and report of a whole warm start."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, sft.run(settings(rows), folder)


def test_a_warm_start_ends_in_a_policy_and_a_report_with_every_figure(unbroken):
    folder, report = unbroken
    assert read_report(folder / "report.json") == report
    warm = report["warm_start"]
    assert (warm["rows"]["read"], warm["rows"]["kept"], warm["rows"]["converted"]) == (12, 11, 2)
    assert warm["rows"]["lost"] == {"no marked calculation": 1}
    assert warm["policy_training"]["steps"] == 4 and warm["policy_training"]["examples"] == 11
    assert all(0 <= share <= 1 for share in (report["base"]["policy_pass1"], warm["policy_pass1"]))
    for measured in (report["base"], warm):
        assert measured["steps"] > 0 and measured["unknown_steps"] == measured["ungraded"] == 0
        assert 0 <= measured["policy_pass1"] <= measured["answered"] <= 1
        assert 0 <= measured["majority"] <= measured["pass_at_k"] <= 1
    assert [s["name"] for s in report["stages"]] == ["rows", "base/evaluate", "policy", "evaluate"]
    assert all(s["peak_mb"] for s in report["stages"]) and report["stages"][2]["training"] > 0
    expected = {s["name"]: s["estimate"] for s in report["stages"]}
    assert expected["rows"] is None and all(expected[name]["memory_mb"] for name in list(expected)[1:])
    assert expected["policy"]["tokens"] == report["stages"][2]["tokens"]
    shown = tables.render(report)
    for line in ("kept to learn", "lost: no marked calculation", "base  warm start", "an answer", "of 2"):
        assert line in shown
    card = (folder / "policy/model/README.md").read_text()
    assert "warm start" in card and "solutions: 11" in card
    found = of_run(folder)  # as `solve --config.run` finds it
    assert found.policy == folder / "policy/model" and found.ppm is None


def test_what_is_learnt_are_the_rows_as_given_and_the_conversion_as_it_ran(unbroken, rows):
    folder, _ = unbroken
    learnt = parquet.read_rows(folder / "rows/sft.parquet", SftRow)
    given = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [list(row.steps) for row in learnt[:10]] == [row["steps"] for row in given[:10]]
    assert "<output>72.0<end_of_output>" in learnt[10].steps[2] and "\\boxed{72}" in learnt[10].steps[3]
    base, policy = (weights.load_pretrained(f).params() for f in (TINY_BASE, folder / "policy/model"))
    assert any((np.asarray(base[name]) != np.asarray(policy[name])).any() for name in base)


STAGES = (
    "rows",
    "evaluate the policy",
    "sample",
    "train the policy",
    "evaluate the policy",
    "sample",
)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_killed_in_every_stage_and_resumed_it_gives_the_same(unbroken, rows, tmp_path, monkeypatch):
    folder, report = unbroken
    update, due = Progress.update, list(STAGES)
    steps = []

    def kill(self, done=None, **values):
        update(self, done, **values)
        if done is None:
            return
        if self.current == "train the policy":
            steps.append(done)
        if due and self.current == due[0] and (done > 1 or self.current != "train the policy"):
            due.pop(0)
            raise Killed

    monkeypatch.setattr(Progress, "update", kill)
    for _ in STAGES:
        with pytest.raises(Killed):
            sft.run(settings(rows), tmp_path)
    again = sft.run(settings(rows), tmp_path)
    assert steps == [1, 2, 2, 3, 4]  # the step after the last checkpoint was done twice, no other
    assert figures(again) == figures(report)
    assert not (tmp_path / "policy/checkpoints").exists() and not (tmp_path / "policy/.tokens").exists()
    weights = "policy/model/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (folder / weights).read_bytes()
    monkeypatch.setattr(Progress, "update", update)
    done = sft.run(settings(rows), tmp_path)
    assert figures(done) == figures(again) and done["seconds"] == again["seconds"]


def test_other_options_and_other_rows_are_refused_in_its_folder(unbroken, rows, tmp_path):
    folder, _ = unbroken
    with pytest.raises(UserError, match=r"config\.train\.policy\.epochs: there 1, now 2"):
        sft.run(settings(rows, "--config.train.policy.epochs=2"), folder)
    text = rows.read_text()
    try:
        rows.write_text(text + "\n" + json.dumps(WORKING))
        with pytest.raises(UserError, match=r"made from other contents of config\.rows"):
            sft.run(settings(rows), folder)
    finally:
        rows.write_text(text)


def test_the_policy_is_a_base_for_rounds_and_for_another_warm_start(unbroken, rows, tmp_path):
    """Tokens that it was given are not added again."""
    policy = unbroken[0] / "policy/model"
    report = rounds.run(
        small("--config.rounds=(1,)", f"--config.policy.init={policy}", "--config.search.prompt=finetuned"),
        tmp_path / "rounds",
    )
    assert 0 <= report["rounds"][0]["policy_pass1"] <= 1
    none = ("--config.heldout=", "--config.samples=0")
    again = settings(rows, f"--config.policy.init={policy}", *none, "--config.limit=3")
    assert [s["name"] for s in sft.run(again, tmp_path / "again")["stages"]] == ["rows", "policy"]
    sizes = {
        Tokenizer.load(folder, CODE_STEPS).vocab_size
        for folder in (policy, tmp_path / "rounds/round1/policy/model", tmp_path / "again/policy/model")
    }
    assert len(sizes) == 1


def test_right_solutions_teach_the_tiny_base(tmp_path):
    """The right solutions of every family: the policy solves more held-out problems than its base."""
    given = [
        {"question": instance.question, "steps": clean_solution(instance)}
        for family in FAMILIES.values()
        for instance in [family.instance(random.Random(i), "train") for i in range(12)]
    ]
    path = tmp_path / "right.jsonl"
    path.write_text("\n".join(map(json.dumps, given)))
    options = (
        "--config.heldout=54",
        "--config.train.policy.batch=16",
        "--config.train.policy.lora.rank=0",
        "--config.train.policy.learning_rate=0.002",
        "--config.train.policy.checkpoint_every_steps=0",
    )
    report = sft.run(settings(path, *options), tmp_path / "run")
    assert report["warm_start"]["rows"]["kept"] == len(given)
    assert report["warm_start"]["policy_pass1"] > report["base"]["policy_pass1"] + 0.1


def test_rows_that_are_all_lost_are_an_error_that_says_why(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "x?", "answer": "It is so.\n#### 3"}))
    with pytest.raises(UserError, match=r"none of its 1 rows can be learnt: 1 no marked calculation"):
        sft.run(settings(path), tmp_path / "run")
    assert json.loads((tmp_path / "run/report.json").read_text())["stages"] == []


def test_rows_that_are_too_long_are_told_before_the_base_is_evaluated_and_not_counted(tmp_path, capsys):
    long = {**WORKING, "question": WORKING["question"] * 30}
    path, options = tmp_path / "rows.jsonl", ("--config.heldout=1", "--config.samples=0")
    path.write_text("\n".join(map(json.dumps, [long, WORKING])))
    report = sft.run(settings(path, *options), tmp_path / "run")
    told = capsys.readouterr().out
    assert "seq_len: 1 of 2 rows looked at have more than 256 tokens" in told
    learnt = next(stage for stage in report["stages"] if stage["name"] == "policy")
    assert learnt["estimate"]["tokens"] == learnt["tokens"] > 0
    refused = r"policy\.seq_len: 256 given, but 1 of 2 .*long is 'error'"
    with pytest.raises(UserError, match=refused):
        sft.run(settings(path, *options, "--config.train.policy.long=error"), tmp_path / "refused")
    assert not (tmp_path / "refused" / "base").exists()
    path.write_text(json.dumps(long))
    with pytest.raises(UserError, match=r"train\.seq_len: 256 given, but all 1 solutions are longer"):
        sft.run(settings(path, *options), tmp_path / "none")
    assert "seq_len: 1 of 1 rows" in capsys.readouterr().out


def test_what_is_wrong_with_rows_and_held_out_problems_is_told(tmp_path, capsys):
    """A held-out question among the rows, a row that is none, an answer that is known to be wrong."""
    known = json.loads(KNOWN.read_text(encoding="utf-8").splitlines()[0])["question"]
    held = [generate(6, seed=0, split="heldout")[0].question, known]
    problems = tmp_path / "heldout.jsonl"
    problems.write_text("\n".join(json.dumps({"question": text, "answer": "999"}) for text in held))
    path = tmp_path / "rows.jsonl"
    row = {**WORKING, "question": "  ".join(held[0].split()) + "\n"}  # spaces aside
    path.write_text(f"{json.dumps(row)}\n{{oops")
    options = ("--config.base=none", "--config.train.policy.batch=1", "--config.bad=drop")
    report = sft.run(settings(path, *options, f"--config.heldout={problems}"), tmp_path / "run")
    rows = report["warm_start"]["rows"]
    assert rows["heldout_seen"] == 1 and rows["read"] == 2 and rows["lost"] == {"not JSON": 1}
    told = " ".join(capsys.readouterr().out.split())
    assert "1 held-out questions stand in the rows" in told and f"{path}:2: not JSON" in told
    assert "heldout: 1 with answers known to be wrong" in told and "--config.corrections=known" in told


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--config.rows=nowhere.jsonl", r"config\.rows: 'nowhere\.jsonl' given"),
        ("--config.heldout=nowhere.jsonl", r"config\.heldout: 'nowhere"),
        ("--config.limit=-1", r"config\.limit: -1 given"),
        ("--config.policy.ppm=tiny", r"config\.policy\.ppm: 'tiny' given, but a warm start"),
        ("--config.heldout=", r"config\.samples: 2 given, but config\.heldout is empty"),
        ("--config.policy.bootstrap=tiny", r"config\.policy\.bootstrap: 'tiny' given, but a warm start"),
        ("--config.policy.init=nowhere", r"config\.policy\.init"),
        ("--config.base=both", r"config\.base: 'both'"),
        ("--config.train.policy.lora.targets=('x',)", "lora"),
    ],
)
def test_bad_options_are_named(rows, tmp_path, flag, why):
    with pytest.raises(UserError, match=why):
        sft.run(settings(rows, flag), tmp_path)
