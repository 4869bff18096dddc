"""Decoders that come from no folder: fresh weights, and another size of the vocabulary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax import sharding
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.params import param_specs

_ROWS = 16  # of a vocabulary on a mesh, or a multiple: tensor axes are powers of 2, seldom longer


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


def resize_vocab(
    model: Decoder,
    new_size: int,
    *,
    trained: int | None = None,
    pieces: Mapping[int, Sequence[int]] | None = None,
) -> Decoder:
    """A decoder whose vocabulary has `new_size` rows: cut, or grown by rows equal to the mean row.

    trained: rows behind so many are made anew; None: none is. pieces: for new ids, the old ids that spelt
    the same text. Such a row, of the embedding and of a head, is the mean of theirs at the usual length:
    means of many rows are short, and all alike, so that hundreds of examples do not teach a model to tell one
    such token from another, or to write it. The plain mean is for rows that no text is encoded to. On a mesh
    there are as many more of those as it takes for any usual mesh to split the rows, so that a training may
    go on on another one; they count in `config.vocab_size` and are saved, as the spare rows of released
    models are, and it is the sampler that must not choose them.
    """
    config, mesh = model.config, model.mesh
    kept = min(config.vocab_size, new_size, new_size if trained is None else trained)
    if mesh is not None:
        axes = sharding.PRESETS[sharding.preset_for(mesh)].get("vocab", ())
        parts = math.prod(mesh.shape[axis] for axis in axes)
        new_size += -new_size % math.lcm(_ROWS, parts)
    config = dataclasses.replace(config, vocab_size=new_size)
    specs, params = param_specs(config), model.params()
    spelt = {i: np.asarray(ids, np.int32) for i, ids in (pieces or {}).items() if kept <= i < new_size}

    def resize(table: jax.Array) -> jax.Array:
        old = table[:kept].astype(jnp.float32)
        usual = jnp.mean(jnp.linalg.norm(old, axis=-1))
        rows = jnp.repeat(jnp.mean(old, axis=0, keepdims=True), new_size - kept, axis=0)
        for i, ids in spelt.items():
            row = jnp.mean(old[ids], axis=0)
            rows = rows.at[i - kept].set(row * usual / jnp.maximum(jnp.linalg.norm(row), 1e-6))
        return jnp.concatenate([table[:kept], rows.astype(table.dtype)])

    for name in ("embed", "head"):
        if name in params:
            params[name] = jax.jit(
                resize, out_shardings=sharding.on_mesh(specs[name].axes, specs[name].shape, mesh)
            )(params[name])
    return Decoder(config, params, compute_dtype=model.compute_dtype, mesh=mesh)
