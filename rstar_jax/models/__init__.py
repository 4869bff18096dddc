"""Models as arrays: the decoder and the reward model."""

from rstar_jax.models.cache import KV
from rstar_jax.models.config import DecoderConfig, Experts, Latent, Rope
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.scalar_head import Reading, RewardModel, from_policy
from rstar_jax.models.start import init_random, resize_vocab

__all__ = [
    "KV",
    "Decoder",
    "DecoderConfig",
    "Experts",
    "Latent",
    "Reading",
    "RewardModel",
    "Rope",
    "from_policy",
    "init_random",
    "resize_vocab",
]
