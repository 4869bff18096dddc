"""Ablation: do rounds learn more from searches that the PPM guides? With it and without, three seeds each.

    python -m rstar_jax.launch --config=ablations/guided --workdir=W
    python -m rstar_jax.launch --config=ablations/guided --workdir=W --config.job=MINE.py --config.seeds=5

A sweep of the quickstart: in rounds 3 and 4 the search is guided by the last round's PPM, as in the paper
(section 3.2), or by the terminals alone, as in rounds 1 and 2. Hardware: a CPU; six times the quickstart's
four to five minutes of one core. W/sweep.md has the difference with its intervals.
"""

from rstar_jax.settings import to_config_dict
from rstar_jax.sweep.settings import SweepSettings


def get_config():
    guided = "search.ppm=(False,),(False,False,True,True)"
    return to_config_dict(SweepSettings(of="quickstart", over=(guided,), seeds=3))
