"""Losses as pure functions on arrays.

Every loss returns `Terms`: name -> (sum, count). Sums and counts of microbatches add up exactly, so that a
batch cut into pieces gives the gradient of the whole: d(sum of sums) / (sum of counts). The term trained on
is "loss"; the others are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Terms = dict[str, tuple[jax.Array, jax.Array]]


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    marks: jax.Array | None = None,
    kinds: Sequence[str] = (),
) -> Terms:
    """Negative log-likelihood of the targets, in nats per trained token.

    logits: [..., V], any float, computed in float32. targets: [...] int. weights: [...] float or bool, 0
    where a token is not trained on (prompts, interpreter output, padding). marks: [...] int, k at a target
    that begins something of `kinds[k - 1]`, -k at one that goes on with it; each kind is a term of its own,
    in nats each time that it occurs.
    """
    logits = logits.astype(jnp.float32)
    weights = weights.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll = jax.nn.logsumexp(logits, axis=-1) - picked
    count = weights.sum()
    # Not argmax: it costs several times more on a CPU, and a tie at the top hardly ever happens.
    right = picked >= jax.lax.stop_gradient(logits.max(axis=-1))
    terms = {"loss": ((nll * weights).sum(), count), "accuracy": ((right * weights).sum(), count)}
    for k, kind in enumerate(kinds, 1):
        assert marks is not None
        spelt, begun = (jnp.where(found, weights, 0.0) for found in (jnp.abs(marks) == k, marks == k))
        terms[kind] = ((nll * spelt).sum(), begun.sum())
    return terms


def bradley_terry(positive: jax.Array, negative: jax.Array, weights: jax.Array) -> Terms:
    """L = -1/(2*2) E[log sigmoid(r_pos - r_neg)], the PPM's loss (arXiv 2501.04519, equation 4).

    positive, negative: [N] float, values of the preferred and of the other continuation of one prefix: in
    [-1, 1], after tanh, in the paper; before tanh in the released code. weights: [N] float, a pair's share of
    the expectation, 0 for padding; only their proportions count, since the normaliser is their sum. The
    factor 1/(2*2) is kept as printed. "accuracy" counts a tie as half.
    """
    weights = weights.astype(jnp.float32)
    margin = positive.astype(jnp.float32) - negative.astype(jnp.float32)
    real = (weights > 0).astype(jnp.float32)
    right = (margin > 0) + 0.5 * (margin == 0)
    return {
        "loss": ((-0.25 * jax.nn.log_sigmoid(margin) * weights).sum(), weights.sum()),
        "accuracy": ((right * real).sum(), real.sum()),
        "margin": ((margin * real).sum(), real.sum()),
    }


def squared_error(values: jax.Array, targets: jax.Array, weights: jax.Array) -> Terms:
    """Mean squared error of values, for a reward model that learns the Q of steps (arXiv 2501.04519, section
    5.3, "PQM").

    values, targets: [...] float in [-1, 1]. weights: [...] float, 0 where there is no target. "sign" counts
    values on the side of 0 that their targets are on; targets of 0 are on neither.
    """
    weights, targets = weights.astype(jnp.float32), targets.astype(jnp.float32)
    error = values.astype(jnp.float32) - targets
    sided = (weights > 0) & (targets != 0)
    return {
        "loss": ((jnp.square(error) * weights).sum(), weights.sum()),
        "sign": ((sided & (values * targets > 0)).sum(dtype=jnp.float32), sided.sum(dtype=jnp.float32)),
        "distance": ((jnp.abs(error) * weights).sum(), weights.sum()),
    }


LOSSES: dict[str, Callable[..., Terms]] = {
    "cross_entropy": cross_entropy,
    "bradley_terry": bradley_terry,
    "squared_error": squared_error,
}
