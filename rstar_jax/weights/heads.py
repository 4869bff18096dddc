"""Heads of reward models: which tensors they are, how many labels they give, and how their models read steps.

A table of the forms that people publish. A head of one number gives it as it is. A head of two labels is
folded into one of half the difference of its logits, so that tanh of it is 2p - 1, p being the softmax's
probability of the right label: then all that serves a value in [-1, 1] serves it, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.errors import UserError
from rstar_jax.models.params import ParamSpec
from rstar_jax.models.scalar_head import OURS, Reading
from rstar_jax.weights.families import Weight
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.safetensors_format import Stored

# What the tensors' names begin with: transformers' classifiers and Qwen2.5-Math's reward models; DeepSpeed's
# and others'; TRL's AutoModelForCausalLMWithValueHead; OpenRLHF's.
STEMS = ("score.", "v_head.", "v_head.summary.", "value_head.", "value_head.summary.")
# Of these a policy may have one beside its vocabulary head, which PPO trained with it.
BESIDE_A_POLICY = tuple(stem for stem in STEMS if stem != "score.")
_TWO_LAYERS = ("Qwen2ForRewardModel", "Qwen2ForProcessRewardModel")  # with ReLU between them
_RIGHT = ("positive", "correct", "good", "right", "true", "yes", "+")
READING = "step_scoring"  # the field of config.json
_QWEN = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)
_QUESTION = "{question}"


class OtherKind(UserError):
    """A policy where a reward model is expected, or the other way round."""


# By the architecture of config.json; a `step_scoring` object of these fields there counts before them.
READINGS: dict[str, Reading] = {
    # huggingface.co/Qwen/Qwen2.5-Math-PRM-7B (also 72B and 7B-PRM800K): the value stands at <extra_0>.
    "Qwen2ForProcessRewardModel": Reading(_QWEN, "<extra_0>"),
    # huggingface.co/Qwen/Qwen2.5-Math-RM-72B: that of the whole conversation.
    "Qwen2ForRewardModel": Reading(_QWEN, end="<|im_end|>\n"),
    # huggingface.co/Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B
    "Qwen2ForPrmModel": Reading("{question}\n", "\n"),
}
_TOKENS = Reading("{question}", "\n")  # TRL's PRMTrainer, whatever the family: class names end so
TOKEN_CLASSES = "ForTokenClassification"
# Whose one number is a logit of being right: tanh of its half is 2p - 1.
_LOGITS = ("Qwen2ForPrmModel",)


@dataclasses.dataclass(frozen=True)
class Head:
    """A head that was found: its parameters' specs and places, and what its numbers mean.

    table: `score` and, where the head has them, `score_bias`, `score_in` and `score_in_bias`, of the first of
    two layers. right: the label that says a step is right; None where the head gives one number.
    factor: what its number is multiplied by.
    """

    table: Mapping[str, tuple[ParamSpec, Weight]]
    reading: Reading = OURS
    right: int | None = None
    factor: float = 1.0

    @property
    def of_probability(self) -> bool:
        """Return whether tanh of the folded head is 2p - 1."""
        return self.right is not None or self.factor != 1

    def folded(self, params: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Takes the head's parameters out of `params` and makes them those of one number, as RewardModel
        has them."""
        head = {name: params.pop(name) for name in self.table}
        for name in ("score", "score_bias"):
            if name in head:
                value = head[name].astype(jnp.float32)
                if self.right is not None:
                    value = (value[self.right] - value[1 - self.right]) / 2
                elif name == "score_bias":
                    value = value[0]
                head[name] = (value * self.factor).astype(head[name].dtype)
        return head


def plain(width: int) -> Head:
    """The head of transformers' sequence classification with one label, which is ours."""
    spec = ParamSpec((width,), ("embed",), None)
    return Head({"score": (spec, Weight("score.weight", (1, width)))})


def head_names(names: Iterable[str]) -> list[str]:
    """The names of tensors that belong to heads of the forms that are read here."""
    return sorted(name for name in names if name.startswith(STEMS))


def find_head(
    found: Mapping[str, Stored], others: Iterable[str], config: Mapping[str, Any], where: str, width: int
) -> Head:
    """The head among a folder's tensors.

    others: the tensors that are no part of the decoder. config: config.json's content; where: the folder's
    name and width: of the decoder. Raises UserError that says what is there instead, OtherKind where that is
    no head at all.
    """
    others = sorted(others)
    stems = [stem for stem in STEMS if {f"{stem}weight", f"{stem}2.weight"} & set(others)]
    if len(stems) != 1:
        raise OtherKind(_nothing(found, others, where))
    (stem,) = stems
    architecture = _architecture(config)
    two = f"{stem}2.weight" in found
    last = f"{stem}2." if two else stem
    mine = {f"{stem}0.weight", f"{stem}0.bias"} if two else set()
    mine |= {f"{last}weight", f"{last}bias"}
    if extra := [name for name in others if name not in mine]:
        raise UserError(
            f"{found[extra[0]].file}: a reward head '{last}weight', and beside it {_listed(found, extra)}: "
            "no form of head that is read here. Heads of one linear layer are (also with a bias), and "
            f"those of two with ReLU between them ({', '.join(_TWO_LAYERS)})."
        )
    if two and architecture not in _TWO_LAYERS:
        raise UserError(
            f"{where}/config.json: the head has two layers ({_listed(found, others)}), and what stands "
            f"between them is not said by architecture {architecture!r}. If that is ReLU, write there "
            f'"architectures": ["{_TWO_LAYERS[1]}"] (labels at a token after each step) or '
            f'["{_TWO_LAYERS[0]}"] (a number for the whole).'
        )
    table: dict[str, tuple[ParamSpec, Weight]] = {}
    inner = width
    if two:
        shape = found.get(f"{stem}0.weight")
        if shape is None or len(shape.shape) != 2:
            raise UserError(f"{where}: tensor '{stem}0.weight', the first layer of the head, is missing.")
        inner = shape.shape[0]
        weight = Weight(f"{stem}0.weight", (inner, width), transpose=True)
        table["score_in"] = ParamSpec((width, inner), (None, None), None), weight
        if f"{stem}0.bias" in found:
            table["score_in_bias"] = ParamSpec((inner,), (None,), None), Weight(f"{stem}0.bias", (inner,))
    labels = found[f"{last}weight"].shape[0] if found[f"{last}weight"].shape else 0
    if labels not in (1, 2):
        raise UserError(
            f"{found[f'{last}weight'].file}: tensor '{last}weight' is a classifier's with {labels} labels"
            f"{_named(config)}, and which of them is a step's value is not known. A head of one number, or "
            "of two labels (wrong, right), is read."
        )
    one = labels == 1
    axes = ("embed",) if one and not two else (None,) * (1 if one else 2)
    spec = ParamSpec((inner,) if one else (labels, inner), axes, None)
    table["score"] = spec, Weight(f"{last}weight", (labels, inner))
    if f"{last}bias" in found:
        table["score_bias"] = ParamSpec((labels,), (None,), None), Weight(f"{last}bias", (labels,))
    return Head(
        table,
        _reading(config, architecture, f"{where}/config.json", labels),
        right=None if one else _right(config),
        factor=0.5 if architecture in _LOGITS and one else 1.0,
    )


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _reading(config: Mapping[str, Any], architecture: str, where: str, labels: int) -> Reading:
    given = config.get(READING)
    if given is None:
        if labels == 2 and architecture.endswith(TOKEN_CLASSES):
            return _TOKENS
        return READINGS.get(architecture, OURS)
    names = [field.name for field in dataclasses.fields(Reading)]
    values = Fields(config, where).object(READING).config
    for name, value in values.items():
        if name not in names or not isinstance(value, str):
            raise UserError(
                f"{where}: field '{READING}': {name!r} is {value!r}; texts {', '.join(names)} expected."
            )
    reading = Reading(**values)
    if reading.prompt and _QUESTION not in reading.prompt:
        raise UserError(f"{where}: field '{READING}': no {_QUESTION} in the prompt, which it must have.")
    return reading


def _right(config: Mapping[str, Any]) -> int:
    """The label that says a step is right: the second, unless the config's names say it is the first."""
    names = config.get("id2label")
    first, second = (str(names.get(key, "")).lower() if isinstance(names, Mapping) else "" for key in "01")
    return 0 if first in _RIGHT and second not in _RIGHT else 1


def _named(config: Mapping[str, Any]) -> str:
    names = config.get("id2label")
    if not isinstance(names, Mapping) or not names:
        return ""
    return f" ({', '.join(map(str, list(names.values())[:6]))}{', ...' if len(names) > 6 else ''})"


def _listed(found: Mapping[str, Stored], names: list[str]) -> str:
    few = [f"'{name}' {list(found[name].shape)}" for name in names[:8]]
    return ", ".join(few) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _nothing(found: Mapping[str, Stored], others: list[str], where: str) -> str:
    wanted = "'score.weight', 'score.0' and 'score.2', 'v_head.weight' or 'v_head.summary.weight'"
    if others:
        return (
            f"{where}: no reward head that is read here ({wanted}). Beside the decoder's tensors there are "
            f"{_listed(found, others)}."
        )
    return (
        f"{where}: a decoder, and no reward head beside it ({wanted}). It is a policy; or a judge that "
        "answers in words (Math-Shepherd's + and -, 'Yes' or 'No'), which is not read as a reward model."
    )
