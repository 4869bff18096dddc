"""A run's trees, trajectories, solutions and pairs as a data set: Parquet, a card, formats of others.

    python -m rstar_jax.launch --config=export --config.source=RUN --workdir=OUT
    python -m rstar_jax.launch --config=export --config.source=RUN --workdir=OUT \
        --config.formats=authors,trl_preference,trl_stepwise,chat --config.rounds=4

OUT is then what `datasets.load_dataset("OUT", "trees")` loads, or trajectories, solutions, pairs, and what a
hub takes as a data set's folder; its README.md says what is in it and what is left to decide. Needs no
accelerator; a block of trees is in memory at a time. Stopped, the same command goes on.
"""

from rstar_jax.evolve.export import ExportSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(ExportSettings())
