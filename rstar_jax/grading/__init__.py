"""Answers compared as a mathematician would: exactly, in many spellings, within limits of time and memory."""

from rstar_jax.grading.answer import GRADINGS, Grader, grade

__all__ = ["GRADINGS", "Grader", "grade"]
