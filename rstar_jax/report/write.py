"""WORKDIR/report.json: what a run found, whole or absent.

    {"base": {"policy_pass1"}, "layers": {layer of the sandbox: what it does, or "missing: why"},
     "rounds": [{"round", "problems", "coverage": {"all", "level1", "level2", "level3"}, "policy_pass1",
                 "search_accuracy", "trajectories", "steps", "failures": {cause: count},
                 "deaths": the same under its old name, which will go, "sft_rows", "pairs",
                 "difficulty": {"easy", "medium", "hard"}, "ppm_pair_accuracy", "note",
                 "ungraded", "ungradable": [problem ids], "unknown_steps", "heldout_ungraded",
                 "heldout_cut_off", "heldout_unknown_steps"}],
     "stages": [{"name", "seconds", "decode", "execution", "ppm", "training", "host", "peak_mb",
                 "compiled": {"programs", "cached", "seconds"}, "tokens", "note",
                 "estimate": {"memory_mb", "parts": {part: MiB}, "tokens", "hours", "chips"}}],
     "estimates": {"assumed", "paper": [{"model", "device", "chips", "parameters", "weights", "cache",
                   "optimiser", "activations", "tokens", "hours"}]},
     "folder", "models": {kind: path in it}, "files": {label: path}, "seed", "config", "seconds", "peak_mb",
     "sha256": of all that (`records.write_signed`)}

A warm start's (evolve/sft.py) has no rounds but

     "warm_start": {"rows": {"read", "kept", "converted", "lost": {reason: count}, "heldout_seen"},
                    "policy_training", "policy_pass1", "answered", "steps", "failures", "samples",
                    "majority", "pass_at_k", "ungraded", "unknown_steps"}

and "base" holds the same figures of the base. answered: share of held-out problems that got an answer;
majority, pass_at_k: share right by the majority of `samples`, and with a right one among them.

ungraded: answers that could not be graded; ungradable: problems that had no others; unknown_steps: those the
sandbox could not tell of. None of them is a label. heldout_cut_off: problems whose search had spent its time
or tokens before any answer. compiled: programs that a stage compiled, that it found compiled on disk, and the
seconds of both, added up over threads. estimates.paper: what the same rounds would need of the paper's models
(`evolve/announce.py`). models: the newest ones. Fractions are 0 to 1, times are seconds. What was not
measured is null or left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.records import Damaged, read_signed, write_signed


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report atomically, signed. NaN and infinities become null, which every JSON reader takes.

    Raises UserError where the disk is full or the folder not writable.
    """
    write_signed(path, _finite(report))


def read_report(path: Path) -> dict[str, Any]:
    """Read a report, without its signature. Raises UserError where there is none, Damaged where it is none
    or not as it was written."""
    if not path.is_file():
        raise UserError(f"{path}: no report. A run writes one as its rounds end: give that run's --workdir.")
    report = read_signed(path)
    for field in ("rounds", "stages"):
        rows = report.get(field, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Damaged(path, f"'{field}' is not a list of objects")
    return report


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
