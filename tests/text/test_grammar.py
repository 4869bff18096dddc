"""Step grammars: splitting, programs, outputs, what is refused; boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.text.prompts import PROMPTS
from tests.tasks.sums import SUMS

# A prover's: nothing begins a proof, and what is left to prove is shown behind every step.
PROOF = Grammar(end_step="<by>", end_answer="<qed>", output="<goal>", end_output="</goal>")
GRAMMARS = (CODE_STEPS, SUMS, PROOF)
BODY = st.text(alphabet="abx=+ #\n<>{}\\é", max_size=30)
SOLUTION = (
    "<code>\n# Step 1: sum\na = 8 + 9\n<end_of_step>\n# Now print the final answer\nprint(a)\n<end_of_code>"
    "\n<output>17<end_of_output>\n<answer>It is \\boxed{17}.<end_of_answer>"
)


@pytest.mark.parametrize("grammar", GRAMMARS)
@given(bodies=st.lists(BODY, min_size=1, max_size=4), output=st.none() | BODY, answer=st.none() | BODY)
def test_parse_gives_back_the_steps_rendered(grammar, bodies, output, answer):
    steps = grammar.render(bodies, output=output, answer=answer)
    assert grammar.parse("".join(steps)) == steps
    last = "code" if grammar.end_code else "step"
    ends = ["step"] * (len(bodies) - 1) + [last] + ["answer"] * (answer is not None)
    assert [grammar.finish_of(step) for step in steps] == ends
    code = steps[: len(bodies)]
    assert grammar.program(code) == "\n\n".join(bodies).strip("\n") + "\n"
    shown = "" if output is None else f"\n{grammar.output}{output}{grammar.end_output}"
    assert [grammar.split_tool(step)[1] for step in code] == [""] * (len(bodies) - 1) + [shown]


@given(
    st.text(alphabet="ab\n<>", max_size=20).flatmap(
        lambda t: st.sampled_from([t, SOLUTION[:60] + t, t + SOLUTION])
    )
)
def test_parse_loses_nothing(text):
    assert "".join(CODE_STEPS.parse(text)) == text


def test_parse_of_the_format_of_the_paper():
    steps = CODE_STEPS.parse(SOLUTION)
    assert len(steps) == 3
    assert steps[1].endswith("<output>17<end_of_output>")
    assert steps == CODE_STEPS.render(
        ["# Step 1: sum\na = 8 + 9", "# Now print the final answer\nprint(a)"],
        output="17",
        answer="It is \\boxed{17}.",
    )
    assert CODE_STEPS.program(steps) == "# Step 1: sum\na = 8 + 9\n\n# Now print the final answer\nprint(a)\n"
    assert CODE_STEPS.program(steps[:1]) == "# Step 1: sum\na = 8 + 9\n"


def test_cut_at_the_first_stop():
    assert CODE_STEPS.cut_at_stop("x<end_of_step>\ny<end_of_code>") == ("x<end_of_step>", "step")
    assert CODE_STEPS.cut_at_stop("x<end_of_answer>z") == ("x<end_of_answer>", "answer")
    assert CODE_STEPS.cut_at_stop("x <end_of") == ("x <end_of", "length")


def near(grammar):
    """Texts of delimiters and their beginnings and ends."""
    cut = [part for mark in grammar.delimiters for k in range(1, len(mark)) for part in (mark[:k], mark[k:])]
    return st.lists(st.sampled_from([*grammar.delimiters, *cut, "17", "\n"]), max_size=6).map("".join)


@pytest.mark.parametrize("grammar", GRAMMARS)
@given(data=st.data())
def test_printed_delimiters_cannot_pass_for_steps(grammar, data):
    end = grammar.end_code or grammar.end_step
    step = grammar.with_output(f"\nprint(x)\n{end}", data.draw(near(grammar)))
    assert grammar.parse(f"{step}\n{grammar.answer}1{grammar.end_answer}")[0] == step
    first = f"{grammar.opening}\nx = 1\n{grammar.end_step}"
    assert grammar.program([first, step]) == "x = 1\n\nprint(x)\n"


@pytest.mark.parametrize("grammar", GRAMMARS)
@given(data=st.data())
def test_a_text_from_outside_gives_no_delimiter_whatever_it_is_put_between(grammar, data):
    text = grammar.harmless(data.draw(near(grammar)))
    assert grammar.harmless(text) == text
    before, after = (data.draw(st.sampled_from(grammar.delimiters)) for _ in "12")
    whole = before + text + after
    found = [(i, mark) for mark in grammar.delimiters for i in range(len(whole)) if whole.startswith(mark, i)]
    assert sorted(found) == [(0, before), (len(before + text), after)]


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ({"opening": "<code>"}, "without a stop"),
        ({"end_step": "<>", "output": "<out>"}, "both or none"),
        ({"end_step": "."}, "two characters"),
        ({"end_step": "end of step"}, "no white space"),
        ({"end_step": "<end>", "end_answer": "<end>"}, "each other's text"),
        ({"end_step": "<end>", "end_answer": "<end>!"}, "each other's text"),
        ({"end_step": "[end", "end_answer": "ended]"}, "each other's text"),
        ({"end_step": "---"}, "each other's text"),
    ],
)
def test_delimiters_that_a_text_may_hold_by_chance_are_refused(roles, why):
    with pytest.raises(ValueError, match=why):
        Grammar(**roles)


def test_who_has_the_word_behind_a_stop():
    assert CODE_STEPS.handovers == ("<end_of_code>", "<end_of_answer>")
    assert PROOF.handovers == ("<by>", "<qed>")  # goals are shown behind each step
    assert Grammar(end_step="<by>", end_answer="<qed>").handovers == ("<qed>",)


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
    assert boxed(text) == held


def test_prompts_end_where_a_first_step_begins():
    for prompt in PROMPTS.values():
        text = prompt("How many?")
        assert "How many?" in text and text.rstrip("\n").endswith("with code.")
    shown = PROMPTS["bootstrap"]("Q")
    assert shown.count(CODE_STEPS.end_answer) == 3  # named once, shown twice
