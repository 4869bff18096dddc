"""Answers that are known to be wrong: noted, or mended where that is asked for."""

from __future__ import annotations

import json

import pytest

from rstar_jax.data import corrections as module
from rstar_jax.data.corrections import corrections
from rstar_jax.data.load import load_problems
from rstar_jax.errors import UserError
from rstar_jax.grading import grade
from rstar_jax.types import Problem

OPTION = "config.problems.corrections"
LINES = [json.loads(line) for line in module.KNOWN.read_text(encoding="utf-8").splitlines()]
AIME = next(line for line in LINES if "AIME" in line["set"])


def test_the_list_says_where_each_was_reported_and_its_answers_can_be_graded():
    for line in LINES:
        assert line["reported"].startswith("https://")
        assert line["why"]
        assert grade(line["answer"], line["answer"]) == "right"
    assert len(corrections("", OPTION).answers) == len(LINES)


@pytest.mark.parametrize(("option", "answer"), [("", "384"), ("known", "385")])
def test_a_wrong_answer_is_noted_and_mended_on_request(tmp_path, option, answer):
    spelt_otherwise = AIME["question"].replace("\\tfrac", "\\frac").replace("|| x|", "||x|")
    rows = [
        {"id": "wrong", "question": spelt_otherwise, "answer": "384"},
        {"id": "right", "question": AIME["question"].replace("$", ""), "answer": "385.0"},
        {"id": "other", "question": "Define $f(x)=x$. What is f(2)?", "answer": "3"},
    ]
    path = tmp_path / "aime.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    known = corrections(option, OPTION)
    found = load_problems(str(path), seed=0, split="heldout", mended=known)
    assert [problem.answer for problem in found] == [answer, "385.0", "3"]
    assert found.mended is known
    assert known.found == ["wrong"]


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"question": "How many?", "answer": "4", "votes": 9}) + "\n")
    mended = corrections(str(path), OPTION)
    assert mended(Problem("p", "how many", "3")).answer == "4"
    assert mended(Problem("q", "How much?", "3")).answer == "3"
    assert mended.found == ["p"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "1?"}', r"own.jsonl:1: answer is None, text expected"),
        ('{"question": "1?", "answer": 1}', r"own.jsonl:1: answer is 1, text expected"),
        (
            '{"question": "1?", "answer": "1"}\n{"question": "1 ?", "answer": "2"}',
            r"own.jsonl:2: answers '2' to a question that an earlier row answers '1'",
        ),
        (None, r"config.problems.corrections: '.*own.jsonl' given, 'known' or a file"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "own.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        corrections(str(path), OPTION)
