"""The reward model: a decoder whose vocabulary head is replaced by one number per token.

The value is read before tanh (`raw`); who serves it applies tanh (arXiv 2501.04519, section 3.3, and the
released code, which divides by 5 first). The head is linear without bias, as transformers' sequence
classification models have it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rstar_jax.models.config import Remat
from rstar_jax.models.decoder import Decoder


class RewardModel(nnx.Module):
    """A decoder and a linear head from width D to 1."""

    def __init__(self, decoder: Decoder, score_D: jax.Array) -> None:
        """score_D: the head's weights [D]."""
        self.decoder = decoder
        self.score = nnx.Param(score_D, axes=("embed",))

    def __call__(
        self, tokens_BxT: jax.Array, positions: jax.Array | None = None, segment_ids: jax.Array | None = None
    ) -> jax.Array:
        """The same as `raw`."""
        return self.raw(tokens_BxT, positions, segment_ids)

    def raw(
        self,
        tokens_BxT: jax.Array,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        *,
        remat: Remat = "none",
    ) -> jax.Array:
        """Values before tanh [B, T] float32, of the text up to each token. Arguments as Decoder.hidden."""
        return self.raw_of_hidden(self.decoder.hidden(tokens_BxT, positions, segment_ids, remat=remat))

    def raw_of_hidden(self, x: jax.Array) -> jax.Array:
        """Values before tanh [...] float32 of final states [..., D], as `Decoder.extend` returns them."""
        return jnp.einsum(
            "...d,d->...", x, self.score[...].astype(x.dtype), preferred_element_type=jnp.float32
        )


def from_policy(decoder: Decoder, *, seed: int = 0) -> RewardModel:
    """A reward model that starts from a policy's weights (copied) and a small random head.

    The head's deviation is 0.02, transformers' `initializer_range`: values start near 0, and unlike with a
    zero head the decoder learns from the first step.
    """
    params = {n: jnp.array(value, copy=True) for n, value in decoder.params().items() if n != "head"}
    # An untied vocabulary head is left behind, and what is said of writing.
    config = dataclasses.replace(decoder.config, tied=True, generation=None)
    copy = Decoder(config, params, compute_dtype=decoder.compute_dtype, mesh=decoder.mesh)
    score = np.random.default_rng(seed).standard_normal(decoder.config.width, np.float32) * 0.02
    return RewardModel(copy, jnp.asarray(score, params["embed"].dtype))
