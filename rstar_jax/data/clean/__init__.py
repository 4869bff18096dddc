"""Clean sets of problems: what is blank, asks several things, repeats itself or is in a benchmark goes.

`clean` says which rows stay and reports why others went. Exact duplicates are found by their questions alone:
of two rows that ask the same and answer otherwise the first stays. Paraphrases are not found.
"""

from rstar_jax.data.clean.against import Against, Overlap
from rstar_jax.data.clean.cleaner import Cleaned, clean
from rstar_jax.data.clean.config import CleanConfig
from rstar_jax.data.clean.forms import normalise
from rstar_jax.data.clean.report import REASONS, CleanExample, CleanReport

__all__ = [
    "REASONS",
    "Against",
    "CleanConfig",
    "CleanExample",
    "CleanReport",
    "Cleaned",
    "Overlap",
    "clean",
    "normalise",
]  # fmt: skip
