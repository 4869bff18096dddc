"""Decoding on the device, arrays only: candidate steps for many leaves at once, and their values."""

from rstar_jax.engine.requests import DecodeConfig, Sample, ScoreRequest, Stats, StepRequest
from rstar_jax.engine.step_decoder import StepDecoder
from rstar_jax.engine.step_scorer import StepScorer

__all__ = ["DecodeConfig", "Sample", "ScoreRequest", "Stats", "StepDecoder", "StepRequest", "StepScorer"]
