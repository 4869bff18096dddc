"""What the stages that learn add to the trainings themselves."""

import json

import numpy as np
import pytest
import tokenizers

from rstar_jax import models
from rstar_jax.evolve.learn import _named, _with_special_tokens, deaths, ungradable
from rstar_jax.evolve.rounds import TINY_BASE
from rstar_jax.evolve.seek import unknown_steps
from rstar_jax.language import grammar
from rstar_jax.language.tokenizer import Tokenizer
from rstar_jax.types import Node, Problem, Tree


@pytest.fixture
def lacking() -> Tokenizer:
    """A tokenizer without the grammar's tokens."""
    content = json.loads((TINY_BASE / "tokenizer.json").read_text())
    content["added_tokens"] = content["added_tokens"][:1]
    for token in grammar.SPECIAL_TOKENS:
        del content["model"]["vocab"][token]
    content["model"]["vocab"] = {token: i for i, token in enumerate(content["model"]["vocab"])}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)))


@pytest.mark.parametrize("unused", [0, 40])
def test_new_tokens_start_at_the_mean_row_even_where_the_vocabulary_has_room(lacking, unused):
    """As that of Qwen2.5, which has 271 rows that no token of its tokenizer uses."""
    first, base = lacking.vocab_size, models.load_pretrained(TINY_BASE)
    trained = np.asarray(base.params()["embed"])[:first]
    grown = _with_special_tokens(models.resize_vocab(base, first + unused), lacking)
    embed = np.asarray(grown.params()["embed"])
    assert len(embed) == first + max(unused, len(grammar.SPECIAL_TOKENS))
    np.testing.assert_array_equal(embed[:first], trained)
    for token in grammar.SPECIAL_TOKENS:
        (at,) = lacking.encode(token)
        np.testing.assert_allclose(embed[at], trained.mean(axis=0), atol=1e-6)


def test_a_vocabulary_that_has_them_stays_as_it_is():
    base = models.load_pretrained(TINY_BASE)
    assert _with_special_tokens(base, Tokenizer.load(TINY_BASE)) is base


def tree(problem: str, *ends: str) -> Tree:
    """A tree of one step for each end: a grade, or the status of a step without one."""
    nodes = [Node(-1, "", "ok", 0, 0, 0.0)]
    for end in ends:
        graded = end in ("right", "wrong", "ungraded")
        nodes.append(Node(0, "", "answer" if graded else end, 1, 0, 0.0, grade=end if graded else None))
    return Tree(Problem(problem, "?", "!"), 1, 0, 1, tuple(nodes))


def test_ungradable_problems_had_answers_and_none_that_was_graded():
    trees = [
        tree("a", "ungraded", "exception"),
        tree("b", "ungraded"),
        tree("b", "ungraded", "wrong"),
        tree("c", "exception"),
        tree("d"),
        tree("e", "ungraded"),
        tree("e", "ungraded"),
    ]
    assert ungradable(trees) == ["a", "e"]


def test_the_note_names_the_first_of_them():
    assert _named(["p1"]) == "1 problem has a reference that no answer could be graded against: p1"
    assert _named([f"p{i}" for i in range(7)]).endswith(": p0, p1, p2, p3, p4, ...")


def test_a_step_nothing_is_known_of_did_not_die():
    trees = [tree("a", "exception", "unknown"), tree("b", "unknown", "timeout", "right")]
    assert unknown_steps(trees) == 2
    assert deaths(trees) == {"exception": 1, "timeout": 1}
