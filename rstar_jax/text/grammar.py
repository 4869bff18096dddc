r"""The text of a solution: which delimiters a task's steps have, who writes them, how steps are written and
read with them.

A solution is a list of step texts whose concatenation, after a prompt, is the whole text. Those of
code-augmented chain of thought (arXiv 2501.04519, section 3.2), `CODE_STEPS`, have the delimiters of the
released code (microsoft/rStar, branch rStar-math):

    <code>
    # Step 1: the thought, a Python comment
    total = 2 * 20 * 12
    <end_of_step>
    # Now print the final answer
    print(total)
    <end_of_code>
    <output>480<end_of_output>
    <answer>They lift \boxed{480} pounds.<end_of_answer>

Every step ends with a stop. A step's text starts with the newline that follows the stop before it, and
`<output>...<end_of_output>`, which the interpreter writes and never the policy, belongs to the step that
ended the code. Nothing above `tasks/` knows these names: each task has its `Grammar`, and hands it on.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence

from rstar_jax.types import Finish


@dataclasses.dataclass(frozen=True)
class Grammar:
    """Delimiters by role. A role that a task has no use for is empty.

    opening: what a solution begins with, white space before it aside. One that begins otherwise is sampled no
        further.
    end_step, end_code, end_answer: the stops. One ends a step that others follow, one the last step of what
        is run, one an answer.
    output, end_output: stand around what the interpreter writes behind the step that ended the code; where
        there is no `end_code`, behind any step.
    answer: what an answer begins with.
    turns: marks of who speaks in a prompt. reserved: what a vocabulary has besides, and nobody writes.

    A delimiter has two characters or more and no white space; none stands in another, or begins with what
    another, or itself, ends with. So a space breaks it, and it never comes of two texts that meet. Raises
    ValueError for others, and where there is no stop.
    """

    opening: str = ""
    end_step: str = ""
    end_code: str = ""
    output: str = ""
    end_output: str = ""
    answer: str = ""
    end_answer: str = ""
    turns: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.stops:
            raise ValueError("a grammar without a stop: end_step, end_code or end_answer expected")
        if bool(self.output) != bool(self.end_output):
            raise ValueError(f"output {self.output!r}, end_output {self.end_output!r}: both or none expected")
        for one in self.delimiters:
            if len(one) < 2 or re.search(r"\s", one):
                raise ValueError(f"delimiter {one!r}: two characters or more and no white space expected")
        for i, j in itertools.product(range(len(self.delimiters)), repeat=2):
            one, other = self.delimiters[i], self.delimiters[j]
            meets = any(one.endswith(other[:k]) for k in range(1, len(other)))
            if meets or (i != j and other in one):
                raise ValueError(f"delimiters {one!r} and {other!r} may stand in each other's text")

    @functools.cached_property
    def delimiters(self) -> tuple[str, ...]:
        """All of them, in the order in which a vocabulary is given those that it lacks."""
        roles = self.opening, self.end_step, self.end_code, self.output, self.end_output
        return _some(*roles, self.answer, self.end_answer, *self.turns, *self.reserved)

    @functools.cached_property
    def stops(self) -> dict[str, Finish]:
        """The delimiters that end a step, and what each says of it."""
        found: dict[str, Finish] = {self.end_step: "step", self.end_code: "code", self.end_answer: "answer"}
        return {stop: finish for stop, finish in found.items() if stop}

    @functools.cached_property
    def written(self) -> tuple[str, ...]:
        """Those that the policy writes, and is to learn."""
        return _some(self.opening, self.end_step, self.end_code, self.answer, self.end_answer)

    @functools.cached_property
    def never_sampled(self) -> tuple[str, ...]:
        """Those of the interpreter and of prompts: a policy never writes them."""
        return _some(self.output, self.end_output, *self.turns)

    @functools.cached_property
    def handovers(self) -> tuple[str, ...]:
        """The stops behind which somebody else has the word: the interpreter, or who asked."""
        return tuple(
            stop for stop, finish in self.stops.items() if stop in self._before_output or finish != "step"
        )

    @functools.cached_property
    def _before_output(self) -> tuple[str, ...]:
        """The stops that the interpreter may write behind."""
        return _some(self.end_code) or (tuple(self.stops) if self.output else ())

    @functools.cached_property
    def _stop(self) -> re.Pattern[str]:
        return _any_of(self.stops)

    @functools.cached_property
    def _delimiter(self) -> re.Pattern[str]:
        return _any_of(self.delimiters)

    @functools.cached_property
    def _tool(self) -> re.Pattern[str]:
        if not self.output:
            return re.compile(r"(?!)")  # takes nothing
        # takes "\n<output>480<end_of_output>", not "<output>480"
        return re.compile(rf"\n?{re.escape(self.output)}.*?{re.escape(self.end_output)}", re.DOTALL)

    def finish_of(self, text: str) -> Finish:
        """Return how a step ends; output appended by the interpreter is looked past. "length" where no stop
        ends it."""
        if self.output and text.endswith(self.end_output) and (end := text.rfind(self.output)) > 0:
            text = text[:end]
        body = text.rstrip("\n")
        for stop, finish in self.stops.items():
            if body.endswith(stop):
                return finish
        return "length"

    def body(self, step: str) -> str:
        """A step without the one stop that ends it: another before that is a delimiter inside the step."""
        return step.removesuffix(next((stop for stop in self.stops if step.endswith(stop)), ""))

    def cut_at_stop(self, text: str) -> tuple[str, Finish]:
        """The text up to and including its first stop, for a policy whose vocabulary lacks the stops."""
        stop = self._stop.search(text)
        return (text[: stop.end()], self.stops[stop.group()]) if stop else (text, "length")

    def parse(self, text: str) -> list[str]:
        """Splits a solution (without its prompt) into steps; `"".join` of them is `text` again.

        Text after the last stop, as of a generation cut short, is a last step of its own.
        """
        steps, start = [], 0
        while stop := self._stop.search(text, start):
            end = stop.end()
            if stop.group() in self._before_output and (tool := self._tool.match(text, end)):
                end = tool.end()
            steps.append(text[start:end])
            start = end
        return steps + [text[start:]] if start < len(text) else steps

    def render(
        self, code_steps: Sequence[str], *, output: str | None = None, answer: str | None = None
    ) -> list[str]:
        """Step texts of a solution from its parts.

        code_steps: thought and code of each step, without delimiters; the last one ends the code.
        output: what the program prints, if it was run. answer: the sentence holding the answer, if any.
        """
        last = len(code_steps) - 1
        steps = [
            f"{self.opening if i == 0 else ''}\n{body}\n"
            + (self.end_code if i == last and self.end_code else self.end_step)
            for i, body in enumerate(code_steps)
        ]
        if output is not None:
            steps[-1] = self.with_output(steps[-1], output)
        return [*steps, self.answered(answer)] if answer is not None else steps

    def answered(self, text: str) -> str:
        """The step that states an answer in these words."""
        return f"\n{self.answer}{text}{self.end_answer}"

    def split_tool(self, step: str) -> tuple[str, str]:
        """(what the policy wrote, what the interpreter appended or "")."""
        tool = self._tool.search(step)
        return (step[: tool.start()], step[tool.start() :]) if tool else (step, "")

    def program(self, steps: Sequence[str]) -> str:
        """What the steps have run: from the opening (or the start) to the code's end, step ends removed.

        Thoughts stay, as comments; outputs and answers are left out.
        """
        text = self._tool.sub("", "".join(steps))
        if self.opening and self.opening in text:
            text = text.partition(self.opening)[2]
        ends = [text.find(end) for end in _some(self.end_code, self.answer or self.end_answer) if end in text]
        return text[: min(ends, default=len(text))].replace(self.end_step, "").strip("\n") + "\n"

    def with_output(self, step: str, output: str) -> str:
        """The step with the program's output appended as the interpreter writes it.

        Delimiters that the program printed are broken by a space: output must not pass for the policy's text.
        """
        return f"{step}\n{self.output}{self.harmless(output)}{self.end_output}"

    def harmless(self, text: str) -> str:
        """A text from outside with a space in every delimiter that it holds: `< code>`."""
        return self._delimiter.sub(lambda m: f"{m.group()[0]} {m.group()[1:]}", text)


def _some(*delimiters: str) -> tuple[str, ...]:
    return tuple(filter(None, delimiters))


def _any_of(delimiters: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, delimiters)))


# The refine pair is the released vocabulary's; nothing here writes it.
CODE_STEPS = Grammar(
    opening="<code>",
    end_step="<end_of_step>",
    end_code="<end_of_code>",
    output="<output>",
    end_output="<end_of_output>",
    answer="<answer>",
    end_answer="<end_of_answer>",
    turns=("<|user|>", "<|assistant|>"),
    reserved=("<refine>", "<end_of_refine>"),
)
