"""A small evaluation, made up, and its predictions."""

from pathlib import Path

from rstar_jax import parquet
from rstar_jax.evaluate import metrics
from rstar_jax.evaluate.outcome import Evaluation, Measured
from rstar_jax.evaluate.prediction import Prediction

HOSTILE = '</script>\u202e"\\ é \U0001f600\u2028'


def predictions(benchmark: str, problems: int = 6, samples: int = 2) -> list[Prediction]:
    """Of every problem but the fourth the first sample is chosen, of every third it is right; the second has
    no answer."""
    return [
        Prediction(
            benchmark=benchmark,
            problem_id=f"p{problem}",
            level=1 + problem % 3,
            sample=sample,
            chosen=sample == 0 and problem != 3,
            question=f"What is {problem}? {HOSTILE}",
            reference=str(problem),
            text=f"<code>print({problem})<end_of_code>{HOSTILE}",
            answer=None if sample else str(problem),
            same=-1 if sample else 0,
            grade=None if sample else ("right", "wrong", "ungraded")[problem % 3],
            released=None if sample else "right",
            score=None if sample else 0.5,
            steps=2,
            tokens=10 + sample,
            tool=not sample,
            ended="tokens" if sample else "answer",
        )
        for problem in range(problems)
        for sample in range(samples)
    ]


def write_evaluation(
    folder: Path, *, rows: dict[str, list[Prediction]], policy: str = "org/some-model", **protocol
) -> Evaluation:
    """Write predictions of benchmarks, and return the evaluation that they are of."""
    measured = []
    for name, of in rows.items():
        path = folder / "benchmarks" / name / "predictions.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_rows(path, Prediction, of)
        samples = metrics.of_predictions(of)
        measured.append(
            Measured(
                name=name,
                source=f"{name}.jsonl",
                problems=len(samples),
                fingerprint="f" + "".join(samples.problems),
                protocol={"strategy": "sample", "k": 2, "temperature": 0.6, "top_p": 0.95, **protocol},
                figures=metrics.figures(samples, metrics.known(samples)),
                counts={"samples": len(of)},
                costs={"tokens": 21.0, "seconds": 0.5},
            )
        )
    return Evaluation(
        models={"policy": {"name": policy, "sha256": "h1"}},
        code={"version": "0.1", "commit": "c0ffee"},
        seed=0,
        config={"policy": policy, "k": 2},
        benchmarks=tuple(measured),
    )
