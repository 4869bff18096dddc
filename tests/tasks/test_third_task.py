"""A third task with prompts of its own: searched, trained, valued and shown with them."""

import dataclasses
from collections import defaultdict

import pytest
from transformers import AutoTokenizer

from rstar_jax.evolve import rounds
from rstar_jax.evolve.settings import VerifySettings
from rstar_jax.tasks import TASKS, MathTask
from rstar_jax.text.tokenizer import Tokenizer
from tests.evolve.small_runs import small

SAID: dict[str, set[str]] = defaultdict(set)


class Sums(MathTask):
    """Asks a policy that was trained on it, and a PPM, in words of its own."""

    def prompt(self, question, role):
        SAID[role].add(question)
        if role == "bootstrap":  # as the bundled base knows it, or it would solve nothing
            return super().prompt(question, "finetuned")
        return f"Sum ({role}): {question} Answer:"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "sums", Sums)
        settings = small("--config.rounds=(1,)", "--config.search.prompt=bootstrap")
        settings = dataclasses.replace(settings, verify=dataclasses.replace(settings.verify, task="sums"))
        assert isinstance(settings.verify, VerifySettings)
        trained: list[list[int]] = []
        encode = Tokenizer.encode_solution

        def encoded(self, prompt, *steps):
            trained.append(self.encode_prompt(prompt))
            return encode(self, prompt, *steps)

        patch.setattr(Tokenizer, "encode_solution", encoded)
        report = rounds.run(settings, folder)
    return folder, report, trained


def test_each_role_is_asked_in_the_tasks_own_words(made):
    report = made[1]
    assert SAID.keys() == {"bootstrap", "finetuned", "ppm"}
    assert report["rounds"][0]["sft_rows"] > 0 and report["rounds"][0]["search_accuracy"] is not None


def test_what_a_policy_learns_begins_with_the_prompt_that_it_is_asked_with(made):
    folder, _, trained = made
    tokenizer = Tokenizer.load(folder / "round1/policy/model")
    texts = {tokenizer.decode(ids) for ids in trained}
    assert texts and all(text.startswith(("Sum (finetuned): ", "Sum (ppm): ")) for text in texts)


def test_a_saved_policy_shows_its_users_the_same_prompt(made):
    folder = made[0] / "round1/policy/model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert "Sum (finetuned): " in tokenizer.chat_template and " Answer:" in tokenizer.chat_template
    assert "Sum (finetuned)" in (folder / "README.md").read_text()
