"""Common parts of tasks whose steps are Python: which texts are code steps, and what a run says of one.

Rules of a code step (arXiv 2501.04519, section 3.2; details as in the released code):

- the first step starts with `<code>`; a step ends with a stop; it holds more than delimiters, and none of the
  delimiters of another kind of step. The policy never writes `<output>`. Else it is "malformed".
- it lives if the program of all steps, itself included, runs; else "exception", "timeout", "memory" or
  "output_limit"; "unknown" if the sandbox could not find out.

The grammar of such a task has all of code, end_step, end_code and answer.
"""

from __future__ import annotations

from rstar_jax.sandbox import ExecResult
from rstar_jax.tasks.task import Program
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Status, StepVerdict

# An output that would fill the policy's context is cut: what matters is printed in a line or two.
_MAX_OUTPUT_CHARS = 2000
_STATUS: dict[str, Status] = {
    "ok": "ok",
    "exception": "exception",
    "timeout_cpu": "timeout",
    "timeout_wall": "timeout",
    "memory": "memory",
    "output_limit": "output_limit",
    "signal": "exception",
    "exit": "exception",
}


def form_fault(grammar: Grammar, step: str) -> str:
    """Return why the text is no step of any kind; empty if it is one."""
    if grammar.finish_of(step) == "length":
        return "no stop"
    held = grammar.body(step)
    never = (*grammar.stops, *grammar.never_sampled)
    return "a delimiter inside the step" if any(delimiter in held for delimiter in never) else ""


def code_ended(grammar: Grammar, steps: tuple[str, ...]) -> bool:
    """Return whether one of the steps ends the code."""
    return any(grammar.end_code in step for step in steps)


def code_fault(grammar: Grammar, steps: tuple[str, ...]) -> str:
    """Return why the last step is no code step after those before it; empty if its program can be run."""
    step, before = steps[-1], steps[:-1]
    if why := form_fault(grammar, step):
        return why
    held = grammar.body(step)
    if code_ended(grammar, before):
        return "code after the code's end"
    if grammar.finish_of(step) == "answer" or grammar.answer in held:
        return "answer before the code's end"
    if not before and not held.lstrip().startswith(grammar.opening):
        return f"no {grammar.opening}"
    if held.count(grammar.opening) != (0 if before else 1):
        return "a delimiter inside the step"
    return "" if held.replace(grammar.opening, "").strip() else "empty"


def program_of(grammar: Grammar, steps: tuple[str, ...]) -> StepVerdict | Program:
    """Return the program up to the last step, or that it is no code step."""
    why = code_fault(grammar, steps)
    return StepVerdict(steps[-1], "malformed", detail=why) if why else Program(grammar.program(steps))


def after_code_fault(grammar: Grammar, step: str) -> str:
    r"""Return why the text is no step after the code's end; empty for an answer in a `\boxed{}`, or a
    thought."""
    if why := form_fault(grammar, step):
        return why
    held, finish = grammar.body(step), grammar.finish_of(step)
    if finish == "code" or grammar.opening in held:
        return "code after the code's end"
    if finish == "step" and grammar.answer not in held:
        return "" if held.strip() else "empty"
    if finish != "answer" or held.count(grammar.answer) != 1 or not held.lstrip().startswith(grammar.answer):
        return "no answer delimiters"
    return "" if boxed(held) else "no boxed answer"


def verdict(step: str, result: ExecResult) -> StepVerdict:
    """Judge a step by a run of the program up to it; its text is left as it is."""
    if result.lost:
        return StepVerdict(step, "unknown", detail="lost", cpu_s=result.cpu_s)
    status = _STATUS[result.status]
    if status == "ok":
        return StepVerdict(step, "ok", observation=shown(result.stdout), cpu_s=result.cpu_s)
    what = f"{result.exception}: {result.message}" if result.message else result.exception
    why = result.exception or result.status
    return StepVerdict(step, status, detail=why, observation=what or why, cpu_s=result.cpu_s)


def shown(stdout: str) -> str:
    """An output as the policy sees it: stripped, and cut where it is long."""
    text = stdout.strip()
    return text if len(text) <= _MAX_OUTPUT_CHARS else text[:_MAX_OUTPUT_CHARS] + "..."
