"""Worked solutions of the suite, clean or with the flaws of a weak model: what the tiny base learns from.

Three kinds of flaw, drawn anew at every step so that each path of right steps keeps some probability:
habits (a wrong formula or a forgotten step, always the same ones in a family, in many families likelier
than the right step), crashes (code that does not run) and slips (a wrong number copied).
"""

from __future__ import annotations

import dataclasses
import random
import re

from rstar_jax.errors import UserError
from rstar_jax.problems.family import Instance, Split
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.settings import nearest
from rstar_jax.text.grammar import CODE_STEPS

# Per family, how often each step that has habits falls for one.
HABITS: dict[str, tuple[float, ...]] = {
    "shop": (0.20, 0.15),
    "share": (0.15, 0.20),
    "change": (0.20, 0.85),
    "trip": (0.80, 0.20),
    "weekday": (0.85,),
    "ages": (0.20, 0.20),
    "tank": (0.35, 0.80),
    "fence": (0.30, 0.15),
    "slices": (0.35,),
    "linear": (0.15, 0.15, 0.10),
    "percent": (0.35, 0.80),
    "tiles": (0.80, 0.35),
    "series": (0.80, 0.35, 0.20),
    "box": (0.20, 0.80, 0.10),
    "heads": (0.80, 0.80, 0.20),
    "mean": (0.10, 0.10, 0.20),
    "work": (0.85, 0.85, 0.35),
    "midpoint": (0.80, 0.35, 0.20),
    "power": (0.35, 0.35, 0.80, 0.70, 0.35),
    "multiples": (0.80, 0.80, 0.35),
    "vieta": (0.15, 0.45, 0.80),
    "remainders": (0.20, 0.20, 0.80, 0.80, 0.20),
    "recurrence": (0.35, 0.80, 0.80, 0.20),
    "committee": (0.20, 0.80, 0.80, 0.80),
    "divisors": (0.80, 0.80, 0.35, 0.80, 0.20),
    "telescope": (0.20, 0.20, 0.10),
    "calendar": (0.20, 0.80, 0.30),
}
# Where a step has several habits, the share of the first; the others divide what is left.
_FIRST_HABIT = 0.85
_NUMBER = re.compile(r"(?<![\w.])\d+(?!\w)")


@dataclasses.dataclass(frozen=True)
class FlawRates:
    """Rates at which steps of a worked solution are flawed.

    habits: (family, probability for each step that has habits, in order) for every family.
    tilt: what a question's phrasing multiplies the odds of the right step with, by phrasing.
    crash: probability per step that its code does not run, by level. slip: probability per step that its
        code has a wrong number, by level.
    """

    habits: tuple[tuple[str, tuple[float, ...]], ...] = tuple(HABITS.items())
    tilt: tuple[float, ...] = (1.4, 1.0, 0.7)
    crash: tuple[float, float, float] = (0.015, 0.02, 0.02)
    slip: tuple[float, float, float] = (0.005, 0.005, 0.005)

    def __post_init__(self) -> None:
        for name, rates in self.habits:
            if name not in FAMILIES:
                raise UserError(f"flaws.habits: no family '{name}'. {nearest(name, FAMILIES)}")
            steps = sum(1 for step in FAMILIES[name].steps if step.habits)
            if len(rates) != steps:
                raise UserError(
                    f"flaws.habits: {len(rates)} rates for '{name}', {steps} expected, one a step."
                )
        missing = FAMILIES.keys() - dict(self.habits).keys()
        if missing:
            raise UserError(
                f"flaws.habits: no rates for {', '.join(sorted(missing))}. Give every family its own."
            )
        rates = [rate for _, family in self.habits for rate in family] + [*self.crash, *self.slip]
        if not all(0 <= rate <= 1 for rate in rates):
            raise UserError(f"flaws: {max(rates, key=abs)} given, probabilities from 0 to 1 expected.")
        if len(self.tilt) < max(len(family.phrasings) for family in FAMILIES.values()):
            raise UserError(f"flaws.tilt: {len(self.tilt)} values given, one for each phrasing expected.")


def clean_solution(instance: Instance) -> list[str]:
    """The step texts of the right solution, output and boxed answer included."""
    family = FAMILIES[instance.family]
    written = [(step.thought, step.code.format(**instance.params)) for step in family.steps]
    return finished(written, family.result)[0]


def sample_solution(
    family: str, rng: random.Random, rates: FlawRates, *, split: Split = "train"
) -> tuple[str, list[str], bool]:
    """A random instance of a family with a solution of the given flaw rates: (question, steps, right).

    Output and answer are what the flawed program really prints. Where a step's program does not run, that
    step is the last one.
    """
    kind = FAMILIES[family]
    instance = kind.instance(rng, split)
    habit_rates = iter(dict(rates.habits)[family])
    tilt = rates.tilt[instance.phrasing]
    numbers = [str(value) for value in instance.params.values() if isinstance(value, int)]
    written: list[tuple[str, str]] = []
    for step in kind.steps:
        template = step.code
        if step.habits:
            wrong = next(habit_rates)
            if rng.random() < wrong / (wrong + (1 - wrong) * tilt):
                template = _habit(step.habits, rng)
                if not template:
                    continue
        code = template.format(**instance.params)
        if rng.random() < rates.slip[kind.level - 1]:
            code = slip(code, numbers, rng)
        if rng.random() < rates.crash[kind.level - 1]:
            code = _crash(code, rng)
        written.append((step.thought, code))
    steps, answer = finished(written, kind.result)
    return instance.question, steps, answer == instance.answer


def _habit(habits: tuple[str, ...], rng: random.Random) -> str:
    if len(habits) == 1 or rng.random() < _FIRST_HABIT:
        return habits[0]
    return rng.choice(habits[1:])


def slip(code: str, numbers: list[str], rng: random.Random) -> str:
    """The code with one of its numbers replaced by another number of the problem, where it has one."""
    matches = list(_NUMBER.finditer(code))
    if not matches:
        return code
    match = rng.choice(matches)
    number = rng.choice([n for n in numbers if n != match.group()] or [match.group() + "0"])
    return code[: match.start()] + number + code[match.end() :]


def _crash(code: str, rng: random.Random) -> str:
    """The code so that it does not run: an unknown name for a number, or an expression left open."""
    match = _NUMBER.search(code)
    if match and rng.random() < 0.5:
        return code[: match.start()] + "n" + code[match.end() :]
    return code + " +"


def finished(written: list[tuple[str, str]], result: str) -> tuple[list[str], str | None]:
    """Step texts of thoughts and codes with output and answer, cut after the step that fails; and the answer,
    None if the program does not run."""
    bodies = [f"# Step {i}: {thought}\n{code}" for i, (thought, code) in enumerate(written, start=1)]
    bodies.append(f"# Now print the final answer\nprint({result})")
    output, ran = _run_own_code([code for _, code in written] + [f"print({result})"])
    if output is None:
        # The last body may be the failing one; every earlier step ends as a step.
        return CODE_STEPS.render(bodies + ["pass"])[: ran + 1], None
    return CODE_STEPS.render(bodies, output=output, answer=f"The answer is \\boxed{{{output}}}"), output


def _run_own_code(codes: list[str]) -> tuple[str | None, int]:
    """(what the program prints, steps run); (None, index of the failing step) if one raises.

    Runs in this process: for this module's own code only, never for a model's.
    """
    printed: list[str] = []
    names: dict[str, object] = {"print": lambda value: printed.append(str(value))}
    for i, code in enumerate(codes):
        try:
            exec(code, names)
        except Exception:
            return None, i
    return "\n".join(printed), len(codes)
