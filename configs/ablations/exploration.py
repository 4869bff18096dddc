"""Ablation: the search's exploration constant, of which the paper says only that it is one. Three seeds each.

    python -m rstar_jax.launch --config=ablations/exploration --workdir=W
    python -m rstar_jax.launch --config=ablations/exploration --workdir=W --config.over.search.c=1,2,4,8

A sweep of the quickstart's first two rounds over c of UCT (equation 1). Hardware: a CPU; nine times half of
the quickstart. The settings that are done stay where the second command adds to them.
"""

from rstar_jax.settings import to_config_dict
from rstar_jax.sweep.settings import SweepSettings


def get_config():
    over, options = ("search.c=0.5,1,2",), ("rounds=(1,2)",)
    return to_config_dict(SweepSettings(of="quickstart", over=over, options=options, seeds=3))
