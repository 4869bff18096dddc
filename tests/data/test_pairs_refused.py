"""Files of which no pairs can be made, and labels that cannot teach, are refused by name."""

from types import SimpleNamespace

import pytest

from rstar_jax.data.examples import Tally
from rstar_jax.data.pairs import require_stable_stops
from rstar_jax.errors import UserError
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import TINY_BASE
from tests.data.test_pairs import NEXT, PAIR, PROMPT, STEP, prose, read, shepherd


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"question": "1?", "answer": "2"}], r"pairs\.jsonl:1: columns answer, question, of which no pairs"),
        ([{"prompt": PROMPT, "pos": 3, "neg": "x"}], r"pairs\.jsonl:1: pos is 3, text expected"),
        ([{"question": "1?", "label": {"steps": []}}], r"pairs\.jsonl:1: question is '1\?'"),
        (
            [{"prompt": "1?", "completions": ["a"], "labels": []}],
            r"pairs\.jsonl:1: completions is \['a'\], labels \[\]",
        ),
        (
            [
                {
                    "question": {"problem": "1?"},
                    "label": {"steps": [{"completions": [{"text": "a", "rating": 2}]}]},
                }
            ],
            r"pairs\.jsonl:1: rating is 2",
        ),
        *(
            (
                [{"question": {"problem": "1?"}, "label": {"steps": [step]}}],
                r"pairs\.jsonl:1: a step is .* completions \{text, rating\} expected",
            )
            for step in (3, {"completions": "ab"}, {"completions": {"text": "a"}}, {"completions": [3]})
        ),
    ],
)
def test_rows_of_no_known_form_are_named(tmp_path, rows, why):
    with pytest.raises(UserError, match=why):
        read(tmp_path, *rows)


def test_unknown_columns_are_listed_with_the_forms_that_are_known(tmp_path):
    with pytest.raises(UserError) as raised:
        read(tmp_path, {"text": "x", "score": 1})
    for part in ("score, text", "rstar_ppm", "PRM800K", "Math-Shepherd", "TRL"):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("marks", "why"),
    [("++", r"f: all 2 labels of steps are right"), ("--", r"f: all 2 labels of steps are wrong")],
)
def test_labels_of_one_class_are_refused(tmp_path, marks, why):
    tally = Tally()
    rows = [shepherd("1 + 1?", (text, mark)) for text, mark in zip("ab", marks, strict=True)]
    pairs = read(tmp_path, *rows, tally=tally)
    with pytest.raises(UserError, match=why):
        tally.require_labels(len(pairs), "f", *PAIR)


def test_no_pair_left_is_refused_with_the_reasons(tmp_path):
    tally = Tally(bad="drop")
    pairs = read(tmp_path, {"prompt": PROMPT, "chosen": NEXT, "rejected": NEXT}, tally=tally)
    with pytest.raises(UserError, match=r"f: no pair left of 1 rows \(1 two equal sides\).*pairs\.jsonl:1"):
        tally.require_labels(len(pairs), "f", *PAIR)


def test_an_end_of_step_that_splits_into_other_tokens_is_refused():
    tokenizer = Tokenizer.load(TINY_BASE, CODE_STEPS)
    require_stable_stops(tokenizer, [STEP, NEXT, "no stop", *prose("x", "Größe")], "f")

    def merging(step):  # as a vocabulary with a token for "\n<"
        return tuple(step.encode()[:-3]), ()

    broken = SimpleNamespace(
        grammar=CODE_STEPS, encode_step=merging, encode_steps=lambda steps: [*"".join(steps).encode()]
    )
    with pytest.raises(UserError, match=r"f: the end of a step, '<end_of_step>', is spelt"):
        require_stable_stops(broken, [STEP], "f")
