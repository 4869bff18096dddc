"""The optimiser of a training, by its options: gradients in, steps at a learning rate of 1 out."""

from __future__ import annotations

from typing import Any

import jax
import optax

from rstar_jax.train.config import TrainConfig


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return the transformation whose updates, times the learning rate, are taken from the parameters.

    Clipping by the global norm comes first, weight decay last (decoupled, arXiv 1711.05101).
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
    )


def decays(params: Any) -> Any:
    """Mark the parameters that weight decay touches: matrices (embeddings among them), not biases and norms.

    By name as well as by rank: layers are stacked, so that a norm's scale has two dimensions.
    """

    def matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        name = jax.tree_util.keystr(path)
        return leaf.ndim >= 2 and "bias" not in name and "norm" not in name

    return jax.tree_util.tree_map_with_path(matrix, params)
