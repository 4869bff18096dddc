"""Decoders that come from no folder: fresh weights, and another size of the vocabulary."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax import sharding
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.loading import place
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

    The mean keeps a new token's logit typical instead of extreme before it is trained. On a mesh there are
    as many more such rows as it takes for the mesh to split them; they count in `config.vocab_size` and are
    saved, as the spare rows of released models are, and it is the sampler that must not choose them.
    """
    config, mesh = model.config, model.mesh
    kept = min(config.vocab_size, new_size)
    if mesh is not None:
        axes = sharding.PRESETS[sharding.preset_for(mesh)].get("vocab", ())
        new_size += -new_size % math.prod(mesh.shape[axis] for axis in axes)
    config = dataclasses.replace(config, vocab_size=new_size)
    specs, params = param_specs(config), model.params()

    def resize(table: jax.Array) -> jax.Array:
        mean = jnp.mean(table[:kept].astype(jnp.float32), axis=0, keepdims=True).astype(table.dtype)
        return jnp.concatenate([table[:kept], jnp.repeat(mean, new_size - kept, axis=0)])

    for name in ("embed", "head"):
        if name in params:
            params[name] = jax.jit(resize, out_shardings=place(specs[name], mesh))(params[name])
    return Decoder(config, params, compute_dtype=model.compute_dtype, mesh=mesh)
