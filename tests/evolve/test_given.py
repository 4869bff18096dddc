"""Trees of every form teach the rows and pairs that a round of them would have taught."""

import json

import pytest

from rstar_jax import curate, records
from rstar_jax.data import authors
from rstar_jax.data.flat_trees import flattened
from rstar_jax.data.pairs import Tally
from rstar_jax.data.rows import FORMS
from rstar_jax.errors import UserError
from rstar_jax.evolve import given
from rstar_jax.tasks import MathTask
from rstar_jax.types import Tree
from tests.data.sum_trees import solution, sum_tree

TREES = [sum_tree(2, 3), sum_tree(2, 3, index=1), sum_tree(4, 1)]
CONFIG = curate.CurateConfig(weight="node")


def written(tmp_path, form):
    if form == "shard":
        path = tmp_path / "trees-0-00000.parquet"
        records.write_rows(path, Tree, TREES)
    elif form == "flat":
        path = tmp_path / "flat.parquet"
        records.write_rows(tmp_path / "shard.parquet", Tree, TREES)
        tables = [flattened(table) for table in records.read_tables(tmp_path / "shard.parquet", Tree, 2)]
        records.write_tables(path, tables[0].schema, tables)
    else:
        path = tmp_path / "trees.jsonl"
        records.write_lines(path, map(authors.tree, TREES))
    return path


@pytest.mark.parametrize("form", ["shard", "flat", "authors"])
def test_trees_teach_what_they_would_have_taught_in_a_round(tmp_path, form):
    expected = curate.curate(TREES, CONFIG, 1)
    files, tally = [written(tmp_path, form)], Tally()
    rows, pairs = given.solutions(files, MathTask()), list(given.pairs(files, MathTask(), CONFIG, tally))
    assert [(row.row.question, row.row.steps) for row in rows] == [
        (row.question, row.steps) for row in expected.sft
    ]
    if form != "authors":  # which knows no ids, rounds and token ids
        assert [row.row for row in rows] == expected.sft and pairs == expected.pairs
    parts = ("question", "prefix", "positive", "negative", "margin", "weight", "final")
    assert [[getattr(pair, part) for part in parts] for pair in pairs] == [
        [getattr(pair, part) for part in parts] for pair in expected.pairs
    ]
    assert (tally.read, len(pairs)) == (2, len(expected.pairs))


def test_files_of_a_folder_are_read_together_up_to_the_limit(tmp_path):
    written(tmp_path, "authors")
    row = {"question": "1 + 1?", "steps": solution(1, 1, "+")}
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, [row, row])))
    files, told = given.given_files(str(tmp_path), "config.rows", FORMS), []
    assert [file.name for file in files] == ["more.jsonl", "trees.jsonl"]
    rows = given.solutions(files, MathTask(), limit=3, on_read=told.append)
    assert [row.row.question[:4] for row in rows] == ["1 + ", "1 + ", "What"] and told == [2, 3]
    assert len(given.digest_of(files).split()) == 2


def test_what_is_not_there_is_named(tmp_path):
    for spec in ("", str(tmp_path / "none.jsonl")):
        with pytest.raises(UserError, match=r"config\.rows: .* a file that exists.*query"):
            given.given_files(spec, "config.rows", FORMS)
    with pytest.raises(UserError, match=r"config\.rows: .* a folder without \.json"):
        given.given_files(str(tmp_path), "config.rows", FORMS)


def test_trees_without_a_label_say_so(tmp_path):
    row = authors.tree(TREES[0])
    for state in row["rstar"].values():
        state["q_value"] = 0.5
    (tmp_path / "trees.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"trees\.jsonl: none of its trees has a right answer"):
        given.solutions([tmp_path / "trees.jsonl"], MathTask())
    tally = Tally()
    assert list(given.pairs([tmp_path / "trees.jsonl"], MathTask(), CONFIG, tally)) == []
    with pytest.raises(UserError, match=r"no pair left of 1 rows \(1 problems whose trees compare nothing\)"):
        tally.require_labels(0, "f")


def test_a_row_among_trees_that_is_none_is_named(tmp_path):
    path = written(tmp_path, "authors")
    path.write_text(path.read_text() + json.dumps({"question": "1?", "answer": "2"}))
    with pytest.raises(UserError, match=r"trees\.jsonl:4: columns answer, question; .* as above it"):
        given.solutions([path], MathTask())
