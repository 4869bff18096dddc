"""One question's search as text: every step as it is accepted, and the answer with what supports it.

An expansion is a line that says which steps it extends, by their numbers, and under it the candidates that
stand, each with a number of its own:

    -- after 1 > 4, depth 3: 2 of 4 candidates stand, 1 NameError
       9  ppm +0.61  # Now print the final answer | print(total) => 480

"dropped" are repeats and further answers in an expansion. Plain ASCII but for what the policy wrote, the same
on a terminal and in a pipe, each line flushed at once. Characters that steer a terminal are written out.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TextIO

from rstar_jax.report.answer import Answer, votes_text, written
from rstar_jax.report.events import Begin, End
from rstar_jax.search.contract import Leaf
from rstar_jax.search.expand import alive
from rstar_jax.search.votes import Class
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Node, Problem

WHY = {
    "rollouts": "ended",
    "exhausted": "had nothing left to expand",
    "tokens": "had spent its tokens",
    "seconds": "had spent its time",
    "vote": "was settled",
    "stopped": "was stopped",
}
_PIPE = 110  # columns where there is no terminal
_MOST_OUTPUT = 40  # columns of what a step printed, in its one line


class Transcript:
    """Prints to `out`. show: "brief", a line for each accepted step; "full", all that it holds; "answer",
    what was found in the end alone. grammar: of the steps. seconds: since the start. ahead: called before
    anything is printed."""

    def __init__(
        self,
        out: TextIO,
        show: str,
        grammar: Grammar,
        seconds: Callable[[], float],
        ahead: Callable[[], None] = lambda: None,
    ):
        self._out, self._show, self._grammar, self._seconds = out, show, grammar, seconds
        self._ahead = ahead
        self._width = max(60, shutil.get_terminal_size((_PIPE, 24)).columns if out.isatty() else _PIPE)
        self._numbers: dict[tuple[int, tuple[str, ...]], int] = {}
        self._leader: tuple[str, int] | None = None

    def say(self, text: str = "") -> None:
        """Print lines that the output can hold, at once."""
        self._ahead()
        code = self._out.encoding or "utf-8"
        print(shown(text).encode(code, "backslashreplace").decode(code), file=self._out, flush=True)

    def begins(self, begin: Begin) -> None:
        """Tell what is asked, of whom."""
        if self._show != "answer":
            self.say(f"policy: {begin.policy}\nppm: {begin.ppm or 'none'}")
            self.say(f"search: {begin.search['strategy']}\nquestion: {begin.question}\n")

    def ends(self, end: End) -> None:
        """Say nothing: of one question all is told."""

    def expanded(self, leaf: Leaf, children: Sequence[Node]) -> None:
        """A leaf and its children, failed ones included."""
        if self._show == "answer":
            return
        standing = [node for node in children if alive(node)]
        fates = Counter(node.detail or node.status for node in children if not alive(node))
        fates["dropped"] = leaf.n - len(children)  # repeats, further answers
        place = (
            f"after {self._path_numbers(leaf.tree_index, leaf.steps)}" if leaf.steps else "from the question"
        )
        causes = "".join(f", {n} {cause}" for cause, n in fates.items() if n)
        self.say(
            f"-- {place}, depth {len(leaf.steps) + 1}: {len(standing)} of {leaf.n} "
            f"candidate{'s' if leaf.n > 1 else ''} stand{'s' if leaf.n == 1 else ''}{causes}"
        )
        for node in standing:
            self._step(leaf, node)

    def _step(self, leaf: Leaf, node: Node) -> None:
        name = (leaf.tree_index, (*leaf.steps, node.text))
        again = " (again)" if name in self._numbers else ""
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        value = "" if node.ppm is None else f"ppm {node.ppm:+.2f}  "
        kind = f"answer {node.answer}: " if node.status == "answer" else ""
        lines, output = written(node.text, self._grammar), node.observation
        head = f"{number:>5}  {value}{kind}"
        if self._show == "full":
            self.say(f"{head}{again}".rstrip())
            for line in (*lines, *(f"=> {line}" for line in output.splitlines())):
                self.say(f"       {line}")
            return
        shown_output = f" => {_cut(_one_line(output.splitlines()), _MOST_OUTPUT)}" if output else ""
        shown_output += again
        self.say(head + _cut(_one_line(lines), self._width - len(head) - len(shown_output)) + shown_output)

    def _path_numbers(self, tree: int, steps: tuple[str, ...]) -> str:
        """The numbers of the steps of a path; one that was never shown is a question mark."""
        numbers = (self._numbers.get((tree, steps[: i + 1]), "?") for i in range(len(steps)))
        return " > ".join(map(str, numbers))

    def leads(self, problem: Problem, classes: Sequence[Class]) -> None:
        """The answer so far, where it or its support has changed."""
        del problem
        now = (classes[0].answer, classes[0].count) if classes else None
        if now is None or now == self._leader or self._show == "answer":
            return
        self._leader = now
        total = sum(of.count for of in classes)
        self.say(f"== {self._seconds():.1f} s: {now[0]} leads, {votes_text(now[1], total)}")

    def concludes(self, found: Answer) -> None:
        """The answer, its support and its program; or what became of the steps."""
        spent = (
            f"search: {WHY[found.ended]} after {found.rollouts} rollout{'s'[: found.rollouts != 1]}, "
            f"{found.seconds:.1f} s, {found.tokens:,} tokens; {found.standing} of {found.steps} steps stand"
        )
        self.say()
        if found.ended == "stopped" and not found.steps:
            self.say("no answer: stopped before the first step.")
            return
        if found.answer is None:
            causes = ", ".join(f"{n} {cause}" for cause, n in found.failures.items()) or "none failed"
            self.say(f"no answer: no trajectory ended in one. What became of the other steps: {causes}.")
            self.say(spent)
            return
        self.say(f"answer: {found.answer}")
        if found.warning:
            self.say(f"a weak answer: {found.warning}")
        runner_up = f"; next: {found.next_answer} with {found.next_votes}" if found.next_votes else ""
        self.say(f"votes: {votes_text(found.votes, found.trajectories)}{runner_up}")
        if found.ppm is not None:
            values = " > ".join("-" if v is None else f"{v:+.2f}" for v in found.ppm)
            weight = f"weight {found.weight:.2f} of {found.weights:.2f}"
            self.say(f"ppm: {values}, step by step in its best trajectory; {weight}")
        if found.grade is not None:
            self.say(f"the answer that came with the question: this one is {found.grade}")
        self.say(spent)
        self.say("\nthe program, run as it stands:\n")
        self.say(found.program)
        self.say("what it printed:\n")
        self.say(found.output or "(nothing)")
        self.say("\nwhat the policy made of it:\n")
        self.say(found.written)


def shown(text: str) -> str:
    """The text with every character that is no print, newline or tab written out."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _one_line(lines: Sequence[str]) -> str:
    return shown(" | ".join(line.strip() for line in lines))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 3, 1)] + "..."
