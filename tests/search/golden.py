"""Searches stored in the format of the released code's goldens, played back through our search.

The candidates and the PPM's values come from the file; the code of a step is executed here, as the released
code does it, because which steps fail is part of what is compared.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rstar_jax.search import Leaf, SearchConfig
from rstar_jax.types import Candidate, Finish, Grade, Problem, StepVerdict, Tree
from tests.search.scripted import Functions, grow_trees

_TAGS = re.compile(r"<code>|<end_of_step>|<end_of_code>")
_FINISH: dict[str, Finish] = {"<end_of_answer>": "answer", "<end_of_code>": "code"}


def output(code: str) -> str:
    """What a program prints, or its exception."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return printed.getvalue().strip()


class Playback:
    """The functions that a stored search was made with."""

    def __init__(self, stored: dict[str, Any]):
        self.stored, nodes = stored, stored["nodes"]
        self.problem = Problem(
            stored["problem"]["id"], stored["problem"]["question"], stored["problem"]["answer"]
        )
        self.tags = {}
        for tag in nodes:
            parts = tag.split(".")
            way = tuple(nodes[".".join(parts[: i + 1])]["text"] for i in range(1, len(parts)))
            self.tags[way] = tag

    def search(self, rollouts: int | None = None) -> Tree:
        config = self.stored["config"]
        settings = SearchConfig(
            rollouts=rollouts or config["iterations"],
            candidates=config["n_generate_sample"],
            max_depth=config["max_depth"],
            c=config["c_puct"],
            reference_code=True,
        )
        score = self.score if config["need_value_func"] else None
        functions = Functions(self.propose, self.check, self.grade, score)
        return grow_trees([self.problem], functions, settings, round=1, training=config["is_sampling"])[0]

    def propose(self, leaves: Sequence[Leaf]) -> list[list[Candidate]]:
        texts = [self.stored["candidates"][self.tags[leaf.steps]] for leaf in leaves]
        return [
            [Candidate(t, (), 0.0, _FINISH.get(t[t.rfind("<end_of_") :], "step")) for t in of_leaf]
            for of_leaf in texts
        ]

    def check(self, requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
        return [self.verdict(steps) for _, steps in requests]

    def verdict(self, steps: tuple[str, ...]) -> StepVerdict:
        text = steps[-1]
        if "boxed" in text:
            return StepVerdict(text, "answer", answer=re.findall(r"boxed{(.*?)}", text)[-1])
        printed = self.printed(steps)
        if self.errors(steps) >= self.stored["config"]["errors_threshold"]:
            return StepVerdict(text, "exception", detail=printed)
        if text.endswith("<end_of_code>"):
            text = f"{text}\n<output>{printed}<end_of_output>"
        return StepVerdict(text, "ok")

    def printed(self, steps: tuple[str, ...]) -> str:
        code = "".join(steps[:-1]).rpartition("<end_of_output>")[2] + steps[-1]
        return output(_TAGS.sub("", code))

    def errors(self, steps: tuple[str, ...]) -> int:
        """Consecutive steps up to the last whose output shows an error."""
        if not steps or "error" not in self.printed(steps).lower():
            return 0
        return 1 + self.errors(steps[:-1])

    def grade(self, requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return ["right" if answer == problem.answer else "wrong" for problem, answer in requests]

    def score(self, requests: Sequence[tuple[Problem, tuple[str, ...], list[str]]]) -> list[np.ndarray]:
        ppm = self.stored["ppm"]
        return [
            np.array([ppm.get(self.tags[(*steps, text)], 0.0) for text in texts])
            for _, steps, texts in requests
        ]


def tags(tree: Tree) -> list[str]:
    """The position of every node: the root is "0", its third child "0.3"."""
    found = ["0"] * len(tree.nodes)
    for parent, children in enumerate(tree.children()):
        for k, child in enumerate(children, 1):
            found[child] = f"{found[parent]}.{k}"
    return found
