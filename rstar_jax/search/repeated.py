"""MCTS of one problem again and again, as the paper counts trajectories at test time (section 4.1).

Each of `config.searches` searches gives its best trajectory by the PPM; the final answer is voted among them.
"""

from __future__ import annotations

import dataclasses

from rstar_jax.search import votes
from rstar_jax.search.config import SearchConfig
from rstar_jax.search.grow import TreeId
from rstar_jax.search.mcts import Mcts
from rstar_jax.search.together import Ensemble
from rstar_jax.types import Problem, Tree


def repeated(problem: Problem, config: SearchConfig, name: TreeId) -> Ensemble:
    """`config.searches` trees side by side: those that "mcts" grows with index 0, 1, and so on."""
    first = name.tree_index * config.searches
    parts = [
        Mcts(problem, config, dataclasses.replace(name, tree_index=first + i)) for i in range(config.searches)
    ]

    def best(tree: Tree) -> list[int]:
        answers = votes.finals(tree)
        return [max(answers, key=lambda i: votes.score(tree, i, config.scores) or 0.0)] if answers else []

    return Ensemble(parts, name.tree_index, best)
