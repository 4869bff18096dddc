"""Benchmarks by name: where their problems are found, and what is no benchmark."""

import json
from typing import Any

import pytest

from rstar_jax.data.known import Columns
from rstar_jax.data.specification import parse
from rstar_jax.errors import UserError
from rstar_jax.evaluate.benchmarks import BENCHMARKS, Asked, asked, named, problems_of
from rstar_jax.tasks import MathTask


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


ROWS = [{"id": f"a/{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(5)]


def read(one: Asked, *, bad: Any = "drop", limit=0, log=lambda _: None, columns=Columns()):
    return problems_of(one, MathTask(), columns=columns, bad=bad, limit=limit, log=log)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_name_of_its_file_finds_it_before_the_hub(tmp_path, name):
    row = BENCHMARKS[name]
    assert row.source and parse(row.source, "x") and row.k >= 1
    assert asked(name) == [Asked(name, row, row.source)]
    for stem in (name, *row.files):
        folder = tmp_path / stem
        folder.mkdir()
        file = write(folder / f"{stem}.jsonl", ROWS)
        (one,) = asked(name, str(folder))
        assert one.source == (row.source if name.startswith("suite") else str(file))
        assert named(stem.upper()) == name  # no two benchmarks answer to one name
    assert named(row.title) == name


def test_problems_of_ones_own_are_a_benchmark_by_name_or_by_file(tmp_path):
    file = write(tmp_path / "exam.jsonl", ROWS)
    (one, other, suite) = asked(f"mine=jsonl:{file}, {file}, suite:7")
    assert (one.name, other.name, suite.name) == ("mine", "exam", "7")
    assert [problem.id for problem in read(one)] == [row["id"] for row in ROWS]
    assert list(read(other)) == list(read(one)) and len(read(suite)) == 7
    assert [problem.id for problem in read(one, limit=2)] == ["a/0", "a/1"]


def test_a_level_of_the_suite_is_of_that_level_alone():
    (one,) = asked("suite-level2")
    found = read(one)
    assert len(found) == one.row.problems == 120 and {problem.level for problem in found} == {2}


def test_a_set_of_another_size_is_told(tmp_path):
    write(tmp_path / "aime2024.jsonl", ROWS)
    (one,) = asked("aime24", str(tmp_path))
    told = []
    assert len(read(one, log=told.append)) == 5
    assert "aime24: 5 problems" in told[0] and "where it has 30" in told[0]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("math50", r"'math50' given, no such benchmark\. Did you mean 'math500'"),
        ("", r"config\.benchmarks: '' given, one or several"),
        ("math500,MATH-500", r"'math500' given twice"),
        ("aime24,nowhere.jsonl", r"'nowhere\.jsonl' given, no such benchmark"),
    ],
)
def test_what_is_no_benchmark_is_named(names, why):
    with pytest.raises(UserError, match=why):
        asked(names)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.data: '.*gone' given, a folder of files"):
        asked("aime24", str(tmp_path / "gone"))


def test_a_file_of_another_schema_is_named_with_its_benchmark(tmp_path):
    write(tmp_path / "gsm8k.jsonl", [{"pred": "1", "gold": "2"}])
    (one,) = asked("gsm8k", str(tmp_path))
    for bad in ("drop", "fatal"):
        with pytest.raises(UserError, match=r"benchmark gsm8k: .*gsm8k\.jsonl.*question and answer"):
            read(one, bad=bad)
    with pytest.raises(UserError, match=r"config\.columns\.question: 'q' given, but no source has"):
        write(tmp_path / "gsm8k.jsonl", ROWS)
        read(one, columns=Columns(question="q"))


def test_rows_that_cannot_be_graded_are_counted(tmp_path):
    write(tmp_path / "amc23.jsonl", [*ROWS, {"id": "b", "problem": "Draw it.", "answer": "  "}])
    (one,) = asked("amc23", str(tmp_path))
    for limit, left in ((0, 5), (3, 3)):
        found = read(one, limit=limit)
        assert len(found) == left and found.faults is not None and found.faults.left_out == 1
    with pytest.raises(UserError, match=r"benchmark amc23: .*amc23\.jsonl:6"):
        read(one, bad="fatal")
