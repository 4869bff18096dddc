"""A third task: its own prompts, delimiters and rules, and a base that speaks them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rstar_jax.tasks.task import Pair, Program, Task
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.types import StepVerdict
from rstar_jax.weights import TINY_BASE

# Fewer than those of code steps, and with what patterns, Jinja and f-strings give a meaning. An answer begins
# with a word that is no delimiter.
SUMS = Grammar(
    opening="[work]",
    end_step="(next)",
    end_code="[run]",
    output="{saw:",
    end_output="^saw}",
    end_answer="[done]",
    turns=("$asker", "$solver"),
)
SO = "So: "
# What the bundled base learnt to write, and what it is to mean here.
MEANINGS = {
    **{getattr(CODE_STEPS, role): getattr(SUMS, role) for role in ("opening", "end_step", "end_code")},
    **{getattr(CODE_STEPS, role): getattr(SUMS, role) for role in ("output", "end_output", "end_answer")},
    **dict(zip(CODE_STEPS.turns, SUMS.turns, strict=True)),
    CODE_STEPS.answer: SO,
}


class Sums(Task):
    """Steps are Python; when it has run, a boxed answer follows."""

    grammar = SUMS

    def frame(self, question, role):
        if role == "bootstrap":  # as the bundled base knows it, or it would solve nothing
            asker, solver = self.grammar.turns
            lead = "Let's think step by step and solve the problem with code."
            return f"{asker}:\n{question}\n{solver}: {lead}"
        return f"Sum ({role}): {question} Answer:"

    def step(self, problem, steps):
        *before, step = steps
        kind, ran = self.grammar.finish_of(step), any(SUMS.end_code in earlier for earlier in before)
        if kind == "length" or ran != (kind == "answer"):
            return StepVerdict(step, "malformed", detail="out of turn")
        return StepVerdict(step, "answer", answer=boxed(step)) if ran else Program(SUMS.program(steps))

    def read(self, problem, steps, result):
        step, output = steps[-1], result.stdout.strip()
        if result.status != "ok":
            return StepVerdict(step, "exception", detail=result.exception or result.status)
        shown = self.grammar.finish_of(step) == "code"
        return StepVerdict(SUMS.with_output(step, output) if shown else step, "ok", observation=output)

    def final(self, problem, answer):
        return Pair(answer, problem.answer)

    def read_final(self, problem, answer, result):
        return result

    def same(self, problem, one, other, ask):
        return ask([Pair(one, other)]) == ["right"]


def base(folder: Path) -> Path:
    """The bundled base, in whose vocabulary each delimiter of code steps is called by its name in SUMS."""
    shutil.copytree(TINY_BASE, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["content"] = MEANINGS.get(token["content"], token["content"])
        token["special"] = token["content"] != SO
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {MEANINGS.get(token, token): i for token, i in vocab.items()}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder
