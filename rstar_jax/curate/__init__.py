"""Training data from finished trees: solutions for the policy, and what a reward model learns (arXiv
2501.04519).

Sections 3.3 (pairs), 3.4 (solutions, difficulty, mislabelled problems) and the ablation of reward models.
Pure Python over `Tree`s: the same trees always give the same rows, in the order of the trees.

    choose.py         all trees of a round -> `Curated`
    trajectories.py   which of a problem's trajectories are best, how hard it is
    pairs.py          preference pairs of steps (PPM), and of whole trajectories (ORM)
    values.py         values of steps (PQM)
"""

from rstar_jax.curate.choose import Curated, Reward, curate
from rstar_jax.curate.config import CurateConfig
from rstar_jax.curate.pairs import PAIRS, compared, edits_at_least, reference_code_pairs
from rstar_jax.curate.values import StepValues, learnt_values

__all__ = [
    "PAIRS",
    "CurateConfig",
    "Curated",
    "Reward",
    "StepValues",
    "compared",
    "curate",
    "edits_at_least",
    "learnt_values",
    "reference_code_pairs",
]
