"""report.html of folders finished, under way, damaged and of other jobs."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib

import pytest

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.evolve import report_page
from rstar_jax.evolve.findings import Faults, stages
from rstar_jax.evolve.report_page import ReportSettings, at_the_end, gather, run, write
from rstar_jax.evolve.synthesis import Written
from rstar_jax.evolve.writing_stage import WrittenProblems
from tests.report import a_run
from tests.report.test_frame import HOSTILE, Reader

SECTIONS = ["overview", "accuracy", "coverage", "paper", "scaling", "trainings", "probes", "failures"]
SECTIONS += ["trees", "time", "problems", "provenance"]


@pytest.fixture
def finished(tmp_path):
    return a_run.make(tmp_path / "run")


def sections(page: str) -> list[str]:
    return [attrs["id"] for tag, attrs in Reader(page).tags if tag == "section"]


def page_of(root) -> str:
    return write(gather(root, lambda _: None)).read_text()


def test_a_finished_run_shows_everything(finished):
    path = run(ReportSettings(markdown=True), finished)
    page, text = path.read_text(), (finished / "report.md").read_text()
    assert sections(page) == SECTIONS
    assert "Finished: 11 stages" in page and "could not be read" not in page
    for table in ("The paper's figures", "Test-time scaling", "Why steps died", "Where the time went"):
        assert table in text
    assert "| round 1 | 1 |" in text and "seccomp" in text
    assert len(zlib.compress(page.encode())) < 150_000
    assert not [p for p in finished.iterdir() if p.name.startswith(".")]


def test_pages_of_one_folder_are_equal(finished):
    assert page_of(finished) == page_of(finished)


def test_no_element_has_a_style_or_a_handler(finished):
    for _, attributes in Reader(page_of(finished)).tags:
        assert not any(name == "style" or name.startswith("on") for name in attributes)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_models_stay_texts(tmp_path, text):
    root = a_run.make(tmp_path / "run", rounds=1, text=text)
    plain = Reader(page_of(a_run.make(tmp_path / "plain", rounds=1)))
    page = Reader(page_of(root))
    told = {tag for tag, _ in page.tags}
    assert told <= {tag for tag, _ in plain.tags} | {"li", "ul"}
    assert not [attrs for _, attrs in page.tags if any(n.startswith("on") or n == "style" for n in attrs)]
    assert not any(attrs.get("href", "#").startswith("javascript") for _, attrs in page.tags)
    markdown = (run(ReportSettings(markdown=True), root).parent / "report.md").read_text()
    assert not re.search(r"(?<!\\)<", markdown)


@pytest.mark.parametrize("reward", ["ppm", "pqm", "orm"])
def test_a_reward_model_is_called_what_it_is(finished, reward):
    records.write_signed(finished / "config.json", {"job": "evolve", "train": {"reward": reward}})
    run(ReportSettings(markdown=True, trees_mb=0), finished)
    page, text = (finished / "report.html").read_text(), (finished / "report.md").read_text()
    for name in ("PPM", "PQM", "ORM"):
        is_it = name == reward.upper()
        assert (f"The {name}: loss" in page) == (f"{name} right on its pairs" in text) == is_it
        assert is_it or name not in re.sub(r"Paper: rStar-Math.*?</p>", "", page)


def test_trainings_show_what_was_held_out_and_how_fast_they_were(finished):
    folder = finished / "round2" / "policy"
    rows = [
        {"step": i, "loss": 1.0, "skipped": 0.0, "tokens_per_s": 1000.0 + i, "mfu": 0.4} for i in range(30)
    ]
    rows[14] |= {"held_out_loss": 0.75, "held_out_accuracy": 0.5}
    rows[29] |= {"held_out_loss": 0.5, "held_out_accuracy": 0.75, "skipped": 2.0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = records.read_signed(folder / "DONE.json")
    manifest["result"] |= {"held_out": {"loss": 0.5, "accuracy": 0.75}, "skipped": 2, "mfu": 0.4}
    records.write_signed(folder / "DONE.json", manifest)
    page = page_of(finished)
    assert "round 2, held out: from 0.75 at 14 to 0.5 at 29" in page
    assert "The policy: tokens a second" in page and "round 2: from 40" in page
    assert "The policy: steps skipped so far" in page
    assert "The PPM: steps skipped" not in page  # nothing to show
    assert "held-out accuracy, %" in page and ">75.0<" in page
    assert "The policy on held-out solutions (the suite&#x27;s own)" in page and ">2.0000<" in page


def test_a_megabyte_in_a_line_is_cut(tmp_path):
    page = page_of(a_run.make(tmp_path / "run", rounds=1, text="x" * 2**20))
    assert len(page) < 600_000 and "1,048,576 characters in all" in page


def test_a_run_under_way_shows_what_there_is(finished):
    shutil.rmtree(finished / "round2" / "evaluate")
    (finished / "round2" / "ppm" / "DONE.json").unlink()
    (finished / "round2" / "ppm" / "metrics.jsonl").open("a").write('{"step": 31, "lo')
    page = page_of(finished)
    assert "Unfinished: 9 of 11 stages done, begun: round2/ppm (31 steps)" in page
    assert sections(page) == SECTIONS
    shutil.rmtree(finished / "round2")
    shutil.rmtree(finished / "round1" / "evaluate")
    (finished / "round1" / "curate" / "DONE.json").unlink()
    page = page_of(finished)
    assert {"coverage", "scaling"}.isdisjoint(sections(page)) and "trainings" in sections(page)


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("estimates.json", {"stages": 3}),
        ("sources.json", {"train": 7}),
        (
            "round1/search/DONE.json",
            {"name": "round1/search", "result": {}, "seconds": 1.0, "peak_mb": 1, "outputs": {}},
        ),
    ],
)
def test_figures_of_another_form_are_named_and_the_rest_is_shown(finished, file, found):
    records.write_json(finished / file, found)
    page = page_of(finished)
    assert "not as we write it" in page and {"trees", "time", "trainings"} <= set(sections(page))


def test_trees_take_as_much_room_as_they_may(finished):
    run(ReportSettings(trees_mb=0), finished)
    assert "trees" not in sections((finished / "report.html").read_text())
    with pytest.raises(UserError, match=r"config.trees_mb: -1"):
        ReportSettings(trees_mb=-1)


def test_nothing_finished_yet(tmp_path):
    root = tmp_path / "run"
    root.mkdir()
    shutil.copy(a_run.make(tmp_path / "other") / "config.json", root)
    folder = root / "base" / "evaluate"
    folder.mkdir(parents=True)
    (folder / "policy-000000.tree").write_bytes(b"")
    page = page_of(root)
    assert "No stage has finished yet, begun: base/evaluate (1 trees on disk)" in page
    assert sections(page) == ["overview", "provenance"]


def test_problems_that_are_being_written_are_no_trees(tmp_path):
    blocks = WrittenProblems(tmp_path / "written", 6, size=4)
    for i in (0, 1, 2, 3, 5):
        blocks.add(i, Written(f"new-{i}", "", (), ""))
    blocks.join(0)
    found = [(one.name, one.detail) for one in stages(tmp_path, "synthesise", {}, Faults(tmp_path))]
    assert found[0] == ("written", "5 problems on disk")


@pytest.mark.parametrize(
    ("file", "section"),
    [
        ("config.json", None),
        ("inputs.json", None),
        ("round2/curate/DONE.json", None),
        ("round1/evaluate/search-00000.parquet", None),
        ("round2/curate/suspects.jsonl", None),
        ("evaluation.json", "evaluation"),
        ("judge.json", None),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_shown(finished, file, section):
    (finished / file).write_bytes(b"\x00{damaged")
    page = page_of(finished)
    assert "Some files could not be read" in page and file.rpartition("/")[0] in page
    assert section not in sections(page) and "accuracy" in sections(page)


def test_figures_of_another_form_are_named(finished):
    for wrong in ({"benchmarks": 3}, {"benchmarks": [{"name": "a", "figures": {"pass@1": 0.5}}]}):
        (finished / "evaluation.json").write_text(json.dumps(wrong))
        assert "evaluation.json: not with benchmarks and their figures" in page_of(finished)
    root = finished.parent / "evaluated"
    root.mkdir()
    (root / "evaluation.json").write_text('{"benchmarks": [{"name": "a", "figures": {}}]}')
    records.write_signed(root / "config.json", {"job": "evaluate"})
    assert "evaluation.json: not as we write it" in page_of(root)


def test_an_evaluation_and_a_judgement(tmp_path):
    root = tmp_path / "evaluated"
    for name, found in (("evaluation", a_run.EVALUATION), ("judge", a_run.JUDGEMENT)):
        records.write_json(root / f"{name}.json", found)
    records.write_signed(root / "config.json", a_run.EVALUATION["config"])
    page = page_of(root)
    assert sections(page) == ["overview", "evaluation", "paper", "probes", "provenance"]
    for told in ("78.4", "74.5 to 82.0", "maj@8", "pairs of steps", "suite: calibration", "temperature"):
        assert told in page


@pytest.mark.parametrize("job", ["sft", "ppm", "synthesise", "judge", "prepare"])
def test_folders_of_other_jobs(tmp_path, job):
    root = tmp_path / "other"
    root.mkdir()
    options = {"job": job, "heldout": "10", "seed": 3}
    options |= {"problems": 216} if job == "judge" else {}  # where rounds have options of several
    records.write_signed(root / "config.json", options)
    rows = {"read": 9, "kept": 8, "converted": 8, "lost": {"not right": 1}, "heldout_seen": 0}
    if job == "sft":
        a_run.stage(root, "rows", "rows", **rows)
    page = page_of(root)
    assert "overview" in sections(page) and "provenance" in sections(page)
    if job == "sft":
        assert "lost: not right" in page and "Unfinished: 1 of 4 stages done" in page


def test_a_ppm_alone_shows_the_order_of_pairs_that_it_did_not_learn(tmp_path):
    records.write_signed(tmp_path / "config.json", {"job": "ppm", "heldout": "", "seed": 3})
    order = {"by_depth": {"1": [3, 1.0], "whole": [1, 0.5]}, "margins": [0, 0, 0, 1, 0, 0, 0, 3]}
    a_run.stage(
        tmp_path,
        "compare",
        "compare",
        pairs=4,
        dropped=0,
        accuracy=0.875,
        loss=0.1,
        calibration=0.05,
        **order,
    )
    page = page_of(tmp_path)
    assert "Held-out pairs in the right order, by depth: given pairs" in page and "whole (1)" in page
    assert "Held-out pairs by the difference of their values: given pairs" in page
    assert "of whole solutions (1), %" in page and "of steps at depth 1 (3), %" in page


def test_folders_of_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, why in (("absent", "no such folder"), ("file", "a file"), ("empty", "nothing of a run")):
        with pytest.raises(UserError, match=f"--workdir=.*{name}: .*{why}"):
            run(ReportSettings(), tmp_path / name)
    assert not list((tmp_path / "empty").iterdir())


def test_a_run_does_not_fail_for_want_of_its_page(finished, monkeypatch, caplog):
    said: list[str] = []
    at_the_end(finished, said.append)
    assert said[0].startswith(f"Report: {finished}/report.html (")
    (finished / "report.html").unlink()
    (finished / "report.html").mkdir()
    at_the_end(finished, said.append)
    assert said[1].startswith("No report.html: ") and "cannot be written" in said[1]
    monkeypatch.setattr(report_page, "page", lambda *_: 1 / 0)
    at_the_end(finished, said.append)
    assert "No report.html was written" in caplog.text and len(said) == 2


def test_the_page_of_a_large_run_holds_no_trees_when_the_run_ends(finished, monkeypatch):
    said: list[str] = []
    at_the_end(finished, said.append)
    assert len(said) == 1 and "trees" in sections((finished / "report.html").read_text())
    monkeypatch.setattr(report_page, "_LARGE", 0)
    at_the_end(finished, said.append)
    assert "trees" not in sections((finished / "report.html").read_text())
    assert f"--config=report --workdir={finished}" in said[2]


def test_the_command(finished):
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=report", f"--workdir={finished}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "report.html (" in done.stdout and (finished / "report.html").exists()
