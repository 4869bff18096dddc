"""The stage that measures one benchmark: sample or search, judge by both gradings, count."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax import columns, distributed, parquet, records
from rstar_jax.data.problem_set import fingerprint
from rstar_jax.evaluate import intervals, metrics
from rstar_jax.evaluate.outcome import Measured
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.evaluate.predictions import Judged, Samples, judged
from rstar_jax.evaluate.protocol import Protocol
from rstar_jax.evolve.context import Models
from rstar_jax.evolve.search_stages import Seeker, open_seeker
from rstar_jax.evolve.shards import Shards
from rstar_jax.report import results
from rstar_jax.search import SearchConfig
from rstar_jax.tasks import Checker, Task

if TYPE_CHECKING:
    from rstar_jax.evolve.evaluation import Measurement

PREDICTIONS, GREEDY, DISAGREEMENTS = "predictions.parquet", "greedy.parquet", "disagreements.jsonl"
_ROWS = 1024  # predictions in memory at a time
_OTHER = "released"  # the grading besides the strict one, where a task has it


def measure(m: Measurement, models: Models, figures: Sequence[str], folder: Path) -> dict[str, Any]:
    """Do the stage in its folder; returns {"measured": as `outcome.Measured`, and what it took}.

    figures: which metrics; none: all that can be had.
    """
    context, protocol = m.context, m.protocol
    models = dataclasses.replace(models, prompt=protocol.prompt)
    config = context.settings.evaluate.config(context.settings.search)
    with open_seeker(context, 0, models, folder, (1, config.candidates)) as seeker:
        alone = None
        if protocol.greedy and protocol.strategy != "greedy":
            alone = _greedy(m, seeker)
        samples = Samples(context.heldout, protocol.k)
        before = _clocks(seeker)
        shards = seeker.grow(m.asked.name, "samples", samples, config, unit="samples")
        taken = _of_all({name: now - before[name] for name, now in _clocks(seeker).items()})
        fresh = len(samples) - shards.found  # what others ran before has no clock here
        costs = {name: value / fresh * len(samples) for name, value in taken.items()} if fresh else {}
        measured = distributed.led(lambda: _measured(m, seeker, alone, shards, figures, folder, costs))
        used = seeker.result()
    return {"measured": measured, **used}


def _measured(
    m: Measurement,
    seeker: Seeker,
    alone: Shards | None,
    shards: Shards,
    figures: Sequence[str],
    folder: Path,
    costs: dict[str, float],
) -> dict[str, Any]:
    """Judge what was grown, by one host; return what it came to, as JSON. costs: of all problems, by now."""
    context, protocol, problems = m.context, m.protocol, len(m.context.heldout)
    counts = Counter[str]()
    if alone is not None:
        chain = dataclasses.replace(protocol, strategy="greedy", k=1)
        _write(m, seeker, alone, chain, folder / GREEDY, Counter(), {})
    _write(m, seeker, shards, protocol, folder / PREDICTIONS, counts, costs)
    if (faults := getattr(context.heldout, "faults", None)) is not None:
        counts["rows_left_out"] = faults.left_out
    disagreements = records.write_lines(folder / DISAGREEMENTS, _disagreements(folder / PREDICTIONS))
    found = _samples(folder / PREDICTIONS)
    seed = context.settings.seed
    shown = metrics.figures(found, figures or _known(found, protocol), seed=seed)
    if alone is not None:
        shown["greedy"] = intervals.figure(metrics.values(_samples(folder / GREEDY), "pass@1"), seed=seed)
    tool, no_tool = metrics.by_tool(found, seed=seed)
    return results.to_json(
        Measured(
            name=m.asked.name,
            source=m.asked.source,
            problems=problems,
            fingerprint=fingerprint(context.heldout),
            protocol={
                **protocol.told(),
                "max_step_tokens": context.settings.decode.max_step_tokens,
                "context": context.settings.decode.context,
            },
            figures=shown,
            by_level=metrics.by_level(found, protocol.metric, seed=seed),
            tool=tool,
            no_tool=no_tool,
            counts=dict(counts),
            costs={name: value / problems for name, value in costs.items()},
            disagreements=disagreements,
        )
    )


def _of_all(clocks: dict[str, float]) -> dict[str, float]:
    """Return the mean of all hosts' clocks, and the seconds of all their devices."""
    found = distributed.gathered(clocks)
    sums = {name: sum(one[name] for one in found) for name in clocks}
    return {**sums, "seconds": sums["seconds"] / len(found)}


def _greedy(m: Measurement, seeker: Seeker) -> Shards:
    search = m.context.settings.search
    config = SearchConfig(strategy="greedy", max_depth=search.max_depth, batch=search.batch)
    return seeker.grow(f"{m.asked.name}, the policy alone", "greedy", m.context.heldout, config)


def _clocks(seeker: Seeker) -> dict[str, float]:
    """Seconds of the clock without those of compiling, and those in which devices of this host worked."""
    used = seeker.reasoner.result()
    engine, device = used.get("engine", {}), used["seconds"].get("device")
    clocks = {"seconds": time.monotonic() - engine.get("compile_seconds", 0.0)}
    return clocks if device is None else {**clocks, "device_seconds": device * engine["devices"]}


def _known(samples: metrics.Samples, protocol: Protocol) -> list[str]:
    """The metrics that can be had; without the vote where that says nothing new."""
    names = metrics.known(samples)
    return [name for name in names if name != "search" or protocol.metric == name]


def _write(
    m: Measurement,
    seeker: Seeker,
    shards: Shards,
    protocol: Protocol,
    path: Path,
    counts: Counter[str],
    costs: dict[str, float],
) -> None:
    """Judge the trees of a search and write what they came to. counts, costs: are added to."""
    context, task = m.context, m.context.task
    other = _graded_otherwise(task, m)
    found = judged(
        m.asked.name,
        context.heldout,
        shards.trees(),
        protocol,
        strict=seeker.reasoner.grade,
        released=other and Checker(other, seeker.sandbox).grade,
        same=seeker.reasoner.same,
    )
    title = f"{m.asked.name}: judge"
    with context.progress.stage(title, len(context.heldout), "problems"):

        def rows() -> Iterator[Prediction]:
            for number, one in enumerate(found, start=1):
                _count(one, counts, costs)
                context.progress.update(number)
                yield from one.rows

        parquet.write_tables(path, columns.schema(Prediction), _tables(rows()))


def _graded_otherwise(task: Task, m: Measurement) -> Task | None:
    if _OTHER not in task.GRADINGS:
        return None
    return dataclasses.replace(m.context.settings.verify, grading=_OTHER).make_task()


def _tables(rows: Iterable[Prediction]) -> Iterator[pa.Table]:
    schema, held = columns.schema(Prediction), list[dict[str, Any]]()
    for row in rows:
        held.append(columns.plain(row))
        if len(held) == _ROWS:
            yield pa.Table.from_pylist(held, schema=schema)
            held = []
    if held:
        yield pa.Table.from_pylist(held, schema=schema)


def _count(one: Judged, counts: Counter[str], costs: dict[str, float]) -> None:
    counts["samples"] += len(one.rows)
    for row, cut in zip(one.rows, one.cut, strict=True):
        counts["no_answer"] += row.answer is None
        counts["ungraded"] += row.grade == "ungraded"
        counts["truncated"] += cut
        counts["timed_out"] += row.ended == "timeout"
        counts["unknown"] += row.ended == "unknown"
    taken = {
        "tokens": sum(tree.tokens for tree in one.trees),
        "ppm_tokens": sum(node.tokens for t in one.trees for node in t.nodes if node.ppm is not None),
        "steps": sum(len(tree.nodes) - 1 for tree in one.trees),
    }
    for name, value in taken.items():
        costs[name] = costs.get(name, 0) + value


def _samples(path: Path) -> metrics.Samples:
    with pq.ParquetFile(path) as file:
        return metrics.of_columns(b.to_pydict() for b in file.iter_batches(columns=list(metrics.COLUMNS)))


def _disagreements(path: Path) -> Iterator[dict[str, Any]]:
    """The answers that the two gradings judge differently."""
    for table in parquet.read_tables(path, Prediction, _ROWS):
        for row in table.to_pylist():
            if row["released"] is not None and row["released"] != row["grade"]:
                names = ("problem_id", "sample", "answer", "reference")
                yield {**{name: row[name] for name in names}, "strict": row["grade"], _OTHER: row["released"]}
