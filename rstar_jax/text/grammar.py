r"""The text of a solution: code-augmented chain of thought (arXiv 2501.04519, section 3.2).

A solution is a list of step texts whose concatenation, after a prompt, is the whole text. Delimiters are
those of the released code (microsoft/rStar, branch rStar-math):

    <code>
    # Step 1: the thought, a Python comment
    total = 2 * 20 * 12
    <end_of_step>
    # Now print the final answer
    print(total)
    <end_of_code>
    <output>480<end_of_output>
    <answer>They lift \boxed{480} pounds.<end_of_answer>

Every step ends with one of `STOPS`. A step's text starts with the newline that follows the stop before it,
and `<output>...<end_of_output>`, which the interpreter writes and never the model, belongs to the step
that ended the code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rstar_jax.types import Finish

CODE = "<code>"
END_STEP = "<end_of_step>"
END_CODE = "<end_of_code>"
OUTPUT = "<output>"
END_OUTPUT = "<end_of_output>"
ANSWER = "<answer>"
END_ANSWER = "<end_of_answer>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
# The released vocabulary has the refine pair too; nothing here writes it.
SPECIAL_TOKENS = (
    CODE,
    END_STEP,
    END_CODE,
    OUTPUT,
    END_OUTPUT,
    ANSWER,
    END_ANSWER,
    USER,
    ASSISTANT,
    "<refine>",
    "<end_of_refine>",
)
STOPS = (END_STEP, END_CODE, END_ANSWER)
FINISH: dict[str, Finish] = {END_STEP: "step", END_CODE: "code", END_ANSWER: "answer"}

_STOP = re.compile("|".join(map(re.escape, STOPS)))
_TOOL = re.compile(rf"\n?{OUTPUT}.*?{END_OUTPUT}", re.DOTALL)
_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
_MARKS = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
# Between two boxes of one answer: `, y = `, ` and `; not `. Let me check: `.
_WORD = r"(?:\\text\s*\{\s*)?(?:and|or)\b,?\s*\}?"
_BETWEEN = re.compile(
    rf"[\s$]*(?:[,;]|\\q?quad|{_WORD})(?:[\s$]|\\[ ,;]|\\q?quad|{_WORD})*"
    r"(?:([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*)?[\s$]*"
)
_NAMED = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*\$?\s*$")


def finish_of(text: str) -> Finish:
    """Return how a step ends; output appended by the interpreter is looked past. "length" where no stop ends
    it."""
    end = text.rfind(OUTPUT)
    body = (text[:end] if end > 0 and text.endswith(END_OUTPUT) else text).rstrip("\n")
    for stop, finish in FINISH.items():
        if body.endswith(stop):
            return finish
    return "length"


def cut_at_stop(text: str) -> tuple[str, Finish]:
    """The text up to and including its first stop, for a policy whose vocabulary lacks the stops."""
    stop = _STOP.search(text)
    return (text[: stop.end()], FINISH[stop.group()]) if stop else (text, "length")


def parse(text: str) -> list[str]:
    """Splits a solution (without its prompt) into steps; `"".join` of them is `text` again.

    Text after the last stop, as of a generation cut short, is a last step of its own.
    """
    steps, start = [], 0
    while stop := _STOP.search(text, start):
        end = stop.end()
        if stop.group() == END_CODE and (tool := _TOOL.match(text, end)):
            end = tool.end()
        steps.append(text[start:end])
        start = end
    return steps + [text[start:]] if start < len(text) else steps


def render(code_steps: Sequence[str], *, output: str | None = None, answer: str | None = None) -> list[str]:
    """Step texts of a solution from its parts.

    code_steps: thought and Python of each step, without delimiters; the last one ends the code.
    output: what the program prints, if it was run. answer: the sentence holding the boxed answer, if any.
    """
    last = len(code_steps) - 1
    steps = [
        f"{CODE if i == 0 else ''}\n{body}\n{END_CODE if i == last else END_STEP}"
        for i, body in enumerate(code_steps)
    ]
    if output is not None:
        steps[-1] = with_output(steps[-1], output)
    return steps + [f"\n{ANSWER}{answer}{END_ANSWER}"] if answer is not None else steps


def split_tool(step: str) -> tuple[str, str]:
    """(what the policy wrote, what the interpreter appended or "")."""
    tool = _TOOL.search(step)
    return (step[: tool.start()], step[tool.start() :]) if tool else (step, "")


def program(steps: Sequence[str]) -> str:
    """The Python of the steps: from `<code>` (or the start) to `<end_of_code>`, step ends removed.

    Thoughts stay, as comments; outputs and answers are left out.
    """
    text = _TOOL.sub("", "".join(steps))
    start = text.find(CODE)
    text = text[start + len(CODE) if start >= 0 else 0 :]
    ends = [end for end in (text.find(END_CODE), text.find(ANSWER)) if end >= 0]
    return text[: min(ends, default=len(text))].replace(END_STEP, "").strip("\n") + "\n"


def with_output(step: str, output: str) -> str:
    """The step with the program's output appended as the interpreter writes it.

    Delimiters that the program printed are broken by a space: output must not pass for the policy's text.
    """
    return f"{step}\n{OUTPUT}{harmless(output)}{END_OUTPUT}"


def harmless(text: str) -> str:
    """A text from outside with a space in every delimiter that it holds: `< code>`."""
    return _SPECIAL.sub(lambda m: "< " + m.group()[1:], text)


def boxed(text: str) -> str | None:
    r"""Return what the last balanced `\boxed{...}` holds, stripped; None if there is none.

    Backslash escapes (`\{`, `\}`) do not count as braces. Of nested boxes the innermost last one counts.
    Boxes with nothing but a separator and a name between them are one answer: `x=\boxed{2}, y=\boxed{3}`
    is `x = 2, y = 3`.
    """
    found: list[tuple[int, int, int]] = []  # where boxes begin, where their contents do and end
    opened: list[tuple[int, int] | None] = []  # the same of every open brace, None if it is no box
    for mark in _MARKS.finditer(text):
        if mark.group() == "{":
            opened.append(None)
        elif mark.group() == "}":
            begun = opened.pop() if opened else None
            if begun is not None:
                found.append((*begun, mark.start()))
        elif mark.group().endswith("{") and mark.group() != "\\{":
            opened.append((mark.start(), mark.end()))
    if not found:
        return None
    found.sort(key=lambda box: box[1])
    start, inner, end = found[-1]
    parts = [text[inner:end].strip()]
    for earlier, content, closed in reversed(found[:-1]):
        between = _BETWEEN.fullmatch(text, closed + 1, start) if start - closed < 60 else None
        if not between:
            break
        parts[0] = _called(between[1], parts[0])
        parts.insert(0, text[content:closed].strip())
        start = earlier
    if len(parts) > 1:
        name = _NAMED.search(text, max(0, start - 40), start)
        parts[0] = _called(name and name[1], parts[0])
    return ", ".join(parts)


def _called(name: str | None, value: str) -> str:
    return f"{name} = {value}" if name else value
