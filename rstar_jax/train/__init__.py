"""Training: packed batches, one loop for every loss, checkpoints, metrics.

A new kind of reward model or objective is a loss (`rstar_jax/losses.py`) and a file like `ppm.py` that
turns its data into microbatches and calls `fit`.
"""

from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut, measure
from rstar_jax.train.held_out_rows import held_out_pairs, held_out_solutions, held_out_values
from rstar_jax.train.loop import Batch, fit
from rstar_jax.train.mesh_sizes import device_memory, mesh_sizes
from rstar_jax.train.metrics import MetricsWriter, read_metrics
from rstar_jax.train.pair_order import PairOrder, pair_order
from rstar_jax.train.policy import PolicyBatches, policy_loss, train_policy
from rstar_jax.train.ppm import PpmBatches, ppm_loss, saturation, train_ppm
from rstar_jax.train.pqm import train_pqm
from rstar_jax.train.solution_trees import Example
from rstar_jax.train.steadiness import unsteadiness
from rstar_jax.train.step import programs
from rstar_jax.train.value_errors import ValueErrors, value_errors
from rstar_jax.train.vocabulary import Delimiters, probabilities, weakness, with_delimiters

__all__ = [
    "Batch",
    "Delimiters",
    "Example",
    "HeldOut",
    "MetricsWriter",
    "PairOrder",
    "PolicyBatches",
    "PpmBatches",
    "TrainConfig",
    "TrainSummary",
    "ValueErrors",
    "device_memory",
    "fit",
    "held_out_pairs",
    "held_out_solutions",
    "held_out_values",
    "measure",
    "mesh_sizes",
    "pair_order",
    "policy_loss",
    "ppm_loss",
    "probabilities",
    "programs",
    "read_metrics",
    "saturation",
    "train_policy",
    "train_ppm",
    "train_pqm",
    "unsteadiness",
    "value_errors",
    "weakness",
    "with_delimiters",
]
