"""Searches over many problems at once: host loops that are handed what proposes, checks and scores steps."""

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Functions, Leaf, OnProgress, SearchStats, Service, Services
from rstar_jax.search.drive import SearchEvent
from rstar_jax.search.strategies import STRATEGIES, grow_trees, watch_trees

__all__ = [
    "STRATEGIES",
    "Functions",
    "Leaf",
    "OnProgress",
    "SearchConfig",
    "SearchEvent",
    "SearchStats",
    "Service",
    "Services",
    "grow_trees",
    "watch_trees",
]
