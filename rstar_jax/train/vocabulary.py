"""The grammar's delimiters in the vocabulary of a base that is to be trained on steps, and how well it has
learnt to write them.

As tokens of their own they are short, and new: a training of few examples hardly teaches to write them.
As text they are spelt with the tokens that the base knows, some five tokens each, and are learnt at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from rstar_jax.models import Decoder, resize_vocab
from rstar_jax.text.grammar import Grammar
from rstar_jax.text.tokenizer import Tokenizer

Delimiters = Literal["tokens", "text"]
# Below this many optimiser steps new tokens are hardly learnt, and below this probability not at all.
FEW_STEPS, WEAK = 20, 0.25


def terms(grammar: Grammar) -> tuple[str, ...]:
    """Name the terms of a training's loss that tell of each delimiter that the policy writes."""
    return tuple(f"nll_{token.strip('<>')}" for token in grammar.written)


def with_delimiters(model: Decoder, tokenizer: Tokenizer, delimiters: Delimiters) -> Decoder:
    """The model and (in place) the tokenizer, ready to be trained on steps.

    "tokens": the tokenizer is given those of the grammar's tokens that it lacks, the model a row for each,
    made of the rows that spelt its text. "text": both stay as they are; delimiters that are tokens of the
    base already remain tokens. Rows behind the tokenizer's last id, which real vocabularies have and which
    were never trained, become mean rows or those of new tokens.
    """
    if delimiters == "text":
        return model
    rows, known = model.config.vocab_size, tokenizer.vocab_size
    spelt = {token: tokenizer.encode_steps((token,)) for token in tokenizer.grammar.delimiters}
    if not tokenizer.add_special_tokens():
        return model
    pieces = {tokenizer.encode(token)[0]: ids for token, ids in spelt.items()}
    return resize_vocab(model, max(rows, tokenizer.vocab_size), trained=known, pieces=pieces)


def probabilities(metrics: Mapping[str, float], grammar: Grammar) -> dict[str, float]:
    """Compute the probability of each delimiter where it should stand, from a training's metrics: the
    geometric mean, all of its tokens together. Those that no example had are left out."""
    named = zip(grammar.written, terms(grammar), strict=True)
    return {token: math.exp(-metrics[term]) for token, term in named if term in metrics}


def weakness(metrics: Mapping[str, float], grammar: Grammar, steps: int, new_tokens: int) -> str:
    """Note what speaks against a policy that was trained so; empty where nothing does.

    steps: of the optimiser. new_tokens: how many the base did not have.
    """
    weak = {token: p for token, p in probabilities(metrics, grammar).items() if p < WEAK}
    if weak:
        listed = ", ".join(f"{token} {p:.3f}" for token, p in weak.items())
        return (
            f"delimiters are not learnt (probability where they should stand: {listed}), so hardly a step "
            "will be well-formed: train on more rows or epochs, at a higher learning rate, or with "
            "policy.delimiters=text"
        )
    if new_tokens and steps < FEW_STEPS:
        return (
            f"{new_tokens} new tokens in {steps} steps: few for tokens that the base never saw. More rows, "
            "epochs or smaller batches, or policy.delimiters=text, which needs no new ones"
        )
    return ""
