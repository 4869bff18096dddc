"""An evaluation as others' tools read one: lm-evaluation-harness' results and samples, inspect's logs.

    lm_eval    FOLDER/MODEL/results_DATE.json, FOLDER/MODEL/samples_BENCHMARK_DATE.jsonl (a line a problem)
    inspect    FOLDER/DATE_BENCHMARK_ID.json, an EvalLog each (a sample a trajectory: an epoch of its problem)

Forms as lm_eval 0.4.13 writes them and inspect_ai 0.3.285 reads them. DATE is that of the newest predictions,
so that the same results are the same files. A problem's rows are in memory at a time, never all.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rstar_jax import parquet, records
from rstar_jax.evaluate.outcome import Evaluation, Figure, Measured
from rstar_jax.evaluate.prediction import Prediction

_ROWS = 256  # predictions read at a time
_FILTER = "none"  # lm_eval's name of what it takes as it was generated
# What became of a trajectory's last step -> inspect's reason to stop.
_STOPS = {"answer": "stop", "tokens": "max_tokens", "depth": "model_length"}


def write(shape: str, folder: Path, evaluation: Evaluation, predictions: Mapping[str, Path]) -> list[Path]:
    """Write an evaluation into a folder in a shape, a row of SHAPES. Returns the files.

    predictions: predictions.parquet of each benchmark, by its name. Each file is whole or absent.
    """
    newest = max(path.stat().st_mtime for path in predictions.values())
    when = datetime.datetime.fromtimestamp(int(newest), datetime.UTC)
    return SHAPES[shape](folder, evaluation, predictions, when)


def _lm_eval(
    folder: Path, evaluation: Evaluation, predictions: Mapping[str, Path], when: datetime.datetime
) -> list[Path]:
    date = when.isoformat().replace(":", "-")
    model = evaluation.models["policy"]["name"]
    folder = folder / re.sub(r'["<>:/|\\?*\[\]]+', "__", model)
    results: dict[str, Any] = {name: {} for name in _BY_TASK}
    files, hashes = list[Path](), {}
    for one in evaluation.benchmarks:
        path = folder / f"samples_{one.name}_{date}.jsonl"
        samples = _LmSamples(one)
        records.write_lines(path, samples.lines(_problems(predictions[one.name])))
        files.append(path)
        hashes[one.name] = _hash("".join(samples.hashes))
        for name, value in _lm_task(one, samples).items():
            results[name][one.name] = value
    results |= {
        "config": {
            "model": "rstar_jax",
            "model_args": {kind: model["name"] for kind, model in evaluation.models.items()},
            "model_sha": evaluation.models["policy"].get("sha256", ""),
            "batch_size": None,
            "limit": None,
            "gen_kwargs": {},
            "random_seed": evaluation.seed,
        },
        "git_hash": evaluation.code.get("commit"),
        "date": when.timestamp(),
        "rstar_jax": {"code": evaluation.code, "models": evaluation.models, "config": evaluation.config},
        "task_hashes": hashes,
        "model_source": "rstar_jax",
        "model_name": model,
        "model_name_sanitized": folder.name,
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(
            sum(one.costs.get("seconds", 0.0) * one.problems for one in evaluation.benchmarks)
        ),
    }
    summary = folder / f"results_{date}.json"
    records.write_json(summary, results)
    return [summary, *files]


_BY_TASK = ("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")


def _lm_task(one: Measured, samples: _LmSamples) -> dict[str, Any]:
    """Give what lm_eval says of a task, by the part of its results that says it."""
    metrics: dict[str, Any] = {"alias": one.name, "sample_len": one.problems}
    metrics[f"exact_match,{_FILTER}"], metrics[f"exact_match_stderr,{_FILTER}"] = samples.accuracy()
    for name, figure in one.figures.items():
        metrics[f"{name},{_FILTER}"] = figure.value
        metrics[f"{name}_stderr,{_FILTER}"] = _error(figure)
    config = {
        "task": one.name,
        "dataset_path": one.source,
        "output_type": "generate_until",
        "repeats": one.protocol.get("k", 1),
        "num_fewshot": 0,
        "metric_list": [{"metric": name, "higher_is_better": True} for name in ("exact_match", *one.figures)],
        "generation_kwargs": _sampling(one),
        "metadata": {"version": 1.0, "fingerprint": one.fingerprint, "protocol": one.protocol},
    }
    better = dict.fromkeys(("exact_match", *one.figures), True)
    count = {"original": one.problems, "effective": one.problems}
    return dict(zip(_BY_TASK, (metrics, [], config, 1.0, 0, better, count), strict=True))


class _LmSamples:
    """Lines of samples_*.jsonl, and what they come to."""

    def __init__(self, of: Measured) -> None:
        self._of = of
        self._right = self._problems = 0
        self.hashes = list[str]()

    def lines(self, problems: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """A line for each problem, of its rows."""
        for number, rows in enumerate(problems):
            first = rows[0]
            doc = {name: first[name] for name in ("problem_id", "question", "reference", "level")}
            document = json.dumps(doc, indent=2, ensure_ascii=False)
            given, reference = first["question"], first["reference"]
            chosen = next((row for row in rows if row["chosen"]), None)
            right = chosen is not None and chosen["grade"] == "right"
            self._right, self._problems = self._right + right, self._problems + 1
            line = {
                "doc_id": number,
                "doc": doc,
                "target": reference,
                "arguments": {"gen_args_0": {"arg_0": given, "arg_1": _sampling(self._of)}},
                "resps": [[row["text"] for row in rows]],
                "filtered_resps": [(chosen and chosen["answer"]) or ""],
                "filter": _FILTER,
                "metrics": ["exact_match"],
                "doc_hash": _hash(document),
                "prompt_hash": _hash(given),
                "target_hash": _hash(reference),
                "exact_match": float(right),
            }
            self.hashes.append(line["doc_hash"] + line["prompt_hash"] + line["target_hash"])
            yield line

    def accuracy(self) -> tuple[float, float]:
        """The share of problems whose chosen answer is right, and its standard error as lm_eval takes it."""
        share = self._right / self._problems
        return share, math.sqrt(share * (1 - share) / max(self._problems - 1, 1))


def _inspect(
    folder: Path, evaluation: Evaluation, predictions: Mapping[str, Path], when: datetime.datetime
) -> list[Path]:
    files, date = list[Path](), when.isoformat()
    for one in evaluation.benchmarks:
        name = _hash(f"{date} {one.name} {one.fingerprint} {evaluation.models}")[:22]
        path = folder / f"{date.replace(':', '-')}_{re.sub(r'[^A-Za-z0-9-]', '-', one.name)}_{name}.json"
        with records.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            # The samples come last, so that whatever is known of them has been counted.
            head = json.dumps(_inspect_head(evaluation, one, date, name), indent=2, ensure_ascii=False)
            file.write(head.removesuffix("\n}") + ',\n  "samples": [')
            for number, row in enumerate(_rows(predictions[one.name])):
                sample = json.dumps(_inspect_sample(evaluation, row), ensure_ascii=False)
                file.write(f"{',' if number else ''}\n    {sample}")
            file.write("\n  ]\n}\n")
        files.append(path)
    return files


def _inspect_head(evaluation: Evaluation, one: Measured, date: str, name: str) -> dict[str, Any]:
    """An EvalLog without its samples."""
    counted = one.counts.get("samples", one.problems)
    sampling = {key: value for key, value in _sampling(one).items() if key in ("temperature", "top_p")}
    metrics = {
        metric: {"name": metric, "value": figure.value, "metadata": dataclasses.asdict(figure)}
        for metric, figure in one.figures.items()
    }
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": name,
            "run_id": _hash(f"{date} {evaluation.models}")[:22],
            "task_id": name,
            "created": date,
            "task": one.name,
            "task_version": 0,
            "task_args": {},
            "dataset": {
                "name": one.name,
                "location": one.source,
                "samples": one.problems,
                "shuffled": False,
            },
            "model": evaluation.models["policy"]["name"],
            "model_generate_config": sampling,
            "config": {"epochs": max(1, -(-counted // one.problems))},
            "packages": {"rstar_jax": evaluation.code.get("version", "")},
            "metadata": {
                "protocol": one.protocol,
                "fingerprint": one.fingerprint,
                "models": evaluation.models,
                "code": evaluation.code,
                "seed": evaluation.seed,
                "config": evaluation.config,
            },
            "scorers": [{"name": scorer} for scorer in ("strict", "released")],
        },
        "plan": {
            "name": "rstar_jax",
            "steps": [{"solver": str(one.protocol.get("strategy", "")), "params": one.protocol}],
            "config": sampling,
        },
        "results": {
            "total_samples": counted,
            "completed_samples": counted,
            "scores": [{"name": "strict", "scorer": "strict", "params": {}, "metrics": metrics}],
            "metadata": {"counts": one.counts, "costs": one.costs, "disagreements": one.disagreements},
        },
        "stats": {"started_at": date, "completed_at": date, "model_usage": {}},
    }


def _inspect_sample(evaluation: Evaluation, row: dict[str, Any]) -> dict[str, Any]:
    """An EvalSample of a row of predictions."""
    model = evaluation.models["policy"]["name"]
    answer = {"role": "assistant", "content": row["text"], "source": "generate", "model": model}
    usage = {"input_tokens": 0, "output_tokens": row["tokens"], "total_tokens": row["tokens"]}
    kept = ("level", "chosen", "same", "score", "steps", "tool", "ended")
    scores = {
        name: {"value": {"right": "C", "wrong": "I"}.get(row[column], "N"), "answer": row["answer"]}
        for name, column in (("strict", "grade"), ("released", "released"))
    }
    return {
        "id": row["problem_id"],
        "epoch": row["sample"] + 1,
        "input": row["question"],
        "target": row["reference"],
        "messages": [{"role": "user", "content": row["question"], "source": "input"}, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": _STOPS.get(row["ended"], "unknown")}],
            "usage": usage,
        },
        "scores": scores,
        "metadata": {name: row[name] for name in kept},
        "model_usage": {model: usage},
    }


SHAPES: dict[str, Callable[[Path, Evaluation, Mapping[str, Path], datetime.datetime], list[Path]]] = {
    "lm_eval": _lm_eval,
    "inspect": _inspect,
}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for table in parquet.read_tables(path, Prediction, _ROWS):
        yield from table.to_pylist()


def _problems(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of each problem, which lie together."""
    for _, rows in itertools.groupby(_rows(path), key=lambda row: row["problem_id"]):
        yield list(rows)


def _sampling(one: Measured) -> dict[str, Any]:
    """Generation options under the names that others know."""
    known = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_gen_toks"}
    return {theirs: one.protocol[ours] for ours, theirs in known.items() if ours in one.protocol}


def _error(figure: Figure) -> float:
    """A standard error, of which the 95 percent interval is 3.92 wide."""
    return (figure.high - figure.low) / 3.92


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
