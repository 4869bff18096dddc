"""Results in the shapes of lm-evaluation-harness and inspect: their form, and what those read of them."""

import json
from typing import Any

import pytest

from rstar_jax.evaluate import shapes
from tests.evaluate.examples import HOSTILE, predictions, write_evaluation

NUMBER = (int, float)
# A form: a type or several, a list of one form, an object by its keys ("*": any other), a set of values.
LM_SAMPLE = {
    "doc_id": int,
    "doc": {"problem_id": str, "question": str, "reference": str, "level": int},
    "target": str,
    "arguments": {"gen_args_0": {"arg_0": str, "arg_1": {"*": NUMBER}}},
    "resps": [[str]],
    "filtered_resps": [str],
    "filter": {"none"},
    "metrics": [str],
    "doc_hash": str,
    "prompt_hash": str,
    "target_hash": str,
    "exact_match": float,
}
LM_RESULTS = {
    "results": {"*": {"alias": str, "sample_len": int, "*": NUMBER}},
    "group_subtasks": {"*": [str]},
    "configs": {"*": {"task": str, "output_type": {"generate_until"}, "*": object}},
    "versions": {"*": float},
    "n-shot": {"*": int},
    "higher_is_better": {"*": {"*": bool}},
    "n-samples": {"*": {"original": int, "effective": int}},
    "config": {"model": str, "model_args": {"policy": str}, "*": object},
    "date": float,
    "task_hashes": {"*": str},
    "model_name": str,
    "total_evaluation_time_seconds": str,
    "*": object,
}
_MESSAGE = {"role": {"user", "assistant"}, "content": str, "*": str}
_SCORE = {"value": {"C", "I", "N"}, "answer": (str, type(None))}
INSPECT = {
    "version": {2},
    "status": {"success"},
    "eval": {
        "created": str,
        "task": str,
        "dataset": {"name": str, "location": str, "samples": int, "shuffled": bool},
        "model": str,
        "config": {"epochs": int},
        "*": object,
    },
    "plan": {"name": str, "steps": [{"solver": str, "params": {"*": object}}], "config": {"*": NUMBER}},
    "results": {
        "total_samples": int,
        "completed_samples": int,
        "scores": [
            {
                "name": str,
                "scorer": str,
                "params": {"*": object},
                "metrics": {"*": {"name": str, "value": float, "metadata": {"*": NUMBER}}},
            }
        ],
        "metadata": {"*": object},
    },
    "stats": {"started_at": str, "completed_at": str, "model_usage": {}},
    "samples": [
        {
            "id": str,
            "epoch": int,
            "input": str,
            "target": str,
            "messages": [_MESSAGE],
            "output": {
                "model": str,
                "choices": [{"message": _MESSAGE, "stop_reason": {"stop", "max_tokens", "unknown"}}],
                "usage": {"*": int},
            },
            "scores": {"strict": _SCORE, "released": _SCORE},
            "metadata": {"*": object},
            "model_usage": {"*": {"*": int}},
        }
    ],
}


def assert_form(value: Any, form: Any, where: str = "") -> None:
    if isinstance(form, dict):
        assert isinstance(value, dict), where
        assert form.keys() - {"*"} <= value.keys(), where
        for key, part in value.items():
            assert key in form or "*" in form, f"{where}.{key}"
            assert_form(part, form.get(key, form.get("*")), f"{where}.{key}")
    elif isinstance(form, list):
        assert isinstance(value, list), where
        for i, part in enumerate(value):
            assert_form(part, form[0], f"{where}[{i}]")
    elif isinstance(form, set):
        assert value in form, where
    else:
        assert isinstance(value, form), where


@pytest.fixture
def written(tmp_path):
    """Both shapes of an evaluation of two benchmarks: files by shape."""
    rows = {"math500": predictions("math500"), "aime-24": predictions("aime-24", 3)}
    evaluation = write_evaluation(tmp_path, rows=rows)
    files = {name: tmp_path / "benchmarks" / name / "predictions.parquet" for name in rows}
    return {shape: shapes.write(shape, tmp_path / shape, evaluation, files) for shape in shapes.SHAPES}


def test_results_and_samples_are_in_lm_evals_form(written):
    results, *samples = written["lm_eval"]
    assert results.parent.name == "org__some-model" and results.name.startswith("results_")
    assert [path.name.rpartition("_")[0] for path in samples] == ["samples_math500", "samples_aime-24"]
    told = json.loads(results.read_text())
    assert_form(told, LM_RESULTS)
    assert told["results"]["math500"]["exact_match,none"] == 1 / 6
    assert told["results"]["math500"]["pass@1,none"] == 1 / 6
    assert 0 < told["results"]["math500"]["pass@1_stderr,none"] < 0.3
    lines = [json.loads(line) for line in samples[0].read_text().rstrip("\n").split("\n")]
    for number, line in enumerate(lines):
        assert_form(line, LM_SAMPLE)
        assert line["doc_id"] == number and len(line["resps"][0]) == 2
    assert [line["exact_match"] for line in lines] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert lines[0]["doc"]["question"].endswith(HOSTILE)


def test_logs_are_in_inspects_form(written):
    for path, name, count in zip(written["inspect"], ("math500", "aime-24"), (12, 6), strict=True):
        log = json.loads(path.read_text())
        assert_form(log, INSPECT)
        assert log["eval"]["task"] == name and log["eval"]["config"]["epochs"] == 2
        assert len(log["samples"]) == log["results"]["total_samples"] == count
        assert len({(sample["id"], sample["epoch"]) for sample in log["samples"]}) == count
        values = [sample["scores"]["strict"]["value"] for sample in log["samples"]]
        assert values[:6] == ["C", "N", "I", "N", "N", "N"]


def test_the_same_results_are_the_same_files(written, tmp_path):
    rows = {"math500": predictions("math500")}
    evaluation = write_evaluation(tmp_path / "b", rows=rows)
    files = {"math500": tmp_path / "b" / "benchmarks" / "math500" / "predictions.parquet"}
    for shape in shapes.SHAPES:
        once = {path: path.read_bytes() for path in shapes.write(shape, tmp_path / "c", evaluation, files)}
        again = shapes.write(shape, tmp_path / "c", evaluation, files)
        assert once == {path: path.read_bytes() for path in again}


@pytest.mark.inspect_ai
def test_inspect_reads_our_logs(written):
    from inspect_ai.log import list_eval_logs, read_eval_log

    for path in written["inspect"]:
        log = read_eval_log(str(path))
        assert log.status == "success" and log.samples and log.results
        assert log.samples[0].output.completion.endswith(HOSTILE)
        assert log.samples[0].scores["strict"].as_str() == "C"
        assert log.results.scores[0].metrics["pass@1"].value == pytest.approx(1 / 6)
        header = read_eval_log(str(path), header_only=True)
        assert header.eval.metadata == log.eval.metadata and header.results == log.results
    assert len(list_eval_logs(str(path.parent))) == 2


@pytest.mark.lm_eval
def test_lm_eval_makes_its_table_of_our_results(written):
    from lm_eval.utils import get_file_task_name, hash_string, make_table

    results, *samples = written["lm_eval"]
    table = make_table(json.loads(results.read_text()))
    assert "|math500|" in table.replace(" ", "") and "exact_match" in table and "±" in table
    assert [get_file_task_name(path.name) for path in samples] == ["math500", "aime-24"]
    line = json.loads(samples[0].read_text().rstrip("\n").split("\n")[0])
    assert line["target_hash"] == hash_string(line["target"])
