"""Runs beside each other: evaluations, rounds, what differs, and what cannot be compared."""

import json

import pytest

from rstar_jax import parquet, records
from rstar_jax.compare import job
from rstar_jax.compare.job import CompareSettings
from rstar_jax.errors import UserError
from rstar_jax.evaluate.outcome import Evaluation
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.report import results
from rstar_jax.types import Node, Problem, Tree
from tests.evaluate.examples import write_evaluation


def predictions(right, *, benchmark="math500", samples=1, start=0, score=None) -> list[Prediction]:
    """A problem for each number of right samples."""
    return [
        Prediction(
            benchmark=benchmark,
            problem_id=f"p{problem}",
            level=1,
            sample=sample,
            chosen=sample == 0,
            question=f"What is {problem}?",
            reference=str(problem),
            text="",
            answer=str(sample < count),
            same=int(sample >= count),
            grade="right" if sample < count else "wrong",
            released=None,
            score=score,
            steps=1,
            tokens=1,
            tool=False,
            ended="answer",
        )
        for problem, count in enumerate(right, start)
        for sample in range(samples)
    ]


def evaluation(folder, rows, **given) -> None:
    """An evaluation's folder."""
    rows = rows if isinstance(rows, dict) else {"math500": rows}
    metric = given.pop("metric", "pass@1")
    found: Evaluation = write_evaluation(folder, rows=rows, metric=metric, **given)
    records.write_signed(folder / "evaluation.json", results.to_json(found))
    records.write_signed(folder / "config.json", {"job": "evaluate"})


def compare(tmp_path, *folders, **given) -> dict:
    runs = ",".join(str(tmp_path / folder) for folder in folders)
    job.run(CompareSettings(runs=runs, **given), tmp_path / "out")
    return json.loads((tmp_path / "out" / "comparison.json").read_text())


def refused(tmp_path, *folders, **given) -> str:
    with pytest.raises(UserError) as error:
        compare(tmp_path, *folders, **given)
    return str(error.value)


def test_evaluations_are_compared_in_pairs_and_their_options_told(tmp_path, capsys):
    evaluation(tmp_path / "a", predictions([1] * 20 + [0] * 20), policy="org/a")
    evaluation(tmp_path / "b", predictions([1] * 32 + [0] * 8), policy="org/b")
    found = compare(tmp_path, "a", "b")
    (row,) = found["rows"]
    first, second = row["entries"]
    assert (row["benchmark"], row["metric"]) == ("math500", "pass@1")
    assert (first["figure"]["value"], second["figure"]["value"]) == (0.5, 0.8)
    difference = second["difference"]
    assert difference["paired"] and (difference["better"], difference["worse"]) == (12, 0)
    assert second["words"].startswith("a difference of 30.0 points, interval ")
    assert second["words"].endswith("p < 0.001: better") and second["notes"] == []
    assert found["differing"] == {
        "policy": ["org/a", "org/b"],
        "model: policy": ["org/a (h1)", "org/b (h1)"],
    }
    assert found["beside"]["math500"]["tokens a problem"] == [21.0, 21.0]
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| math500 | samples | 40 | 40 |" in text
    assert "| math500 | pass@1 | b | a difference of 30.0 points" in text and text in capsys.readouterr().out


def test_a_sweep_is_a_folder_of_runs_and_another_protocol_is_said(tmp_path):
    for k in (2, 4):
        rows = predictions([k // 2] * 30, samples=k)
        evaluation(tmp_path / "sweep" / f"k{k}", rows, metric=f"avg@{k}", k=k)
    found = compare(tmp_path, "sweep", metrics="pass@1,maj@4,maj@8")
    assert [run["name"] for run in found["runs"]] == ["k2", "k4"]
    pass1, maj4, maj8 = found["rows"]
    assert pass1["entries"][1]["notes"] == ["other protocol: k 2 -> 4, metric avg@2 -> avg@4"]
    assert "noise" in pass1["entries"][1]["words"]
    assert maj4["entries"][0]["figure"] is None and "at least 4 expected" in maj4["entries"][0]["notes"][0]
    assert maj4["entries"][1]["difference"] is None
    assert [entry["figure"] for entry in maj8["entries"]] == [None, None]
    assert (
        "| math500 | maj@8 | k2 |  | metric 'maj@8': 2 samples"
        in (tmp_path / "out" / job.MARKDOWN).read_text()
    )


def test_all_means_all_that_were_measured(tmp_path):
    for name in "ab":
        evaluation(tmp_path / name, predictions([1, 0, 2, 1], samples=2, score=0.5))
    found = compare(tmp_path, "a", "b", metrics="all")
    names = [row["metric"] for row in found["rows"]]
    assert names == ["pass@1", "pass@2", "avg@2", "maj@2", "best@2", "weighted@2", "search"]


def test_other_problems_are_told_and_compared_as_far_as_they_go(tmp_path):
    evaluation(tmp_path / "all", predictions([1] * 10 + [0] * 20))
    evaluation(tmp_path / "fewer", predictions([1] * 15, start=5))
    evaluation(tmp_path / "others", predictions([1] * 30, start=29))
    found = compare(tmp_path, "all", "fewer", "others")
    _, fewer, others = found["rows"][0]["entries"]
    assert fewer["difference"]["paired"] and fewer["difference"]["problems"] == 15
    assert (fewer["difference"]["better"], fewer["difference"]["worse"]) == (10, 0)
    assert fewer["notes"] == [
        "other problems: 15 problems of 30 and 15 are the same, and compared over these alone"
    ]
    assert not others["difference"]["paired"]
    assert (
        "1 problems of 30 and 30 are the same, so that they are compared as different ones"
        in others["notes"][0]
    )


def test_a_problem_of_the_same_id_that_asks_something_else_is_another(tmp_path):
    rows = predictions([1, 0, 1, 0])
    evaluation(tmp_path / "a", rows)
    changed = [
        Prediction(**{name: getattr(r, name) for name in Prediction.__slots__} | {"reference": "7"})
        for r in rows
    ]
    evaluation(tmp_path / "b", changed)
    assert "0 problems of 4 and 4" in compare(tmp_path, "a", "b")["rows"][0]["entries"][1]["notes"][0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metrics": "serch"}, "config.metrics: 'serch': no such metric. Did you mean 'search'?"),
        ({"metrics": "maj@0"}, "'0' samples given, a number from 1 on or all expected"),
        ({"metrics": "mayor@8"}, "config.metrics: metric 'mayor@8': no such metric. Did you mean 'maj@8'?"),
        ({"runs": "nowhere"}, "nowhere: no such folder"),
        ({"runs": ""}, "config.runs: none given"),
    ],
)
def test_bad_options_are_refused(tmp_path, given, said):
    with pytest.raises(UserError) as error:
        job.run(CompareSettings(**given), tmp_path / "out")
    assert said in str(error.value)


def test_what_cannot_be_compared_is_said(tmp_path, capsys):
    evaluation(tmp_path / "a", predictions([1, 0]))
    evaluation(tmp_path / "b", {"gsm8k": predictions([1, 0], benchmark="gsm8k")})
    said = refused(tmp_path, "a", "b")
    assert "no two of these runs can be compared by any figure" in said
    assert "a, evaluation: math500: pass@1" in said and "b, evaluation: gsm8k: pass@1" in said
    assert "read a" not in capsys.readouterr().out  # known before anything is read
    evaluation(tmp_path / "d", predictions([1, 0]))
    said = refused(tmp_path, "a", "d", metrics="pass@9")
    assert "metric 'pass@9': 1 samples of some problem, at least 9 expected" in said
    assert "given alone" in refused(tmp_path, "a")
    assert "given twice" in refused(tmp_path, "a", "a")
    (tmp_path / "empty").mkdir()
    assert "neither a run's folder" in refused(tmp_path, "a", "empty")
    records.write_signed(tmp_path / "empty" / "config.json", {"job": "pretrain"})
    assert "made by the job 'pretrain'" in refused(tmp_path, "a", "empty")
    path = tmp_path / "a" / "benchmarks" / "math500" / "predictions.parquet"
    whole = path.read_bytes()
    evaluation(tmp_path / "c", predictions([1, 0]))
    for damaged in (whole[:-9], whole[:60] + bytes(200) + whole[260:]):
        path.write_bytes(damaged)
        said = refused(tmp_path, "a", "c")
        assert "predictions.parquet: damaged" in said and "put the file back" in said
    (tmp_path / "a" / "evaluation.json").write_text("{}")
    assert "evaluation.json: damaged" in refused(tmp_path, "a", "c")


def tree(place: int, *answers: tuple[str, str, float]) -> Tree:
    """A tree of answers: text, grade and PPM value."""
    root = Node(-1, "", "ok", 0, len(answers), 0.0)
    nodes = [
        Node(0, "", "answer", 1, 1, 0.0, ppm=ppm, answer=answer, grade=grade)  # type: ignore[arg-type]
        for answer, grade, ppm in answers
    ]
    return Tree(Problem(f"h{place}", f"What is {place}?", "1/2"), 1, 0, 1, (root, *nodes))


def round_run(folder, rounds: dict[str, dict[str, list[Tree]]], job: str = "evolve", **options) -> None:
    """A run's folder with trees of its evaluations."""
    given = {"evaluate": {"vote": "majority", "top_k": 0, "scores": "last", **options}}
    records.write_signed(folder / "config.json", {"job": job, **(given if job == "evolve" else {})})
    for at, trees in rounds.items():
        stage = folder / at
        stage.mkdir(parents=True)
        for name, of in trees.items():
            for number in range(0, len(of), 2):
                parquet.write_rows(stage / f"{name}-{number // 2:05d}.parquet", Tree, of[number : number + 2])
        outputs = {path.name: [1, ""] for path in stage.glob("*.parquet")}
        done = {"name": at, "result": {}, "seconds": 1.0, "outputs": outputs}
        records.write_signed(stage / "DONE.json", done)


RIGHT, WRONG = ("1/2", "right", 0.1), ("3", "wrong", 0.9)


def test_rounds_are_compared_round_by_round_by_the_runs_own_vote(tmp_path):
    policy = [tree(i, RIGHT if i % 2 else WRONG) for i in range(8)]
    # Two spellings of one answer outvote another that is liked more, and lose by weight.
    search = [tree(i, RIGHT, WRONG, ("0.5", "right", 0.0)) for i in range(8)]
    first = {"base/evaluate": {"policy": policy}, "round1/evaluate": {"policy": policy, "search": search}}
    round_run(tmp_path / "a", first)
    round_run(tmp_path / "b", first, vote="best")
    (tmp_path / "b" / "round2" / "evaluate").mkdir(parents=True)  # under way
    found = compare(tmp_path, "a", "b")
    rows = {(row["stage"], row["metric"]): row["entries"] for row in found["rows"]}
    assert list(rows) == [
        ("base", "policy"),
        ("round 1", "policy"),
        ("round 1", "search"),
        ("round 1", "solved"),
    ]
    assert [entry["figure"]["value"] for entry in rows["round 1", "policy"]] == [0.5, 0.5]
    assert [entry["figure"]["value"] for entry in rows["round 1", "search"]] == [1.0, 0.0]
    assert rows["round 1", "search"][1]["notes"] == ["other protocol: evaluate.vote majority -> best"]
    assert rows["round 1", "policy"][1]["notes"] == []
    assert found["differing"] == {"evaluate.vote": ["majority", "best"]}


def test_one_run_of_rounds_is_compared_with_itself_a_round_before(tmp_path, capsys):
    by_round = {
        f"{name}/evaluate": {"policy": [tree(i, RIGHT if i < count else WRONG) for i in range(40)]}
        for name, count in {"base": 4, "round1": 20, "round2": 36, "round10": 36}.items()
    }
    round_run(tmp_path / "a", by_round)
    found = compare(tmp_path, "a")
    assert [run["name"] for run in found["runs"]] == ["base", "round 1", "round 2", "round 10"]
    assert found["against"] == [None, 0, 1, 2]
    entries = found["rows"][0]["entries"]
    assert [entry["difference"] and entry["difference"]["value"] for entry in entries] == [
        None,
        0.4,
        0.4,
        0.0,
    ]
    assert "round 2" in capsys.readouterr().out


def test_warm_starts_are_compared_by_what_they_measured(tmp_path):
    for name, count in (("a", 10), ("b", 30)):
        trees = [tree(i, RIGHT if i < count else WRONG) for i in range(40)]
        round_run(tmp_path / name, {"evaluate": {"policy": trees, "search": trees}}, job="sft")
    rows = compare(tmp_path, "a", "b")["rows"]
    assert [(row["stage"], row["metric"]) for row in rows] == [("trained", "policy"), ("trained", "solved")]
    assert all(row["entries"][1]["difference"]["value"] == 0.5 for row in rows)
    round_run(tmp_path / "c", {}, job="ppm")
    assert "a training of a PPM without a finished evaluation" in refused(tmp_path, "a", "c")
