"""A first round whose policy is behind a server, killed and gone on with; and what is refused before it."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import subprocess
import sys
import time

import pytest

from rstar_jax import parquet
from rstar_jax.errors import UserError
from rstar_jax.evolve import rounds
from rstar_jax.evolve.announce import by_stage
from rstar_jax.problems.suite import instances
from rstar_jax.report.tables import render
from rstar_jax.served import parse
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import SftRow, Tree
from tests.evolve.small_runs import SMALL, small
from tests.served.server import Body, Server

STAGES = ("--config.rounds=(1,)", "--config.stages=search,curate,policy", "--config.search.prompt=bootstrap")
OPTIONS = (
    *STAGES,
    "--config.decode.context=2048",
    "--config.train.policy.seq_len=256",
    "--config.served.slots=2",
)


def policy(problems: int):
    """A policy that knows the suite's answers; every second candidate for the last step is wrong."""
    known = {
        problem.question: [
            *CODE_STEPS.render((f"# Step 1: Work it out\nx = {problem.answer}", "# Now print it\nprint(x)")),
            CODE_STEPS.answered(rf"It is \boxed{{{problem.answer}}}."),
        ]
        for problem in instances(problems, seed=0, split="train")
    }

    def write(body: Body, k: int) -> str:
        question, _, rest = body["prompt"].rpartition("\n\nQuestion: ")[2].partition("\nSolution: ")
        step = known[question][len(CODE_STEPS.parse(rest.partition("\n")[2]))]
        return step if k % 2 == 0 or "boxed" not in step else CODE_STEPS.answered(r"It is \boxed{-77}.")

    return write


@pytest.fixture
def server():
    made = Server(policy(12))

    async def behave(_):
        await asyncio.sleep(0.02)

    made.behave = behave
    with made.running():
        yield made


def test_a_killed_round_asks_the_server_for_nothing_that_it_answered(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    chosen = [*OPTIONS, f"--config.policy.bootstrap={server.address}"]
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=quickstart", *SMALL, *chosen]
    process = subprocess.Popen([*command, f"--workdir={tmp_path}"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while sum(met.ended is not None for met in server.met) < 30 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.1)  # what was in flight comes to its end
    before = len(server.met)
    assert any(path.stat().st_size for path in (tmp_path / "round1/search/answers").iterdir())

    report = rounds.run(small(*chosen), tmp_path)
    asked = collections.Counter((met.body["prompt"], met.body["seed"]) for met in server.met)
    assert sum(times - 1 for times in asked.values()) <= 2  # in flight when it was killed
    (search,) = [stage for stage in report["stages"] if stage["name"] == "round1/search"]
    served = search["served"]
    assert served["requests"] == len(server.met) - before and served["known"] > 0
    assert 0 < served["tokens_out"] < search["tokens"] and served["slots"] == 2  # those known count there
    assert f"requests to model at {server.address[:-6]}" in render(report)

    assert report["rounds"][0]["coverage"]["all"] == 1.0
    rows = parquet.read_rows(tmp_path / "round1/curate/sft.parquet", SftRow)
    assert len({row.problem_id for row in rows}) == 12
    assert all(not ids for row in rows for ids in row.token_ids)
    trees = [t for p in (tmp_path / "round1/search").glob("*.parquet") for t in parquet.read_rows(p, Tree)]
    kept = sum(node.tokens for tree in trees for node in tree.nodes)
    assert sum(tree.tokens for tree in trees) > kept > 0  # repeats are dropped
    assert all(node.logprob == -0.5 * node.tokens for tree in trees for node in tree.nodes)
    assert report["rounds"][0]["policy_training"]["steps"] > 0  # by texts, without ids
    assert not list(tmp_path.rglob("answers"))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"very-secret" in held for held in files)

    met = len(server.met)  # its search done, it needs no server: the same model may be anywhere
    elsewhere = server.address.replace("127.0.0.1", "localhost").replace("http:", "https:")
    again = rounds.run(small(*OPTIONS, f"--config.policy.bootstrap={elsewhere}"), tmp_path)
    assert again["rounds"] == report["rounds"] and len(server.met) == met
    with pytest.raises(UserError, match=r"made with other options:\s+config.policy.bootstrap"):
        rounds.run(small(*OPTIONS, f"--config.policy.bootstrap={server.address}-chat"), tmp_path)


def test_answers_are_kept_of_the_trees_under_way_alone(server, tmp_path, monkeypatch):
    monkeypatch.setattr("rstar_jax.served.journal.SEGMENT_BYTES", 1)  # each answer is a segment
    kept, folder = list[int](), tmp_path / "round1/search/answers"

    async def look(_):
        kept.append(len(list(folder.iterdir())))

    server.behave = look
    chosen = (*OPTIONS, "--config.stages=search", "--config.search.batch=2")
    rounds.run(small(*chosen, f"--config.policy.bootstrap={server.address}"), tmp_path)
    a_tree = len(kept) // 12
    assert a_tree > 2 and max(kept) <= 3 * a_tree + 1  # two grow, one ends, and the newest segment
    assert not folder.exists()


def test_a_server_without_the_model_is_refused(server, tmp_path):
    with pytest.raises(UserError, match=r"config.policy.bootstrap: model 'mode' .* Did you mean 'model'"):
        rounds.run(small(*OPTIONS, f"--config.policy.bootstrap={server.address[:-1]}"), tmp_path)
    assert not server.met


def test_a_server_that_is_not_there_is_refused(tmp_path):
    nobody = Server(lambda body, k: "")
    with nobody.running():
        pass
    with pytest.raises(UserError, match=r"config.policy.bootstrap: http://.*cannot be reached.*Start the"):
        rounds.run(small(*OPTIONS, f"--config.policy.bootstrap={nobody.address}"), tmp_path)


def test_a_served_policy_is_searched_with_without_a_ppm():
    with pytest.raises(UserError, match=r"config\.search\.ppm: .*Begin with False"):
        small("--config.policy.bootstrap=http://h/v1#m", "--config.policy.ppm=x", "--config.search.ppm=True")


def test_estimates_count_no_weights_of_a_served_policy():
    from tests.plan.test_plan import MACHINE, PROMPTS, settings
    from tests.plan.test_plan import SMALL as BASE

    address = parse("http://h/v1#m", "x")
    served = by_stage(settings(), (BASE, address), PROMPTS, MACHINE, 200, 50)
    local = by_stage(settings(), (BASE, BASE), PROMPTS, MACHINE, 200, 50)
    first = served["round1/search"]
    assert (first["memory_mb"], first["hours"], first["parts"]) == (0, None, {})
    assert first["tokens"] == local["round1/search"]["tokens"]
    del served["round1/search"], local["round1/search"]
    assert served == local
