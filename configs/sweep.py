"""A job at every point of a grid of its options, with several seeds each; one table with intervals.

    python -m rstar_jax.launch --config=sweep --config.job=quickstart --workdir=W \
        --config.over.search.c=0.5,1,2 --config.over.curate.min_margin=0.3,0.5 --config.seeds=3 \
        --config.problems.train=120

--config.over.OPTION=VALUES is swept; all other options are the job's own, the same at every point. Each
point is the job's own command with W/points/NAME as its --workdir: one at a time, or so many with
--config.at_once=4 (on an accelerator they share its memory). --config.do=commands writes the commands for
other machines, --config.do=manifests --config.launch.topology=v5p:4x4x4 a manifest each, and
--config.do=table makes the table of what they did. Stopped or killed, the same command goes
on; more values or seeds add to what is done. W/sweep.md, sweep.json and sweep.csv hold the table. Hardware:
as the job's.
"""

from rstar_jax.settings import to_config_dict
from rstar_jax.sweep.settings import SweepSettings


def get_config():
    return to_config_dict(SweepSettings())
