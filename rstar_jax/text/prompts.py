r"""Prompts: the text before a solution's first step, for each kind of policy (`PROMPTS`).

"finetuned" is the released code's prompt for a policy that has learnt the step grammar. "bootstrap" is for a
general model that never saw it: instructions and two worked examples, so that its first rounds write steps
that the interpreter can run (arXiv 2501.04519, section 3.4, round 1). There `<code>` is text and begins a
line: a general model writes it after a line end much more surely than after a full stop. Questions are those
that `Task.prompt` has made harmless.
"""

from __future__ import annotations

from collections.abc import Callable

from rstar_jax.text.grammar import CODE_STEPS

_LEAD = "Let's think step by step and solve the problem with code."

_STEPS = CODE_STEPS
_BETWEEN = f"between {_STEPS.answer} and {_STEPS.end_answer}"
_INSTRUCTIONS = rf"""You solve mathematics problems step by step, in Python that is executed as you write it.

Write one step at a time. A step is a thought, written as a Python comment, followed by the Python that
carries it out.
- Begin the solution with {_STEPS.opening} and end every step but the last with {_STEPS.end_step}.
- Later steps may use the variables of earlier ones. `math`, `fractions`, `itertools`, `sympy` and `numpy` can
  be imported. Prefer exact arithmetic: integers, fractions and sympy rather than floats.
- The last step of the code prints the result and ends with {_STEPS.end_code}.
- What the program prints is then inserted for you, between {_STEPS.output} and {_STEPS.end_output}. Never
  write it yourself.
- After it, write one sentence {_BETWEEN} with the final answer in \boxed{{}}."""

_EXAMPLES = (
    (
        "Terrell usually lifts two 20-pound weights 12 times. If he uses two 15-pound weights instead, how "
        "many times must Terrell lift them in order to lift the same total weight?",
        CODE_STEPS.render(
            (
                "# Step 1: Calculate the total weight lifted with two 20-pound weights\n"
                "total_weight_20 = 2 * 20 * 12",
                "# Step 2: Calculate the weight per repetition with two 15-pound weights\n"
                "weight_per_rep_15 = 2 * 15",
                "# Step 3: Calculate the number of repetitions that give the same total weight\n"
                "reps_needed = total_weight_20 / weight_per_rep_15",
                "# Now print the final answer\nprint(reps_needed)",
            ),
            output="16.0",
            answer=r"Terrell must lift the 15-pound weights \boxed{16} times.",
        ),
    ),
    (
        "Find the value of $x$ that satisfies $\\frac{\\sqrt{3x+5}}{\\sqrt{6x+5}}=\\frac{\\sqrt{5}}{3}$. "
        "Express your answer as a common fraction.",
        CODE_STEPS.render(
            (
                "# Step 1: Square both sides to remove the roots\n"
                "from sympy import Eq, Rational, solve, symbols\n"
                "x = symbols('x')\nequation = Eq((3*x + 5) / (6*x + 5), Rational(5, 9))",
                "# Step 2: Solve the equation for x\nsolutions = solve(equation, x)",
                "# Step 3: Keep the solutions for which both radicands are positive\n"
                "valid = [s for s in solutions if 3*s + 5 > 0 and 6*s + 5 > 0]",
                "# Now print the final answer\nprint(valid[0])",
            ),
            output="20/3",
            answer=r"The value of $x$ is \boxed{\frac{20}{3}}.",
        ),
    ),
)

# For a policy that writes problems and is shown some; each ends with a delimiter of its own.
WRITING = """You write new mathematics problems for students, after the examples of given ones.

- A new problem is like the examples in kind and difficulty, but none of them with other numbers or names.
- It asks for one thing. What it says suffices to find the answer, and there is only one.
- The answer is a number or a short expression; it asks for no proof, drawing or explanation.
- Write the problem alone, without a solution or an answer, and end it as the examples end."""


def finetuned(question: str) -> str:
    """The prompt of the released code for a policy that was fine-tuned on steps."""
    user, assistant = CODE_STEPS.turns
    return f"{user}:\n{question}\n{assistant}: {_LEAD}"


def bootstrap(question: str) -> str:
    """Instructions that describe the grammar and two worked examples, then the question."""
    shown = "\n\n".join(f"Question: {q}\nSolution: {_LEAD}\n{''.join(steps)}" for q, steps in _EXAMPLES)
    return f"{_INSTRUCTIONS}\n\n{shown}\n\nQuestion: {question}\nSolution: {_LEAD}\n"


PROMPTS: dict[str, Callable[[str], str]] = {"finetuned": finetuned, "bootstrap": bootstrap}
