"""The quickstart, made small."""

from rstar_jax import launch
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.settings import from_config

SMALL = (
    "--config.problems.train=12",
    "--config.problems.heldout=6",
    "--config.search.shard=6",
    "--config.search.rollouts=3",
    "--config.search.escalation=((),(5,))",
    "--config.search.candidates=4",
    "--config.search.trees=1",
    "--config.decode.leaves=4",
    "--config.decode.rows=2",
    "--config.evaluate.rollouts=2",
    "--config.evaluate.candidates=3",
    "--config.train.policy.microbatch=1",
    "--config.train.policy.epochs=1",
    "--config.train.ppm.epochs=1",
)


def small(*overrides: str) -> RunSettings:
    config = launch.override(launch.load("quickstart").get_config(), [*SMALL, *overrides])
    return from_config(RunSettings, config.to_dict())
