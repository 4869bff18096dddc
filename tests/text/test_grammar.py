"""The step grammar: splitting, programs, outputs and boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.text import grammar
from rstar_jax.text.prompts import PROMPTS

BODY = st.text(alphabet="abx=+ #\n<>{}\\é", max_size=30)
SOLUTION = (
    "<code>\n# Step 1: sum\na = 8 + 9\n<end_of_step>\n# Now print the final answer\nprint(a)\n<end_of_code>"
    "\n<output>17<end_of_output>\n<answer>It is \\boxed{17}.<end_of_answer>"
)


@given(st.lists(BODY, min_size=1, max_size=4), st.none() | BODY, st.none() | BODY)
def test_parse_gives_back_the_steps_rendered(bodies, output, answer):
    steps = grammar.render(bodies, output=output, answer=answer)
    assert grammar.parse("".join(steps)) == steps
    ends = ["step"] * (len(bodies) - 1) + ["code"] + ["answer"] * (answer is not None)
    assert [grammar.finish_of(step) for step in steps] == ends


@given(
    st.text(alphabet="ab\n<>", max_size=20).flatmap(
        lambda t: st.sampled_from([t, SOLUTION[:60] + t, t + SOLUTION])
    )
)
def test_parse_loses_nothing(text):
    assert "".join(grammar.parse(text)) == text


def test_parse_of_the_format_of_the_paper():
    steps = grammar.parse(SOLUTION)
    assert len(steps) == 3
    assert steps[1].endswith("<output>17<end_of_output>")
    assert steps == grammar.render(
        ["# Step 1: sum\na = 8 + 9", "# Now print the final answer\nprint(a)"],
        output="17",
        answer="It is \\boxed{17}.",
    )
    assert grammar.program(steps) == "# Step 1: sum\na = 8 + 9\n\n# Now print the final answer\nprint(a)\n"
    assert grammar.program(steps[:1]) == "# Step 1: sum\na = 8 + 9\n"


def test_cut_at_the_first_stop():
    assert grammar.cut_at_stop("x<end_of_step>\ny<end_of_code>") == ("x<end_of_step>", "step")
    assert grammar.cut_at_stop("x<end_of_answer>z") == ("x<end_of_answer>", "answer")
    assert grammar.cut_at_stop("x <end_of") == ("x <end_of", "length")


@given(st.lists(st.sampled_from([*grammar.SPECIAL_TOKENS, "17", "\n", "<"]), max_size=6).map("".join))
def test_printed_delimiters_cannot_pass_for_steps(printed):
    step = grammar.with_output("\nprint(x)\n<end_of_code>", printed)
    assert grammar.parse(step + "\n<answer>\\boxed{1}<end_of_answer>")[0] == step
    assert grammar.program(["<code>\nx = 1\n<end_of_step>", step]) == "x = 1\n\nprint(x)\n"


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"so \boxed{16} times", "16"),
        (r"\boxed{1} then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed {3}", "3"),
        (r"\boxed{4} and \boxed{5", "4"),
        (r"\boxed{}", ""),
        (r"$x=\boxed{2}$, $y = \boxed{3}$", "x = 2, y = 3"),
        (r"\boxed{2}\text{ and }\boxed{3}", "2, 3"),
        (r"\boxed{2}. Let me check: \boxed{3}", "3"),
        (r"\boxed{2}" + " " * 50_000 + r"\boxed{3}", "3"),
        ("no box { }", None),
        ("\\boxed{" * 5000, None),
    ],
)
def test_last_balanced_box(text, held):
    assert grammar.boxed(text) == held


def test_prompts_end_where_a_first_step_begins():
    for prompt in PROMPTS.values():
        text = prompt("How many?")
        assert "How many?" in text and text.rstrip("\n").endswith("with code.")
    shown = PROMPTS["bootstrap"]("Q")
    assert shown.count(grammar.END_ANSWER) == 3  # named once, shown twice
