"""Metrics of a training: one JSON line and one TensorBoard point per step, without doubles after a resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstar_jax.records import reading


class MetricsWriter:
    """Writes `FOLDER/metrics.jsonl` and, unless tensorboard=False, TensorBoard events beside it.

    Lines are {"step": int, name: number}; a number that is not finite is written as null. A context manager.
    """

    def __init__(self, folder: str | Path, *, tensorboard: bool = True) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self._tensorboard = tensorboard
        self._events: Any = None
        self._purge: int | None = None
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
            # TensorBoard discards, on reading, the older events from this step on.
            self._purge = step
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of one step, flushed to the operating system."""
        row = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")
        if self._tensorboard:
            if self._events is None:
                # Imported when first needed: it takes seconds.
                from tensorboardX import SummaryWriter

                self._events = SummaryWriter(str(self.folder), purge_step=self._purge)
            for name, value in values.items():
                self._events.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Flush TensorBoard's events; writing may go on after it."""
        if self._events is not None:
            self._events.close()
            self._events = None

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
