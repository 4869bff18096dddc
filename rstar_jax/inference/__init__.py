"""Checkpoints and options -> what a search is handed."""

from rstar_jax.inference.meter import Meter
from rstar_jax.inference.reading import StepText
from rstar_jax.inference.reasoner import Reasoner
from rstar_jax.inference.verifier import problem_key

__all__ = ["Meter", "Reasoner", "StepText", "problem_key"]
