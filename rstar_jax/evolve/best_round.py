"""The round whose models are a run's: not the last one, but the one that did best on the held-out problems.

Every round's models stay where they are; this says which ones `solve`, an evaluation of a run, and whoever
reads `report.json`'s `models` are handed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rstar_jax import manifests
from rstar_jax.evaluate import intervals
from rstar_jax.evaluate.outcome import Figure
from rstar_jax.report.sections import BestRound

RULE = (
    "of the rounds that have made both models, the one with the highest share of held-out problems answered "
    "right: with search where all of the evaluated ones were searched with, else by the policy alone; of "
    "equals the later; the last where none is evaluated"
)


class HeldOutShares(NamedTuple):
    """Shares of the held-out problems that a round answered right, 0 to 1; None where it was not measured."""

    policy: float | None
    search: float | None


def choose(rounds: Mapping[int, HeldOutShares | None], problems: int | None = None) -> BestRound | None:
    """Choose by RULE among the rounds that have made both models; None where there is no such round.

    rounds: what each answered, None where it is not evaluated. problems: how many are held out, for the
    intervals.
    """
    if not rounds:
        return None
    last = max(rounds)
    evaluated = {number: shares for number, shares in rounds.items() if shares is not None}
    by_search = {number: s.search for number, s in evaluated.items() if s.search is not None}
    alone = {number: s.policy for number, s in evaluated.items() if s.policy is not None}
    figure, found = ("search", by_search) if len(by_search) == len(evaluated) else ("policy", alone)
    if not found:
        return BestRound(round=last, rule=RULE, last=last)
    best = max(found, key=lambda number: (found[number], number))
    return BestRound(
        round=best,
        rule=RULE,
        figure=figure,
        compared=len(found),
        share=found[best],
        interval=_interval(found[best], problems),
        last=last,
        last_share=found.get(last),
        last_interval=_interval(found.get(last), problems),
    )


def best_round(run: Path) -> BestRound | None:
    """Choose among the rounds in a run's folder.

    Raises Damaged for an evaluation that does not hold what was written: it would change the choice.
    """
    return choose({number: _shares(run / f"round{number}") for number in _made(run)})


def _made(run: Path) -> list[int]:
    """Numbers of the rounds that have made both models."""
    numbers = [int(p.name[5:]) for p in run.glob("round[0-9]*") if p.name[5:].isdecimal()]
    stages = ("policy", "ppm")
    return [n for n in numbers if all((run / f"round{n}" / s / manifests.MANIFEST).is_file() for s in stages)]


def _shares(round: Path) -> HeldOutShares | None:
    path = round / "evaluate" / manifests.MANIFEST
    if not path.is_file():
        return None
    result = manifests.read(path)["result"]
    policy, search = (result.get(name) or {} for name in ("policy_pass1", "search_accuracy"))
    return HeldOutShares(policy.get("all"), search.get("all"))


def _interval(share: float | None, problems: int | None) -> tuple[float, float] | None:
    found: Figure | None = intervals.of_share(share, problems)
    return None if found is None else (found.low, found.high)
