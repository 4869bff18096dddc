"""Results of several hosts in one stage that searches or writes, as one (`results.Searching`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

_MEANS = ("compile_seconds",)  # of the engine: clocks run on all hosts at once


def together(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make one result of those of all hosts: what was counted is added up; of seconds the mean, as they stand
    beside those of the stage's clock; of the sandbox's layers all that were met."""
    if len(found) == 1 or not found[0]:
        return found[0]
    result = dict(found[0])
    if "layers" in result:
        result["layers"] = _layers([one["layers"] for one in found])
        result["rereading"] = next((one["rereading"] for one in found if one["rereading"]), "")
    result["tokens"] = sum(one["tokens"] for one in found)
    result["seconds"] = _means([one["seconds"] for one in found])
    if "engine" in result:
        result["engine"] = _engines([one["engine"] for one in found])
    if "served" in result:
        result["served"] = _served([one["served"] for one in found])
    return result


def _layers(found: Sequence[dict[str, str]]) -> dict[str, str]:
    """Tell what each layer says; where hosts differ, on how many of them it says what."""
    layers = {}
    for name in dict.fromkeys(name for one in found for name in one):
        said = Counter(one.get(name, "not there") for one in found)
        more = (f"{what} on {count} of {len(found)} hosts" for what, count in said.items())
        layers[name] = next(iter(said)) if len(said) == 1 else "; ".join(more)
    return layers


def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    kinds = dict.fromkeys(kind for one in found for kind in one)
    return {kind: round(sum(one.get(kind, 0.0) for one in found) / len(found), 3) for kind in kinds}


def _engines(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    engine: dict[str, Any] = {}
    for name, value in found[0].items():
        values = [one[name] for one in found]
        if isinstance(value, dict):
            engine[name] = _engines(values)
        elif name == "occupancy":
            weights = [one["generated"] for one in found]
            mean = sum(v * w for v, w in zip(values, weights, strict=True)) / max(1, sum(weights))
            engine[name] = round(mean, 4)
        elif name in _MEANS:
            engine[name] = round(sum(values) / len(values), 3)
        else:
            engine[name] = value if isinstance(value, str) else sum(values)
    return engine


def _served(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All hosts ask one server: its slots are those of all."""
    served = dict(found[0])
    for name, value in found[0].items():
        values = [one[name] for one in found if one[name] is not None]
        if name == "slots_busy":
            served[name] = round(sum(values), 2) if values else None
        elif not isinstance(value, str):
            served[name] = sum(values)
    return served
