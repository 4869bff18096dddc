"""Hugging Face folders in and out: which lie there, what their tensors are called, and how they are read."""

from rstar_jax.weights.card import model_card
from rstar_jax.weights.families import FAMILIES
from rstar_jax.weights.folders import (
    TINY_BASE,
    base_folder,
    local_folder,
    require_whole,
    tokenizer_folder,
)
from rstar_jax.weights.handover import Handover
from rstar_jax.weights.hashes import model_hash
from rstar_jax.weights.heads import OtherKind
from rstar_jax.weights.hf import (
    check_pretrained,
    check_reward_model,
    load_pretrained,
    load_reward_model,
    reading_of,
    save_pretrained,
    save_reward_model,
)
from rstar_jax.weights.loading import Progress

__all__ = [
    "FAMILIES",
    "TINY_BASE",
    "Handover",
    "OtherKind",
    "Progress",
    "base_folder",
    "check_pretrained",
    "check_reward_model",
    "load_pretrained",
    "load_reward_model",
    "local_folder",
    "model_card",
    "model_hash",
    "reading_of",
    "require_whole",
    "save_pretrained",
    "save_reward_model",
    "tokenizer_folder",
]
