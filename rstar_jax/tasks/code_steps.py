"""Common parts of tasks whose steps are Python: which texts are code steps, and what a run says of one.

Rules of a code step (arXiv 2501.04519, section 3.2; details as in the released code):

- the first step starts with `<code>`; a step ends with a stop; it holds more than delimiters, and none of the
  delimiters of another kind of step. The policy never writes `<output>`. Else it is "malformed".
- it lives if the program of all steps, itself included, runs; else "exception", "timeout", "memory" or
  "output_limit"; "unknown" if the sandbox could not find out.
"""

from __future__ import annotations

from rstar_jax.sandbox import ExecResult
from rstar_jax.text import grammar
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


def body(step: str) -> str:
    """A step without the one stop that ends it: another before that is a delimiter inside the step."""
    stop = next((stop for stop in grammar.STOPS if step.endswith(stop)), "")
    return step.removesuffix(stop)


def form_fault(step: str) -> str:
    """Return why the text is no step of any kind; empty if it is one."""
    if grammar.finish_of(step) == "length":
        return "no stop"
    held = body(step)
    never = (*grammar.STOPS, grammar.OUTPUT, grammar.END_OUTPUT, grammar.USER, grammar.ASSISTANT)
    return "a delimiter inside the step" if any(delimiter in held for delimiter in never) else ""


def code_ended(steps: tuple[str, ...]) -> bool:
    """Return whether one of the steps ends the code."""
    return any(grammar.END_CODE in step for step in steps)


def code_fault(steps: tuple[str, ...]) -> str:
    """Return why the last step is no code step after those before it; empty if its program can be run."""
    step, before = steps[-1], steps[:-1]
    if why := form_fault(step):
        return why
    held = body(step)
    if code_ended(before):
        return "code after the code's end"
    if grammar.finish_of(step) == "answer" or grammar.ANSWER in held:
        return "answer before the code's end"
    if not before and not held.lstrip().startswith(grammar.CODE):
        return f"no {grammar.CODE}"
    if held.count(grammar.CODE) != (0 if before else 1):
        return "a delimiter inside the step"
    return "" if held.replace(grammar.CODE, "").strip() else "empty"


def after_code_fault(step: str) -> str:
    r"""Return why the text is no step after the code's end; empty for an answer in a `\boxed{}`, or a
    thought."""
    if why := form_fault(step):
        return why
    held, finish = body(step), grammar.finish_of(step)
    if finish == "code" or grammar.CODE in held:
        return "code after the code's end"
    if finish == "step" and grammar.ANSWER not in held:
        return "" if held.strip() else "empty"
    if finish != "answer" or held.count(grammar.ANSWER) != 1 or not held.lstrip().startswith(grammar.ANSWER):
        return "no answer delimiters"
    return "" if grammar.boxed(held) else "no boxed answer"


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
