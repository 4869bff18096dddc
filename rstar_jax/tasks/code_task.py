r"""Code generation: the question asks for a function, unit tests say whether it is right.

The policy writes the program in the steps of `code_steps.py`; the one that ends the code completes it and is
the terminal, whose answer is the program's source. `Problem.answer` holds the tests, as JSON:

    {"function": "double", "tests": [[[2], 4], [["ab"], "abab"]]}      each test: [arguments, expected]

The sandbox is given the program and the arguments, never what is expected: it writes down what the calls
return, as JSON, and the comparison is made out here. So a program may lie about what it returned, but not
about whether that is right. Values are compared as JSON knows them: tuples are lists, 1 is 1.0 and not True;
floats to 1e-9 relative or 1e-12. All calls of a problem share one run, and so its limits.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import keyword
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rstar_jax.errors import UserError
from rstar_jax.sandbox import ExecResult
from rstar_jax.tasks import code_steps
from rstar_jax.tasks.task import Program, Role, Task
from rstar_jax.text import prompts
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.types import Grade, Problem, StepVerdict

_RELATIVE, _ABSOLUTE = 1e-9, 1e-12
_INSTRUCTIONS = f"""You write a Python function step by step, in code that is executed as you write it.

Write one step at a time. A step is a thought, written as a Python comment, followed by the Python that
carries it out.
- Begin with {CODE_STEPS.opening} and end every step but the last with {CODE_STEPS.end_step}.
- Later steps may use what earlier ones define. The standard library, sympy and numpy can be imported.
- The last step completes the function asked for. It ends with {CODE_STEPS.end_code}, and nothing follows."""

_EXAMPLE_QUESTION = (
    "Write a function `second_largest(numbers)` that returns the second largest distinct number."
)
_EXAMPLE_STEPS = CODE_STEPS.render(
    (
        "# Step 1: Rank the distinct numbers, the largest first\n"
        "def ranked(numbers):\n    return sorted(set(numbers), reverse=True)",
        "# Step 2: The second of them is the answer\n"
        "def second_largest(numbers):\n    return ranked(numbers)[1]",
    )
)


def bootstrap(question: str) -> str:
    """Instructions that describe the steps and a worked example, then the question."""
    shown = f"Question: {_EXAMPLE_QUESTION}\nSolution:\n{''.join(_EXAMPLE_STEPS)}"
    return f"{_INSTRUCTIONS}\n\n{shown}\n\nQuestion: {question}\nSolution:\n"


@dataclasses.dataclass(frozen=True)
class UnitTests:
    """function: its name. arguments: a list for every call, as JSON. expected: what each call returns."""

    function: str
    arguments: str
    expected: tuple[Any, ...]


class CodeTask(Task):
    """Functions checked by unit tests in the sandbox. `require`, `final`, `read_final` and `same` raise
    UserError for a problem whose answer holds no tests."""

    grammar: ClassVar[Grammar] = CODE_STEPS
    judges: ClassVar[type] = Program

    def frame(self, question: str, role: Role) -> str:
        return bootstrap(question) if role == "bootstrap" else prompts.finetuned(question)

    def require(self, problem: Problem) -> None:
        tests, room = unit_tests(problem), self.output_kb * 1024
        if (size := len(json.dumps(tests.expected))) > room // 2:  # the program may print, too
            raise UserError(
                f"problem {problem.id}: answer: its tests expect {size:,} characters, and verify.output_kb "
                f"leaves {room // 2:,} for them. Give it fewer tests, or raise verify.output_kb."
            )

    def step(self, problem: Problem, steps: tuple[str, ...]) -> StepVerdict | Program:
        return code_steps.program_of(self.grammar, steps)

    def read(self, problem: Problem, steps: tuple[str, ...], result: ExecResult) -> StepVerdict:
        verdict = code_steps.verdict(steps[-1], result)
        if verdict.status != "ok" or self.grammar.finish_of(steps[-1]) != "code":
            return verdict
        return dataclasses.replace(verdict, status="answer", answer=self.grammar.program(steps))

    def final(self, problem: Problem, answer: str) -> Program:
        return _calls(answer, unit_tests(problem))[0]

    def read_final(self, problem: Problem, answer: str, result: ExecResult) -> Grade:
        """Return the grade; "ungraded" if the sandbox lost the program twice."""
        if result.lost:
            return "ungraded"
        tests = unit_tests(problem)
        returned = _read(result, _calls(answer, tests)[1])
        return "right" if returned is not None and equal(returned, list(tests.expected)) else "wrong"

    def same(self, problem: Problem, one: str, other: str, ask: Callable[[Sequence[Any]], list[Any]]) -> bool:
        """Return whether both return the same for all of the tests' arguments. One that fails is like no
        other."""
        calls = [_calls(program, unit_tests(problem)) for program in (one, other)]
        results = ask([program for program, _ in calls])
        ours, theirs = (_read(result, marker) for result, (_, marker) in zip(results, calls, strict=True))
        return ours is not None and theirs is not None and equal(ours, theirs)


@functools.lru_cache(maxsize=1 << 14)
def unit_tests(problem: Problem) -> UnitTests:
    """The tests that a problem's answer holds. Raises UserError naming the problem and what is wrong."""

    def wrong(where: str, value: object, expected: str) -> UserError:
        found = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        return UserError(f"problem {problem.id}: {where}: {found} given, {expected} expected.")

    shape = 'JSON such as {"function": "double", "tests": [[[2], 4]]} (each test: [arguments, expected])'
    try:
        held = json.loads(problem.answer, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise wrong("answer", problem.answer, shape) from None
    if not isinstance(held, dict) or set(held) != {"function", "tests"}:
        raise wrong("answer", problem.answer, shape)
    function, tests = held["function"], held["tests"]
    if not isinstance(function, str) or not function.isidentifier() or keyword.iskeyword(function):
        raise wrong("answer.function", function, "a function's name")
    if not isinstance(tests, list) or not tests:
        raise wrong("answer.tests", tests, "one test or more, each [arguments, expected],")
    for i, test in enumerate(tests):
        if not isinstance(test, list) or len(test) != 2 or not isinstance(test[0], list):
            raise wrong(f"answer.tests[{i}]", test, "[arguments, expected], the arguments in a list,")
    return UnitTests(function, json.dumps([test[0] for test in tests]), tuple(test[1] for test in tests))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# What of numpy, sympy, fractions, decimal and itertools is a number or a list; anything else that is not JSON
# raises, and is wrong.
_PLAIN = """
def __plain(value):
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, dict)):
        raise TypeError("not JSON")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return list(value)
    return int(value) if value == int(value) else number
"""


def _calls(program: str, tests: UnitTests) -> tuple[Program, str]:
    """(the program with the calls behind it, the line before what they returned).

    The line follows from the program, which therefore cannot hold it: what it prints is not taken for ours.
    """
    named = "\0".join((program, tests.function, tests.arguments))
    marker = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()
    code = f"""{program}
import json as __json, sys as __sys
{_PLAIN}
print("\\n{marker}\\n" + __json.dumps(
    [{tests.function}(*__arguments) for __arguments in __json.loads({tests.arguments!r})],
    default=__plain), file=__sys.__stdout__)
"""
    return Program(code), marker


def _read(result: ExecResult, marker: str) -> list[Any] | None:
    _, found, written = result.stdout.rpartition(f"\n{marker}\n")
    if result.status != "ok" or not found:
        return None
    try:
        values = json.loads(written.partition("\n")[0])
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def equal(one: Any, other: Any) -> bool:
    """Return whether two values read from JSON are the same; numbers with a float among them as the head
    says."""
    try:
        return _equal(one, other)
    except RecursionError:  # nested by the thousand, as nobody expects
        return False


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bool | str | None) or isinstance(other, bool | str | None):
        return type(one) is type(other) and one == other
    if isinstance(one, float | int) and isinstance(other, float | int):
        return _close(one, other)
    return False


def _close(one: float, other: float) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    try:
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    except OverflowError:  # a whole number beyond all floats
        return False
