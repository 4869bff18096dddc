"""One small model for the room: programs are compiled once per shape and process."""

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.engine import StepRequest
from rstar_jax.models import Decoder, DecoderConfig, RewardModel, from_policy, init_random
from tests.engine.decode_settings import V


@pytest.fixture(scope="session")
def policy() -> Decoder:
    config = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    model = init_random(config, 0)
    model.embed[...] = model.embed[...] * 12  # tied head: logits far enough apart to matter
    return model


@pytest.fixture(scope="session")
def reward(policy: Decoder) -> RewardModel:
    model = from_policy(policy)
    model.score[...] = jnp.asarray(np.random.default_rng(1).normal(size=32) / 8, jnp.float32)
    return model


@pytest.fixture
def asked() -> list[StepRequest]:
    """Leaves of ragged prefixes; some with more candidates than rows, some greedy."""
    rng = np.random.default_rng(2)
    return [
        StepRequest(
            prefix=rng.integers(V, size=length).astype(np.int32),
            n=3 if i % 2 else 5,
            temperature=[1.0, 0.7, 0.0][i % 3],
            name=(11, i),
        )
        for i, length in enumerate([1, 9, 40, 64, 65, 33, 70, 2, 17, 60, 5])
    ]
