"""No token reaches across the end of a prompt or a step, in any vocabulary."""

import functools
import itertools
import json
from typing import get_args

import pytest
import tokenizers
from tokenizers import processors

from rstar_jax.data.solution_tokens import marks
from rstar_jax.errors import UserError
from rstar_jax.problems.suite import generate
from rstar_jax.tasks import TASKS, Role
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from tests.tasks.sums import SUMS, Sums
from tests.text.vocabularies import QWEN2, STEPS, backends, greedy, merging, plain, sentencepiece

QUESTIONS = ["How many?", "Is 3 < 4.", "Ends in a line\n", " ", "A <code> in it", "x = <"]
QUESTIONS += [problem.question for problem in generate(6, seed=3, split="train")]


def prompts(grammar):
    """The prompts of the tasks of a grammar, by task and role."""
    kinds = {**TASKS, "sums": Sums}
    return {
        (task, role): functools.partial(kind().prompt, role=role)
        for task, kind in kinds.items()
        for role in get_args(Role)
        if kind.grammar == grammar
    }


def solutions(grammar):
    parts = ("a = 1  ", "\n\nb = 2\n", "print(a, b)>")
    return [
        grammar.render(("# Add (both).\nt = f(12, [3])", "print('<', t)"), output="(46)", answer="{46}"),
        grammar.render(("print(1)",), output="", answer="\\boxed{1}"),
        grammar.render(parts, output="> 1\n\n", answer=" so \\boxed{.}. "),
    ]


def with_and_without_tokens():
    others = ("sums in qwen2", greedy(QWEN2, SUMS)), ("sums in llama2", sentencepiece(prepend=True))
    for name, backend in (*backends(), *others):
        grammar = SUMS if name.startswith("sums") else CODE_STEPS
        yield f"{name}, text", Tokenizer(tokenizers.Tokenizer.from_str(backend.to_str()), grammar)
        tokens = Tokenizer(backend, grammar)
        tokens.add_special_tokens()
        yield f"{name}, tokens", tokens


VOCABULARIES = dict(with_and_without_tokens())


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_text_goes_on_from_the_ids_of_its_beginning(name):
    tokenizer = VOCABULARIES[name]
    grammar = tokenizer.grammar
    every = itertools.product(prompts(grammar).values(), QUESTIONS, solutions(grammar))
    for prompt, question, steps in every:
        text = prompt(question)
        ids = tokenizer.encode_prompt(text)
        for step in steps:
            ids, text = ids + tokenizer.encode_steps([step]), text + step
            assert ids == tokenizer.encode_prompt(text)
        assert tokenizer.decode(ids) == text
        # The training finds them in any vocabulary.
        assert marks(ids, tokenizer).max() == len(grammar.written)
        assert ids == tokenizer.encode_solution(prompt(question), steps)[0]


@pytest.mark.parametrize("name", [name for name in VOCABULARIES if name.endswith("text")])
def test_delimiters_are_spelt_the_same_wherever_they_stand(name):
    tokenizer = VOCABULARIES[name]
    for delimiter in tokenizer.grammar.delimiters:
        spelt = tokenizer.encode_steps((delimiter,))
        for before, after in itertools.product((".", ">", "\n", "x ", "<"), (".", "\n\n", "x", ">", " <")):
            ids = tokenizer.encode(before + delimiter + after)
            assert ids == tokenizer.encode(before) + spelt + tokenizer.encode_steps((after,))


def test_without_the_split_the_vocabularies_do_merge_across():
    """Else the tests above would show nothing."""
    for name in ("gpt2, text", "qwen2, text", "phrases, text"):
        bare = merging(VOCABULARIES[name])
        whole = bare.encode("with code.<code>\n", add_special_tokens=False).ids
        assert whole != VOCABULARIES[name].encode("with code.<code>\n")
    assert ">Ċ" in merging(VOCABULARIES["qwen2, text"]).encode("<end_of_step>\n# x").tokens[-3]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_question_cannot_hold_a_delimiter(name):
    tokenizer = VOCABULARIES[name]
    marks = tokenizer.grammar.delimiters
    questions = ["".join(marks), "x".join(("", *marks, "")), *(2 * mark for mark in marks)]
    for prompt, question in itertools.product(prompts(tokenizer.grammar).values(), questions):
        ids, bare = tokenizer.encode_prompt(prompt(question)), tokenizer.encode_prompt(prompt("x"))
        for mark in marks:
            spelt = tokenizer.encode_steps((mark,))
            assert times(spelt, ids) == times(spelt, bare)


def times(part, whole):
    return sum(whole[i : i + len(part)] == part for i in range(len(whole)))


def test_delimiters_of_another_grammar_are_text_or_control_tokens():
    """A folder of one task, read for another: what it called a delimiter is none, nor is it ever sampled."""
    tokens = Tokenizer(VOCABULARIES["qwen2, tokens"]._backend, SUMS)
    theirs = {tokens._added[mark] for mark in CODE_STEPS.delimiters}
    assert theirs <= tokens.control_ids and not theirs & {*tokens.stop_ids}
    assert not theirs & {*tokens.encode_prompt(Sums().prompt("".join(CODE_STEPS.delimiters), "ppm"))}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_saved_folder_splits_as_this_one(name, tmp_path):
    tokenizer = VOCABULARIES[name]
    text = "".join(solutions(tokenizer.grammar)[0])
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path, tokenizer.grammar)
    assert again.encode(text) == tokenizer.encode(text)
    again.save(tmp_path / "again")  # the split is not put there twice
    assert (tmp_path / "again/tokenizer.json").read_text() == (tmp_path / "tokenizer.json").read_text()
    again.add_special_tokens()
    assert again.encode(text) == VOCABULARIES[name.replace("text", "tokens")].encode(text)
    assert again.stop_sequences() == VOCABULARIES[name.replace("text", "tokens")].stop_sequences()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_step_that_was_sampled_is_read_as_it_was_written(name):
    """Else a space more would stand in it each time that a text is made of ids and ids of the text."""
    tokenizer = VOCABULARIES[name]
    for steps in solutions(tokenizer.grammar):
        for step in steps:
            ids = tokenizer.encode_steps((step,))
            assert tokenizer.decode(ids) == step
            assert tokenizer.encode_steps((tokenizer.decode(ids),)) == ids


def test_ids_with_gaps_are_refused_before_two_tokens_share_one():
    backend = plain()
    content = json.loads(backend.to_str())
    content["model"]["vocab"] = {token: 2 * i for token, i in content["model"]["vocab"].items()}
    with pytest.raises(UserError, match=r"'<\w+>' cannot be added, as its ids have gaps"):
        Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), CODE_STEPS).add_special_tokens()


def test_names_of_tokens_may_stand_in_a_file_of_their_own(tmp_path):
    with_bos({}, False).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    names = {name: config.pop(name) for name in ("bos_token", "eos_token")}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path, CODE_STEPS).eos_id is None
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names | {"eos_token": {"content": "</s>"}}))
    assert Tokenizer.load(tmp_path, CODE_STEPS).eos_id == with_bos({}, False).eos_id is not None


def with_bos(config: dict, template: bool) -> Tokenizer:
    backend = plain()
    backend.add_special_tokens(["<s>", "</s>"])
    if template:
        bos = backend.token_to_id("<s>")
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return Tokenizer(backend, CODE_STEPS, {"bos_token": "<s>", "eos_token": "</s>", **config})


@pytest.mark.parametrize(
    ("config", "template", "put"),
    [
        ({}, True, True),  # Llama 3
        ({}, False, False),  # Qwen2.5, SmolLM2
        ({"add_bos_token": True}, False, True),  # DeepSeek
        ({"add_bos_token": True}, True, True),  # Gemma
        ({"add_bos_token": False}, True, False),
        ({"add_bos_token": True, "bos_token": None}, True, True),  # named nowhere, but put
        ({"eos_token": 5}, False, False),
    ],
)
def test_a_prompt_begins_with_the_bos_where_the_tokenizer_puts_one(config, template, put):
    tokenizer = with_bos(config, template)
    bos = tokenizer.encode("<s>")
    expected = bos if put else []
    assert tokenizer.encode_prompt("How?") == [*expected, *tokenizer.encode("How?")]
    ids, trained = tokenizer.encode_solution("How?", STEPS)
    asked = tokenizer.encode_prompt("How?")
    assert ids[: len(asked)] == asked and not any(trained[: len(asked)]) and len(ids) == len(trained)
    assert tokenizer.encode_prompt("<s>How?", "How?") == [*bos, *tokenizer.encode("How?")]  # never twice
    assert bos[0] not in tokenizer.encode_steps(STEPS)


def test_the_same_as_transformers(tmp_path):
    from transformers import AutoTokenizer

    for number, (config, template) in enumerate([({}, True), ({}, False)]):
        tokenizer = with_bos(config, template)
        tokenizer.save(tmp_path / str(number))
        theirs = AutoTokenizer.from_pretrained(str(tmp_path / str(number)))
        assert theirs("How?")["input_ids"] == tokenizer.encode_prompt("How?")


def test_control_tokens_are_those_of_others():
    tokenizer = with_bos({}, True)
    assert tokenizer.control_ids == {*tokenizer.encode("<s>"), *tokenizer.encode("</s>")}
    tokenizer.add_special_tokens()
    assert len(tokenizer.control_ids) == 2


def test_a_delimiter_of_the_user_s_own_splitting_stays():
    """A pre-tokenizer that begins with another split is not taken for ours."""
    backend = plain()
    backend.pre_tokenizer = json_sequence(backend)
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(backend.to_str()), CODE_STEPS)
    tokenizer.add_special_tokens()
    first = json.loads(tokenizer._backend.to_str())["pre_tokenizer"]["pretokenizers"][0]
    assert first["pattern"] == {"Regex": "a|b"}


def json_sequence(backend):
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex("a|b"), behavior="isolated")
    return tokenizers.pre_tokenizers.Sequence([split, backend.pre_tokenizer])
