"""Sizes of solutions known before a search: of those that this folder's rounds found, else of the suite's."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_jax import manifests, records
from rstar_jax.data.row_file import RowFile
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.reward_models import SFT
from rstar_jax.evolve.settings import at_round
from rstar_jax.plan.texts import FRESH, SAMPLE, Solutions
from rstar_jax.problems.references import reference_solutions
from rstar_jax.types import SftRow

# Of the suite's problems (docs/RUNS.md, "Estimates"): right solutions that are learnt of a solved one,
# and expansions, after which nearly all that the tiny policy writes stands in the tree.
SUITE_ROWS, SUITE_MOST = 1.2, 9.0
_SATURATED = 0.9  # of the expansions that its rollouts would take: a tree of fewer has no more ways


def known(context: Context, upto: int | None = None) -> Solutions | None:
    """Return what the last round that is curated found, up to a round; before any the sizes of the suite's
    own solutions; None of problems of other sources."""
    some = [context.train[i] for i in range(min(SAMPLE, len(context.train)))]
    written = reference_solutions(some, seed=context.settings.problems.seed, split="train")
    for number in sorted((r for r in _curated(context) if upto is None or r <= upto), reverse=True):
        if found := _of_round(context, number, of_suite=bool(written)):
            return found
    if not written:
        return None
    steps, step = _sizes(context, list(written.values()))
    return Solutions(step, steps, SUITE_ROWS, SUITE_MOST)


def _curated(context: Context) -> list[int]:
    """Rounds of this folder that are curated."""
    found = context.work.root.glob(f"round*/curate/{manifests.MANIFEST}")
    return [int(name[5:]) for path in found if (name := path.parent.parent.name)[5:].isdecimal()]


def _of_round(context: Context, number: int, *, of_suite: bool) -> Solutions | None:
    """Sizes of what a round found; None where it found no solution or its files are damaged."""
    try:
        curated = manifests.read(context.folder(number, "curate") / manifests.MANIFEST)["result"]
        searched = manifests.read(context.folder(number, "search") / manifests.MANIFEST)["result"]
        rows = RowFile(context.folder(number, "curate") / SFT, SftRow)
        some = rows.sample(SAMPLE)
    except (records.Damaged, OSError):  # whoever needs them says so
        return None
    problems, share = searched["problems"], curated["coverage"].get("all")
    if not some or not share or not curated["steps"]:
        return None
    steps, _ = _sizes(context, [row.steps for row in some])
    step = curated["tokens"] / curated["steps"]
    candidates = at_round(context.settings.search.candidates, number)
    expansions = (searched["tokens"] or 0) / step / candidates / problems
    fresh = at_round(context.settings.search.rollouts, number) * steps * FRESH
    ends = expansions < _SATURATED * fresh
    most = max(expansions, SUITE_MOST) if of_suite else expansions if ends else 0.0
    return Solutions(step, steps, len(rows) / (share * problems), most, share)


def _sizes(context: Context, solutions: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Mean steps of solutions, and tokens of a step as a policy writes it."""
    tokenizer = context.tokenizer(context.base)
    if context.settings.policy.delimiters == "tokens":
        tokenizer.add_special_tokens()
    steps = [tokenizer.grammar.split_tool(step)[0] for solution in solutions for step in solution]
    tokens = sum(len(tokenizer.encode_steps((step,))) for step in steps)
    return len(steps) / len(solutions), tokens / len(steps)
