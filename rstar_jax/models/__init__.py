"""Models as arrays: the decoder, the reward model, and Hugging Face folders in and out."""

from rstar_jax.models.cache import KV
from rstar_jax.models.card import model_card
from rstar_jax.models.config import DecoderConfig, Experts, Latent, Rope
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.families import FAMILIES
from rstar_jax.models.folders import base_folder, local_folder, require_whole, tokenizer_folder
from rstar_jax.models.hashes import model_hash
from rstar_jax.models.heads import OtherKind, Reading
from rstar_jax.models.hf import (
    check_pretrained,
    check_reward_model,
    load_pretrained,
    load_reward_model,
    reading_of,
    save_pretrained,
    save_reward_model,
)
from rstar_jax.models.loading import Progress
from rstar_jax.models.scalar_head import RewardModel, from_policy
from rstar_jax.models.start import init_random, resize_vocab

__all__ = [
    "FAMILIES",
    "KV",
    "Decoder",
    "DecoderConfig",
    "Experts",
    "Latent",
    "OtherKind",
    "Progress",
    "Reading",
    "RewardModel",
    "Rope",
    "base_folder",
    "check_pretrained",
    "check_reward_model",
    "from_policy",
    "init_random",
    "load_pretrained",
    "load_reward_model",
    "local_folder",
    "model_card",
    "model_hash",
    "reading_of",
    "require_whole",
    "resize_vocab",
    "save_pretrained",
    "save_reward_model",
    "tokenizer_folder",
]
