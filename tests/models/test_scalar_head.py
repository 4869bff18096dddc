"""The reward model: its start from a policy, its values by every way, its folder."""

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, from_policy
from rstar_jax.weights import load_pretrained, load_reward_model, save_pretrained, save_reward_model


def test_it_copies_the_policy_and_leaves_its_head_behind(tiny: Decoder) -> None:
    model = from_policy(tiny)
    assert set(tiny.params()) - set(model.decoder.params()) == {"head"}
    model.decoder.embed[...] = jnp.zeros_like(model.decoder.embed[...])
    assert jnp.abs(tiny.embed[...]).max() > 0


def test_values_of_a_text_are_the_head_of_its_states(tiny: Decoder) -> None:
    model = from_policy(tiny, seed=1)
    tokens = jnp.arange(7)[None]
    values = model.raw(tokens)
    assert values.shape == (1, 7)
    wanted = np.asarray(tiny.hidden(tokens)) @ np.asarray(model.score[...])
    np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6)


def test_round_trip_is_exact(tiny: Decoder, tmp_path) -> None:
    model = from_policy(tiny, seed=1)
    save_reward_model(model, tmp_path / "ppm")
    again = load_reward_model(tmp_path / "ppm")
    np.testing.assert_array_equal(again.score[...], model.score[...])
    for name, value in model.decoder.params().items():
        np.testing.assert_array_equal(again.decoder.params()[name], value)


def test_policy_and_reward_folders_are_not_mixed_up(tiny: Decoder, tmp_path) -> None:
    save_reward_model(from_policy(tiny), tmp_path / "ppm")
    save_pretrained(tiny, tmp_path / "policy")
    with pytest.raises(UserError, match="reward model"):
        load_pretrained(tmp_path / "ppm")
    with pytest.raises(UserError, match=r"score\.weight"):
        load_reward_model(tmp_path / "policy")
