"""Metrics of a training: a JSON line a step, and the same to TensorBoard and other sinks (`scalars.py`),
without doubles after a resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_jax.records import reading
from rstar_jax.scalars import ScalarSink, TensorBoard


class MetricsWriter:
    """Writes `FOLDER/metrics.jsonl`, unless tensorboard=False TensorBoard events beside it, and to `sinks`.

    Lines are {"step": int, name: number}; a number that is not finite is written as null. A context manager.
    """

    def __init__(
        self, folder: str | Path, *, tensorboard: bool = True, sinks: Sequence[ScalarSink] = ()
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self._sinks = [TensorBoard(self.folder), *sinks] if tensorboard else list(sinks)
        self.folder.mkdir(parents=True, exist_ok=True)

    def start(self, step: int) -> None:
        """Forget what is on disk from `step` on: a training calls this with the step it begins or resumes
        at.
        """
        if self.path.exists():
            kept = [row for row in read_metrics(self.path) if row["step"] < step]
            beside = self.path.with_suffix(".tmp")
            beside.write_text("".join(json.dumps(row) + "\n" for row in kept))
            os.replace(beside, self.path)
        for sink in self._sinks:
            sink.start(step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of one step, flushed to the operating system."""
        row = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")
        for sink in self._sinks:
            sink.write(step, values)

    def close(self) -> None:
        """Flush the sinks; writing may go on after it, at the next `start`."""
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line cut off by a kill is left out. Raises UserError if it cannot
    be read."""
    rows = []
    with reading(Path(path)):
        lines = Path(path).read_text().splitlines()
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
