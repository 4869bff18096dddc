"""Trees on disk: what is there is not searched again, and what cannot be used is put aside."""

import dataclasses
import errno

import pyarrow.parquet as pq
import pytest

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evolve.shards import Shards, Source, count_trees, problem_trees, read_trees
from rstar_jax.search import SearchConfig
from rstar_jax.types import Candidate, Node, Origin, Problem, StepVerdict, Tree
from tests.search.scripted import Functions

PROBLEMS = [Problem(f"p{i}", f"What is {i}?", str(i % 2)) for i in range(8)]  # every other one is solved
SOURCE = Source(1, seed=5, policy="p", ppm="q")
CONFIG = SearchConfig(rollouts=1, candidates=1, batch=1)


class Killed(BaseException):
    """Stands for the end of the process."""


class World:
    """Answers every problem with 1, until so many are begun. searched: those begun, in order."""

    def __init__(self, lives: int = 99):
        self.lives, self.searched = lives, []

    def functions(self) -> Functions:
        return Functions(self.propose, self.check, self.grade)

    def propose(self, leaves):
        if len(self.searched) == self.lives:
            raise Killed
        self.searched += [leaf.problem.id for leaf in leaves]
        return [[Candidate("1", (1,), -1.0, "answer")] for _ in leaves]

    def check(self, requests):
        return [StepVerdict("1", "answer", answer="1", cpu_s=0.5) for _ in requests]

    def grade(self, requests):
        return ["right" if answer == problem.answer else "wrong" for problem, answer in requests]


def grown(folder, problems=PROBLEMS, source=SOURCE, **options):
    """(the shards once all is searched, which problems were)."""
    world = World()
    shards = Shards(folder, "trees-0", problems, source, size=3)
    shards.grow(world.functions().queues(), CONFIG, training=True, **options)
    return shards, [int(name[1:]) for name in world.searched]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


SHARDS = [f"trees-0-0000{i}.parquet" for i in range(3)]


@pytest.fixture
def broken(tmp_path):
    """A search that ended with five trees on disk: a shard, and two of the next block."""
    with pytest.raises(Killed):
        shards = Shards(tmp_path, "trees-0", PROBLEMS, SOURCE, size=3)
        shards.grow(World(lives=5).functions().queues(), CONFIG, training=True)
    assert names(tmp_path) == [SHARDS[0], "trees-0-000003.tree", "trees-0-000004.tree"]
    return tmp_path


def test_what_is_done_is_in_shards_and_says_where_it_comes_from(tmp_path):
    shards, searched = grown(tmp_path)
    assert names(tmp_path) == SHARDS and searched == list(range(8))
    trees = list(shards.trees())
    assert trees == read_trees(tmp_path) and [tree.problem for tree in trees] == PROBLEMS
    for tree in trees:
        assert (tree.round, tree.tree_index, tree.seed, tree.policy, tree.ppm) == (1, 0, 5, "p", "q")
        (step,) = tree.nodes[1:]
        assert (step.cpu_s, step.candidate, dataclasses.astuple(step.origin)) == (0.5, 0, (0, 0, 1, 1.0))
    assert shards.done == shards.trajectories == 8 and shards.solved == {"p1", "p3", "p5", "p7"}


def test_what_is_there_is_not_searched_again(broken, tmp_path_factory):
    told = []
    shards, searched = grown(broken, on_progress=lambda *told_of: told.append(told_of[:2]))
    assert searched == [5, 6, 7]
    assert told[0] == (5, 5) and told[-1] == (8, 8)
    whole, _ = grown(tmp_path_factory.mktemp("whole"))
    assert list(shards.trees()) == list(whole.trees()) and shards.solved == whole.solved
    assert names(broken) == SHARDS
    assert grown(broken)[1] == []


def test_trees_come_in_the_order_of_numbers(tmp_path):
    for index in (0, 2, 10):
        source = dataclasses.replace(SOURCE, tree_index=index)
        shards = Shards(tmp_path, f"trees-{index}", PROBLEMS[:4], source, size=3)
        shards.grow(World().functions().queues(), CONFIG, training=True)
    assert [tree.tree_index for tree in read_trees(tmp_path)] == [0] * 4 + [2] * 4 + [10] * 4


def test_the_trees_of_a_problem_come_together_few_at_a_time(tmp_path):
    """Each search is of some of the problems of the one before."""
    searched = {0: range(7), 2: (1, 2, 5, 6), 10: (2, 6)}
    root = Node(-1, "", "ok", 0, 0, 0.0)
    for index, problems in searched.items():
        for number, start in enumerate(range(0, len(problems), 2)):
            some = [
                Tree(Problem(f"p{i}", "?", "1"), 1, index, 1, (root,)) for i in problems[start : start + 2]
            ]
            parquet.write_rows(tmp_path / f"trees-{index}-{number:05d}.parquet", Tree, some)
    found = [*problem_trees(tmp_path)]
    assert [trees[0].problem.id for trees in found] == [f"p{i}" for i in range(7)]
    assert [[tree.tree_index for tree in trees] for trees in found] == [
        [index for index, problems in searched.items() if i in problems] for i in range(7)
    ]
    assert count_trees(tmp_path) == 13 == sum(map(len, found))
    (tmp_path / "trees-0-00001.parquet").unlink()  # problems of later searches are not lost for it
    assert sum(map(len, problem_trees(tmp_path))) == 11
    bad = dataclasses.replace(found[0][0], nodes=(dataclasses.replace(root, parent=3),))
    parquet.write_rows(tmp_path / "trees-0-00000.parquet", Tree, [bad])
    with pytest.raises(records.Damaged, match="no root at its node 0"):
        next(problem_trees(tmp_path))


def test_of_no_problems_there_are_no_trees(tmp_path):
    shards, searched = grown(tmp_path, [])
    assert (list(shards.trees()), searched, names(tmp_path)) == ([], [], [])


@pytest.mark.parametrize(
    ("name", "again"), [("trees-0-000004.tree", [4, 5, 6, 7]), (SHARDS[0], [0, 1, 2, 5, 6, 7])]
)
def test_a_damaged_file_is_moved_aside_and_made_again(broken, caplog, name, again):
    content = (broken / name).read_bytes()
    (broken / name).write_bytes(content[: len(content) // 2])
    shards, searched = grown(broken)
    assert searched == again and [tree.problem for tree in shards.trees()] == PROBLEMS
    assert f"{name}: damaged" in caplog.text and f"moved to {name}.damaged-1" in caplog.text
    assert names(broken) == sorted([*SHARDS, f"{name}.damaged-1"])


def test_single_trees_make_good_for_a_shard_that_was_damaged_before_they_went(broken):
    joined, singles = broken / SHARDS[0], [broken / f"trees-0-00000{i}.tree" for i in range(3)]
    table = pq.read_table(joined)
    for i, single in enumerate(singles):
        pq.write_table(table.slice(i, 1), single)
    joined.write_bytes(b"")
    assert grown(broken)[1] == [5, 6, 7]
    assert names(broken) == sorted([*SHARDS, f"{SHARDS[0]}.damaged-1"])


def test_single_trees_beside_their_shard_are_left_over(broken):
    pq.write_table(pq.read_table(broken / SHARDS[0]).slice(1, 1), broken / "trees-0-000001.tree")
    assert grown(broken)[1] == [5, 6, 7]
    assert names(broken) == SHARDS


def test_trees_of_other_problems_are_put_aside(broken, caplog):
    other = [*PROBLEMS[:2], Problem("p9", "What is 9?", "1"), *PROBLEMS[3:]]
    shards, searched = grown(broken, other)
    assert searched == [0, 1, 9, 5, 6, 7] and [tree.problem for tree in shards.trees()] == other
    assert "not of the problems that belong here" in caplog.text


@pytest.mark.parametrize("other", [{"seed": 6}, {"policy": "other"}, {"ppm": ""}, {"round": 2}])
def test_trees_of_another_source_are_put_aside(broken, caplog, other):
    assert grown(broken, source=dataclasses.replace(SOURCE, **other))[1] == list(range(8))
    assert caplog.text.count("with another seed or other models") == 3


@pytest.mark.parametrize("writes", [1, 2])  # a tree's, the shard's
def test_a_full_disk_is_said_and_loses_nothing(broken, monkeypatch, writes):
    write = pq.write_table

    def full(table, where, **options):
        nonlocal writes
        writes -= 1
        if not writes:
            where.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", full)
    before = writes
    with pytest.raises(UserError, match=r"trees-0-0000\d+\.(tree|parquet): the disk is full"):
        grown(broken)
    assert not any(name.startswith(".") for name in names(broken))
    monkeypatch.setattr(pq, "write_table", write)
    assert grown(broken)[1] == ([5, 6, 7] if before == 1 else [6, 7])
    assert names(broken) == SHARDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": 1}, "node 1 has node 1 as its parent"),
        ({"parent": 999}, "node 1 has node 999 as its parent"),
        ({"depth": 7}, "node 1 has depth 7"),
        ({"status": "banana"}, "node 1 has the status 'banana'"),
        ({"candidate": 5, "origin": Origin(n=2)}, "node 1 is candidate 5"),
        ({"candidate": 0, "origin": Origin(n=2**16 + 1)}, "node 1 is of 65537 candidates, 0 to 65536 exp"),
        ({"origin": Origin(n=-1)}, "node 1 is of -1 candidates"),
        ({"origin": Origin(n=2, temperature=float("nan"))}, "node 1 is candidate"),
        ({"origin": Origin(n=2, temperature=1e31)}, "node 1 is candidate"),
        (
            {"origin": Origin(tree_index=0, node=2**40, n=2)},
            "node 1 was proposed at node 1099511627776 of tree 0",
        ),
        ({"origin": Origin(tree_index=-5, node=0, n=2)}, "node 1 was proposed at node 0 of tree -5"),
    ],
)
def test_what_is_no_tree_is_damaged(tmp_path, change, message):
    root, step = Node(-1, "", "ok", 0, 0, 0.0), Node(0, "step", "ok", 1, 0, 0.0)
    tree = Tree(Problem("p", "?", "1"), 1, 0, 1, (root, step))
    parquet.write_rows(tmp_path / "whole", Tree, [tree])
    assert parquet.read_rows(tmp_path / "whole", Tree) == [tree]
    edited = dataclasses.replace(tree, nodes=(root, dataclasses.replace(step, **change)))
    parquet.write_rows(tmp_path / "edited", Tree, [edited])
    with pytest.raises(records.Damaged, match=message):
        parquet.read_rows(tmp_path / "edited", Tree)
