"""Contents of a working directory, read for its report: stages, curves, test-time scaling, suspects, figures.

A file that is damaged, or of another form than ours, is told as a fault and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax import manifests, records
from rstar_jax.errors import UserError
from rstar_jax.evaluate.scaling import cuts
from rstar_jax.evolve.settings import STAGE_NAMES
from rstar_jax.evolve.summary import stage_times
from rstar_jax.evolve.suspects import FILE as SUSPECTS
from rstar_jax.report import results
from rstar_jax.report.page.contents import Scaling, StageState, Training
from rstar_jax.report.page.learning import METRICS

_POINTS = 120  # of a curve
_SUSPECTS = 1000  # lines of a file that are read
# The stages of jobs that are no rounds, in their order.
_STAGES = {
    "sft": ("rows", "base/evaluate", "policy", "evaluate"),
    "ppm": ("pairs", "ppm", "compare", "evaluate"),
    "synthesise": ("written", "cleaned", "solved", "problems"),
}
_OF_PROBLEMS = ("written", "cleaned")  # stages whose rows are no trees


class Faults:
    """Files that could not be read, as sentences (`told`). root: of the paths in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []

    def add(self, path: Path, why: str) -> None:
        """Note a file and why it could not be read."""
        line = f"{path.relative_to(self.root)}: {why}"
        if line not in self.told:
            self.told.append(line)

    def json(self, path: Path, *, manifest: bool = False) -> dict[str, Any] | None:
        """Read an object, signed or not, or a stage's manifest; None where it is not there or damaged."""
        if not path.exists():
            return None
        try:
            return manifests.read(path) if manifest else records.read_signed(path)
        except records.Damaged as error:
            self.add(path, error.why)
        except UserError as error:
            self.add(path, str(error))
        return None


def job_of(root: Path, options: Mapping[str, Any]) -> str:
    """The job that made a folder, by its options or, without them, by what lies there."""
    if isinstance(options.get("job"), str):
        return options["job"]
    return (
        "evolve"
        if _rounds(root)
        else next((n for n in ("evaluation", "judge") if (root / f"{n}.json").exists()), "")
    )


def stages(root: Path, job: str, options: Mapping[str, Any], faults: Faults) -> tuple[StageState, ...]:
    """Where each stage stands that the folder's job has, in order."""
    if job == "evolve":
        asked = options.get("rounds")
        numbers = {n for n in asked if isinstance(n, int)} if isinstance(asked, list | tuple) else set()
        numbers |= set(_rounds(root))
        names = [f"round{n}/{name}" for n in sorted(numbers) for name in STAGE_NAMES if name != "base"]
        names = ["base/evaluate", *names] if 1 in numbers else names
    else:
        names = [n for n in _STAGES.get(job, ()) if n != "evaluate" or options.get("heldout")]
        names = [n for n in names if n != "base/evaluate" or options.get("heldout")]
        names += [name for name in sorted(_manifests(root)) if name not in names]
    return tuple(_state(root, name, faults) for name in names)


def _state(root: Path, name: str, faults: Faults) -> StageState:
    folder = root / name
    if (done := faults.json(folder / manifests.MANIFEST, manifest=True)) is not None:
        return StageState(name, "done", f"{done['seconds']:,.1f} s")
    if not folder.is_dir() or not any(folder.iterdir()):
        return StageState(name, "to come")
    return StageState(name, "begun", _so_far(folder))


def _so_far(folder: Path) -> str:
    """How far a stage is by its files: trees or problems on disk, or steps of a training."""
    rows = sum(1 for single in ("*.tree", "*.problem") for _ in folder.glob(single))
    for path in folder.glob("*-*.parquet"):
        try:
            rows += pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException):
            continue
    if rows:
        return f"{rows:,} {'problems' if folder.name in _OF_PROBLEMS else 'trees'} on disk"
    if (metrics := folder / "metrics.jsonl").exists():
        with metrics.open("rb") as lines:
            return f"{sum(1 for _ in lines):,} steps"
    return ""


def plain_report(root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The times of whatever stages are done, in the form of report.json."""
    done = {name: _read(root / name / manifests.MANIFEST) for name in sorted(_manifests(root))}
    times = [results.to_json(stage_times(manifest)) for manifest in done.values() if manifest]
    seconds = sum(one["seconds"] or 0.0 for one in times)
    return {"stages": times, "seconds": seconds, "config": dict(options), "seed": options.get("seed")}


def trainings(root: Path) -> tuple[Training, ...]:
    """The curves of all trainings: those of rounds in order, then those of one alone."""
    folders = [root / f"round{n}" / kind for n in _rounds(root) for kind in ("policy", "ppm")]
    folders += [root / "policy", root / "ppm"]
    found = []
    for folder in folders:
        if (path := folder / "metrics.jsonl").is_file() and (metrics := _curves(path)):
            found.append(Training(str(folder.relative_to(root)), metrics))
    return tuple(found)


def _curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Means of neighbouring steps, `_POINTS` of them at most, of the metrics that are drawn."""
    with path.open("rb") as lines:
        together = -(-sum(1 for _ in lines) // _POINTS) or 1
    sums: dict[str, dict[int, list[float]]] = {}
    for i, row in enumerate(_rows(path)):
        for name in METRICS:
            value = row.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                at = sums.setdefault(name, {}).setdefault(i // together, [0.0, 0.0, 0.0])
                at[:] = at[0] + row["step"], at[1] + value, at[2] + 1
    return {
        name: [(step / n, value / n) for step, value, n in buckets.values()] for name, buckets in sums.items()
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The steps of a metrics.jsonl; a line cut off by a kill is none."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int | float):
                yield row


def scalings(
    root: Path, options: Mapping[str, Any], faults: Faults, log: Callable[[str], None]
) -> tuple[Scaling, ...]:
    """Test-time scaling of each round whose evaluation is done."""
    evaluate = options.get("evaluate")
    chosen = evaluate if isinstance(evaluate, Mapping) else {}
    vote = str(chosen.get("vote", "weighted"))
    votes = list(dict.fromkeys([vote, "majority", "best"]))
    given = {"top_k": chosen.get("top_k", 0), "scores": chosen.get("scores", "last")}
    found = []
    for number in _rounds(root):
        folder = root / f"round{number}" / "evaluate"
        if not (folder / manifests.MANIFEST).exists():
            continue
        files = {kind: sorted(folder.glob(f"{kind}-*.parquet")) for kind in ("search", "policy")}
        if sum(map(len, files.values())) > 8:
            log(f"reading the held-out trees of round {number}: {len(files['search'])} files")
        try:
            search = cuts(files["search"], votes, **given)
            found.append(Scaling(number, vote, search, cuts(files["policy"], ["majority"])))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, UserError) as error:
            faults.add(folder, f"held-out trees cannot be read ({error})")
    return tuple(found)


def suspects(root: Path, faults: Faults) -> tuple[dict[str, Any], ...]:
    """The problems of the latest round that lists any, whose label may be wrong."""
    for number in reversed(_rounds(root)):
        path = root / f"round{number}" / "curate" / SUSPECTS
        if not path.is_file():
            continue
        rows = []
        with path.open("rb") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    faults.add(path, "not JSON lines")
                    break
                if isinstance(row, dict):
                    rows.append(row)
                if len(rows) >= _SUSPECTS:
                    break
        if rows:
            return tuple(rows)
    return ()


def figures(path: Path, faults: Faults) -> dict[str, Any] | None:
    """Contents of evaluation.json or judge.json; None where there is none, or none of that form."""
    found = faults.json(path)
    if found is None:
        return None
    benchmarks = found.get("benchmarks", [])
    if not isinstance(benchmarks, list) or not all(map(_is_benchmark, benchmarks)):
        faults.add(path, "not with benchmarks and their figures as we write them")
        return None
    return found


def _is_benchmark(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        return False
    groups = [one.get(name) or {} for name in ("figures", "by_level", "counts", "costs", "protocol")]
    if not all(isinstance(group, dict) for group in groups):
        return False
    known = [*groups[0].values(), *groups[1].values()]
    ends = ("value", "low", "high")
    return all(isinstance(f, dict) and all(isinstance(f.get(e), int | float) for e in ends) for f in known)


def _rounds(root: Path) -> list[int]:
    """Numbers of the rounds that lie in a folder."""
    return sorted(int(p.name[5:]) for p in root.glob("round*") if p.name[5:].isdecimal() and p.is_dir())


def _manifests(root: Path) -> list[str]:
    found = [*root.glob(f"*/{manifests.MANIFEST}"), *root.glob(f"*/*/{manifests.MANIFEST}")]
    return [str(path.parent.relative_to(root)) for path in found]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return manifests.read(path)
    except UserError:
        return None
