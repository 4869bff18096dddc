"""Files of predictions, as the benchmarks' own code writes them, and the figures that it prints of them."""

import json

import numpy as np
import pytest

from rstar_jax import launch
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.predictions import Tallied, read_predictions
from rstar_jax.evaluate.judge.readers import SUBSETS
from tests.evaluate.judge.test_prm_score import some_samples, theirs


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def processbench_outputs(folder):
    """What run_eval.py leaves of a model (SUBSET_error.jsonl, _correct.jsonl), and the F1s that it prints."""
    rng, printed = np.random.default_rng(0), {}
    for subset in SUBSETS:
        rows = []
        for i in range(50):
            label = int(rng.integers(-1, 4))
            guess = label if rng.random() < 0.5 else int(rng.integers(-1, 4))
            prediction = None if rng.random() < 0.1 else guess
            row = {"id": f"{subset}-{i}", "problem": f"Q{i // 2}", "steps": ["s"] * 5, "label": label}
            rows.append(row | {"prediction": prediction, "match": prediction == label})
        error = [row for row in rows if row["label"] != -1]
        correct = [row for row in rows if row["label"] == -1]
        lines(folder / f"{subset}_error.jsonl", error)
        lines(folder / f"{subset}_correct.jsonl", correct)
        acc1, acc2 = (np.mean([row["match"] for row in some]) * 100 for some in (error, correct))
        printed[subset] = 2 * acc1 * acc2 / (acc1 + acc2)
    return printed


def read(path, samples=None):
    found = Tallied()
    for one in read_predictions(path):
        found.add(one, samples or {})
    return found


def test_processbenchs_own_output_gives_the_figures_that_it_prints(tmp_path):
    printed, found = processbench_outputs(tmp_path), read(tmp_path)
    values = found.resampled().values()
    assert {s: 100 * values[f"{s}/F1"] for s in SUBSETS} == pytest.approx(printed, abs=0.05)
    assert found.count == 200 and found.unread > 0 and found.problems == 25


def prmbench_samples():
    samples = some_samples(np.random.default_rng(2), 180, 0.7)
    return [
        (f"{kind}_prm_test_p1_{i // 9}", kind, wrong, labels)
        for i, (kind, wrong, labels) in enumerate(samples)
    ]


def result(name, labels):
    scores = {"step_level_validity_labels": labels, "step_level_validity_scores": [0.5] * len(labels)}
    return {"idx": name, "scores": scores}


@pytest.fixture
def scored():
    return theirs([(kind, wrong, labels) for _, kind, wrong, labels in prmbench_samples()])


def test_prmbenchs_log_gives_its_scores_without_the_benchmark(tmp_path, scored):
    logs = [
        {
            "idx": n,
            "error_steps": [i + 1 for i in w],
            "classifcation": k,
            "prediction": result(n, la),
            "results": {},
        }
        for n, k, w, la in prmbench_samples()
    ]
    logs += [logs[0]]  # the first of those with equal ids counts
    correct = {"idx": "correct_prm_test_p1_0", "error_steps": [], "classifcation": "correct"}
    logs += [
        correct | {"prediction": result("correct_prm_test_p1_0", [False])},
        correct | {"prediction": None},
    ]
    lines(tmp_path / "log.jsonl", [{"total_hallucination_results": {}, "detailed_logs": logs}])
    values = read(tmp_path / "log.jsonl").resampled().values()
    assert {name: values[f"{name}/PRMScore"] for name in scored} == pytest.approx(scored)


def benchmark_file(folder):
    rows = [
        {"idx": n.removeprefix(f"{k}_"), "modified_question": "Q?", "modified_process": ["s"] * len(la),
         "error_steps": [i + 1 for i in w], "classification": k}
        for n, k, w, la in prmbench_samples()
    ]  # fmt: skip
    lines(folder / "prmbench.jsonl", rows)


def test_prmbenchs_checkpoint_needs_the_benchmark_beside_it(tmp_path, scored, capsys):
    (tmp_path / "data").mkdir()
    benchmark_file(tmp_path / "data")
    rows = [
        {"task_name": "t", "model_name": "m", "results": result(n, la)} for n, _, _, la in prmbench_samples()
    ]
    lines(tmp_path / "ckpt.jsonl", [*rows, {"results": result("circular_nobody", [True])}])
    flags = [
        "--config=judge",
        f"--config.predictions={tmp_path / 'ckpt.jsonl'}",
        f"--workdir={tmp_path / 'w'}",
    ]
    assert launch.main(flags) == 2 and "config.data" in capsys.readouterr().err
    assert launch.main([*flags[:2], f"--config.data={tmp_path / 'data'}", f"--workdir={tmp_path / 'v'}"]) == 0
    (one,) = json.loads((tmp_path / "v/judge.json").read_text())["benchmarks"]
    found = {name: one["figures"][f"{name}/PRMScore"]["value"] for name in scored}
    assert found == pytest.approx(scored) and one["counts"]["missing"] == 1
    assert "predictions of no sample" in capsys.readouterr().out


def test_what_is_redundant_is_asked_where_a_model_says_so(tmp_path):
    scores = {"step_level_redundancy_labels": [True, False], "step_level_validity_labels": [True, True]}
    rows = [{"idx": f"{kind}_a", "scores": scores} for kind in ("circular", "deception")]
    lines(tmp_path / "p.jsonl", rows)
    assert [one.right for one in read_predictions(tmp_path / "p.jsonl")] == [(False, True), (True, True)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": "math-1", "label": 1, "prediction": 2, "match": True}, "match is True, but prediction is 2"),
        ({"id": "math-1", "label": 1, "prediction": "2"}, "prediction is '2', a whole number"),
        ({"id": "x", "label": 1, "prediction": 2}, "one such as 'gsm8k-0'"),
        ({"question": "Q", "answer": 3}, "fields 'question, answer', which are no prediction's"),
        ({"idx": "circle_1", "scores": {"step_level_validity_labels": []}}, "idx is 'circle_1'"),
        ({"idx": "circular_1", "scores": {"labels": [True]}}, "step_level_validity_labels is None"),
        ({"detailed_logs": [{"idx": "circular_1", "prediction": {}}]}, "error_steps is None"),
    ],
)
def test_a_row_that_is_no_prediction_is_named_by_file_line_and_field(tmp_path, row, told):
    lines(tmp_path / "p.jsonl", [row])
    with pytest.raises(UserError) as error:
        list(read_predictions(tmp_path / "p.jsonl"))
    assert f"{tmp_path / 'p.jsonl'}:1: " in str(error.value) and told in str(error.value)
