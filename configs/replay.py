"""Steps of a run's stored trees written once more: the same text must come.

    python -m rstar_jax.launch --config=replay --workdir=RUN
    python -m rstar_jax.launch --config=replay --workdir=RUN \
        --config.tree=round2/search/trees-0-00000.parquet:7 --config.node=12

Without a tree a sample of every stage's steps (--config.sample=0: all of them), with a stage such as
round2/search or a file a sample of that, with a tree (file and row) all of its steps, with a node that one.
Takes the run's own models and options, and refuses models that are not those that searched. Hardware: what
the run's search needs. Exit status 2 if a step came out otherwise, with where it did.
"""

from rstar_jax.replay import ReplaySettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(ReplaySettings())
