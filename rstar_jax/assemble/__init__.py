"""Checkpoints and options -> what a search is handed."""

from rstar_jax.assemble.meter import Meter
from rstar_jax.assemble.reading import StepText
from rstar_jax.assemble.reasoner import Reasoner, problem_key

__all__ = ["Meter", "Reasoner", "StepText", "problem_key"]
