"""Decoders that come from no folder: fresh weights, and another size of the vocabulary."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.params import param_specs


def init_random(
    config: DecoderConfig, seed: int, *, dtype: Any = jnp.float32, compute_dtype: Any = None
) -> Decoder:
    """A decoder with fresh weights, the same for the same seed whatever the devices."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, spec in param_specs(config).items():
        if spec.scale is None:
            value = np.ones(spec.shape, np.float32)
        else:
            value = rng.standard_normal(spec.shape, np.float32) * np.float32(spec.scale)
        params[name] = jnp.asarray(value, dtype)
    return Decoder(config, params, compute_dtype=compute_dtype)


def resize_vocab(model: Decoder, new_size: int) -> Decoder:
    """A decoder whose vocabulary has `new_size` rows: cut, or grown by rows equal to the mean row.

    The mean keeps a new token's logit typical instead of extreme before it is trained.
    """
    old = model.config.vocab_size
    params = model.params()
    for name in ("embed", "head"):
        if name in params:
            table = params[name]
            mean = jnp.mean(table.astype(jnp.float32), axis=0, keepdims=True).astype(table.dtype)
            more = jnp.repeat(mean, max(new_size - old, 0), axis=0)
            params[name] = jnp.concatenate([table[:new_size], more])
    config = dataclasses.replace(model.config, vocab_size=new_size)
    return Decoder(config, params, compute_dtype=model.compute_dtype, mesh=model.mesh)
