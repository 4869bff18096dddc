"""An export holds what the run found, in every format; killed and resumed or not, it is the same."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

from rstar_jax import columns, launch, parquet, records
from rstar_jax.data import authors
from rstar_jax.data.authors import Frame
from rstar_jax.data.flat_trees import read_flat
from rstar_jax.data.tables import Place
from rstar_jax.errors import UserError
from rstar_jax.evolve import export
from rstar_jax.report.progress import Progress
from rstar_jax.settings import from_config
from rstar_jax.tasks import MathTask
from rstar_jax.types import PreferencePair, SftRow, Tree
from tests.data.sum_trees import sum_run

ALL = "--config.formats=authors,trl_preference,trl_stepwise,chat"
PARTS = {"trees", "trajectories", "solutions", "pairs"}
FURTHER = {"authors_sft", "authors_ppm", "authors_trees", "trl_preference", "trl_stepwise", "chat"}


def settings(source, *overrides) -> export.ExportSettings:
    config = launch.override(launch.load("export").get_config(), [f"--config.source={source}", *overrides])
    return from_config(export.ExportSettings, config.to_dict())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the run's folder, its trees by round, the folder of its export, what that returned)."""
    root, out = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("out")
    trees = sum_run(root)
    return root, trees, out, export.run(settings(root, ALL), out)


def rows_of(folder):
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def lines(folder):
    files = sorted(folder.glob("*.jsonl"))
    return [(path, n, json.loads(line)) for path in files for n, line in enumerate(path.open(), 1)]


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".parquet", ".jsonl", ".md")
    }


def of_run(root, name, kind):
    return [row for r in (1, 2) for row in parquet.read_rows(root / f"round{r}/curate/{name}", kind)]


def test_trees_solutions_and_pairs_come_back_as_they_were(made):
    root, trees, out, report = made
    read = [tree for path in sorted((out / "trees").glob("*.parquet")) for tree in read_flat(path)]
    assert read == [*trees[1], *trees[2]]
    for part, name, kind in (("solutions", "sft", SftRow), ("pairs", "pairs", PreferencePair)):
        found = [columns.build(kind, row) for row in rows_of(out / part)]
        assert found == of_run(root, f"{name}.parquet", kind) and found
    assert set(report["parts"]) == PARTS | FURTHER
    for name, counted in report["parts"].items():
        there = rows_of(out / name) or lines(out / name)
        assert len(there) == counted["rows"] > 0, name


def test_the_authors_formats_read_back_give_the_same_to_learn(made):
    root, trees, out, _ = made
    frame = Frame.of(MathTask())
    rows = of_run(root, "sft.parquet", SftRow)
    given = [(row["query"], row["response"]) for _, _, row in lines(out / "authors_sft")]
    assert given == [(row.question, "".join(row.steps)) for row in rows]
    pairs = [authors.pair_of(row, Place(p, "line", n), frame) for p, n, row in lines(out / "authors_ppm")]
    parts = ("question", "prefix", "positive", "negative", "weight", "final")
    expected = of_run(root, "pairs.parquet", PreferencePair)
    assert [[getattr(pair, part) for part in parts] for pair in pairs] == [
        [getattr(pair, part) for part in parts] for pair in expected
    ]
    assert any(pair.final for pair in pairs) and not all(pair.final for pair in pairs)
    read = [authors.tree_of(row, Place(p, "line", n)) for p, n, row in lines(out / "authors_trees")]
    for one, other in zip(read, [*trees[1], *trees[2]], strict=True):
        assert one.problem.question == other.problem.question and one.problem.answer == other.problem.answer
        assert ways(one) == ways(other)


def ways(tree):
    """Every node by what leads to it, whatever order they are in, and what the authors' format says of it."""
    return {
        tree.steps(i): (node.visits, node.q, node.answer, node.grade, node.status, node.observation)
        for i, node in enumerate(tree.nodes)
    }


def test_formats_of_others_say_what_the_pairs_and_trajectories_say(made):
    root, trees, out, _ = made
    task = MathTask()
    for row, pair in zip(
        rows_of(out / "trl_preference"), of_run(root, "pairs.parquet", PreferencePair), strict=True
    ):
        assert row["prompt"] == task.prompt(pair.question, "ppm") + "".join(pair.prefix)
        assert (row["chosen"], row["rejected"]) == ("".join(pair.positive), "".join(pair.negative))
    found = [t for r in (1, 2) for tree in trees[r] for t in tree.trajectories()]
    for row, trajectory in zip(rows_of(out / "trl_stepwise"), found, strict=True):
        assert row["completions"] == list(trajectory.steps)
        assert row["labels"] == [trajectory.grade == "right"] * 3
    for row, solution in zip(rows_of(out / "chat"), of_run(root, "sft.parquet", SftRow), strict=True):
        assert row["messages"] == [
            {"role": "user", "content": solution.question},
            {"role": "assistant", "content": "".join(solution.steps)},
        ]


def test_the_card_names_files_that_are_there_and_what_they_hold(made):
    _, _, out, report = made
    text = (out / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    lines_alone = {"authors_sft", "authors_ppm", "authors_trees"}  # `datasets` takes one kind of files
    assert {one["config_name"] for one in header["configs"]} == (PARTS | FURTHER) - lines_alone
    assert all(f"| `{name}` |" in text for name in PARTS | FURTHER)
    for one in header["configs"]:
        assert len(list(out.glob(one["data_files"]))) == report["parts"][one["config_name"]]["files"] > 0
    assert header["license"] == "unknown" and "## Licence" in text
    assert records.digest(made[0] / "config.json") in text and "['p1']" not in text and '["p1"]' in text


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_at_every_file_and_resumed_it_gives_the_same(made, tmp_path, monkeypatch):
    root, _, out, _ = made
    replace, written = os.replace, []

    def kill(source, target):
        replace(source, target)
        if str(target).endswith((".parquet", ".jsonl", "DONE.json")):
            written.append(str(target))
            raise Killed

    monkeypatch.setattr(os, "replace", kill)
    monkeypatch.setattr(export, "_PER_FILE", 4)
    monkeypatch.setattr(export, "_ROWS", 2)
    for _ in range(200):
        try:
            export.run(settings(root, ALL), tmp_path)
            break
        except Killed:
            continue
    assert len(written) == len(set(written)) > 40  # nothing was written twice
    for name in ("solutions", "pairs", "chat"):
        assert rows_of(tmp_path / name) == rows_of(out / name)
        assert len(list((tmp_path / name).glob("*.parquet"))) > 2
    assert [row for _, _, row in lines(tmp_path / "authors_ppm")] == [
        row for _, _, row in lines(out / "authors_ppm")
    ]
    for name in ("trees", "trajectories", "authors_trees", "trl_stepwise"):
        assert files(tmp_path / name) == files(out / name)
    before = files(tmp_path)
    monkeypatch.setattr(os, "replace", replace)
    export.run(settings(root, ALL), tmp_path)
    assert files(tmp_path) == before


def test_a_format_may_be_added_and_another_source_may_not(made, tmp_path):
    root = made[0]
    assert set(export.run(settings(root, "--config.rounds=2"), tmp_path / "out")["parts"]) == PARTS
    added = export.run(settings(root, "--config.rounds=2", "--config.formats=chat"), tmp_path / "out")
    assert set(added["parts"]) == {*PARTS, "chat"}
    assert {row["round"] for row in rows_of(tmp_path / "out/trees")} == {2}
    with pytest.raises(UserError, match=r"made from other contents of config\.source, config\.rounds"):
        export.run(settings(root), tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["--config.source="], r"config\.source: '' given"),
        (["--config.source=nowhere"], r"config\.source=nowhere: no run there"),
        (["--config.rounds=3"], r"config\.rounds: round 3 asked for, but .* has searched 1, 2"),
        (["--config.rounds=0"], r"config\.rounds"),
        (["--config.formats=authors,chats"], r"Did you mean 'chat'\?"),
    ],
)
def test_bad_options_are_named(made, tmp_path, overrides, why):
    with pytest.raises(UserError, match=why):
        export.run(settings(made[0], *overrides), tmp_path)


def test_a_damaged_shard_is_named(tmp_path):
    sum_run(tmp_path / "run", problems=2)
    shard = tmp_path / "run/round1/search/trees-0-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"trees-0-00000\.parquet: damaged .* the command of the run"):
        export.run(settings(tmp_path / "run"), tmp_path / "out")


def test_how_far_a_large_file_is_read_shows(made, monkeypatch, tmp_path):
    seen, update = [], Progress.update

    def watch(self, done=None, **values):
        update(self, done, **values)
        if self.current == "export pairs":
            seen.append(done)

    monkeypatch.setattr(Progress, "update", watch)
    monkeypatch.setattr(export, "_ROWS", 5)
    export.run(settings(made[0], "--config.rounds=1"), tmp_path)
    assert seen == [5, 10, 15, 20, 20]


@pytest.mark.parametrize("change", ["missing", "another"])
def test_a_shard_that_is_not_what_the_search_made_is_named(tmp_path, change):
    sum_run(tmp_path / "run")
    shard = tmp_path / "run/round1/search/trees-0-00001.parquet"
    shard.unlink()
    if change == "another":
        shutil.copy(shard.with_name("trees-0-00000.parquet"), shard)
    with pytest.raises(UserError, match=r"trees-0-00001\.parquet: damaged .*DONE\.json beside it names"):
        export.run(settings(tmp_path / "run"), tmp_path / "out")


def test_what_an_unfinished_stage_left_is_not_exported(tmp_path):
    sum_run(tmp_path / "run")
    (tmp_path / "run/round2/curate/DONE.json").unlink()
    parts = export.run(settings(tmp_path / "run"), tmp_path / "out")["parts"]
    assert {row["round"] for part in ("solutions", "pairs") for row in rows_of(tmp_path / "out" / part)} == {
        1
    }
    assert parts["trees"]["rows"] == 110


@pytest.mark.datasets
@pytest.mark.parametrize("name", sorted((PARTS | FURTHER) - {"authors_trees"}))
def test_datasets_loads_every_part(made, tmp_path, name):
    """As files, and as the card has it. What the authors' trees hold under their tags differs by row."""
    import datasets

    _, _, out, report = made
    kind = "json" if name.startswith("authors") else "parquet"
    data_files = sorted(str(path) for path in (out / name).iterdir() if path.name.startswith("round"))
    loaded = datasets.load_dataset(kind, data_files=data_files, cache_dir=str(tmp_path))["train"]
    assert len(loaded) == report["parts"][name]["rows"]
    if kind == "json":
        assert loaded.to_list() == [row for _, _, row in lines(out / name)]
        return
    assert loaded.to_list() == rows_of(out / name)
    by_card = datasets.load_dataset(str(out), name, cache_dir=str(tmp_path))["train"]
    assert by_card.to_list() == loaded.to_list()


def test_shards_of_trees_are_read_in_pieces(made, monkeypatch, tmp_path):
    """Never more of a shard at a time than asked for."""
    seen = []
    real = parquet.read_tables

    def watch(path, kind, rows):
        for table in real(path, kind, rows):
            seen.append((kind, len(table)))
            yield table

    monkeypatch.setattr(parquet, "read_tables", watch)
    monkeypatch.setattr(export, "_TREES", 1)
    export.run(settings(made[0]), tmp_path)
    assert {size for kind, size in seen if kind is Tree} == {1}
