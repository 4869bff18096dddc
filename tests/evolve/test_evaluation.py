"""An evaluation on benchmarks: a scripted policy behind a server, killed and gone on with; a guided one."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from rstar_jax import launch, parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evaluate.outcome import Evaluation
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.evolve import evaluation
from rstar_jax.evolve.evaluation_settings import EvaluationSettings
from rstar_jax.report import read_report, tables
from rstar_jax.report.results import of_json
from rstar_jax.settings import from_config
from rstar_jax.text.grammar import CODE_STEPS
from tests.served.server import Body, Server

REFERENCES = [(f"What is {i} halves?", f"\\frac{{{i}}}{{2}}", i % 2 + 1) for i in range(1, 7)]


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    """Six problems whose answers are halves."""
    file = tmp_path_factory.mktemp("data") / "exam.jsonl"
    rows = [{"question": q, "answer": a, "level": level} for q, a, level in REFERENCES]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def write(body: Body, k: int) -> str:
    """Two steps, then an answer, which is right for odd seeds."""
    question, _, rest = body["prompt"].rpartition("\n\nQuestion: ")[2].partition("\nSolution: ")
    i = int(question.split()[2])
    steps = CODE_STEPS.render((f"# Step 1: Halve it\nx = {i} / 2", "# Now print it\nprint(x)"))
    done = len(CODE_STEPS.parse(rest.partition("\n")[2]))
    if done < 2:
        return steps[done]
    return CODE_STEPS.answered(rf"It is \boxed{{{i}/2}}." if body["seed"] % 2 else r"It is \boxed{-77}.")


@pytest.fixture
def server():
    made = Server(write)

    async def behave(body: Body) -> None:
        await asyncio.sleep(0.01)

    made.behave = behave
    with made.running():
        yield made


def options(exam, server, *more):
    return [
        f"--config.benchmarks=exam={exam}",
        f"--config.policy={server.address}",
        "--config.prompt=bootstrap",
        "--config.k=4",
        "--config.served.slots=4",
        "--config.batch=6",
        "--config.shard=5",
        "--config.decode.context=2048",
        *more,
    ]


def settings(*flags) -> EvaluationSettings:
    config = launch.override(launch.load("evaluate").get_config(), list(flags))
    return from_config(EvaluationSettings, config.to_dict())


def predictions(folder, name="exam"):
    return parquet.read_rows(folder / "benchmarks" / name / "predictions.parquet", Prediction)


def test_killed_with_sigkill_it_runs_no_sample_twice_and_loses_none(exam, server, tmp_path):
    chosen = options(exam, server)
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=evaluate", *chosen]
    process = subprocess.Popen([*command, f"--workdir={tmp_path / 'a'}"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "a").rglob("samples-*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.1)  # what was in flight comes to its end
    stage = tmp_path / "a/benchmarks/exam"
    there = {path.name: path.stat().st_mtime_ns for path in stage.glob("samples-*")}
    assert there and not (stage / "DONE.json").exists()
    before = len(server.met)

    report = evaluation.run(settings(*chosen), tmp_path / "a")
    asked_for = collections.Counter((met.body["prompt"], met.body["seed"]) for met in server.met)
    assert sum(times - 1 for times in asked_for.values()) <= 4  # in flight when it was killed
    assert len(server.met) > before
    joined = {p.name: p.stat().st_mtime_ns for p in stage.glob("samples-*.parquet") if p.name in there}
    assert joined.items() <= there.items()  # a shard that was there is the same

    found = predictions(tmp_path / "a")
    assert [(row.problem_id, row.sample) for row in found] == [
        (row.problem_id, i) for row in found[::4] for i in range(4)
    ]
    assert [row.question for row in found[::4]] == [q for q, _, _ in REFERENCES]
    whole = evaluation.run(settings(*chosen), tmp_path / "b")
    assert predictions(tmp_path / "b") == found
    one, other = (r["evaluation"]["benchmarks"][0] for r in (report, whole))
    timeless = lambda m: {**m, "costs": {k: v for k, v in m["costs"].items() if "seconds" not in k}}  # noqa: E731
    assert timeless(one) == timeless(other)
    served = len(server.met)
    again = evaluation.run(settings(*chosen), tmp_path / "a")
    assert again["evaluation"] == report["evaluation"] and len(server.met) == served


@pytest.fixture(scope="module")
def done(exam, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    made = Server(write)
    with made.running():
        yield folder, evaluation.run(settings(*options(exam, made)), folder), made


def test_every_figure_comes_from_the_rows_and_says_where_it_comes_from(done, exam):
    folder, report, server = done
    assert read_report(folder / "report.json") == report
    found = of_json(Evaluation, records.read_signed(folder / "evaluation.json"))
    (measured,) = found.benchmarks
    rows = predictions(folder)
    right = [row.grade == "right" for row in rows]
    assert 0 < sum(right) < len(rows) == 24
    assert measured.figures["avg@4"].value == pytest.approx(sum(right) / 24)
    assert {"pass@1", "pass@4", "maj@4", "greedy"} <= measured.figures.keys()
    assert "search" not in measured.figures and "best@4" not in measured.figures
    assert measured.by_level.keys() == {"level1", "level2"}
    assert measured.tool is not None and measured.tool.problems == 6 and measured.no_tool is None
    assert (measured.problems, measured.source) == (6, str(exam))
    assert measured.counts["samples"] == 24 and measured.counts["no_answer"] == 0
    assert measured.counts["rows_left_out"] == 0
    assert measured.costs["steps"] == 12 and measured.costs["tokens"] > 0 and measured.costs["seconds"] > 0
    assert measured.costs["ppm_tokens"] == 0 and "device_seconds" not in measured.costs
    told = {"strategy": "sample", "k": 4, "temperature": 0.6, "top_p": 0.95, "vote": "majority"}
    assert told.items() <= measured.protocol.items() and measured.protocol["prompt"] == "bootstrap"
    assert {met.body["top_p"] for met in server.met} == {0.95}
    assert found.code["version"] and found.config["k"] == 4 and len(found.models["policy"]["sha256"]) == 64
    greedy = parquet.read_rows(folder / "benchmarks/exam/greedy.parquet", Prediction)
    assert len(greedy) == 6 and {row.sample for row in greedy} == {0}
    assert list((folder / "lm_eval").rglob("samples_exam_*.jsonl"))
    assert [json.loads(path.read_text())["eval"]["task"] for path in (folder / "inspect").glob("*.json")]
    shown = tables.render(report)
    for line in ("avg@4", "95 % interval", "temperature 0.6, top_p 0.95", "graded otherwise", "level 2"):
        assert line in shown, line


def test_answers_that_the_gradings_judge_differently_are_listed(exam, tmp_path):
    """The released rules take a number within 1e-4 (grading/released.py)."""
    file = tmp_path / "nearly.jsonl"
    file.write_text(json.dumps({"question": "What is 1 halves?", "answer": "100"}))

    def nearly(body: Body, k: int) -> str:
        text = write(body, k)
        return CODE_STEPS.answered(r"It is \boxed{100.01}.") if r"\boxed{1/2}" in text else text

    made = Server(nearly)
    with made.running():
        report = evaluation.run(settings(*options(file, made, "--config.k=8")), tmp_path / "w")
    (measured,) = report["evaluation"]["benchmarks"]
    rows = predictions(tmp_path / "w")
    differ = [row for row in rows if row.grade != row.released]
    lines = (tmp_path / "w/benchmarks/exam/disagreements.jsonl").read_text().splitlines()
    assert measured["disagreements"] == len(lines) == len(differ)
    assert 0 < len(differ) < len(rows)
    line = json.loads(lines[0])
    assert (line["strict"], line["released"]) == (differ[0].grade, differ[0].released)
    assert (line["answer"], line["reference"]) == ("100.01", "100")


def test_another_benchmark_joins_the_folder_and_other_options_or_problems_do_not(done, exam, server):
    folder, report, _ = done
    more = exam.parent / "more.jsonl"
    more.write_text(json.dumps({"question": "What is 9 halves?", "answer": "9/2"}))
    base = options(exam, server)
    both = evaluation.run(settings(*base, f"--config.benchmarks=exam={exam},more={more}"), folder)
    assert {met.body["prompt"].count("9 halves") for met in server.met} == {1}
    first, second = both["evaluation"]["benchmarks"]
    assert first == report["evaluation"]["benchmarks"][0] and second["name"] == "more"
    with pytest.raises(UserError, match=r"made with other options:\s+config\.temperature"):
        evaluation.run(settings(*base, "--config.temperature=0.9"), folder)
    text = exam.read_text()
    try:
        exam.write_text(text + "\n" + json.dumps({"question": "New?", "answer": "1"}))
        with pytest.raises(UserError, match=r"made from other contents of config\.benchmarks\.exam"):
            evaluation.run(settings(*base), folder)
    finally:
        exam.write_text(text)


SMALL = (
    "--config.benchmarks=suite-level1",
    "--config.limit=2",
    "--config.decode.leaves=4",
    "--config.decode.rows=2",
    "--config.decode.max_step_tokens=64",
    "--config.decode.context=384",
)


def test_a_search_guided_by_a_ppm_is_measured_beside_the_policy_alone(ppm, tmp_path):
    more = ("--config.k=2", "--config.metrics=search,best@2", f"--config.ppm={ppm}", "--config.shapes=")
    more += ("--config.greedy=False", "--config.max_depth=4")
    report = evaluation.run(settings(*SMALL, *more), tmp_path)
    (measured,) = report["evaluation"]["benchmarks"]
    assert measured["figures"].keys() == {"search", "best@2"}
    assert measured["protocol"]["strategy"] == "best_of_n" and measured["costs"]["ppm_tokens"] > 0
    assert measured["costs"]["device_seconds"] > 0
    rows = predictions(tmp_path, "suite-level1")
    assert len(rows) == 4 and any(row.score is not None for row in rows)
    assert set(report["evaluation"]["models"]) == {"policy", "ppm"}
    assert report["stages"][0]["estimate"]["memory_mb"] > 0 and report["stages"][0]["estimate"]["tokens"] > 0


@pytest.fixture(scope="module")
def ppm(tmp_path_factory):
    from rstar_jax import weights
    from rstar_jax.models import from_policy

    folder = tmp_path_factory.mktemp("ppm")
    weights.save_reward_model(
        from_policy(weights.load_pretrained(weights.TINY_BASE)), folder, tokenizer_from=weights.TINY_BASE
    )
    return folder


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--config.k=0"], r"config\.k: 0 given, 1 or more, or -1"),
        (["--config.limit=-1"], r"config\.limit: -1 given"),
        (["--config.top_p=0"], r"config\.top_p: 0\.0 given"),
        (["--config.decode.top_p=0.9"], r"config\.decode\.top_p: 0\.9 given.*config\.top_p"),
        (["--config.verify.grading=released"], r"config\.verify\.grading: 'released' given"),
        (["--config.benchmarks=aime2"], r"'aime2' given, no such benchmark"),
        (["--config.metrics=maj@x"], r"config.metrics: metric 'maj@x'"),
        (["--config.shapes=inspekt"], r"config\.shapes: 'inspekt' given, .*Did you mean 'inspect'"),
        (
            ["--config.policy=http://h:1/v1#m", "--config.ppm=tiny"],
            r"config\.ppm: 'tiny' given, but a served",
        ),
        (["--config.ppm=tiny"], r"config\.ppm: .*"),
        (["--config.policy=nowhere"], r"config\.policy: .*nowhere"),
        (["--config.rollouts=4"], r"config\.rollouts: 4 given, but strategy 'greedy'"),
        (["--config.strategy=dvts"], r"config\.strategy: 'dvts' given, which ranks"),
    ],
)
def test_bad_options_are_named_before_anything_is_made(tmp_path, flags, why):
    with pytest.raises(UserError, match=why):
        evaluation.run(settings(*SMALL, *flags), tmp_path / "w")
    assert not (tmp_path / "w/benchmarks").exists()
