"""Options that may change while a run goes on in one folder, and which have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rstar_jax import distributed
from rstar_jax.served import is_served
from rstar_jax.sharding import MeshConfig

# What a training does for whoever runs it.
_OF_A_TRAINING = ("bad_steps", "profile", "checkpoint_every_s", "checkpoint_every_steps")
# No result depends on these, or not by intent: a run may go on where the kernel offers fewer layers, or with
# more or less memory.
_FREE_TO_CHANGE = (
    *("rounds", "stages", "formats", "policy.cache", "search.batch", "batch"),
    "wandb",
    *("questions", "show", "json"),  # of `solve`, whose answers say which question each is of
    # Of an evaluation; each benchmark's problems are claimed by themselves.
    *("benchmarks", "data", "shapes"),
    "threshold",  # of a judge, whose values are kept
    *("verify.workers", "verify.memo"),
    *(f"distributed.{field.name}" for field in dataclasses.fields(distributed.DistributedConfig)),
    # A training goes on on other devices: its steps have the same examples, in other calls.
    # A judge reads its samples on others.
    *(f"{mesh}.{field.name}" for mesh in ("train.mesh", "mesh") for field in dataclasses.fields(MeshConfig)),
    "train.policy.microbatch",  # a PPM's says which of a question's pairs are learnt together
    *(f"train.{kind}.{name}" for kind in ("policy", "ppm") for name in _OF_A_TRAINING),
    *("decode.devices", "decode.tensor", "decode.precompile", "decode.cache_mb"),
    *("served.slots", "served.first_s", "served.stall_s", "served.connect_s", "served.attempts"),
    *("served.give_up_s", "served.backoff_s", "served.longest_backoff_s"),
    *("verify.sandbox.allow_unsafe", "verify.sandbox.bubblewrap", "verify.sandbox.without"),
)


def changes(theirs: dict[str, Any], mine: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each option on which results depend, and that is not as it was."""
    return _differences(theirs, mine, _free(mine))


def _free(options: dict[str, Any]) -> set[str]:
    """Return the options that may change. The trees in flight share a budget of seconds, so that with one
    `batch` counts."""
    timed = any(options.get(group, {}).get("max_seconds") for group in ("search", "evaluate"))
    timed = timed or (options.get("max_seconds") or 0) > 0
    return set(_FREE_TO_CHANGE) - ({"search.batch", "batch"} if timed else set())


def _differences(theirs: Any, mine: Any, free: set[str], where: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for key in sorted(theirs.keys() | mine.keys()):
            yield from _differences(theirs.get(key), mine.get(key), free, f"{where}.{key}" if where else key)
    elif _model(theirs) != _model(mine) and where not in free:
        yield f"config.{where}: there {theirs!r}, now {mine!r}"


def _model(option: Any) -> Any:
    """An option's value; of a served model its name, as it is the same one at another address."""
    return ("served", option.partition("#")[2]) if isinstance(option, str) and is_served(option) else option
