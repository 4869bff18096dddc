"""A run of two rounds with few trees, some of whose steps would do harm where they were taken for markup."""

import json
from pathlib import Path

from rstar_jax import curate, parquet
from rstar_jax.types import Node, PreferencePair, Problem, SftRow, Tree

HOSTILE = (
    "\n# </script><script>window.harmed = 1</script>\n",
    "\n# <img src=x onerror='window.harmed = 2'><svg onload=window.harmed=3>\n",
    "\n# \u202eabc\u2066 NUL \x00 and \u200b, \ufeff\n",
    '\n# javascript:window.harmed=4 " onmouseover="window.harmed=5\n<!--\n',
    "\n# long\nx = '" + "a" * 1_000_000 + "'\n",
)


def node(parent, text, depth, status="ok", q=0.5, **more):
    return Node(parent, text, status, depth, 2, 2 * q, **more)


def tree(problem: Problem, round: int, right: bool, extra: tuple[str, ...] = ()) -> Tree:
    """A question, two first steps, a right or wrong answer below the first, a wrong one below the second, a
    step that failed; then further steps below the question."""
    nodes = [
        node(-1, "", 0),
        node(0, "<code>\n# Step 1: Add\nt = 2 + 3\n<end_of_step>", 1, q=0.8, ppm=0.7),
        node(0, "<code>\n# Step 1: Take away\nt = 2 - 3\n<end_of_step>", 1, q=-0.8, ppm=-0.6),
        node(
            1,
            "\n<answer>\\boxed{5}<end_of_answer>",
            2,
            "answer",
            1.0 if right else -1.0,
            answer="5",
            grade="right" if right else "wrong",
        ),
        node(2, "\n<answer>\\boxed{-1}<end_of_answer>", 2, "answer", -1.0, answer="-1", grade="wrong"),
        node(
            1,
            "\n# Step 2: Print\nprint(s)\n<end_of_step>",
            2,
            "exception",
            -1.0,
            detail="NameError",
            observation="NameError: name 's' is not defined",
        ),
        *(node(0, text, 1, q=0.0) for text in extra),
    ]
    return Tree(problem, round, 0, 4, tuple(nodes), seed=1, policy="a" * 64)


PROBLEMS = (
    Problem("p/0", "What is 2 + 3?", "5", 1),
    Problem("p/1", "What is the sum of 2 and 3? Say it twice.", "5", 2),
    Problem(
        "p/<img src=x onerror=window.harmed=6>", "<script>window.harmed = 7</script>\u202e", "<b>7</b>", 3
    ),
)


def make(folder: Path) -> Path:
    """Writes rounds 1 and 2; in the first the second problem is unsolved, the third always."""
    for round in (1, 2):
        trees = [
            tree(PROBLEMS[0], round, True),
            tree(PROBLEMS[1], round, round == 2),
            tree(PROBLEMS[2], round, False, HOSTILE),
        ]
        search, learnt = folder / f"round{round}" / "search", folder / f"round{round}" / "curate"
        parquet.write_rows(search / "trees-0-00000.parquet", Tree, trees)
        curated = curate.curate(trees, curate.CurateConfig(), round)
        parquet.write_rows(learnt / "sft.parquet", SftRow, curated.sft)
        parquet.write_rows(learnt / "pairs.parquet", PreferencePair, curated.pairs)
    suspect = {"id": PROBLEMS[2].id, "answer": "5"}
    (folder / "round2" / "curate" / "suspects.jsonl").write_text(json.dumps(suspect) + "\n")
    held_out = Problem("h/0", "Held out: 2 + 3?", "5", 1)
    parquet.write_rows(
        folder / "round2" / "evaluate" / "search-00000.parquet", Tree, [tree(held_out, 2, True)]
    )
    return folder
