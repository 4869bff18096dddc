"""A search that fits on a host's chips: leaves of a batch, and devices that hold a model together.

The engine's longest programs are compiled: whoever fits these fits all. What policy and PPM leave is for
pages of texts.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.cost import USABLE
from rstar_jax.plan.fit import GIB, Fitting, Parts, Refusal, shortly
from rstar_jax.plan.pace import rounded_up
from rstar_jax.plan.workload import SearchShape

LEAVES = (256, 128, 64, 32, 16, 8, 4)
# Bytes that scoring wants for each of a layer's insides: 29.3 GiB for 9.6 (Qwen2.5-7B, v5p, 65,536 tokens).
SCORED = 3.06


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Options of the engine that count here (`engine.DecodeConfig`)."""

    rows: int
    context: int
    max_step_tokens: int
    page_size: int
    chunk: int
    int8: bool

    @property
    def size(self) -> int:
        """Bytes of a weight."""
        return 1 if self.int8 else 2

    def options(self, leaves: int) -> dict[str, Any]:
        names = ("rows", "context", "max_step_tokens", "page_size", "chunk")
        weights = "int8" if self.int8 else "full"
        return {**{n: getattr(self, n) for n in names}, "leaves": leaves, "weights": weights}


@dataclasses.dataclass(frozen=True)
class Searching:
    """A way to search. parts: bytes of a device by part. compiled: programs by name, where they were."""

    load: SearchShape
    parts: Parts
    compiled: dict[str, Compiled]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def shapes(fitting: Fitting, decode: Decoding, leaves: int = 0, tensor: int = 0) -> list[SearchShape]:
    """Those to choose from, none if there are none with so many devices a model; 0: any. A model lies on
    devices of one host."""
    host = fitting.topology.chips_per_host * fitting.topology.chip.devices
    groups = [t for t in (1, 2, 4, 8) if host % t == 0 and fitting.shape.heads % t == 0]
    return [
        SearchShape(n, decode.rows, t, decode.size, decode.chunk)
        for t in ([t for t in groups if t == tensor] if tensor else groups)
        for n in ([leaves] if leaves else LEAVES)
    ]


def search(fitting: Fitting, decode: Decoding, choices: list[SearchShape], ppm: bool) -> Searching:
    """The first of the choices that fits. Raises UserError with the numbers where none does."""
    refused: list[SearchShape] = []
    last: Refusal | None = None
    for load in choices:
        if any(load.tensor <= r.tensor and load.leaves >= r.leaves for r in refused):
            continue
        found = _tried(fitting, decode, load, ppm)
        if isinstance(found, Searching):
            return found
        refused.append(load)
        fitting.refusals.append(found)
        last = found
    told = "" if last is None else f" The last that was tried: {last.what}: {last.why}."
    raise UserError(
        f"search: does not fit a host of {fitting.topology}.{told} Take chips with more memory, "
        "--config.decode.weights=int8, or a smaller config.decode.context or max_step_tokens."
    )


def _tried(fitting: Fitting, decode: Decoding, load: SearchShape, ppm: bool) -> Searching | Refusal:
    what = f"search, {load.leaves} leaves of {load.rows} rows, {load.tensor} devices a model"
    parts = _parts(fitting, decode, load, ppm)
    total = sum(parts.values())
    compiled: dict[str, Compiled] = {}
    if fitting.compile is not None and total <= fitting.memory:
        mesh = {"tensor": load.tensor}
        context, longest = decode.context, min(decode.max_step_tokens, decode.context)
        pages = context // decode.page_size * 4
        programs = {
            "decode": (load.leaves, load.rows, context, longest),
            "prefill": (context,),
            **({"score": (context, longest)} if ppm else {}),
        }
        temporaries = 0
        for program, sizes in programs.items():
            options = decode.options(load.leaves)
            request = fitting.request(program, mesh, sizes, options=options, pages=pages)
            found = fitting.compile(request, f"{program} of {what}")
            if found.refused:
                return Refusal(f"{program} of {what}", found.used, shortly(found))
            compiled[program] = found
            temporaries = max(temporaries, found.total - found.arguments)
        parts |= {"temporaries": float(temporaries)}
        total = sum(parts.values())
    least = decode.context / decode.page_size * _page(fitting, decode, load) * (2 if ppm else 1)
    usable = fitting.memory * (1 if compiled else USABLE)
    if total + least > usable:
        by = "with the compiler's temporaries" if compiled else "by arithmetic"
        return Refusal(what, total + least, f"{(total + least) / GIB:.1f} GiB a device {by}")
    # The engine takes half of what is free for the pages of each model (engine/pool.py).
    free = usable - total
    return Searching(load, parts | {"pages": free * (0.75 if ppm else 0.5)}, compiled)


def _page(fitting: Fitting, decode: Decoding, load: SearchShape) -> float:
    return decode.page_size * fitting.shape.kv_bytes(2) / min(load.tensor, fitting.shape.kv_heads)


def _parts(fitting: Fitting, decode: Decoding, load: SearchShape, ppm: bool) -> Parts:
    """Estimate. leaves: caches of those under way, all of the longest; of candidates a power of two."""
    s = fitting.shape
    suffix = min(rounded_up(decode.max_step_tokens), decode.max_step_tokens)
    columns = load.leaves * (decode.context + load.rows * suffix)
    rows = load.leaves * load.rows
    # Scored together: up to 16 groups of two steps; eight texts that are read together take less.
    longest = min(decode.max_step_tokens, decode.context)
    scored = 2 * min(16, load.leaves) * longest * SCORED * (3 * s.mlp + 6 * s.width) * 2 / load.tensor
    weights = decode.size * s.parameters / load.tensor
    return {
        "policy": weights,
        "PPM": (weights - decode.size * (0 if s.tied else s.vocab * s.width) / load.tensor) if ppm else 0.0,
        "leaves": columns * s.kv_bytes(2) / min(load.tensor, s.kv_heads),
        "temporaries": max(4 * 4 * rows * s.vocab / load.tensor, scored if ppm else 0.0),
    }
