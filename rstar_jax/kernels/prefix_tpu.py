"""The part of attention that candidates share, on a TPU: all queries of a leaf against its prefix, in blocks.

A Pallas kernel in the manner of flash attention (arXiv 2205.14135): blocks of the prefix stream through the
chip's fast memory, the softmax is kept online, and logits never leave it. JAX's own kernels do not serve:
paged attention keeps maximum and sum to itself, and both it and the ragged one read the keys once per
sequence, not once per leaf.

Letters as in `types.py`; here R: queries of a kv head, N * T * (H / G) of a leaf; C: width of a value.

    grid (B, R / rows, P / columns), the last axis innermost: step (b, r, j) takes one block of queries of all
    kv heads of leaf b against one block of columns.

      columns of leaf b  0       lowest[b]          length[b]      P
                         +-------+-------+-------+-------+-------+
      queries, block r=0 | skip  |  j=1  |  j=2  |  j=3  | skip  |  -> out, stats of (b, 0)
                         +-------+-------+-------+-------+-------+
      queries, block r=1 | skip  |  j=1  |  j=2  |  j=3  | skip  |  -> out, stats of (b, 1)
                         +-------+-------+-------+-------+-------+

    HBM   q [B, G, R, A], keys [L, B, heads, A, P], values [L, B, heads, P, C]; out [B, G, R, C], stats
    VMEM  this step's blocks, and the next step's on their way in: q [G, rows, A], k [G, A, columns],
          v [G, columns, C], first [rows, 1]; over all j: top, total [G, rows, 1], sums [G, rows, C] float32
    SMEM  layer and head, length [B], lowest [B]: the index maps read them before a step's blocks are fetched

Who waits: a step for its blocks, which Pallas fetches during the step before. A skipped step computes nothing
and names the nearest block that is needed: nothing is fetched for it. Results leave VMEM when (b, r) changes.
b and r may go to different cores, j may not.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rstar_jax.kernels.attention_xla import MASKED, softcap

LANES = 128  # of a vector register
ROWS = 16  # queries come in whole multiples: the tile of two-byte numbers
_STEP_BYTES = 2**20  # of keys and values that a step of the grid takes; less is lost to starting steps
_STEP_ROWS = 1024  # queries, all heads together, that a step holds


def missing(P: int, A: int, C: int) -> str:
    """Return why the kernel cannot do a prefix of P columns with keys of A and values of C numbers, or ""."""
    if not P or P % LANES:
        return f"a prefix of {P} columns, not a multiple of {LANES}"
    if C % LANES:
        return f"values of {C} numbers, not a multiple of {LANES}"  # the compiler would lay them out anew
    return f"keys of {A} numbers, not a multiple of {ROWS}" if A % ROWS else ""


def blocks(G: int, R: int, A: int, C: int, P: int, width: int) -> tuple[int, int]:
    """Queries per head, and columns, that one step takes; width: bytes of a number in the cache."""
    sizes = [size for size in range(LANES, P + 1, LANES) if P % size == 0]
    fitting = [size for size in sizes if G * size * (A + C) * width <= _STEP_BYTES]
    most = max(ROWS, min(512, _STEP_ROWS // G * LANES // max(LANES, A) // ROWS * ROWS))
    steps = -(-R // most)
    return -(-R // (steps * ROWS)) * ROWS, max(fitting, default=LANES)


@functools.partial(jax.jit, static_argnames=("cap", "interpret"))
def part(
    q_BxGxRxA: jax.Array,
    k_LxBxGxAxP: jax.Array,
    v_LxBxGxPxC: jax.Array,
    layer: jax.Array | int,
    length_B: jax.Array,
    first_BxR: jax.Array | None,
    cap: float | None = None,
    *,
    head: jax.Array | int = 0,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query r of leaf b sees columns first[b, r] … length[b] - 1 of one layer's cache.

    The cache comes with all its layers, as a slice of it would be a copy. It may have more heads than the
    queries: head h of theirs reads `head` + h. first: None for 0. cap: soft cap of the logits.
    Returns float32 the weighted sum of values, not divided, [B, G, R, C], the largest logit and the sum of
    exponentials [B, G, R, 1]; sums of what sees nothing are multiples of exp(MASKED - x), nothing for any x.
    """
    B, G, R, A = q_BxGxRxA.shape
    P, C = v_LxBxGxPxC.shape[3:]
    rows, columns = blocks(G, R, A, C, P, k_LxBxGxAxP.dtype.itemsize)
    short = -R % rows
    q = jnp.pad(q_BxGxRxA, ((0, 0), (0, 0), (0, short), (0, 0)))
    lowest = jnp.zeros_like(length_B) if first_BxR is None else jnp.maximum(jnp.min(first_BxR, axis=1), 0)
    head = jnp.asarray(head, jnp.int32)
    scalars = jnp.stack([jnp.asarray(layer, jnp.int32), head // G]), length_B, lowest
    steps, width = P // columns, v_LxBxGxPxC.dtype.itemsize

    def column(b: Any, j: Any, length: Any, lowest: Any) -> Any:
        """The block that is there at step j: the nearest of those that are needed."""
        last = jnp.maximum(pl.cdiv(length[b], columns) - 1, 0)
        return jnp.clip(j, jnp.minimum(lowest[b] // columns, last), last)

    def keys(b: Any, r: Any, j: Any, layer_and_head: Any, length: Any, lowest: Any) -> Any:
        return layer_and_head[0], b, layer_and_head[1], 0, column(b, j, length, lowest)

    def values(b: Any, r: Any, j: Any, layer_and_head: Any, length: Any, lowest: Any) -> Any:
        return layer_and_head[0], b, layer_and_head[1], column(b, j, length, lowest), 0

    def queries(b: Any, r: Any, j: Any, *_: Any) -> Any:
        return b, 0, r, 0

    in_specs = [
        pl.BlockSpec((None, G, rows, A), queries),
        pl.BlockSpec((None, None, G, A, columns), keys),
        pl.BlockSpec((None, None, G, columns, C), values),
    ]
    inputs = [q, k_LxBxGxAxP, v_LxBxGxPxC]
    if first_BxR is not None:
        in_specs.append(pl.BlockSpec((None, rows, 1), lambda b, r, j, *_: (b, r, 0)))
        inputs.append(jnp.pad(first_BxR, ((0, 0), (0, short)))[..., None])
    out, stats = pl.pallas_call(
        functools.partial(_kernel, columns=columns, steps=steps, cap=cap, windowed=first_BxR is not None),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(B, (R + short) // rows, steps),
            in_specs=in_specs,
            out_specs=[
                pl.BlockSpec((None, G, rows, C), queries),
                pl.BlockSpec((None, G, rows, LANES), queries),
            ],
            scratch_shapes=[pltpu.VMEM((G, rows, n), jnp.float32) for n in (1, 1, C)],
        ),
        out_shape=[jax.ShapeDtypeStruct((B, G, R + short, n), jnp.float32) for n in (C, LANES)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        cost_estimate=pl.CostEstimate(
            flops=2 * B * G * (R + short) * P * (A + C),
            transcendentals=B * G * (R + short) * P,
            bytes_accessed=B * G * (P * (A + C) * width + R * (2 * A + 4 * C + 4 * LANES)),
        ),
        interpret=interpret,
        name="prefix_part",
    )(*scalars, *inputs)
    return out[:, :, :R], stats[:, :, :R, :1], stats[:, :, :R, 1:2]


def _kernel(
    _layer_and_head: Any,
    length: Any,
    lowest: Any,
    q: Any,
    k: Any,
    v: Any,
    *refs: Any,
    columns: int,
    steps: int,
    cap: float | None,
    windowed: bool,
) -> None:
    """One block of columns for one block of queries; the sums stay in scratch over a leaf's blocks."""
    first, (out, stats, top, total, sums) = (refs[0] if windowed else None), refs[windowed:]
    b, j = pl.program_id(0), pl.program_id(2)
    G, rows = q.shape[:2]

    @pl.when(j == 0)
    def _start() -> None:
        top[...] = jnp.full_like(top, MASKED)
        total[...] = jnp.zeros_like(total)
        sums[...] = jnp.zeros_like(sums)

    @pl.when((j * columns < length[b]) & ((j + 1) * columns > lowest[b]))
    def _block() -> None:
        place = j * columns + jax.lax.broadcasted_iota(jnp.int32, (rows, columns), 1)
        seen = place < length[b]
        if first is not None:
            seen = seen & (place >= first[...])
        for g in range(G):
            logits = softcap(jnp.dot(q[g], k[g], preferred_element_type=jnp.float32), cap)
            logits = jnp.where(seen, logits, MASKED)
            old = top[g]
            new = jnp.maximum(old, jnp.max(logits, axis=1, keepdims=True))
            weights, kept = jnp.exp(logits - new), jnp.exp(old - new)
            top[g] = new
            total[g] = total[g] * kept + jnp.sum(weights, axis=1, keepdims=True)
            sums[g] = sums[g] * kept + jnp.dot(
                weights.astype(v.dtype), v[g], preferred_element_type=jnp.float32
            )

    @pl.when(j == steps - 1)
    def _end() -> None:
        out[...] = sums[...]
        first_lane = jax.lax.broadcasted_iota(jnp.int32, stats.shape, 2) == 0
        stats[...] = jnp.where(first_lane, top[...], total[...])  # one array: a column of its own fills lanes
