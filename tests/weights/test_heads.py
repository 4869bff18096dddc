"""Reward models of others: each form of head against its formula in numpy and against transformers, and what
is no such head named as what it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rstar_jax.engine import DecodeConfig, ScoreRequest, StepScorer
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, Reading, RewardModel
from rstar_jax.queues import call
from rstar_jax.weights import (
    OtherKind,
    check_reward_model,
    load_pretrained,
    load_reward_model,
    model_hash,
    reading_of,
    save_pretrained,
    save_reward_model,
)
from rstar_jax.weights.weight_files import WEIGHTS

D = 16
Tensors = dict[str, np.ndarray]


def drawn(**shapes: tuple[int, ...]) -> Tensors:
    rng = np.random.default_rng(5)
    names = {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in names.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(x: np.ndarray, head: Tensors, at: str) -> np.ndarray:
    return x @ head[f"{at}weight"].T + head.get(f"{at}bias", np.zeros(1, np.float32))


def two_layers(x: np.ndarray, head: Tensors) -> np.ndarray:
    return linear(np.maximum(linear(x, head, "score.0."), 0), head, "score.2.")


def right(logits: np.ndarray) -> np.ndarray:
    """2p - 1 of the second of two labels, p by softmax."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return 2 * e[..., 1] / e.sum(axis=-1) - 1


INNER = drawn(score__0__weight=(D, D), score__0__bias=(D,))
# head's tensors, architecture, what its value is of final states [T, D]
FORMS: dict[str, tuple[Tensors, str, Callable[[np.ndarray, Tensors], np.ndarray]]] = {
    "one linear layer": (
        drawn(score__weight=(1, D)),
        "Qwen2ForSequenceClassification",
        lambda x, h: np.tanh(linear(x, h, "score."))[..., 0],
    ),
    "with a bias": (
        drawn(score__weight=(1, D), score__bias=(1,)),
        "Qwen2ForSequenceClassification",
        lambda x, h: np.tanh(linear(x, h, "score."))[..., 0],
    ),
    "Qwen2.5-Math-RM": (
        INNER | drawn(score__2__weight=(1, D), score__2__bias=(1,)),
        "Qwen2ForRewardModel",
        lambda x, h: np.tanh(two_layers(x, h))[..., 0],
    ),
    "Qwen2.5-Math-PRM": (
        INNER | drawn(score__2__weight=(2, D), score__2__bias=(2,)),
        "Qwen2ForProcessRewardModel",
        lambda x, h: right(two_layers(x, h)),
    ),
    "two labels of tokens": (
        drawn(score__weight=(2, D), score__bias=(2,)),
        "Qwen2ForTokenClassification",
        lambda x, h: right(linear(x, h, "score.")),
    ),
    "TRL's value head": (
        drawn(v_head__summary__weight=(1, D), v_head__summary__bias=(1,)),
        "Qwen2ForCausalLM",
        lambda x, h: np.tanh(linear(x, h, "v_head.summary."))[..., 0],
    ),
    "a plain value head": (
        drawn(v_head__weight=(1, D)),
        "Qwen2ForCausalLM",
        lambda x, h: np.tanh(linear(x, h, "v_head."))[..., 0],
    ),
    "Skywork's": (
        drawn(v_head__summary__weight=(1, D), v_head__summary__bias=(1,)),
        "Qwen2ForPrmModel",
        lambda x, h: 2 * sigmoid(linear(x, h, "v_head.summary."))[..., 0] - 1,
    ),
}


def edit(folder: Path, head: Tensors, **config: Any) -> Path:
    save_file(load_file(folder / WEIGHTS) | head, folder / WEIGHTS)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


@pytest.fixture
def folder(tiny: Decoder, tmp_path: Path) -> Path:
    """A policy, to be given a head: its vocabulary head stays where it is, as TRL leaves it."""
    save_pretrained(tiny, tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_its_formula(folder: Path, tiny: Decoder, form: str) -> None:
    head, architecture, formula = FORMS[form]
    edit(folder, head, architectures=[architecture])
    model, tokens = load_reward_model(folder), jnp.arange(9)[None]
    wanted = formula(np.asarray(tiny.hidden(tokens)), head)
    np.testing.assert_allclose(np.tanh(model.raw(tokens)), wanted, rtol=1e-4, atol=1e-5)
    assert model.of_probability == (form in ("Qwen2.5-Math-PRM", "two labels of tokens", "Skywork's"))
    assert check_reward_model(folder) == model.decoder.config


@pytest.mark.parametrize("form", ["Qwen2.5-Math-PRM", "with a bias"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_engine_gives_a_steps_value_at_its_last_token(folder: Path, form: str, dtype: str) -> None:
    head, architecture, _ = FORMS[form]
    edit(folder, head, architectures=[architecture])
    model = load_reward_model(folder, dtype=jnp.dtype(dtype))
    scorer = StepScorer(model, DecodeConfig(leaves=2, max_step_tokens=16, context=64, page_size=4))
    prefix, steps = np.arange(1, 8, dtype=np.int32), [np.array([9, 10, 11]), np.array([12, 13])]
    (found,) = call(scorer, [ScoreRequest(prefix, tuple(s.astype(np.int32) for s in steps))])
    for value, step in zip(found, steps, strict=True):
        whole = np.tanh(model.raw(jnp.asarray(np.concatenate([prefix, step]))[None]))[0, -1]
        assert abs(value - whole) < (1e-4 if dtype == "float32" else 0.05)
    assert np.abs(found).max() <= 1 and abs(found[0] - found[1]) > 1e-3


def test_the_first_label_counts_where_its_name_says_so(folder: Path) -> None:
    head, architecture, _ = FORMS["two labels of tokens"]
    edit(folder, head, architectures=[architecture])
    tokens = jnp.arange(5)[None]
    second = load_reward_model(folder).raw(tokens)
    edit(folder, {}, id2label={"0": "correct", "1": "incorrect"})
    np.testing.assert_allclose(load_reward_model(folder).raw(tokens), -second, rtol=1e-6)
    edit(folder, {}, id2label={"0": "bad", "1": "good"})
    np.testing.assert_allclose(load_reward_model(folder).raw(tokens), second, rtol=1e-6)


def test_how_steps_are_read_goes_by_architecture_and_can_be_said(folder: Path) -> None:
    edit(folder, FORMS["Qwen2.5-Math-PRM"][0], architectures=["Qwen2ForProcessRewardModel"])
    assert reading_of(folder).separator == "<extra_0>" and "{question}" in reading_of(folder).prompt
    edit(folder, {}, step_scoring={"separator": "\n\n"})
    assert reading_of(folder) == load_reward_model(folder).reading == Reading(separator="\n\n")
    for wrong, message in (
        ({"separator": 7}, "'separator' is 7"),
        ({"sep": "\n"}, "'sep' is"),
        ({"prompt": "Q:"}, "no {question} in the prompt"),
        ([], "an object expected"),
    ):
        edit(folder, {}, step_scoring=wrong)
        with pytest.raises(UserError, match="step_scoring") as caught:
            check_reward_model(folder)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("head", "config", "kind", "words"),
    [
        ({}, {}, OtherKind, "no reward head beside it|a judge that answers in words|score.weight"),
        (
            drawn(score__weight=(5, D)),
            {"id2label": {str(i): f"level {i}" for i in range(5)}},
            UserError,
            "'score.weight' is a classifier's with 5 labels|level 0, level 1",
        ),
        (
            drawn(regression_layer__weight=(19, D), gating__0__weight=(4, D)),
            {},
            OtherKind,
            "'gating.0.weight' [4, 16], 'regression_layer.weight' [19, 16]",
        ),
        (drawn(score__weight=(1, D), gate__weight=(3, D)), {}, UserError, "beside it 'gate.weight' [3, 16]"),
        (
            FORMS["Qwen2.5-Math-PRM"][0],
            {"architectures": ["FooModel"]},
            UserError,
            "'FooModel'|If that is ReLU",
        ),
        (
            drawn(score__2__weight=(1, D)),
            {"architectures": ["Qwen2ForRewardModel"]},
            UserError,
            "'score.0.weight', the first layer",
        ),
        (drawn(score__weight=(1, D - 1)), {}, UserError, "'score.weight' has shape (1, 15)"),
        (
            drawn(score__weight=(1, D), v_head__weight=(1, D)),
            {},
            OtherKind,
            "'score.weight' [1, 16], 'v_head.weight' [1, 16]",
        ),
    ],
)
def test_what_is_no_such_head_is_named(
    folder: Path, head: Tensors, config: dict[str, Any], kind: type[UserError], words: str
) -> None:
    edit(folder, head, **config)
    with pytest.raises(UserError) as caught:
        load_reward_model(folder)
    assert type(caught.value) is kind
    for word in words.split("|"):
        assert word in str(caught.value)


def test_a_value_head_beside_a_policy_is_left_behind(
    folder: Path, tiny: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    edit(folder, FORMS["TRL's value head"][0])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_pretrained(folder).embed[...], tiny.embed[...])
    assert "v_head.summary.weight" in caplog.text
    edit(folder, {}, architectures=["Qwen2ForPrmModel"])
    with pytest.raises(OtherKind, match=r"v_head\.summary.*no policy"):
        load_pretrained(folder)


def test_a_head_that_a_folder_of_ours_cannot_hold_is_not_written(folder: Path, tmp_path: Path) -> None:
    edit(folder, FORMS["with a bias"][0], architectures=["Qwen2ForSequenceClassification"])
    with pytest.raises(UserError, match="score_bias"):
        save_reward_model(load_reward_model(folder), tmp_path / "again")
    assert not (tmp_path / "again").exists() and model_hash(folder)


@pytest.mark.torch
@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_transformers_gives_the_same(tmp_path: Path, labels: int, layers: int) -> None:
    """Token classification as it saves it; and Qwen2Model with Qwen2.5-Math's two layers behind it."""
    import torch
    import transformers

    from tests.models import zoo

    torch.manual_seed(0)
    config = transformers.Qwen2Config(**zoo.SIZES, num_labels=labels)
    if layers == 1:
        theirs = transformers.Qwen2ForTokenClassification(config).eval()
        theirs.save_pretrained(tmp_path)
    else:
        body = transformers.Qwen2Model(config).eval()
        head = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, labels))
        named = {f"model.{name}": value for name, value in body.state_dict().items()}
        named |= {f"score.{name}": value for name, value in head.state_dict().items()}
        save_file({name: value.detach().numpy() for name, value in named.items()}, tmp_path / WEIGHTS)
        architecture = "Qwen2ForProcessRewardModel" if labels == 2 else "Qwen2ForRewardModel"
        (tmp_path / "config.json").write_text(
            json.dumps(config.to_dict() | {"architectures": [architecture]})
        )
    tokens = np.random.default_rng(1).integers(3, zoo.VOCAB, size=13)
    with torch.no_grad():
        given = torch.tensor(tokens)[None]
        logits = theirs(given).logits if layers == 1 else head(body(given).last_hidden_state)
        probability = torch.softmax(logits, dim=-1)[0, :, -1]
        wanted = 2 * probability - 1 if labels == 2 else torch.tanh(logits[0, :, 0])
    found = np.tanh(values(load_reward_model(tmp_path), tokens))
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)


def values(model: RewardModel, tokens: np.ndarray) -> np.ndarray:
    return np.asarray(model.raw(jnp.asarray(tokens, jnp.int32)[None]))[0]
