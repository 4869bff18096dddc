"""Runs beside each other: differences with intervals, in words, and which of their options differ.

    python -m rstar_jax.launch --config=compare --config.runs=A,B,C --workdir=OUT
    python -m rstar_jax.launch --config=compare --config.runs=SWEEP --config.metrics=search,pass@8

A, B, C: folders of evaluations (--config=evaluate) or of runs of rounds; SWEEP: a folder of such folders.
Each is compared with the first; one run of rounds alone, round by round. Problems that both asked are
compared in pairs. OUT/comparison.md and comparison.json hold the tables that are printed. Runs no model and
needs no accelerator: seconds for predictions, for held-out trees as long as reading them takes.
"""

from rstar_jax.compare.job import CompareSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(CompareSettings())
