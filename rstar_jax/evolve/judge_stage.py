"""The values of a benchmark's samples, scored block by block into files that are never scored again.

scores-00000.parquet   the first block of samples, a row each (`samples.StepScores`)
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from rstar_jax import parquet, records
from rstar_jax.evaluate.judge.samples import JudgeSample, StepScores
from rstar_jax.inference.step_values import StepValues
from rstar_jax.report.progress import Progress


@dataclasses.dataclass(frozen=True)
class SampleSource:
    """Samples of a benchmark. text: where from, for people. samples: reads them from the start at each call.
    count, fingerprint: of all of them."""

    text: str
    samples: Callable[[], Iterator[JudgeSample]]
    count: int = 0
    fingerprint: str = ""


@dataclasses.dataclass(frozen=True)
class StoredScores:
    """The scores in a folder, in order, at each call anew; one file at a time is in memory."""

    folder: Path

    def __call__(self) -> Iterator[StepScores]:
        for path in sorted(self.folder.glob("scores-*.parquet")):
            yield from parquet.read_rows(path, StepScores)


def score_samples(
    name: str,
    source: SampleSource,
    block: int,
    folder: Path,
    load: Callable[[], StepValues],
    progress: Progress,
) -> dict[str, int]:
    """Write the blocks of a benchmark's scores that are not there. Returns how many samples there are, and
    how many were too long to be read.

    block: samples in a file. load: gives the model, once there is something to score.
    """
    samples, done, long = source.samples(), 0, 0
    there = block * sum(parquet.is_of(path, StepScores) for path in folder.glob("scores-*.parquet"))
    with progress.stage(f"judge {name}", source.count, "samples", done=min(source.count, there)):
        for number, some in enumerate(iter(lambda: list(itertools.islice(samples, block)), [])):
            path = folder / f"scores-{number:05d}.parquet"
            rows = _stored(path, some)
            if rows is None:
                rows = _scored(load(), some)
                parquet.write_rows(path, StepScores, rows)
            done += len(rows)
            long += sum(not row.values for row in rows)
            progress.update(done, note=f"{long:,} too long" if long else "")
    return {"samples": done, "too_long": long}


def _stored(path: Path, block: list[JudgeSample]) -> list[StepScores] | None:
    """The scores of a block that are on disk; None where it has to be scored."""
    if not path.exists():
        return None
    try:
        rows = parquet.read_rows(path, StepScores)
        if [row.id for row in rows] != [sample.id for sample in block]:
            raise records.Damaged(path, "not of the samples that belong there")
        return rows
    except records.Damaged as error:
        aside = records.quarantine(path)
        logging.warning("%s It was moved to %s and is made again.", error, aside.name)
        return None


def _scored(model: StepValues, block: list[JudgeSample]) -> list[StepScores]:
    texts = [model.encode(sample.question, sample.steps) for sample in block]
    fitting = [i for i, text in enumerate(texts) if model.fits(text)]
    values = dict(zip(fitting, model.values([texts[i] for i in fitting]), strict=True))
    return [StepScores.of(sample, texts[i].tokens, values.get(i, ())) for i, sample in enumerate(block)]
