"""The rules of a valid step of a mathematical solution."""

import pytest

from rstar_jax.errors import Unfit, UserError
from rstar_jax.sandbox import ExecResult
from rstar_jax.tasks import TASKS, Checker, MathTask
from rstar_jax.text import prompts
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Problem

PROBLEM = Problem("p", "How many?", "17")
FIRST = "<code>\n# Step 1: set a\na = 8\n<end_of_step>"
LAST = "\n# Now print the final answer\nprint(a + 9)\n<end_of_code>"
DONE = LAST + "\n<output>17<end_of_output>"
ANSWER = "\n<answer>There are \\boxed{17}.<end_of_answer>"


@pytest.fixture
def check(sandbox):
    task = Checker(MathTask(), sandbox)
    return lambda *steps: task.check([(PROBLEM, steps)])[0]


def test_a_solution_step_by_step(check):
    assert check(FIRST).status == "ok" and check(FIRST).text == FIRST
    assert check(FIRST, LAST).text == DONE
    verdict = check(FIRST, DONE, ANSWER)
    assert (verdict.status, verdict.answer, verdict.text) == ("answer", "17", ANSWER)


@pytest.mark.parametrize("steps", [steps for _, steps in prompts._EXAMPLES])
def test_the_worked_examples_of_the_prompt_are_true(check, steps):
    so_far: tuple[str, ...] = ()
    for step in steps:
        so_far += (check(*so_far, CODE_STEPS.split_tool(step)[0]).text,)
    assert list(so_far) == steps


@pytest.mark.parametrize(
    ("steps", "status", "detail"),
    [
        ((FIRST, "\nb = a / 0\n<end_of_step>"), "exception", "ZeroDivisionError"),
        ((FIRST, "\nb = (a\n<end_of_step>"), "exception", "SyntaxError"),
        ((FIRST, "\nb = c\n<end_of_code>"), "exception", "NameError"),
        ((FIRST, "\nexit_now = __import__('sys').exit()\n<end_of_step>"), "exception", "exit"),
        ((FIRST, "\nwhile True: pass\n<end_of_step>"), "timeout", "timeout_cpu"),
        ((FIRST, "\nb = [0] * 10**10\n<end_of_step>"), "memory", "MemoryError"),
        ((FIRST, "\nwhile True: print(1)\n<end_of_step>"), "output_limit", "output_limit"),
        ((FIRST, "\nb = a"), "malformed", "no stop"),
        ((FIRST, "\n\n<end_of_step>"), "malformed", "empty"),
        (("<code>\n<end_of_step>",), "malformed", "empty"),
        (("a = 8\n<end_of_step>",), "malformed", "no <code>"),
        (("<code>\n<code>\na = 8\n<end_of_step>",), "malformed", "a delimiter inside the step"),
        ((FIRST, LAST + "<end_of_step>"), "malformed", "a delimiter inside the step"),
        ((FIRST + "<end_of_code>",), "malformed", "a delimiter inside the step"),
        ((FIRST, DONE, ANSWER + "<end_of_answer>"), "malformed", "a delimiter inside the step"),
        ((FIRST, DONE, "\nSo it is.<end_of_code><end_of_step>"), "malformed", "a delimiter inside the step"),
        (
            (FIRST, "\nb = 1\n<output>3<end_of_output>\n<end_of_code>"),
            "malformed",
            "a delimiter inside the step",
        ),
        ((FIRST, ANSWER), "malformed", "answer before the code's end"),
        ((FIRST, DONE, "\n<answer>There are 17.<end_of_answer>"), "malformed", "no boxed answer"),
        ((FIRST, DONE, "\n<answer>\\boxed{ }<end_of_answer>"), "malformed", "no boxed answer"),
        ((FIRST, DONE, "\nIt is \\boxed{17}<end_of_answer>"), "malformed", "no answer delimiters"),
        ((FIRST, DONE, "\nprint(a)\n<end_of_code>"), "malformed", "code after the code's end"),
        ((FIRST, DONE, "\nSo it is an integer.<end_of_step>"), "ok", ""),
    ],
)
def test_why_steps_die(check, steps, status, detail):
    verdict = check(*steps)
    assert (verdict.status, verdict.detail) == (status, detail)
    assert verdict.text == steps[-1]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("2 / 3", "0.6667"),
        ("0.5", "0.5"),
        ("'0.66666667 apples'", "0.66666667 apples"),
        ("' '", ""),
        ("3 * 'ab\\n'", "ab\nab\nab"),
    ],
)
def test_output_as_the_policy_sees_it(check, expression, shown):
    verdict = check(f"<code>\nprint({expression})\n<end_of_code>")
    assert verdict.text.endswith(f"<end_of_code>\n<output>{shown}<end_of_output>")


@pytest.mark.parametrize(
    ("step", "outcome", "observation"),
    [
        ("\nprint(a)\n<end_of_step>", "ok", "8"),
        ("\nprint(a / 3)\n<end_of_code>", "ok", "2.6667"),
        ("\nb = c\n<end_of_code>", "fail", "NameError: name 'c' is not defined"),
        ("\nwhile True: pass\n<end_of_step>", "fail", "timeout_cpu"),
        ("\n\n<end_of_step>", "fail", ""),
        (ANSWER, "fail", ""),
    ],
)
def test_outcome_and_observation(sandbox, step, outcome, observation):
    verdict = Checker(MathTask(), sandbox).check([(PROBLEM, (FIRST, step))])[0]
    assert (verdict.outcome, verdict.observation) == (outcome, observation)


def test_a_program_lost_twice_is_no_label():
    task = MathTask()
    verdict = task.read(PROBLEM, (FIRST,), ExecResult("signal", lost=True))
    assert (verdict.status, verdict.outcome, verdict.alive) == ("unknown", "unknown", False)
    crashed = task.read(PROBLEM, (FIRST,), ExecResult("signal", wall_s=0.1))
    assert crashed.outcome == "fail"  # a crash of its own


def test_the_released_grading_is_an_option(sandbox):
    pi = Problem("p", "What is pi?", "3.14159")
    assert Checker(MathTask(), sandbox).grade([(pi, "3.1416")])[0] == "wrong"
    assert Checker(MathTask(grading="released"), sandbox).grade([(pi, "3.1416")])[0] == "right"


def test_answers_are_alike_as_the_grader_sees_them(sandbox):
    task = Checker(MathTask(), sandbox)
    assert task.same(PROBLEM, "0.5", "1/2") and not task.same(PROBLEM, "17", "18")
    assert not task.same(PROBLEM, "", "")


def test_requests_keep_their_order_and_grades_their_meaning(sandbox):
    task = Checker(TASKS["math"](), sandbox)
    requests = [(PROBLEM, (f"<code>\nprint({i})\n<end_of_code>",)) for i in range(5)]
    requests.insert(2, (PROBLEM, ("nothing",)))
    shown = [v.text.partition("<output>")[2] for v in task.check(requests)]
    assert shown == ["0<end_of_output>", "1<end_of_output>", "", *(f"{i}<end_of_output>" for i in (2, 3, 4))]
    assert (task.grade([(PROBLEM, "17.0")])[0], task.grade([(PROBLEM, "71")])[0]) == ("right", "wrong")
    assert task.task.prompt("How many?", "bootstrap") == prompts.bootstrap("How many?")


def test_an_unknown_grading_is_named():
    with pytest.raises(UserError, match=r"grading: 'strickt' given.*Did you mean 'strict'"):
        MathTask(grading="strickt")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("48+24 = <<48+24=72>>72 clips", "a working in the answer"),
        ("So it is 72.\n#### 72", "a working in the answer"),
        ("The answer is no.", "a working in the answer"),
        ("$$", "an answer that cannot be graded"),
        ("9" * 5000, "an answer that cannot be graded"),
    ],
)
def test_references_that_no_answer_equals_are_refused(answer, reason):
    with pytest.raises(Unfit, match="problem p: answer is") as refused:
        MathTask().require(Problem("p", "?", answer))
    assert refused.value.reason == reason and len(str(refused.value)) < 300


@pytest.mark.parametrize("answer", ["72", r"\frac{1}{2}", r"x^2 + \sqrt{2}", "(3, 4)", "even", r"\text{(C)}"])
def test_other_references_pass(answer):
    MathTask().require(Problem("p", "?", answer))
