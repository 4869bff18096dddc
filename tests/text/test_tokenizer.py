"""The tokenizer wrapper, over a byte-level BPE trained here."""

import json
import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from rstar_jax.errors import UserError
from rstar_jax.text import prompts
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from tests.text.vocabularies import BUNDLED, merging
from tests.text.vocabularies import plain as plain_backend

LINES = ["# Step 1: add the apples\ntotal = 12 + 34", "# Now print the final answer\nprint(total)"] * 5
STEPS = CODE_STEPS.render(LINES[:2], output="46", answer="There are \\boxed{46} apples.")
TOKENIZER = Tokenizer.train(LINES, 300, CODE_STEPS)


def plain() -> Tokenizer:
    """A byte tokenizer without the grammar's tokens."""
    return Tokenizer(plain_backend(), CODE_STEPS)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40))
def test_decode_gives_back_the_text(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_specials_are_single_tokens_and_digits_are_single():
    assert all(len(TOKENIZER.encode(token)) == 1 for token in CODE_STEPS.delimiters)
    assert len(TOKENIZER.encode("2024")) == 4
    assert set(TOKENIZER.stop_ids.values()) == {"step", "code", "answer"}
    assert TOKENIZER.stop_ids[TOKENIZER.encode("<end_of_code>")[0]] == "code"
    assert TOKENIZER.vocab_size <= 300


def test_steps_encoded_apart_equal_the_whole():
    assert TOKENIZER.encode_steps(STEPS) == TOKENIZER.encode("".join(STEPS))


def test_solution_masks_prompt_and_output():
    ids, mask = TOKENIZER.encode_solution("Q: apples?", STEPS)
    assert TOKENIZER.decode(ids) == "Q: apples?" + "".join(STEPS)
    learnt = TOKENIZER.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert learnt == "".join(STEPS).replace("\n<output>46<end_of_output>", "")
    assert ids[-1] == TOKENIZER.encode("<end_of_answer>")[0] and mask[-1]


def test_adding_special_tokens_to_a_vocabulary_without_them():
    tokenizer = plain()
    assert tokenizer.stop_ids == {} and tokenizer.eos_id is None and tokenizer.pad_id == 0
    before = tokenizer.encode_steps(STEPS)
    assert tokenizer.add_special_tokens() == len(CODE_STEPS.delimiters)
    assert tokenizer.add_special_tokens() == 0
    assert tokenizer.vocab_size == 256 + len(CODE_STEPS.delimiters)
    assert len(tokenizer.stop_ids) == 3
    assert len(tokenizer.encode_steps(STEPS)) < len(before)


def without_specials(tokenizer: Tokenizer) -> Tokenizer:
    """The same merges, but the grammar's tokens are text."""
    content = json.loads(tokenizer._backend.to_str())
    content["added_tokens"] = []
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), CODE_STEPS)


# Stops occur in what these are trained on, so that tokens reach across their ends.
SPOKEN = [
    "total = f(12)\n",
    "print(total)",
    "['a', 3]",
    '"{x}"',
    "# Step 2: so it is.",
    "))",
    "\n\n",
    "x < 3",
    " ",
]
WRITTEN = [a + stop + b for stop in CODE_STEPS.stops for a in SPOKEN for b in ("\n", "\n\n", "")]


def trained(phrases: bool) -> Tokenizer:
    broken = ["<".join(text.replace("_", " _").split("<")) for text in WRITTEN] * 3
    backend = merging(without_specials(Tokenizer.train(LINES, 290, CODE_STEPS, phrases=phrases)))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(WRITTEN + broken + LINES, trainer)
    return Tokenizer(backend, CODE_STEPS)


def first_met(tokenizer: Tokenizer, sequences, ids):
    """(tokens up to and including the first sequence that ends, its finish)."""
    longest = max(map(len, sequences))
    for end in range(1, len(ids) + 1):
        for size in range(1, min(longest, end) + 1):
            if finish := sequences.get(tuple(ids[end - size : end])):
                return end, finish
    return None


@pytest.mark.parametrize("name", ["bytes", "bundled", "words", "phrases"])
def test_stops_that_are_no_tokens_are_met_by_their_sequences(name):
    if name == "bundled":
        tokenizer = without_specials(Tokenizer.load(BUNDLED, CODE_STEPS))
    else:
        tokenizer = plain() if name == "bytes" else trained(name == "phrases")
    assert not tokenizer.stop_ids
    sequences = tokenizer.stop_sequences()
    for sequence, finish in sequences.items():
        _, cut = CODE_STEPS.cut_at_stop(tokenizer.decode(sequence))
        assert cut == finish
        # no token is wasted: without the first or the last the stop is not whole
        assert all(
            CODE_STEPS.cut_at_stop(tokenizer.decode(s))[1] != finish for s in (sequence[1:], sequence[:-1])
        )
    written = merging(tokenizer)  # a model writes what it likes
    rng = random.Random(0)
    missed = count = 0
    for _ in range(300):
        left, right = ("".join(rng.choice(SPOKEN) for _ in range(rng.randint(1, 3))) for _ in range(2))
        stop = rng.choice([*CODE_STEPS.stops])
        ids = written.encode(left + stop + rng.choice(["\n", "\n\n", "", " "]) + right).ids
        met = first_met(tokenizer, sequences, ids)
        count += 1
        if met is None:
            missed += 1
            continue
        end, finish = met
        assert finish == CODE_STEPS.stops[stop]
        assert CODE_STEPS.cut_at_stop(tokenizer.decode(ids[:end]))[0] == left + stop
        assert stop not in tokenizer.decode(ids[: end - 1])  # met as soon as it is there
    assert missed <= count // 100


def test_stops_that_are_tokens_are_one_id_each():
    assert TOKENIZER.stop_sequences() == {(i,): finish for i, finish in TOKENIZER.stop_ids.items()}


def test_saved_files_load_again_and_in_transformers(tmp_path):
    TOKENIZER.save(tmp_path)
    again = Tokenizer.load(tmp_path, CODE_STEPS)
    text = "".join(STEPS)
    assert again.encode(text) == TOKENIZER.encode(text)
    assert (again.eos_id, again.pad_id, again.stop_ids) == (
        TOKENIZER.eos_id,
        TOKENIZER.pad_id,
        TOKENIZER.stop_ids,
    )
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs.encode(text, add_special_tokens=False) == TOKENIZER.encode(text)
    assert theirs.eos_token_id == TOKENIZER.eos_id


def test_a_folder_without_or_with_damaged_tokenizer_files_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer here; one of tokenizer\.json"):
        Tokenizer.load(tmp_path, CODE_STEPS)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(UserError, match="cannot be read"):
        Tokenizer.load(tmp_path, CODE_STEPS)


@pytest.mark.parametrize("special", [True, False])
def test_control_tokens_of_texts_from_outside_are_letters(special):
    backend = tokenizers.Tokenizer.from_str(TOKENIZER._backend.to_str())
    mark = tokenizers.AddedToken("<|im_end|>", special=special, normalized=False)
    (backend.add_special_tokens if special else backend.add_tokens)([mark])
    tokenizer = Tokenizer(backend, CODE_STEPS)
    ends = {backend.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")}
    text = "1<|endoftext|> and <|im_end|><|im_end|>"
    step = CODE_STEPS.with_output("<code>\nprint(1)\n<end_of_code>", text)
    question = prompts.finetuned(text)
    for ids, whole in (
        (tokenizer.encode_prompt(question), question),
        (tokenizer.encode_steps((step, text)), step + text),
        (tokenizer.encode_solution(question, (step,))[0], question + step),
    ):
        assert not ends & {*ids}
        assert tokenizer.decode(ids) == whole
    # In the frame of another model's prompt they are tokens, in the question that is put there they are not.
    framed = tokenizer.encode_prompt(f"<|im_end|>{text}<|im_end|>", text)
    assert [i for i in framed if i in ends] == [framed[0], framed[-1]]
    assert tokenizer.encode_mark("<|im_end|>") == [backend.token_to_id("<|im_end|>")]
