"""The reward model: a decoder whose vocabulary head is replaced by one number per token.

The value is read before tanh (`raw`); who serves it applies tanh (arXiv 2501.04519, section 3.3, and the
released code, which divides by 5 first). The head that we train is linear without bias, as transformers'
sequence classification models have it; heads of others may have a bias, and a layer with ReLU before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rstar_jax.models.config import Remat
from rstar_jax.models.decoder import Decoder

HEAD = ("score", "score_bias", "score_in", "score_in_bias")


@dataclasses.dataclass(frozen=True)
class Reading:
    """Layout of a question and its steps for a reward model; texts, which its own tokenizer encodes.

    prompt: what stands before the first step, with `{question}` in it; empty: the prompt of a policy that was
    trained on steps. separator: follows every step. end: follows the last one alone. The value stands at the
    last token of all.
    """

    prompt: str = ""
    separator: str = ""
    end: str = ""


OURS = Reading()


class RewardModel(nnx.Module):
    """A decoder and a head from width D to 1.

    reading: how steps are laid before it. of_probability: its values are 2p - 1 after tanh, p the probability
    that a step is right, so that no other scale is to be chosen for them.
    """

    def __init__(
        self,
        decoder: Decoder,
        score_D: jax.Array,
        more: Mapping[str, jax.Array] | None = None,
        *,
        reading: Reading = OURS,
        of_probability: bool = False,
    ) -> None:
        """score_D: the head's weights [D], or [H] behind a first layer.

        more: of heads of others: score_bias [], and of a first layer score_in [D, H], score_in_bias [H].
        """
        self.decoder = decoder
        self.reading, self.of_probability = reading, of_probability
        more = more or {}
        self.score = nnx.Param(score_D, axes=(None,) if "score_in" in more else ("embed",))
        for name, value in more.items():
            if name not in HEAD:
                raise ValueError(f"{name} is no part of a head; {', '.join(HEAD)} are")
            setattr(self, name, nnx.Param(value, axes=(None,) * value.ndim))

    @classmethod
    def of(cls, decoder: Decoder, params: Mapping[str, jax.Array]) -> RewardModel:
        """A decoder with the head that is among these parameters, by the names of `head`."""
        more = {name: params[name] for name in HEAD[1:] if name in params}
        return cls(decoder, params["score"], more)

    def head(self) -> dict[str, nnx.Param]:
        """The head's parameters, by name."""
        return {name: getattr(self, name) for name in HEAD if hasattr(self, name)}

    def params(self) -> dict[str, jax.Array]:
        """The decoder's parameter arrays and the head's."""
        return self.decoder.params() | {name: param.get_value() for name, param in self.head().items()}

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
        ends: jax.Array | None = None,
        remat: Remat = "none",
    ) -> jax.Array:
        """Values before tanh [B, T] float32, of the text up to each token. Arguments as Decoder.hidden."""
        hidden = self.decoder.hidden(tokens_BxT, positions, segment_ids, ends=ends, remat=remat)
        return self.raw_of_hidden(hidden)

    def raw_of_hidden(self, x: jax.Array) -> jax.Array:
        """Values before tanh [...] float32 of final states [..., D], as `Decoder.extend` returns them."""
        head = {name: param[...].astype(x.dtype) for name, param in self.head().items()}
        if "score_in" in head:
            x = jnp.einsum("...d,dh->...h", x, head["score_in"], preferred_element_type=jnp.float32)
            if "score_in_bias" in head:
                x = x + jnp.expand_dims(head["score_in_bias"].astype(jnp.float32), range(x.ndim - 1))
            x = jax.nn.relu(x).astype(head["score"].dtype)
        value = jnp.einsum("...d,d->...", x, head["score"], preferred_element_type=jnp.float32)
        return value + head["score_bias"].astype(jnp.float32) if "score_bias" in head else value


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
