"""A third task with prompts and delimiters of its own: searched, run, trained, valued, evaluated, shown with
them, by code that knows neither."""

import dataclasses
import json
from collections import defaultdict

import pytest
from transformers import AutoTokenizer

from rstar_jax import launch, parquet
from rstar_jax.evolve import rounds
from rstar_jax.problems.suite import generate
from rstar_jax.settings import from_config
from rstar_jax.solve import ask
from rstar_jax.solve.settings import SolveSettings
from rstar_jax.tasks import TASKS
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import SftRow, Tree
from tests.evolve.small_runs import small
from tests.tasks.sums import SO, SUMS, Sums, base

SAID: dict[str, set[str]] = defaultdict(set)


class Told(Sums):
    """Remembers whom it was asked to frame questions for."""

    def frame(self, question, role):
        SAID[role].add(question)
        return super().frame(question, role)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "sums", Told)
        settings = small(
            "--config.rounds=(1,)",
            "--config.search.prompt=bootstrap",
            "--config.evaluate.strategy=mcts",  # likely steps: so weak a base answers nothing by chance
            "--config.evaluate.temperature=0.3",
            f"--config.policy.init={base(tmp_path_factory.mktemp('base') / 'model')}",
        )
        settings = dataclasses.replace(settings, verify=dataclasses.replace(settings.verify, task="sums"))
        trained: list[list[int]] = []
        encode = Tokenizer.encode_solution

        def encoded(self, prompt, *steps):
            trained.append(self.encode_prompt(prompt))
            return encode(self, prompt, *steps)

        patch.setattr(Tokenizer, "encode_solution", encoded)
        report = rounds.run(settings, folder)
    return folder, report, trained


def test_each_role_is_asked_in_the_tasks_own_words(made):
    assert SAID.keys() == {"bootstrap", "finetuned", "ppm"}


def test_a_round_searches_solves_learns_and_evaluates(made):
    folder, report, _ = made
    (round,) = report["rounds"]
    assert round["sft_rows"] > 0 and round["pairs"] > 0
    assert 0 < round["search_accuracy"] <= 1 and 0 <= round["policy_pass1"] <= 1
    assert {SUMS.opening, SUMS.end_code, SUMS.end_answer} <= round["policy_training"]["delimiters"].keys()
    for kind, paths in ((SftRow, "round1/curate/sft.parquet"), (Tree, "round1/*/trees-*.parquet")):
        assert [row for path in folder.glob(paths) for row in parquet.read_rows(path, kind)]


def test_trees_and_rows_hold_the_tasks_delimiters_alone(made):
    folder = made[0]
    trees = [
        tree for path in folder.glob("round1/*/trees-*.parquet") for tree in parquet.read_rows(path, Tree)
    ]
    rows = parquet.read_rows(folder / "round1/curate/sft.parquet", SftRow)
    texts = [node.text for tree in trees for node in tree.nodes] + ["".join(row.steps) for row in rows]
    assert not [text for text in texts if any(mark in text for mark in CODE_STEPS.delimiters)]
    for row in rows:
        assert list(row.steps) == SUMS.parse("".join(row.steps))
        assert row.steps[0].startswith(SUMS.opening) and SUMS.output in row.steps[-2]
        assert row.steps[-1].startswith(f"\n{SO}") and row.steps[-1].endswith(SUMS.end_answer)


def test_what_a_policy_learns_begins_with_the_prompt_that_it_is_asked_with(made):
    folder, _, trained = made
    tokenizer = Tokenizer.load(folder / "round1/policy/model", SUMS)
    texts = {tokenizer.decode(ids) for ids in trained}
    assert texts and all(text.startswith(("Sum (finetuned): ", "Sum (ppm): ")) for text in texts)


def test_a_saved_policy_shows_its_users_the_same_prompt_and_delimiters(made):
    folder = made[0] / "round1/policy/model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert "Sum (finetuned): " in tokenizer.chat_template and " Answer:" in tokenizer.chat_template
    card = (folder / "README.md").read_text()
    assert "Sum (finetuned)" in card and "`(next)`, `[run]`, `[done]`" in card
    assert not any(mark in card for mark in CODE_STEPS.delimiters)
    for snippet in card.split("```python\n")[1:]:
        compile(snippet.split("```")[0], "card", "exec")
    stops = json.loads((folder / "generation_config.json").read_text())["stop_strings"]
    assert stops == [SUMS.end_code, SUMS.end_answer]


def test_a_question_is_solved_and_told_without_delimiters(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(TASKS, "sums", Sums)
    question = generate(1, seed=3, split="heldout")[0].question
    options = {"policy": base(tmp_path / "base"), "ppm": made[0] / "round1/ppm/model", "prompt": "bootstrap"}
    options |= {"show": "full", "search.rollouts": 8, "decode.leaves": 2}
    flags = [f"--config.{name}={value}" for name, value in options.items()]
    settings = from_config(SolveSettings, launch.override(launch.load("solve").get_config(), flags).to_dict())
    verify = dataclasses.replace(settings.verify, task="sums")
    code = ask.run(dataclasses.replace(settings, verify=verify, question=question), tmp_path)
    told = capsys.readouterr().out
    assert code == 0 and "the program, run as it stands:" in told and "print(" in told
    assert not any(mark in told for mark in (*SUMS.delimiters, *CODE_STEPS.delimiters))
