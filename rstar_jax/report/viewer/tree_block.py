"""One tree as the page reads it: columns as JSON, from Arrow, never a Python object a node.

    {"problem": {...}, "round", ..., "parent": [-1, 0, ...], "text": [...], "status": [0, ...], "q": [...]}

`statuses`, `details` and `grades` name what the numbers stand for; `answer` and `observation` have a text by
node, for those that have one.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # most of its functions are made when it is imported: no type checker sees them


def tree_block(trees: pa.Table, place: int = 0) -> dict[str, Any]:
    """Return the tree of a row of `tree_index.tree_table` as JSON."""
    row = trees.slice(place, 1).combine_chunks()
    nodes = row["nodes"].chunk(0).flatten()
    problem = row["problem"].chunk(0)
    names = [field.name for field in nodes.type]
    columns = {name: nodes.field(name) for name in names}
    visits = _numbers(columns["visits"])
    ppm = columns["ppm"].to_numpy(zero_copy_only=False)
    q = np.where(
        visits > 0, _numbers(columns["value_sum"]) / np.maximum(visits, 1), np.where(np.isnan(ppm), 0.0, ppm)
    )
    status, statuses = _coded(columns["status"])
    detail, details = _coded(columns["detail"])
    grade, grades = _coded(columns["grade"])
    return {
        "problem": {
            "id": problem.field("id")[0].as_py(),
            "question": problem.field(1)[0].as_py(),
            "answer": problem.field("answer")[0].as_py(),
            "level": problem.field("level")[0].as_py(),
        },
        **{name: row[name][0].as_py() for name in ("round", "tree_index", "rollouts", "ended", "tokens")},
        "policy": row["policy"][0].as_py()[:12],
        "ppm_model": row["ppm"][0].as_py()[:12],
        "finals": row["finals"][0].as_py(),
        "parent": columns["parent"].to_pylist(),
        "text": columns["text"].to_pylist(),
        "status": status,
        "statuses": statuses,
        "detail": detail,
        "details": details,
        "grade": grade,
        "grades": grades,
        "visits": visits.tolist(),
        "q": _rounded(q),
        "ppm": _rounded(ppm),
        "logprob": _rounded(_numbers(columns["logprob"])),
        "written": columns["tokens"].to_pylist(),
        "cpu_s": _rounded(_numbers(columns["cpu_s"])),
        "candidate": columns["candidate"].to_pylist(),
        "answer": _texts(columns["answer"]),
        "observation": _texts(columns["observation"]) if "observation" in columns else {},
    }


def as_json(value: Any) -> bytes:
    """Return JSON of any text: ASCII, so that half of a surrogate pair stays one."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def as_block(value: Any) -> str:
    """Return JSON, gzipped, in base64: letters that no element can end at."""
    return base64.b64encode(gzip.compress(as_json(value), 9, mtime=0)).decode()


def _numbers(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)


def _rounded(values: np.ndarray) -> list[float | None]:
    """Four digits behind the point; None for what is no finite number."""
    return [round(value, 4) if math.isfinite(value) else None for value in values.tolist()]


def _coded(array: pa.Array) -> tuple[list[int], list[str]]:
    encoded = array.fill_null("").dictionary_encode()
    return encoded.indices.to_pylist(), encoded.dictionary.to_pylist()


def _texts(array: pa.Array) -> dict[int, str]:
    there = pc.and_kleene(pc.is_valid(array), pc.not_equal(array, "")).fill_null(False)
    places = np.flatnonzero(there.to_numpy(zero_copy_only=False))
    return dict(zip(places.tolist(), array.take(pa.array(places)).to_pylist(), strict=True))
