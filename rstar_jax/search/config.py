"""Every option of a search."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.errors import UserError
from rstar_jax.search.rules import REFERENCE_RULES
from rstar_jax.search.uct import UNVISITED
from rstar_jax.search.votes import SCORES, VOTES
from rstar_jax.settings import nearest
from rstar_jax.types import HOTTEST, MOST_CANDIDATES

_TREES = ("mcts", "mcts_repeated")  # strategies that search by UCT
_BEAMS = ("beam", "dvts")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """One search of each problem.

    strategy: the name of a way to search, a row of `strategies.STRATEGIES`: mcts, beam, sample and others.
    rollouts: how many a tree has; whole trajectories where the strategy samples these ("sample",
        "best_of_n").
    candidates: steps proposed at an expansion. temperature: at which steps are sampled; 0: the likeliest.
    max_depth: most steps of a trajectory. batch: problems searched at a time.

    UCT. c: weight of the exploration bonus. unvisited: what a child without visits is worth, a row of
        `uct.UNVISITED`. first_visit: whether the PPM's value of a new step counts as a visit, as q(s)^0; else
        it only stands for Q before the first. drop_repeats: whether candidates of equal text count once.
        reference_code: whether the rules of the authors' released code hold where they differ
        (`search/rules.py`). reference_rules: some of these rules by name, the others as in the paper.
    parallel_leaves: how many rollouts of a tree go on at a time. virtual_loss: what each rollout under way
        takes from the steps on its way, so that the others go elsewhere.

    More where it is needed, while answers are graded. escalation: larger totals of rollouts that a tree
        without a right answer goes on to, one after the other, as "16, then 64, then 128" of arXiv
        2501.04519, section 3.4. escalation_candidates: `candidates` on the way to each total of `escalation`.
        by_difficulty: instead of `escalation`, the totals of rollouts of a problem whose answers are all
        right after `rollouts` (easy), some (medium) or none (hard).

    Beams. beam_width: beams of a step beam search, or of each subtree of "dvts". subtrees: of "dvts", each
        with beams of its own.
    searches: independent tree searches of a problem ("mcts_repeated"), each gives its best trajectory.

    Answers. scores: what the PPM's values of its steps make a trajectory worth, a row of `votes.SCORES`; for
        "orm" the answer alone is read, by an outcome reward model that was trained elsewhere. vote: how
        trajectories choose the answer, a row of `votes.VOTES`. top_k: only so many trajectories that the PPM
        likes best vote; 0, or without PPM values: all.

    Budgets of each problem. max_tokens: most tokens that the policy writes, the expansions under way being
        the last; 0: no limit. max_seconds: most seconds of the clock, after which expansions under way are
        dropped, but for a tree's first; 0: no limit. Those in which programs are compiled do not count. All
        trees in flight share the engine: what a second buys depends on `batch`.
        early_stop: whether a search ends once no further answer can change the vote.
    """

    strategy: str = "mcts"
    rollouts: int = 16
    escalation: tuple[int, ...] = ()
    candidates: int = 8
    max_depth: int = 16
    temperature: float = 1.0
    c: float = 2.0
    batch: int = 256
    unvisited: Literal["value", "first"] = "value"
    first_visit: bool = True
    drop_repeats: bool = True
    reference_code: bool = False
    reference_rules: tuple[str, ...] = ()
    parallel_leaves: int = 1
    virtual_loss: float = 1.0
    escalation_candidates: tuple[int, ...] = ()
    by_difficulty: tuple[int, ...] = ()
    beam_width: int = 8
    subtrees: int = 8
    searches: int = 64
    scores: str = "last"
    vote: str = "weighted"
    top_k: int = 0
    max_tokens: int = 0
    max_seconds: float = 0.0
    early_stop: bool = False

    def __post_init__(self) -> None:
        for name in ("rollouts", "candidates", "max_depth", "batch"):
            self._expect(getattr(self, name) >= 1, name, "at least 1")
        self._expect(self.candidates <= MOST_CANDIDATES, "candidates", f"at most {MOST_CANDIDATES}")
        for name in ("parallel_leaves", "beam_width", "subtrees", "searches"):
            self._expect(getattr(self, name) >= 1, name, "at least 1")
        self._expect(0 <= self.temperature < HOTTEST, "temperature", f"0 or more, below {HOTTEST:g},")
        for name in ("c", "virtual_loss", "max_seconds", "max_tokens", "top_k"):
            self._expect(0 <= getattr(self, name) < float("inf"), name, "a number from 0 up")
        for name, known in (("vote", VOTES), ("scores", SCORES), ("unvisited", UNVISITED)):
            value = getattr(self, name)
            self._expect(value in known, name, f"one of {', '.join(known)}")
        for rule in self.reference_rules:
            hint = nearest(rule, REFERENCE_RULES)
            self._expect(rule in REFERENCE_RULES, "reference_rules", f"names of rules. {hint} Each")
        self._check_totals()
        self._check_combinations()

    def _check_totals(self) -> None:
        totals = (self.rollouts, *self.escalation)
        self._expect(
            list(totals) == sorted(set(totals)),
            "escalation",
            f"growing totals above rollouts ({self.rollouts}), such as (64, 128),",
        )
        more = self.escalation_candidates
        self._expect(
            not more
            or (len(more) == len(self.escalation) and min(more) >= 1 and max(more) <= MOST_CANDIDATES),
            "escalation_candidates",
            f"a number from 1 to {MOST_CANDIDATES} for each of the {len(self.escalation)} totals of "
            "search.escalation, or none,",
        )
        three = self.by_difficulty
        self._expect(
            not three or (len(three) == 3 and self.rollouts <= three[0] <= three[1] <= three[2]),
            "by_difficulty",
            f"totals for easy, medium and hard, from rollouts ({self.rollouts}) up, such as "
            f"({self.rollouts}, {2 * self.rollouts}, {8 * self.rollouts}),",
        )

    def _check_combinations(self) -> None:
        is_tree, released = self.strategy in _TREES, self.reference_code or self.reference_rules
        self._refuse(self.escalation and self.by_difficulty, "escalation", "by_difficulty")
        for name in ("escalation", "by_difficulty"):
            self._refuse(getattr(self, name) and self.strategy != "mcts", name, "strategy")
        self._refuse(self.parallel_leaves > 1 and not is_tree, "parallel_leaves", "strategy")
        self._refuse(self.parallel_leaves > 1 and released, "parallel_leaves", "reference_code")
        self._refuse(self.scores == "orm" and self.strategy != "best_of_n", "scores", "strategy")
        self._refuse(self.early_stop and self.vote == "best", "early_stop", "vote")
        self._refuse(self.early_stop and self.top_k, "early_stop", "top_k")
        self._refuse(self.early_stop and self.scores != "last", "early_stop", "scores")
        self._refuse(self.early_stop and released, "early_stop", "reference_code")

    def _expect(self, holds: object, name: str, expected: str) -> None:
        if not holds:
            raise UserError(f"search.{name}: {getattr(self, name)!r} given, {expected} expected.")

    def _refuse(self, both: object, name: str, other: str) -> None:
        if both:
            values = f"{name}={getattr(self, name)!r} and {other}={getattr(self, other)!r}"
            raise UserError(f"search: {values} do not go together ({_WHY[name, other]}). Leave one out.")


_WHY = {
    ("escalation", "by_difficulty"): "each says how far an unsolved problem goes on",
    ("escalation", "strategy"): "only one tree of a problem, 'mcts', goes on to further totals",
    ("by_difficulty", "strategy"): "only one tree of a problem, 'mcts', goes on to further totals",
    ("parallel_leaves", "strategy"): "only searches by UCT have rollouts to do in parallel",
    ("parallel_leaves", "reference_code"): "the released code does one rollout after the other",
    ("scores", "strategy"): "an outcome reward model judges whole trajectories: strategy 'best_of_n'",
    ("early_stop", "vote"): "a better trajectory may always come; use the majority or the weighted vote",
    ("early_stop", "top_k"): "a further answer may push others out of the top k; use top_k=0",
    ("early_stop", "scores"): "weights are bounded for scores='last' alone",
    ("early_stop", "reference_code"): "it may value several answers in a rollout",
}
