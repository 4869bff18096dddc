"""A run's own options of its trees: how they vote, and what their values are called."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rstar_jax.search.votes import SCORES, VOTES, Ballot, elect

_RIGHT = "\N{CHECK MARK}"  # stands for every right answer: no answer is this


@dataclasses.dataclass(frozen=True)
class Vote:
    """How held-out searches of a run choose an answer. vote, top_k, scores: as in `votes.election`."""

    vote: str
    top_k: int
    scores: str

    def taken(self, block: dict[str, Any]) -> dict[str, Any]:
        """Return the last node of the trajectory that a `tree_block`'s answer is of, `elected`, and a phrase
        for how; nothing where no answer was visited.

        Nothing is graded anew: answers graded right count as equal, others where their texts are.
        """
        answer, grades = block["answer"], block["grades"]
        statuses, visits = block["statuses"], block["visits"]
        ended = (v for v, of in enumerate(block["status"]) if statuses[of] == "answer" and visits[v] > 0)
        ballots = []
        for node in block["finals"] or ended:
            right = grades[block["grade"][node]] == "right"
            label = _RIGHT if right else (answer.get(node) or "").strip()
            ballots.append(Ballot(label, self._score(block, node), node))
        counted = elect(ballots, self.vote, top_k=self.top_k, equal=lambda *_: False)
        if not counted:
            return {}
        return {"elected": counted[0].node, "elected_by": f"its answer, by the run's vote: {self.vote}"}

    def _score(self, block: dict[str, Any], node: int) -> float | None:
        known = []
        while node > 0:
            if (value := block["ppm"][node]) is not None:
                known.append(value)
            node = block["parent"][node]
        return SCORES[self.scores](known[::-1]) if known else None


def reward_of(workdir: Path) -> str:
    """Return the name of the reward model whose values a folder's trees hold: "PPM", "PQM" or "ORM"; "PPM"
    where its options are not there, or name one of others for the searches."""
    try:
        found = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        name = "ppm" if found["policy"].get("ppm") else str(found["train"]["reward"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "PPM"
    return name.upper() if name in ("ppm", "pqm", "orm") else "PPM"


def vote_of(workdir: Path) -> Vote | None:
    """Return how a run's held-out searches vote; None where its options are not there or not ours."""
    try:
        found = json.loads((workdir / "config.json").read_text(encoding="utf-8"))["evaluate"]
        vote = Vote(found["vote"], found["top_k"], found["scores"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = vote.vote in VOTES and vote.scores in SCORES and isinstance(vote.top_k, int) and vote.top_k >= 0
    return vote if known else None
