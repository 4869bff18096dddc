"""Trees inside a report: as many problems as fit, whole, evenly over what became of them."""

import base64
import gzip
import json
import re

import pytest

from rstar_jax import parquet, records
from rstar_jax.report.page.frame import Section, frame
from rstar_jax.report.viewer import embedded
from rstar_jax.types import Problem, Tree
from tests.report.viewer import some_run


def blocks(walk):
    found = re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', walk.body)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def test_every_problem_has_all_of_its_trees(tmp_path):
    walk = embedded(some_run.make(tmp_path))
    assert walk is not None and (walk.shown, walk.total) == (4, 4)
    found = blocks(walk)
    problems = found["walk-problems"]["problems"]
    assert [problem["id"] for problem in problems] == [*(p.id for p in some_run.PROBLEMS), "h/0"]
    for problem in problems:
        for of_set, round, *_, block in problem["trees"]:
            tree = found[f"walk-tree-{block}"]
            assert (tree["problem"]["id"], tree["round"]) == (problem["id"], round)
            assert of_set == 1 or (len(tree["pairs"]) > 0) == (tree["grades"][tree["grade"][3]] == "right")


def test_what_models_wrote_is_no_markup(tmp_path):
    walk = embedded(some_run.make(tmp_path))
    page = frame("Run", [Section("trees", "Trees", walk.body)], [walk.script], [walk.style])
    assert "harmed" not in page  # in letters of base64 alone


def test_a_budget_is_kept_over_all_outcomes(tmp_path):
    made = [
        some_run.tree(Problem(f"{right}/{i}", f"Number {i}?", "5", 1), 1, right)
        for right in (True, False)
        for i in range(30)
    ]
    parquet.write_rows(tmp_path / "round1/search/trees-0-00000.parquet", Tree, made)
    whole = embedded(tmp_path)
    some = embedded(tmp_path, len(whole.body) // 5)
    assert 6 <= some.shown <= 14 and some.total == 60
    sizes = [len(text) for text in re.findall(r'id="walk-tree-\d+">([^<]*)<', some.body)]
    assert sum(sizes) <= len(whole.body) // 5
    facets, problems = blocks(some)["walk-problems"].values()
    assert (facets["problems"], facets["shown"]) == (60, some.shown) and "--config=view" in facets["command"]
    right = sum(problem["id"].startswith("True") for problem in problems)
    assert abs(2 * right - some.shown) <= 1
    assert embedded(tmp_path, len(whole.body) // 5) == some  # the same each time


def test_a_tree_that_is_too_large_costs_no_other_its_place(tmp_path):
    large, small = (Problem(f"{name}/0", "Sum?", "5", 1) for name in ("a", "b"))
    trees = [some_run.tree(large, 1, True, ("\n# more\n",) * 4000), some_run.tree(small, 1, True)]
    parquet.write_rows(tmp_path / "round1/search/trees-0-00000.parquet", Tree, trees)
    found = blocks(embedded(tmp_path, 20_000))["walk-problems"]["problems"]
    assert [problem["id"] for problem in found] == ["b/0"]


@pytest.mark.parametrize(("vote", "node"), [("best", 3), ("majority", 2), ("weighted", 2)])
def test_held_out_answers_are_those_of_the_run_s_vote(tmp_path, vote, node):
    """One trajectory that the PPM likes best, two with another answer."""
    answers = [("5", 0.2), ("5", 0.4), ("6", 0.9)]
    nodes = [some_run.node(-1, "", 0)]
    nodes += [some_run.node(0, a, 1, "answer", answer=a, grade="wrong", ppm=ppm) for a, ppm in answers]
    tree = Tree(some_run.PROBLEMS[0], 1, 0, 3, tuple(nodes), seed=1, policy="a" * 64)
    parquet.write_rows(tmp_path / "round1/evaluate/search-00000.parquet", Tree, [tree])
    records.write_json(tmp_path / "config.json", {"evaluate": {"vote": vote, "top_k": 0, "scores": "last"}})
    block = blocks(embedded(tmp_path))["walk-tree-0"]
    assert block["elected"] == node and vote in block["elected_by"]
    records.write_json(tmp_path / "config.json", {"evaluate": {"vote": "none", "top_k": 0, "scores": "last"}})
    assert "elected" not in blocks(embedded(tmp_path))["walk-tree-0"]


def test_a_list_of_suspects_that_is_damaged_costs_no_tree(tmp_path):
    run = some_run.make(tmp_path)
    with (run / "round2/curate/suspects.jsonl").open("a") as file:
        file.write('{"id": "\\ud800"}\n[]\n{"id"')
    walk = embedded(run)
    assert walk.shown == 4 and blocks(walk)["walk-problems"]["facets"]["suspects"] == 1


def test_a_run_without_a_tree_has_no_viewer(tmp_path):
    assert embedded(tmp_path) is None


def test_a_damaged_file_costs_its_problems_alone(tmp_path):
    run = some_run.make(tmp_path)
    path = run / "round2/evaluate/search-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    walk = embedded(run)
    assert walk.shown == 3
    assert list(blocks(walk)["walk-problems"]["facets"]["unreadable"]) == [
        "round2/evaluate/search-00000.parquet"
    ]


@pytest.mark.parametrize("text", ["</script", "</style", "<!--"])
def test_the_page_s_own_files_end_no_element(tmp_path, text):
    walk = embedded(some_run.make(tmp_path))
    assert text not in walk.script.lower() + walk.style.lower()
