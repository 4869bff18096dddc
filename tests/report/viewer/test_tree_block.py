"""A block holds what the tree does; lessons are found in it by the texts of their steps."""

import base64
import gzip
import json
import math

import pyarrow as pa
from hypothesis import given, settings

from rstar_jax import columns, curate
from rstar_jax.report.viewer.lessons import Lessons, marked
from rstar_jax.report.viewer.tree_block import as_block, tree_block
from rstar_jax.types import Tree
from tests.data.some_trees import trees
from tests.report.viewer import some_run


def block_of(tree):
    table = pa.Table.from_pylist([columns.plain(tree)], schema=columns.schema(Tree))
    return json.loads(gzip.decompress(base64.b64decode(as_block(tree_block(table)))))


@settings(max_examples=40, deadline=None)
@given(trees())
def test_a_block_says_what_the_tree_says(tree):
    block = block_of(tree)
    assert block["parent"] == [node.parent for node in tree.nodes]
    assert block["text"] == [node.text for node in tree.nodes]
    assert [block["statuses"][i] for i in block["status"]] == [node.status for node in tree.nodes]
    assert [block["details"][i] for i in block["detail"]] == [node.detail for node in tree.nodes]
    assert [block["grades"][i] or None for i in block["grade"]] == [node.grade for node in tree.nodes]
    for q, ppm, node in zip(block["q"], block["ppm"], tree.nodes, strict=True):
        assert (q is None) == (not math.isfinite(node.q)) and (
            q is None or math.isclose(q, node.q, abs_tol=1e-4)
        )
        assert ppm is None or math.isclose(ppm, node.ppm, abs_tol=1e-4)
    assert block["answer"] == {str(i): node.answer for i, node in enumerate(tree.nodes) if node.answer}
    shown = {str(i): node.observation for i, node in enumerate(tree.nodes) if node.observation}
    assert block["observation"] == shown
    assert block["problem"]["question"] == tree.problem.question


def test_solutions_and_pairs_are_found_in_their_tree(tmp_path):
    run = some_run.make(tmp_path)
    tree = some_run.tree(some_run.PROBLEMS[0], 1, True)
    block = block_of(tree)
    found = marked(block, Lessons(run).of(1, tree.problem.id))
    curated = curate.curate([tree], curate.CurateConfig(), 1)
    assert found["taught"] == [3]
    assert [tuple(pair[:2]) for pair in found["pairs"]] == [(1, 2), (3, 4)]
    assert [pair[2] for pair in found["pairs"]] == [round(pair.margin, 4) for pair in curated.pairs]
    assert [pair[3] for pair in found["pairs"]] == [False, True]
    assert marked(block, Lessons(run).of(7, tree.problem.id)) == {"taught": [], "pairs": []}
    assert marked(block, Lessons(run).of(1, "nobody")) == {"taught": [], "pairs": []}


def test_rows_of_another_tree_of_the_problem_are_left_out(tmp_path):
    run = some_run.make(tmp_path)
    rows = Lessons(run).of(1, "p/0")
    block = block_of(some_run.tree(some_run.PROBLEMS[0], 1, True))
    block["text"][3] = "another answer"
    assert marked(block, rows)["taught"] == []
    assert [pair[3] for pair in marked(block, rows)["pairs"]] == [False]
