"""A step keeps the ids that it was sampled with, wherever these are its text."""

import re

import pytest

from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from tests.text.vocabularies import STEPS, backends

BACKENDS = dict(backends())
DELIMITER = re.compile("(" + "|".join(map(re.escape, CODE_STEPS.delimiters)) + ")")


def tokenizer_of(name, stops):
    tokenizer = Tokenizer(dict(backends())[name], CODE_STEPS)
    if stops:
        tokenizer.add_special_tokens()
    return tokenizer


def letter_by_letter(tokenizer, text, *, delimiters=False):
    """Ids of a text of which no two letters were merged; nor those of delimiters, if that is asked for."""
    pieces = (
        list(text)
        if delimiters
        else [x for p in DELIMITER.split(text) for x in ([p] if DELIMITER.match(p) else p)]
    )
    return tuple(i for piece in pieces for i in tokenizer.encode_steps((piece,)))


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("name", BACKENDS)
def test_ids_that_spell_a_step_stand_for_it(name, stops):
    tokenizer = tokenizer_of(name, stops)
    others = 0
    for step in STEPS:
        written, output = tokenizer.encode_step(step)
        assert tokenizer.encode_step(step, written) == (written, output)
        sampled = letter_by_letter(tokenizer, CODE_STEPS.split_tool(step)[0])
        assert tokenizer.decode(sampled) == CODE_STEPS.split_tool(step)[0]
        assert tokenizer.encode_step(step, sampled) == (sampled, output)
        others += sampled != written
    assert others or name == "bytes"
    sampled = [letter_by_letter(tokenizer, CODE_STEPS.split_tool(step)[0]) for step in STEPS]
    ids, trained = tokenizer.encode_solution("How?", STEPS, sampled)
    assert ids == tokenizer.encode_prompt("How?") + tokenizer.encode_steps(STEPS, sampled)
    assert tuple(i for i, learnt in zip(ids, trained, strict=True) if learnt) == sum(sampled, ())


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("name", BACKENDS)
def test_ids_that_do_not_are_passed_over(name, stops):
    """Of another text, of no token, of a delimiter that is spelt as this vocabulary does not spell it."""
    tokenizer = tokenizer_of(name, stops)
    for step in STEPS:
        own = tokenizer.encode_step(step)
        far = tokenizer.vocab_size
        for sampled in (own[0][:-1], (*own[0], own[0][0]), (far, *own[0]), (-1,), tuple(map(int, "12"))):
            assert tokenizer.encode_step(step, sampled) == own
        misspelt = letter_by_letter(tokenizer, CODE_STEPS.split_tool(step)[0], delimiters=True)
        if letter_by_letter(tokenizer, CODE_STEPS.split_tool(step)[0]) != misspelt:
            assert tokenizer.encode_step(step, misspelt) == own


def test_a_control_token_is_spelt_out_in_a_step_whoever_wrote_it():
    tokenizer = Tokenizer.train(STEPS, 400, CODE_STEPS)
    name = tokenizer.decode([tokenizer.eos_id])
    step = f"<code>\n# {name}\nx = 1\n<end_of_step>"
    own = tokenizer.encode_step(step)
    parts = tokenizer.encode_steps(("<code>\n# ",)), tokenizer.encode_steps(("\nx = 1\n<end_of_step>",))
    sampled = (*parts[0], tokenizer.eos_id, *parts[1])
    assert tokenizer.decode(sampled) == step and tokenizer.eos_id not in own[0]
    assert tokenizer.encode_step(step, sampled) == own
