"""WORKDIR/report.json: what a run found, whole or absent.

Its contents are those of `sections.RunReport` or, of a warm start, `sections.WarmStartReport`, of a PPM alone
`sections.PpmReport`, and "sha256" of all that (`records.write_signed`).
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
