"""The index tells what the trees themselves say, whatever lies in the folder and whatever comes meanwhile."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.report.viewer.problems import Problems, Wanted, suspect_ids
from rstar_jax.report.viewer.tree_index import CACHE, OUTCOMES, TreeIndex, tree_files, tree_table
from rstar_jax.types import Tree
from tests.data.some_trees import trees
from tests.report.viewer import some_run


@pytest.fixture
def run(tmp_path):
    return some_run.make(tmp_path / "run")


def found(run, **wanted):
    index = TreeIndex(run).read_all()
    problems = Problems(index.table(), suspect_ids(run))
    places = problems.found(Wanted(**{"set": 0, **wanted}))
    return [row["id"] for row in problems.rows(places)]


@settings(max_examples=25, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=5))
def test_rows_are_what_trees_say(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("any")
    parquet.write_rows(folder / "round3/search/trees-0-00000.parquet", Tree, made)
    index = TreeIndex(folder).read_all()
    rows = index.table().to_pylist()
    assert len(rows) == len(made)
    for i, (row, tree) in enumerate(zip(rows, made, strict=True)):
        assert (row["row"], row["problem_id"], row["question"]) == (i, tree.problem.id, tree.problem.question)
        assert (row["nodes"], row["level"], row["round"]) == (len(tree.nodes), tree.problem.level, 3)
        assert (OUTCOMES[row["outcome"]] == "solved") == tree.solved
        causes = {f"{n.status} {n.detail}".strip() for n in tree.nodes if n.status not in ("ok", "answer")}
        bits = {name for name in index.causes if row["causes"] & index.cause_bit(name)}
        assert bits == causes


def test_problems_are_found_by_outcome_text_level_round_and_cause(run):
    first, second, third = (problem.id for problem in some_run.PROBLEMS)
    assert found(run) == [first, second, third]
    assert found(run, outcome="solved") == [first, second]
    assert (
        found(run, outcome="unsolved")
        == found(run, outcome="wrong")
        == found(run, outcome="suspect")
        == [third]
    )
    assert found(run, outcome="gained") == [second]
    assert found(run, outcome="lost") == found(run, outcome="none") == []
    assert found(run, outcome="unsolved", round=1) == [second, third]
    assert found(run, text="SUM twice") == [second]
    assert found(run, text="p/0") == [first]
    assert found(run, level=3) == [third]
    index = TreeIndex(run).read_all()
    assert index.causes == ["exception NameError"]
    assert len(found(run, cause=index.cause_bit("exception NameError"))) == 3
    assert found(run, set=1) == ["h/0"]


def test_what_is_cached_is_read_no_more_until_it_changes(run):
    before = TreeIndex(run).read_all().table()
    again = TreeIndex(run)
    again.scan()
    assert not again.left and again.table().equals(before)
    path = run / "round1/search/trees-0-00000.parquet"
    parquet.write_rows(path, Tree, parquet.read_rows(path, Tree)[:2])
    again.scan()
    assert [file.name for file in again.left] == ["round1/search/trees-0-00000.parquet"]
    again.next()
    assert len(again.table()) == len(before) - 1


def test_a_cache_that_is_none_is_made_again(run):
    before = TreeIndex(run).read_all().table()
    for broken in (b"", b"PAR1", (run / CACHE).read_bytes()[:-9]):
        (run / CACHE).write_bytes(broken)
        assert TreeIndex(run).read_all().table().equals(before)


def test_a_folder_that_cannot_be_written_is_looked_at_all_the_same(run):
    (run / "cache").write_text("no folder")
    assert len(TreeIndex(run).read_all().table()) == 7


def test_a_tree_of_its_own_counts_once_while_it_is_joined(run):
    shard = run / "round1/search/trees-0-00000.parquet"
    trees = parquet.read_rows(shard, Tree)
    for i in range(3):
        parquet.write_rows(run / f"round1/search/trees-0-{i:06d}.tree", Tree, trees[i : i + 1])
    index = TreeIndex(run).read_all()
    assert len(index.table()) == 7
    shard.unlink()
    index.read_all()
    rows = index.table().to_pylist()
    assert [row["file"][-5:] for row in rows if row["round"] == 1] == [".tree"] * 3


def test_a_damaged_file_is_named_and_the_others_are_shown(run):
    path = run / "round1/search/trees-0-00000.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    index = TreeIndex(run).read_all()
    assert len(index.table()) == 4 and list(index.unreadable) == ["round1/search/trees-0-00000.parquet"]


def test_a_tree_is_read_from_its_row(run):
    table = tree_table(run, "round1/search/trees-0-00000.parquet", [2, 0])
    assert [one["id"] for one in table["problem"].to_pylist()] == [some_run.PROBLEMS[i].id for i in (2, 0)]
    with pytest.raises(records.Damaged, match="row 9 expected"):
        tree_table(run, "round1/search/trees-0-00000.parquet", [9])
    with pytest.raises(UserError, match="no longer there"):
        tree_table(run, "round1/search/trees-0-00007.parquet", [0])


def test_files_of_the_last_release_are_read_too(run):
    path = run / "round1/search/trees-0-00000.parquet"
    now = pq.read_table(path)
    problem = now["problem"].combine_chunks()
    import pyarrow as pa

    fields = ["id", "problem", "answer", "level", "source", "synthetic"]
    old = pa.StructArray.from_arrays(problem.flatten(), names=fields)
    before = now.set_column(0, "problem", old).rename_columns(
        ["index" if name == "tree_index" else name for name in now.column_names]
    )
    pq.write_table(before, path)
    rows = TreeIndex(run).read_all().table().to_pylist()
    assert [row["question"] for row in rows][:3] == [p.question for p in some_run.PROBLEMS]
    assert tree_table(run, "round1/search/trees-0-00000.parquet", [1])["tree_index"].to_pylist() == [0]


def test_other_files_are_no_trees(run):
    (run / "round1/search/notes-0.parquet").write_text("x")
    (run / "round1/search/.trees-0-00000.parquet.7.part").write_text("x")
    assert len(tree_files(run)) == 3


def test_samples_of_benchmarks_are_trees_too(run):
    trees = parquet.read_rows(run / "round1/search/trees-0-00000.parquet", Tree)
    parquet.write_rows(run / "benchmarks/aime24/samples-0-00000.parquet", Tree, trees[:1])
    assert found(run, set=3) == ["p/0"]
