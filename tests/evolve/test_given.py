"""Trees of every form teach the rows and pairs that a round of them would have taught."""

import dataclasses
import json

import pytest

from rstar_jax import columns, curate, parquet, records
from rstar_jax.data import authors
from rstar_jax.data.examples import Tally
from rstar_jax.data.faults import Faults
from rstar_jax.data.flat_trees import flattened
from rstar_jax.data.rows import FORMS
from rstar_jax.errors import UserError
from rstar_jax.evolve import given
from rstar_jax.tasks import MathTask
from rstar_jax.types import Tree
from tests.data.sum_trees import solution, sum_tree

TREES = [sum_tree(2, 3), sum_tree(2, 3, index=1), sum_tree(4, 1)]
CONFIG = curate.CurateConfig(weight="node")


def written(tmp_path, form, trees=TREES):
    if form == "shard":
        path = tmp_path / "trees-0-00000.parquet"
        parquet.write_rows(path, Tree, trees)
    elif form == "flat":
        path = tmp_path / "flat.parquet"
        parquet.write_rows(tmp_path / "shard.parquet", Tree, trees)
        tables = [flattened(table) for table in parquet.read_tables(tmp_path / "shard.parquet", Tree, 2)]
        parquet.write_tables(path, tables[0].schema, tables)
    else:
        path = tmp_path / "trees.jsonl"
        records.write_lines(path, map(authors.tree, trees))
    return path


@pytest.mark.parametrize("form", ["shard", "flat", "authors"])
def test_trees_teach_what_they_would_have_taught_in_a_round(tmp_path, form):
    expected = curate.curate(TREES, CONFIG, 1)
    files, tally = [written(tmp_path, form)], Tally()
    rows, pairs = given.solutions(files, MathTask()), list(given.examples(files, MathTask(), CONFIG, tally))
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


@pytest.mark.parametrize("form", ["shard", "flat", "authors"])
def test_trees_of_a_problem_are_taken_together_wherever_they_stand(tmp_path, form):
    """As a run leaves them: the second trees of all problems behind the first ones, in files of their own."""
    expected = curate.curate(TREES, CONFIG, 1)
    for name, trees in (("a", [TREES[0], TREES[2]]), ("b", [TREES[1]])):
        (tmp_path / name).mkdir()
        written(tmp_path / name, form, trees).rename(tmp_path / f"{name}.parquet")
    files, tally = [tmp_path / "a.parquet", tmp_path / "b.parquet"], Tally()
    rows, pairs = given.solutions(files, MathTask()), list(given.examples(files, MathTask(), CONFIG, tally))
    assert sorted(row.row.steps for row in rows) == sorted(row.steps for row in expected.sft)
    assert sorted((p.positive, p.negative) for p in pairs) == sorted(
        (p.positive, p.negative) for p in expected.pairs
    )
    assert tally.read == 2
    if form == "shard":
        assert sorted(row.row.token_ids for row in rows) == sorted(row.token_ids for row in expected.sft)


def test_trees_of_two_rounds_are_curated_apart(tmp_path):
    trees = [sum_tree(2, 3), sum_tree(2, 3, round=2)]
    rows = given.solutions([written(tmp_path, "shard", trees)], MathTask())
    assert [row.row.round for row in rows] == [1, 1, 2, 2]


def test_a_file_of_problems_that_nobody_solved_does_not_stop_the_others(tmp_path):
    unsolved = dataclasses.replace(TREES[2], nodes=TREES[2].nodes[:1], finals=())
    parquet.write_rows(tmp_path / "trees-0-00000.parquet", Tree, [unsolved])
    parquet.write_rows(tmp_path / "trees-0-00001.parquet", Tree, TREES[:1])
    assert len(given.solutions(given.given_files(str(tmp_path), "config.rows", FORMS), MathTask())) == 2


def test_a_shard_with_a_row_that_is_no_tree_is_named(tmp_path):
    broken = dataclasses.replace(TREES[2], nodes=TREES[2].nodes[:1])
    path = written(tmp_path, "shard", [TREES[0], broken])
    with pytest.raises(UserError, match=r"00000\.parquet: row 2: no tree as a search writes one \(it ended"):
        given.solutions([path], MathTask())
    path.write_bytes(path.read_bytes()[:200] + b"x" * 100 + path.read_bytes()[300:])
    with pytest.raises(UserError, match=r"00000\.parquet: damaged .*, a run's shard expected\. Copy it"):
        given.solutions([path], MathTask())


@pytest.mark.parametrize("form", ["shard", "flat"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"value_sum": 1e300}, r"node 1 has Q = 1e\+300, a mean of values from -1 to 1"),
        ({"value_sum": float("nan")}, "node 1 has Q = nan"),
        ({"value_sum": None}, "node 1 has no visits or no value_sum"),
        ({"visits": -1}, "node 1 has -1 visits, 0 or more"),
        ({"ppm": 1.5}, r"node 1 has the PPM's value 1\.5"),
        ({"visits": 0, "ppm": float("nan")}, "node 1 has Q = nan"),
    ],
)
def test_trees_with_numbers_of_no_search_are_named_or_left_out(tmp_path, form, change, why):
    nodes = list(TREES[2].nodes)
    nodes[1] = dataclasses.replace(nodes[1], **change)
    path = written(tmp_path, form, [TREES[0], dataclasses.replace(TREES[2], nodes=tuple(nodes))])
    with pytest.raises(UserError, match=rf"{path.name}: tree 2: {why}"):
        list(given.examples([path], MathTask(), CONFIG, Tally()))
    tally = Tally(bad="drop")
    found = list(given.examples([path], MathTask(), CONFIG, tally))
    assert found == curate.curate(TREES[:1], CONFIG, 1).pairs and tally.lost["numbers of no search"] == 1


def test_what_is_not_there_is_named(tmp_path):
    for spec in ("", str(tmp_path / "none.jsonl"), "x" * 5000):
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
    assert list(given.examples([tmp_path / "trees.jsonl"], MathTask(), CONFIG, tally)) == []
    with pytest.raises(UserError, match=r"no pair left of 1 rows \(1 problems whose trees compare nothing\)"):
        tally.require_labels(0, "f", "pair", "trees", "A pair needs two ways on.")


def test_a_row_among_trees_that_is_none_is_named(tmp_path):
    path = written(tmp_path, "authors")
    path.write_text(path.read_text() + json.dumps({"question": "1?", "answer": "2"}))
    with pytest.raises(UserError, match=r"trees\.jsonl:4: columns answer, question; .* as above it"):
        given.solutions([path], MathTask())


@pytest.mark.parametrize("form", ["trees", "solutions", "pairs"])
def test_rows_that_are_none_are_left_out_and_named_where_that_is_asked_for(tmp_path, form):
    """What stands between them is read as if they were not there."""
    path = tmp_path / "given.jsonl"
    if form == "trees":
        good = [authors.tree(tree) for tree in (*TREES, *TREES)]  # a problem's trees wait for others
        bad = [{"question": "1?", "answer": "1"}, {**good[0], "rstar": []}, {**good[2], "question": 5}]
    elif form == "solutions":
        good = [{"question": f"1 + {i}?", "steps": solution(1, i, "+")} for i in range(4)]
        bad = [
            {"question": "1?", "steps": "all in one"},
            {"question": "1?"},
            {**good[0], "steps": ["<code>"]},
        ]
    else:
        good = [columns.plain(pair) for pair in curate.curate(TREES, CONFIG, 1).pairs][:4]
        bad = [{"colour": "red"}, {**good[0], "margin": None}, {**good[0], "prefix": "a step"}]

    def found(*lines, drop=False):
        path.write_text("".join(f"{line}\n" for line in lines))
        faults, tally = Faults(fatal=not drop), Tally(bad="drop" if drop else "fatal")
        if form == "pairs":
            return list(given.examples([path], MathTask(), CONFIG, tally)), tally.lost, tally.examples
        rows = given.solutions([path], MathTask(), on_bad=faults)
        if form == "trees":
            again = list(given.examples([path], MathTask(), CONFIG, tally))
            assert again and tally.lost["malformed"] == faults.kinds["malformed"]
        return [row.row.steps for row in rows], faults.kinds, faults.examples

    lines = [json.dumps(row) for row in good]
    clean, lost, _ = found(*lines)
    assert clean and not lost.keys() & {"malformed", "not JSON"}
    spoilt = [lines[0], json.dumps(bad[0]), lines[1], "{", json.dumps(bad[1]), lines[2], json.dumps(bad[2])]
    kept, lost, examples = found(*spoilt, *lines[3:], drop=True)
    assert kept == clean and lost["malformed"] == 3 and lost["not JSON"] == 1
    assert "given.jsonl:4: not JSON" in str(examples["not JSON"]) and "given.jsonl:2" in str(examples)
    with pytest.raises(UserError, match=r"given\.jsonl:2"):
        found(*spoilt)
    only, lost, _ = found("{oops", lines[0], lines[1], drop=True)  # the first line tells what a file holds
    assert only and lost["not JSON"] == 1
