"""Searches over many problems at once: host loops that are handed what proposes, checks and scores steps."""

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf, OnProgress, Queues, SearchStats
from rstar_jax.search.scheduler import Search, SearchEvent, SearchRequest
from rstar_jax.search.strategies import STRATEGIES, grow_trees, search_queue, watch_trees

__all__ = [
    "STRATEGIES",
    "Leaf",
    "OnProgress",
    "Queues",
    "Search",
    "SearchConfig",
    "SearchEvent",
    "SearchRequest",
    "SearchStats",
    "grow_trees",
    "search_queue",
    "watch_trees",
]
