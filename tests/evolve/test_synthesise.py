"""Synthesis: a server writes problems; it, or the bundled model, solves them; broken off and gone on with."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import pytest

from rstar_jax import launch, parquet, records
from rstar_jax.data.form import content_id
from rstar_jax.data.load import load_problems
from rstar_jax.errors import UserError
from rstar_jax.evolve import synthesis_stages, synthesise
from rstar_jax.evolve.synthesis import Synthesis, SynthesiseSettings
from rstar_jax.problems.suite import instances
from rstar_jax.settings import from_config
from rstar_jax.tasks import MathTask
from rstar_jax.tasks.writing import Writing
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Problem
from tests.served.server import Body, Server

END = "\n<end_of_problem>"
SEEDS = [*instances(9, seed=3, split="train")]
NEW = [*instances(60, seed=4, split="heldout")]
ANSWERS = {problem.question: problem.answer for problem in NEW}
# By question: how many of ten solutions come to its answer; others to two or three wrong ones.
RIGHT = {problem.question: i % 5 + 1 for i, problem in enumerate(NEW)}


def written(i: int) -> str:
    """What the writer makes of request `i`: new problems mostly, and what must not pass."""
    if i % 10 == 7:
        return f" {SEEDS[i % 9].question}{END}"
    if i % 10 == 8:
        return " How many are there, and then it goes on and on" + " and on" * 400
    if i % 10 == 9:
        return f" {NEW[(i // 10) * 10].question.upper()}{END}"
    return f" {NEW[i].question}{END}\n\nProblem: another one"


def solution(question: str, steps: int, sample: int) -> str:
    """Step number `steps` of a solution: of ten, RIGHT are right."""
    answer = ANSWERS[question] if sample < RIGHT[question] else str(-1 - sample % 8)
    code = CODE_STEPS.render(("# Step 1: Work it out", f"# Now print it\nprint({answer!r})"))
    return [*code, CODE_STEPS.answered(rf"It is \boxed{{{answer}}}.")][steps]


class Model:
    """Writes by the order in which problems are asked for, solves by which sample it is."""

    def __init__(self) -> None:
        self.order: dict[str, int] = {}

    def __call__(self, body: Body, k: int) -> str:
        if body["stop"] == [END.strip()]:
            name = body["prompt"]
            return written(self.order.setdefault(name, len(self.order)))
        question, _, rest = body["prompt"].rpartition("\n\nQuestion: ")[2].partition("\nSolution: ")
        steps = CODE_STEPS.parse(rest.partition("\n")[2])
        if not steps:
            return f"{solution(question, 0, k)[: -len('<end_of_step>')]}# sample {k}\n<end_of_step>"
        sample = int(steps[0].partition("# sample ")[2].partition("\n")[0])
        return solution(question, len(steps), sample)


@pytest.fixture
def server():
    made = Server(Model())
    with made.running():
        yield made


@pytest.fixture
def seeds(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text(
        "".join(json.dumps({"id": p.id, "question": p.question, "answer": p.answer}) + "\n" for p in SEEDS)
    )
    return path


def settings(seeds, *options: str) -> SynthesiseSettings:
    chosen = [f"--config.seeds={seeds}", "--config.verify.workers=1", *options]
    config = launch.override(launch.load("synthesise").get_config(), chosen)
    return from_config(SynthesiseSettings, config.to_dict())


def test_problems_are_kept_where_3_of_10_solutions_agree(server, seeds, tmp_path):
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"question": NEW[13].question, "answer": NEW[13].answer}) + "\n")
    chosen = settings(
        seeds, "--config.count=60", f"--config.policy={server.address}", f"--config.against={benchmark}",
        "--config.served.slots=1", "--config.seed=5",
    )  # fmt: skip
    report = synthesise.run(chosen, tmp_path / "run")
    found = report["synthesis"]
    assert (found["written"]["asked"], found["written"]["written"]) == (60, 54)
    assert found["written"]["lost"] == {"too long": 6}
    dropped = found["cleaned"]["dropped"]
    assert dropped["exact_benchmark"] == 6 + 1 and dropped["exact_duplicate"] == 6
    new = {written(i).partition(END)[0].strip() for i in range(60) if i % 10 < 7} - {NEW[13].question}
    assert found["cleaned"]["kept"] == len(new) == 41

    path = tmp_path / "run/problems/problems.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["question"] for row in rows} == {q for q in new if RIGHT[q] >= 3}
    assert found["problems"]["kept"] == len(rows)
    for row in rows:
        assert row["id"] == content_id(row["question"])
        assert row["answer"] == ANSWERS[row["question"]]
        assert (row["votes"], row["vote"]) == (RIGHT[row["question"]], RIGHT[row["question"]] / 10)
        assert len(row["seeds"]) == 3 and {*row["seeds"]} <= {seed.id for seed in SEEDS}
    lost = Counter(RIGHT[q] for q in new)
    assert found["problems"]["lost"] == {"fewer than 3 solutions agree": lost[1] + lost[2]}
    assert found["problems"]["examples"][0]["question"] in new
    assert sum(found["problems"]["votes"].values()) == len(new)

    loaded = load_problems(f"jsonl:{path}", seed=0, split="train")
    assert {p.question: p.answer for p in loaded} == {row["question"]: row["answer"] for row in rows}
    assert all(p.synthetic and p.source == "synthesised" for p in loaded)

    met = len(server.met)
    assert synthesise.run(chosen, tmp_path / "run")["synthesis"] == found and len(server.met) == met
    with pytest.raises(UserError, match=r"made with other options:\s+config\.agree"):
        synthesise.run(settings(seeds, "--config.count=60", f"--config.policy={server.address}",
                                f"--config.against={benchmark}", "--config.served.slots=1", "--config.seed=5",
                                "--config.agree=4"), tmp_path / "run")  # fmt: skip


def test_slow_problems_hold_no_slot_but_their_own(server, seeds, tmp_path, monkeypatch):
    """The first problem of each of the first blocks is written when all others are; a writer that waited for
    blocks would wait for ever."""
    count, begun, others = 40, 0, asyncio.Event()

    async def behave(body):
        nonlocal begun
        place, begun = begun, begun + 1
        if begun == count:
            others.set()
        if place in (0, 5, 10):
            await others.wait()

    class Enough(Exception):
        pass

    def enough(*_):
        raise Enough

    server.behave = behave
    monkeypatch.setattr(Synthesis, "BLOCK", 5)
    monkeypatch.setattr(synthesise, "clean_new", enough)
    chosen = settings(seeds, f"--config.count={count}", f"--config.policy={server.address}",
                      "--config.served.slots=4", "--config.served.first_s=10")  # fmt: skip
    with pytest.raises(Enough):
        synthesise.run(chosen, tmp_path / "run")
    assert len(server.met) == count


def test_what_was_written_and_solved_is_not_asked_for_again(server, seeds, tmp_path, monkeypatch):
    """Broken off in the middle of the writing, then of the solving."""
    chosen = settings(
        seeds,
        "--config.count=30",
        f"--config.policy={server.address}",
        "--config.served.slots=2",
        "--config.samples=4",
    )
    stop = random.Random(0).randrange(8, 14)

    class Killed(Exception):
        pass

    def breaks(original, at):
        count = 0

        def call(*arguments):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return original(*arguments)

        return call

    monkeypatch.setattr(Synthesis, "BLOCK", 5)
    with monkeypatch.context() as broken:
        broken.setattr(parquet, "write_rows", breaks(parquet.write_rows, 3))
        with pytest.raises(Killed):
            synthesise.run(chosen, tmp_path / "run")
    assert len([*(tmp_path / "run/written").glob("*.parquet")]) == 2
    config = tmp_path / "run/config.json"
    older = records.read_signed(config)
    del older["distributed"]  # as releases wrote it by which one process alone did this
    records.write_signed(config, older)
    with monkeypatch.context() as broken:
        broken.setattr(synthesis_stages.Shards, "add", breaks(synthesis_stages.Shards.add, stop))
        with pytest.raises(Killed):
            synthesise.run(chosen, tmp_path / "run")
    report = synthesise.run(chosen, tmp_path / "run")
    assert report["synthesis"]["written"]["asked"] == 30
    asked = Counter((met.body["prompt"], met.body["seed"]) for met in server.met)
    # Two requests may be in flight at each end.
    assert sum(times - 1 for times in asked.values()) <= 4
    assert not [*(tmp_path / "run").rglob("*.journal")]


def test_the_bundled_model_solves_what_a_server_wrote(server, seeds, tmp_path):
    chosen = settings(
        seeds, "--config.count=4", f"--config.writer={server.address}", "--config.policy=tiny",
        "--config.prompt=finetuned", "--config.samples=2", "--config.agree=2", "--config.decode.leaves=2",
        "--config.decode.rows=2", "--config.decode.max_step_tokens=64", "--config.decode.context=384",
    )  # fmt: skip
    report = synthesise.run(chosen, tmp_path / "run")
    kept = report["synthesis"]["problems"]
    assert kept["kept"] + sum(kept["lost"].values()) == 4 and kept["kept"] >= 1
    for line in (tmp_path / "run/problems/problems.jsonl").read_text().splitlines():
        assert json.loads(line)["votes"] >= 2
    assert {met.body["stop"][0] for met in server.met} == {END.strip()}


def test_nothing_written_says_what_to_do(server, seeds, tmp_path):
    server.write = lambda body, k: "I cannot help with that. " * 100
    chosen = settings(seeds, "--config.count=4", f"--config.policy={server.address}")
    with pytest.raises(UserError, match=r"config\.policy: none of 4 texts ended as a problem"):
        synthesise.run(chosen, tmp_path / "run")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["synthesis"]["written"]["lost"] == {"too long": 4}


def test_where_nothing_is_kept_no_run_is_advised(server, seeds, tmp_path, capfd):
    server.write = lambda body, k: f" {SEEDS[0].question}{END}"
    report = synthesise.run(
        settings(seeds, "--config.count=4", f"--config.policy={server.address}"), tmp_path
    )
    assert report["synthesis"]["problems"]["kept"] == 0
    told = "".join(capfd.readouterr())
    assert "There is nothing in" in told and "Runs take them" not in told


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--config.agree=11", "agree"),
        ("--config.count=0", "count"),
        ("--config.verify.task=code", "verify.task"),
    ],
)
def test_nonsense_is_refused(seeds, option, named):
    with pytest.raises(UserError, match=rf"config\.{named}:"):
        settings(seeds, option)


def test_a_prompt_shows_seeds_that_end_as_the_new_problem_is_to_end():
    writing = Writing(MathTask.writing)
    bad = Problem("x", "Is <end_of_problem> a problem?", "1")
    prompt = writing.ask([SEEDS[0], bad])
    assert prompt.count(END) == 2 and f"Problem: {SEEDS[0].question}{END}" in prompt
    assert prompt.endswith("\n\nProblem:") and writing.prompt(prompt, "bootstrap") == prompt
    assert writing.written(f" What\n is it? {END}") == "What is it?"
