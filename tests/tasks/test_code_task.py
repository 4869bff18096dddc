"""The second task: functions checked by unit tests, through the same seam as mathematics."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.curate import CurateConfig, curate
from rstar_jax.errors import UserError
from rstar_jax.sandbox import ExecResult
from rstar_jax.search import SearchConfig, votes
from rstar_jax.tasks import TASKS, Checker, CodeTask, code_task
from rstar_jax.types import Candidate, Node, Problem, Tree
from tests.search.scripted import Functions, grow_trees
from tests.tasks.code_problems import CODES

DOUBLE = Problem("p", "Write `double(x)`.", '{"function": "double", "tests": [[[2], 4], [["ab"], "abab"]]}')
FIRST = "<code>\n# Step 1: a helper\ndef twice(x):\n    return x + x\n<end_of_step>"
LAST = "\n# Step 2: the function\ndef double(x):\n    return twice(x)\n<end_of_code>"


@pytest.fixture
def task(sandbox):
    return Checker(TASKS["code"](), sandbox)


def grade(task, source, *tests):
    """The grade of a program for function f, given [arguments, expected] of each test."""
    return task.grade([(Problem("p", "", json.dumps({"function": "f", "tests": tests})), source)])[0]


def returning(task, expression, expected):
    return grade(task, f"def f():\n    return {expression}\n", [[], expected])


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_solutions_meet_tests_that_were_computed_another_way(task, code):
    task.task.require(code.problem)
    for i in range(1, len(code.steps)):
        assert task.check([(code.problem, code.steps[:i])])[0].status == "ok"
    verdict = task.check([(code.problem, code.steps)])[0]
    assert verdict.status == "answer" and verdict.outcome == "ok" and verdict.text == code.steps[-1]
    assert task.grade([(code.problem, verdict.answer)])[0] == "right"
    nothing = f"def {code.name}(*_):\n    return 'nothing'\n"
    assert task.grade([(code.problem, nothing)])[0] == "wrong"
    assert not task.same(code.problem, verdict.answer, nothing)


@pytest.mark.parametrize(
    ("expression", "expected", "verdict"),
    [
        ("True", 1, "wrong"),
        ("1", True, "wrong"),
        ("False", 0, "wrong"),
        ("0", None, "wrong"),
        ("'1'", 1, "wrong"),
        ("1.0", 1, "right"),
        ("(1, (2, 3))", [1, [2, 3]], "right"),
        ("[1]", 1, "wrong"),
        ("[1, 2]", [1], "wrong"),
        ("{'a': 1.0}", {"a": 1}, "right"),
        ("{'a': 1, 'b': 2}", {"a": 1}, "wrong"),
        ("{1, 2}", [1, 2], "wrong"),
        ("0.1 + 0.2", 0.3, "right"),
        ("0.300000001", 0.3, "wrong"),
        ("10**20", 10**20, "right"),
        ("10**20 + 1", 10**20, "wrong"),
        ("10**400", 1.5, "wrong"),
        ("float('inf')", 1e308, "wrong"),
        ("float('nan')", None, "wrong"),
        ("__import__('numpy').float64(2) * __import__('numpy').array([1, 2])", [2, 4], "right"),
        ("eval('[' * 50 + ']' * 50)", [], "wrong"),
        ("'\\ud800'", "\ud800", "right"),
    ],
)
def test_values_are_those_of_json(task, expression, expected, verdict):
    assert returning(task, expression, expected) == verdict


def values(*leaves):
    return st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=2), *leaves),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=3),
        max_leaves=8,
    )


@given(values(st.floats(allow_nan=False)))
def test_a_value_is_equal_to_itself(value):
    assert code_task.equal(value, json.loads(json.dumps(value)))
    assert not code_task.equal(value, [value])


@given(values(), values())
def test_without_floats_equal_values_have_one_text(one, other):
    texts = [json.dumps(value, sort_keys=True) for value in (one, other)]
    assert code_task.equal(one, other) == code_task.equal(other, one) == (texts[0] == texts[1])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "f = 3\n",
        "def f(x):\n    1 / 0\n",
        "def f(x):\n    return {x}\n",
        "def f(x):\n    while True: pass\n",
        "def f(x):\n    import os\n    os._exit(0)\n",
        "def f(x):\n    raise SystemExit\n",
        "import sys\nprint('[4]')\nsys.exit()\n",
        "def f(x):\n    print('[4]')\n",
        "import atexit\natexit.register(print, '[4]')\ndef f(x):\n    return 5\n",
        "def f(x):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x\n",
        "class Four(int):\n    __eq__ = lambda self, other: True\ndef f(x):\n    return Four(5)\n",
        "class Any(dict):\n    __eq__ = lambda self, other: True\ndef f(x):\n    return Any()\n",
    ],
)
def test_no_program_makes_itself_right(task, source):
    assert grade(task, source, [[2], 4]) == "wrong"


def test_what_is_expected_never_enters_the_sandbox():
    task, ran = CodeTask(), []
    tests = json.dumps({"function": "f", "tests": [[["given"], "expected-9173"]]})
    ran.append(task.final(Problem("p", "", tests), "def f(x):\n    return x\n"))
    assert not task.same(DOUBLE, "a", "b", lambda codes: ran.extend(codes) or [ExecResult("ok")] * len(codes))
    assert "given" in ran[0] and not any("9173" in code or "abab" in code for code in ran) and len(ran) == 3


def test_arguments_are_not_shared_between_calls(task):
    source = "def f(x):\n    x.append(1)\n    return x\n"
    assert grade(task, source, [[[]], [1]], [[[]], [1]]) == "right"


def test_printing_does_no_harm(task):
    assert grade(task, "print('start')\ndef f(x):\n    print(x, end='')\n    return x\n", [[2], 2]) == "right"


def test_many_answers_keep_their_order(task):
    right, wrong = "def double(x):\n    return 2 * x\n", "def double(x):\n    return 3 * x\n"
    answers = [right, wrong, "def", right]
    assert task.grade([(DOUBLE, a) for a in answers]) == ["right", "wrong", "wrong", "right"]


def test_answers_are_alike_if_they_return_the_same(task):
    one, two = "def double(x):\n    return 2 * x\n", "def double(y):\n    return y + y\n"
    number = "def double(x):\n    return x + 2\n"
    fails = "def double(x):\n    return x['a']\n"
    assert task.same(DOUBLE, one, two) and not task.same(DOUBLE, one, number)
    assert not task.same(DOUBLE, fails, fails + "\n\n")  # failures are no class of answers


def test_a_program_lost_twice_is_no_label():
    task, lost = CodeTask(), ExecResult("signal", lost=True)
    verdict = task.read(DOUBLE, (FIRST,), lost)
    assert (verdict.status, verdict.outcome, verdict.alive) == ("unknown", "unknown", False)
    assert task.read_final(DOUBLE, "def double(x): return 2 * x", lost) == "ungraded"
    assert not task.same(DOUBLE, "a", "b", lambda codes: [lost] * len(codes))


@pytest.mark.parametrize(
    ("steps", "detail"),
    [
        (("def double(x): return x\n<end_of_code>",), "no <code>"),
        ((FIRST, "\n<answer>\\boxed{4}<end_of_answer>"), "answer before the code's end"),
        ((FIRST, LAST, "\nx = 1\n<end_of_step>"), "code after the code's end"),
        ((FIRST, "\nx = 1"), "no stop"),
        ((FIRST, "\n<end_of_code>"), "empty"),
    ],
)
def test_malformed_steps(task, steps, detail):
    verdict = task.check([(DOUBLE, steps)])[0]
    assert (verdict.status, verdict.outcome, verdict.detail) == ("malformed", "fail", detail)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("17", r"problem p: answer: '17' given, JSON such as"),
        ("{", r"answer: '{' given, JSON"),
        ('{"function": "f"}', r'answer: .* given, JSON such as {"function"'),
        ('{"function": "f", "tests": [[[1], NaN]]}', r"answer: .* given, JSON"),
        ('{"function": "f g", "tests": [[[1], 1]]}', r"answer.function: 'f g' given, a function's name"),
        ('{"function": "def", "tests": [[[1], 1]]}', r"answer.function: 'def' given"),
        ('{"function": 3, "tests": [[[1], 1]]}', r"answer.function: 3 given"),
        ('{"function": "f", "tests": []}', r"answer.tests: \[\] given, one test or more"),
        ('{"function": "f", "tests": [[[1], 1], [1, 1]]}', r"answer.tests\[1\]: \[1, 1\] given"),
        ('{"function": "f", "tests": [[[1], "%s"]]}' % ("x" * 9000), "verify.output_kb leaves 4,096"),
    ],
)
def test_problems_without_sound_tests_are_named(answer, message):
    with pytest.raises(UserError, match=message):
        CodeTask(output_kb=8).require(Problem("p", "", answer))


def test_prompts():
    task = CodeTask()
    for role in ("finetuned", "ppm"):
        assert task.prompt(DOUBLE.question, role).startswith("<|user|>:\nWrite `double(x)`.")
    assert "second_largest" in task.prompt(DOUBLE.question, "bootstrap")
    with pytest.raises(UserError, match="grading: 'released' given, one of strict expected"):
        CodeTask(grading="released")


def test_the_worked_example_of_the_prompt_is_true(task):
    tests = json.dumps({"function": "second_largest", "tests": [[[[3, 1, 3, 2]], 2], [[[5, 4]], 4]]})
    problem = Problem("p", "", tests)
    steps = tuple(code_task._EXAMPLE_STEPS)
    assert task.check([(problem, steps[:1])])[0].status == "ok"
    assert task.grade([(problem, task.check([(problem, steps)])[0].answer)])[0] == "right"


CHOICES = {  # by the number of steps before
    0: ("\n# Without a start\n<end_of_step>", FIRST, "<code>\nhelper = 1 / 0\n<end_of_step>"),
    1: (
        LAST,
        "\n# Another way\nfactor = 2\n<end_of_step>",
        "\n# A wrong way\ndef double(x):\n    return x\n<end_of_code>",
        "\n# A wrong start\nfactor = 3\n<end_of_step>",
    ),
    2: ("\ndef double(x):\n    return factor * x\n<end_of_code>",),
}


def propose(leaves):
    return [
        [
            Candidate(text, (1,), -1.0, "code" if text.endswith("<end_of_code>") else "step")
            for text in CHOICES[len(leaf.steps)][: leaf.n]
        ]
        for leaf in leaves
    ]


def test_a_search_and_its_curation_need_no_other_code_than_mathematics(task):
    functions = Functions(propose, task.check, task.grade)
    config = SearchConfig(rollouts=8, candidates=4)
    (tree,) = grow_trees([DOUBLE], functions, config, round=1, training=True)
    grades = {tree.steps(i): n.grade for i, n in enumerate(tree.nodes) if n.status == "answer"}
    found = curate([tree], CurateConfig(), 1)
    assert grades[FIRST, LAST] == "right" and "wrong" in grades.values()
    assert all(node.grade in ("right", "wrong", None) for node in tree.nodes)
    assert {n.status for n in tree.nodes} == {"ok", "answer", "malformed", "exception"}
    assert (FIRST, LAST) in [row.steps for row in found.sft]
    assert {(p.positive[-1], p.negative[-1]) for p in found.pairs if not p.final} == {
        (LAST, CHOICES[1][3]),
        (CHOICES[1][1], CHOICES[1][3]),
    }
    ungraded = dataclasses.replace(functions, grade=lambda requests: ["ungraded"] * len(requests))
    (unsure,) = grow_trees([DOUBLE], ungraded, config, round=1, training=True)
    assert not curate([unsure], CurateConfig(), 1).pairs


def test_votes_count_answers_that_do_the_same(task):
    answers = ["return x", "return 2 * x", "return x + x", "return x['a']"]
    nodes = [Node(-1, "", "ok", 0, 4, 0.0)]
    nodes += [Node(0, a, "answer", 1, 1, 0.0, answer=f"def double(x):\n    {a}\n") for a in answers]
    same = functools.partial(task.same, DOUBLE)
    found = votes.final_answer(Tree(DOUBLE, 1, 0, 4, tuple(nodes)), "majority", equal=same)
    assert found == nodes[2].answer


@pytest.mark.parametrize(
    ("returned", "expected", "grade"),
    [
        ("__import__('sympy').Integer(4)", 4, "right"),
        ("__import__('sympy').sqrt(4)", 2, "right"),
        ("__import__('fractions').Fraction(1, 4)", 0.25, "right"),
        ("range(3)", [0, 1, 2], "right"),
        ("map(abs, [-1, 2])", [1, 2], "right"),
        ("0.1 + 0.2 - 0.3", 0.0, "right"),
        ("{1, 2}", [1, 2], "wrong"),
        ("True", 1, "wrong"),
        ("object()", [], "wrong"),
    ],
)
def test_values_that_are_numbers_or_lists_in_python(task, returned, expected, grade):
    problem = Problem("p", "f", json.dumps({"function": "f", "tests": [[[], expected]]}))
    assert task.grade([(problem, f"def f():\n    return {returned}")])[0] == grade
