"""Whole runs, small: four rounds with the bundled base, killed and resumed, and what stops them."""

import contextlib
import dataclasses
import itertools
import json
import shutil

import pytest

from rstar_jax import mirror, parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evolve import rounds
from rstar_jax.evolve.summary import figures
from rstar_jax.mirror import lock, workdir
from rstar_jax.report.progress import Progress
from rstar_jax.report.round_scalars import round_scalars
from rstar_jax.sandbox import Sandbox
from rstar_jax.tasks import MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import PreferencePair, SftRow, Tree
from rstar_jax.weights import TINY_BASE, load_pretrained, load_reward_model
from tests.evolve.small_runs import small
from tests.test_scalars import board


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder and report of a whole run."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, rounds.run(small(), folder)


def test_four_rounds_end_in_a_report_with_every_figure(unbroken):
    folder, report = unbroken
    assert json.loads((folder / "report.json").read_text())["seed"] == 0
    assert [r["round"] for r in report["rounds"]] == [1, 2, 3, 4]
    assert 0 <= report["base"]["policy_pass1"] <= 1
    for r in report["rounds"]:
        assert r["problems"] == 12
        assert 0 < r["coverage"]["all"] <= 1
        assert 0 <= r["policy_pass1"] <= 1
        assert 0 <= r["search_accuracy"] <= 1
        assert r["sft_rows"] > 0
        assert sum(r["difficulty"].values()) == 12
        assert (r["ungraded"], r["ungradable"], r["unknown_steps"]) == (0, [], 0)
        told = r["heldout_tokens"]
        assert told["source"] == "the suite's own" and told["solutions"] > 0 < told["loss"]
        assert told["base_loss"] == report["rounds"][0]["heldout_tokens"]["base_loss"]  # of the same ones
        assert (r["heldout_ungraded"], r["heldout_unknown_steps"]) == (0, 0)
    assert "seccomp" in report["layers"] and list(folder.glob("cache/sandbox-*.sqlite"))
    assert {s["name"] for s in report["stages"]} >= {"base/evaluate", "round1/search", "round4/ppm"}


def test_what_a_run_leaves_can_be_read(unbroken):
    folder, report = unbroken
    trees = [
        t for p in sorted((folder / "round4/search").glob("*.parquet")) for t in parquet.read_rows(p, Tree)
    ]
    assert len({t.problem.id for t in trees}) == 12
    solved = {t.problem.id for t in trees if t.solved}
    assert report["rounds"][3]["coverage"]["all"] == pytest.approx(len(solved) / 12)
    rows = parquet.read_rows(folder / "round4/curate/sft.parquet", SftRow)
    assert {row.problem_id for row in rows} == solved
    assert (
        len(parquet.read_rows(folder / "round4/curate/pairs.parquet", PreferencePair))
        == report["rounds"][3]["pairs"]
    )
    model = folder / "round4/policy/model"
    assert Tokenizer.load(model, CODE_STEPS).vocab_size <= load_pretrained(model).config.vocab_size
    load_reward_model(folder / "round4/ppm/model")
    points = board(folder / "scalars")
    assert {(name, number): value for name, number, value in points} == {
        (name, number): pytest.approx(value)
        for number, values in round_scalars(report).items()
        for name, value in values.items()
    }
    names = {name for name, number, _ in points if number == 4}
    assert names >= {"coverage", "policy_pass1", "search_accuracy", "ppm_pair_accuracy"}


def test_every_round_learns_from_the_base_and_not_from_the_round_before(unbroken, tmp_path):
    """Round 2's policy is the same when it is trained again with the first round's folder gone."""
    folder, _ = unbroken
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "round2/policy/model/model.safetensors").read_bytes()
    shutil.rmtree(copy / "round2/policy")
    shutil.rmtree(copy / "round1/policy/model")
    (copy / "round1/policy/DONE.json").unlink()
    rounds.run(small(), copy)
    assert (copy / "round2/policy/model/model.safetensors").read_bytes() == before


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(unbroken, tmp_path):
    _, report = unbroken
    assert (
        figures(rounds.run(small("--config.rounds=(1,)"), tmp_path / "same"))["rounds"][0]
        == figures(report)["rounds"][0]
    )
    other = rounds.run(small("--config.rounds=(1,)", "--config.seed=1"), tmp_path / "other")
    assert other["rounds"][0]["tokens"] != report["rounds"][0]["tokens"]


def test_a_round_without_a_ppm_leaves_out_a_search_that_needs_one_and_goes_on(tmp_path, capsys):
    """Without a choice of candidates there are no pairs, and so no PPM."""
    one = ("--config.search.candidates=1", "--config.search.rollouts=1", "--config.search.escalation=((),)")
    settings = small("--config.rounds=(1,)", *one, "--config.evaluate.strategy=best_of_n")
    (first,) = rounds.run(settings, tmp_path)["rounds"]
    assert first["pairs"] == 0 and first["ppm_training"] is not None and first["sft_rows"] > 0
    assert first["search_accuracy"] is None and first["search_accuracy_by_level"] is None
    assert 0 <= first["policy_pass1"] <= 1 and first["heldout_ungraded"] == 0
    assert "by which evaluate.strategy=best_of_n ranks" in capsys.readouterr().out


def test_a_round_with_low_rank_training_and_int8_search(tmp_path):
    """Only targets change, in folders like any other; the next round would read them."""
    lora = [f"--config.train.{model}.lora.rank=4" for model in ("policy", "ppm")]
    targets = "--config.train.policy.lora.targets=('v', 'down')"
    settings = small("--config.rounds=(1,)", *lora, targets, "--config.decode.weights=int8")
    report = rounds.run(settings, tmp_path)
    assert 0 < report["rounds"][0]["coverage"]["all"] <= 1
    assert 0 <= report["rounds"][0]["search_accuracy"] <= 1
    base, policy = (load_pretrained(f).params() for f in (TINY_BASE, tmp_path / "round1/policy/model"))
    assert {n for n in base if (base[n] != policy[n]).any()} == {"layers.v", "layers.down"}
    assert (
        load_reward_model(tmp_path / "round1/ppm/model").decoder.params()["layers.q"] != policy["layers.q"]
    ).any()


STAGES = (
    "evaluate the policy",
    "search",
    "curate",
    "train the policy",
    "train the PPM",
    "evaluate the search",
)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def trees_of(folder):
    """All trees of a run by file, but for measured times and for what so small matrices round otherwise."""
    files = sorted(p for p in folder.glob("*/*/*.parquet") if p.parent.name in ("search", "evaluate"))
    varying = {"cpu_s": 0.0, "logprob": 0.0, "value_sum": 0.0, "ppm": None}
    trees = {p.relative_to(folder): parquet.read_rows(p, Tree) for p in files}
    return {p: [[dataclasses.replace(n, **varying) for n in t.nodes] for t in ts] for p, ts in trees.items()}


def test_killed_in_every_stage_and_resumed_it_gives_the_same_trees(unbroken, tmp_path, monkeypatch):
    folder, report = unbroken
    update, due = Progress.update, list(STAGES)

    def kill(self, done=None, **values):
        update(self, done, **values)
        if due and done and self.current == due[0]:
            due.pop(0)
            raise Killed

    monkeypatch.setattr(Progress, "update", kill)
    kills = 0
    while True:
        try:
            resumed = rounds.run(small(), tmp_path)
            break
        except Killed:
            kills += 1
    assert kills == len(STAGES)
    assert figures(resumed) == figures(report)
    assert trees_of(tmp_path) == trees_of(folder)
    for place in (
        "scalars",
        "round1/policy",
        "round2/ppm",
    ):  # nothing is written twice, to TensorBoard either
        names = [point[:2] for point in board(tmp_path / place)]
        assert sorted(names) == sorted(point[:2] for point in board(folder / place)) and names
        assert len(names) == len(set(names))


KILLED_IN = ("search", "train the policy", "evaluate the search")


def test_killed_a_run_in_a_bucket_goes_on_on_new_machines(unbroken, tmp_path, monkeypatch):
    folder, _ = unbroken
    update, due, url = Progress.update, list(KILLED_IN), f"memory://bucket/{tmp_path.name}/run"
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "LEASE_S", 0.2)
    monkeypatch.setattr(workdir, "EVERY_S", 0.1)

    def kill(self, done=None, **values):
        update(self, done, **values)
        if due and done and self.current == due[0]:
            due.pop(0)
            raise Killed

    monkeypatch.setattr(Progress, "update", kill)
    for machine in itertools.count():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(machine)))
        with contextlib.suppress(Killed), mirror.opened(url) as place:
            (one,) = workdir._open
            try:
                rounds.run(small("--config.rounds=(1,)"), place)
                break
            except Killed:  # nothing is sent and no lock given back any more
                monkeypatch.setattr(one, "leave", lambda _, lock=one.lock: lock.leave())
                raise
    assert machine == len(KILLED_IN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "reader"))
    there = mirror.fetch(url)
    found = trees_of(there)
    assert found == {name: trees for name, trees in trees_of(folder).items() if name in found}
    assert {str(path.parent) for path in found} == {"base/evaluate", "round1/search", "round1/evaluate"}
    mirror.need(there)
    for name in ("round1/policy/model/model.safetensors", "round1/ppm/model/model.safetensors"):
        assert (there / name).read_bytes() == (folder / name).read_bytes()


def test_a_second_run_does_nothing_again(unbroken, monkeypatch):
    folder, report = unbroken
    monkeypatch.setattr("rstar_jax.evolve.context.Context.reasoner", None)
    monkeypatch.setattr("rstar_jax.evolve.train_stages.train.train_policy", None)
    again = rounds.run(small(), folder)
    assert {**again, "peak_children_mb": 0} == {**report, "peak_children_mb": 0}  # this process's own


@pytest.mark.parametrize(
    "damaged",
    [
        "round1/search/trees-0-00001.parquet",
        "round1/policy/model/model.safetensors",
        "round1/ppm/model/config.json",
    ],
)
def test_damage_is_made_good_with_the_same_figures(unbroken, tmp_path, damaged):
    folder, report = unbroken
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert figures(rounds.run(small(), copy)) == figures(report)
    assert list(path.parent.glob(f"{path.name}.damaged-*"))


def test_a_single_round_goes_on_from_the_one_before(unbroken, tmp_path):
    _, report = unbroken
    rounds.run(small("--config.rounds=(1,)"), tmp_path)
    again = rounds.run(small("--config.rounds=(2,)"), tmp_path)
    assert figures(again)["rounds"] == figures(report)["rounds"][:2]
    uncosted = [s["name"] for s in again["stages"] if not s["estimate"]]
    assert uncosted == ["round1/curate", "round2/curate"]
    best = again["best"]["round"]
    assert again["models"] == {"policy": f"round{best}/policy/model", "ppm": f"round{best}/ppm/model"}
    assert again["estimates"]["paper"]


def problem_file(path, answer):
    rows = [{"id": f"p{i}", "problem": f"What is {i} plus {i}?", "answer": answer} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_first_round_that_solves_nothing_reports_and_stops_with_advice(tmp_path, capsys):
    mine = problem_file(tmp_path / "mine.jsonl", "no number")
    with pytest.raises(UserError, match="nothing to train on"):
        rounds.run(small(f"--config.problems.train={mine}"), tmp_path / "w")
    assert json.loads((tmp_path / "w/report.json").read_text())["rounds"][0]["coverage"]["all"] == 0
    assert "Why steps died" in capsys.readouterr().out


def test_a_later_round_that_solves_nothing_learns_from_earlier_ones(unbroken, tmp_path):
    folder, _ = unbroken
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for stage in ("curate", "policy", "ppm", "evaluate"):
        shutil.rmtree(copy / "round2" / stage)
    for path in (copy / "round2/search").glob("*.parquet"):
        wrong = [_all_wrong(tree) for tree in parquet.read_rows(path, Tree)]
        path.unlink()
        parquet.write_rows(path, Tree, wrong)
    manifest = records.read_signed(copy / "round2/search/DONE.json")
    manifest["outputs"] = {}
    records.write_signed(copy / "round2/search/DONE.json", manifest)
    report = rounds.run(small("--config.rounds=(2,)"), copy)
    second = report["rounds"][1]
    assert second["coverage"]["all"] == 0
    assert "of earlier rounds are used instead" in second["note"]
    assert second["sft_rows"] == report["rounds"][0]["sft_rows"]


def _all_wrong(tree: Tree) -> Tree:
    nodes = tuple(dataclasses.replace(n, grade="wrong") if n.grade else n for n in tree.nodes)
    return dataclasses.replace(tree, nodes=nodes)


@pytest.mark.parametrize("memo", [True, False])
def test_a_search_that_goes_on_runs_no_program_again(unbroken, tmp_path, monkeypatch, memo):
    """The first round's search is done again from nothing but what the sandbox remembers."""
    sent, folder = [], unbroken[0]
    (tmp_path / "cache").mkdir()
    shutil.copytree(folder / "cache", tmp_path / "cache", dirs_exist_ok=True)
    close = Sandbox.close

    def counting(self):
        sent.append(self.snippets_run)
        close(self)

    monkeypatch.setattr(Sandbox, "close", counting)
    options = "--config.rounds=(1,)", "--config.stages=search", f"--config.verify.memo={memo}"
    rounds.run(small(*options), tmp_path)
    assert (sum(sent) == 0) == memo


def test_references_that_cannot_be_graded_are_counted_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(MathTask, "final", lambda self, problem, answer: "ungraded")
    with pytest.raises(UserError, match="nothing to train on"):
        rounds.run(small("--config.rounds=(1,)"), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    (first,) = report["rounds"]
    assert first["ungraded"] > 0 and first["ungradable"] and first["trajectories"] == first["pairs"] == 0
    assert f"no answer could be graded against: {first['ungradable'][0]}" in first["note"]
    shown = capsys.readouterr().out
    assert "answers that could not be graded" in shown and "Sandbox: " in shown


def test_code_generation_goes_the_same_way(tmp_path, capsys):
    """The bundled policy knows nothing of it, so it ends as any first round that solves nothing."""
    tests = '{"function": "double", "tests": [[[2], 4]]}'
    mine = problem_file(tmp_path / "mine.jsonl", tests)
    flags = [f"--config.problems.train={mine}", f"--config.problems.heldout={mine}"]
    with pytest.raises(UserError, match="nothing to train on"):
        rounds.run(small("--config.verify.task=code", *flags), tmp_path / "w")
    report = json.loads((tmp_path / "w/report.json").read_text())
    assert report["base"]["policy_pass1"] == 0.0 and report["rounds"][0]["steps"] > 0
