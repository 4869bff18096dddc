"""A decode step's attention to the candidates' own tokens, on a TPU: reads what is written, writes one row.

XLA's form writes a token that stands at another place in every row by a select over the whole cache of the
layer, and so moves three times the cache per token. This Pallas kernel takes up the softmax where
`prefix_tpu.part` left it, goes over the blocks of the suffixes that hold tokens, and puts the new token into
the cache in place: one tile of 16 rows per candidate.

Letters as in `types.py`; here M: query heads of a kv head; C: width of a value.

    grid (B, N / count, S / slots), the last axis innermost: step (b, i, j) takes `slots` slots of `count`
    candidates' suffixes, all kv heads.

      slots of a suffix   0      lowest             start               S
                          +-----------+-----------+-----------+-----------+
      candidate n         |      [seen|seen.......|seen]@     |           |   @ the new token
                          +-----------+-----------+-----------+-----------+
                           j=0         j=1         j=2         j=3

      j = 0       `_own`    top, total, sums = the prefix's part joined with the token itself
      j = 0, 1, 2 `_block`  blocks in which one of the candidates sees something join them
      j = 2       `_put`    the tile of 16 rows round slot `start`, the new row in it, is sent to the cache
                  `_wait`   at the end of the same step, before the tile is filled again
      j = 3       `_end`    out = sums / total

    HBM   caches [L, B, N, G, S, A or C], which come in by blocks and are written by those copies: the outputs
          are the same memory (input_output_aliases)
    VMEM  this step's blocks, and the next step's on their way in: k, v [count, G, slots, A or C]; q, the new
          key and value, the prefix's part; scratch: top, total [G, count, M, 1], sums [G, count, M, C], tiles
          [count, G, 16, A or C]
    SMEM  layer, start and lowest [B, N], the last start and the first lowest of each group [B, N / count]

The tile lies in the block of its own step, so that no block is read while it is written. A step before the
first block that is needed, or past the last, names that one: nothing is fetched for it, nothing computed.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rstar_jax.kernels.attention_xla import MASKED, softcap
from rstar_jax.kernels.prefix_tpu import LANES, ROWS

HEADS = 8  # query heads of a kv head come in whole multiples: the rows of a register
_STEP_BYTES = 2**21  # of keys and values that a step of the grid takes
_STEP_SUMS = 2**21  # of sums that it holds


def missing(S: int, A: int, C: int) -> str:
    """Return why the kernel cannot do suffixes of S slots with keys of A and values of C numbers, or ""."""
    if not S or S % ROWS:
        return f"suffixes of {S} slots, not a multiple of {ROWS}"
    return f"keys of {A} or values of {C} numbers, not multiples of {LANES}" if A % LANES or C % LANES else ""


def blocks(N: int, G: int, M: int, A: int, C: int, S: int, width: int) -> tuple[int, int]:
    """Candidates, and slots of each, that one step takes; width: bytes of a number in the cache."""
    slots = next(size for size in (128, 64, 32, ROWS) if S % size == 0)
    most = min(_STEP_BYTES // (G * slots * (A + C) * width), _STEP_SUMS // (G * M * C * 4))
    return max(n for n in range(1, N + 1) if N % n == 0 and n <= max(most, 1)), slots


@functools.partial(jax.jit, static_argnames=("cap", "interpret"))
def attend(
    q_BxGxNxMxA: jax.Array,
    new_k_BxNxGxA: jax.Array,
    new_v_BxNxGxC: jax.Array,
    k_LxBxNxGxSxA: jax.Array,
    v_LxBxNxGxSxC: jax.Array,
    layer: jax.Array | int,
    start_BxN: jax.Array,
    prefix_part: tuple[jax.Array, jax.Array, jax.Array],
    width: jax.Array | int | None = None,
    cap: float | None = None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One token per candidate sees itself, slots below start[b, n], and what `prefix_part` is of.

    M: query heads of a kv head, filled up to a multiple of `HEADS`. prefix_part: as `prefix_tpu.part` returns
    it for the same queries as [B, G, N * M, A]. width: the window; None: all.
    Returns [B, G, N, M, C] in the values' dtype, and the caches, changed in place where they are donated,
    with the new key and value in slot start of one layer.
    """
    B, G, N, M, A = q_BxGxNxMxA.shape
    S, C = v_LxBxNxGxSxC.shape[4:]
    dtype = v_LxBxNxGxSxC.dtype
    count, slots = blocks(N, G, M, A, C, S, dtype.itemsize)
    steps = S // slots
    start = jnp.clip(start_BxN, 0, S - 1)  # never write beyond the cache
    lowest = jnp.zeros_like(start) if width is None else jnp.maximum(start - width + 1, 0)
    groups = (B, N // count, count)
    scalars = (
        jnp.asarray(layer, jnp.int32)[None],
        start,
        lowest,
        jnp.max(start.reshape(groups), axis=2),
        jnp.min(lowest.reshape(groups), axis=2),
    )
    stats = jnp.concatenate([prefix_part[1], prefix_part[2]], axis=-1).reshape(B, G, N, M, 2)

    def cache(b: Any, i: Any, j: Any, layer: Any, start: Any, lowest: Any, last: Any, first: Any) -> Any:
        return layer[0], b, i, 0, jnp.clip(j, first[b, i] // slots, last[b, i] // slots), 0

    def queries(b: Any, i: Any, j: Any, *_: Any) -> Any:
        return b, 0, i, 0, 0

    out, k, v = pl.pallas_call(
        functools.partial(_kernel, count=count, slots=slots, steps=steps, cap=cap),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(B, N // count, steps),
            in_specs=[
                pl.BlockSpec((None, G, count, M, A), queries),
                pl.BlockSpec((None, G, count, 1, A), queries),
                pl.BlockSpec((None, G, count, 1, C), queries),
                pl.BlockSpec((None, G, count, M, C), queries),
                pl.BlockSpec((None, G, count, M, 2), queries),
                pl.BlockSpec((None, None, count, G, slots, A), cache),
                pl.BlockSpec((None, None, count, G, slots, C), cache),
            ],
            out_specs=[
                pl.BlockSpec((None, G, count, M, C), queries),
                pl.BlockSpec(memory_space=pl.ANY),
                pl.BlockSpec(memory_space=pl.ANY),
            ],
            scratch_shapes=[
                *(pltpu.VMEM((G, count, M, n), jnp.float32) for n in (1, 1, C)),
                pltpu.VMEM((count, G, ROWS, A), dtype),
                pltpu.VMEM((count, G, ROWS, C), dtype),
                pltpu.SemaphoreType.DMA((2, count)),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct((B, G, N, M, C), dtype),
            jax.ShapeDtypeStruct(k_LxBxNxGxSxA.shape, k_LxBxNxGxSxA.dtype),
            jax.ShapeDtypeStruct(v_LxBxNxGxSxC.shape, dtype),
        ],
        input_output_aliases={len(scalars) + 5: 1, len(scalars) + 6: 2},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary", "arbitrary")),
        cost_estimate=pl.CostEstimate(
            flops=2 * B * G * N * M * S * (A + C),
            transcendentals=B * G * N * M * S,
            bytes_accessed=B * G * N * (S * (A + C) * dtype.itemsize + M * (2 * A + 6 * C)),
        ),
        interpret=interpret,
        name="suffix_step",
    )(
        *scalars,
        q_BxGxNxMxA,
        jnp.swapaxes(new_k_BxNxGxA, 1, 2)[:, :, :, None].astype(k_LxBxNxGxSxA.dtype),
        jnp.swapaxes(new_v_BxNxGxC, 1, 2)[:, :, :, None].astype(dtype),
        prefix_part[0].reshape(B, G, N, M, C),
        stats,
        k_LxBxNxGxSxA,
        v_LxBxNxGxSxC,
    )
    return out, k, v


def _kernel(
    layer: Any,
    start: Any,
    lowest: Any,
    last: Any,
    first: Any,
    q: Any,
    new_k: Any,
    new_v: Any,
    prefix_sums: Any,
    stats: Any,
    k: Any,
    v: Any,
    out: Any,
    k_cache: Any,
    v_cache: Any,
    top: Any,
    total: Any,
    sums: Any,
    k_tile: Any,
    v_tile: Any,
    semaphores: Any,
    *,
    count: int,
    slots: int,
    steps: int,
    cap: float | None,
) -> None:
    """One block of slots of some candidates; those whose new token belongs into this block put it there."""
    b, i, j = (pl.program_id(axis) for axis in range(3))
    G = q.shape[0]

    def copies(n: int) -> list[Any]:
        slot = pl.multiple_of(start[b, i * count + n] // ROWS * ROWS, ROWS)
        place = layer[0], b, i * count + n, slice(None), pl.ds(slot, ROWS)
        return [
            pltpu.make_async_copy(tile.at[n], cache.at[place], semaphores.at[which, n])
            for which, (tile, cache) in enumerate(((k_tile, k_cache), (v_tile, v_cache)))
        ]

    for n in range(count):

        @pl.when(start[b, i * count + n] // slots == j)
        def _put(n: int = n) -> None:
            row = start[b, i * count + n] % slots
            tile_start = pl.multiple_of(row // ROWS * ROWS, ROWS)
            for tile, block, new in ((k_tile, k, new_k), (v_tile, v, new_v)):
                old = block[n, :, pl.ds(tile_start, ROWS), :]
                at = jax.lax.broadcasted_iota(jnp.int32, old.shape, 1) == row % ROWS
                tile[n] = jnp.where(at, new[:, n], old)
            for copy in copies(n):
                copy.start()

    @pl.when(j == 0)
    def _own() -> None:
        """Continue the softmax of the prefix with the token itself."""
        logits = jnp.sum(q[...].astype(jnp.float32) * new_k[...].astype(jnp.float32), axis=-1, keepdims=True)
        logits = softcap(logits, cap)
        old = stats[:, :, :, :1]
        most = jnp.maximum(old, logits)
        weights, kept = jnp.exp(logits - most), jnp.exp(old - most)
        top[...] = most
        total[...] = stats[:, :, :, 1:] * kept + weights
        value = weights.astype(v.dtype).astype(jnp.float32) * new_v[...].astype(jnp.float32)
        sums[...] = prefix_sums[...] * kept + value

    @pl.when((j * slots < last[b, i]) & ((j + 1) * slots > first[b, i]))
    def _block() -> None:
        place = j * slots + jax.lax.broadcasted_iota(jnp.int32, (1, slots), 1)
        seen = jnp.stack(
            [(place < start[b, i * count + n]) & (place >= lowest[b, i * count + n]) for n in range(count)]
        )
        for g in range(G):
            logits = jnp.einsum("nma,nsa->nms", q[g], k[:, g], preferred_element_type=jnp.float32)
            logits = jnp.where(seen, softcap(logits, cap), MASKED)
            old = top[g]
            most = jnp.maximum(old, jnp.max(logits, axis=2, keepdims=True))
            weights, kept = jnp.exp(logits - most), jnp.exp(old - most)
            top[g] = most
            total[g] = total[g] * kept + jnp.sum(weights, axis=2, keepdims=True)
            sums[g] = sums[g] * kept + jnp.einsum(
                "nms,nsc->nmc", weights.astype(v.dtype), v[:, g], preferred_element_type=jnp.float32
            )

    @pl.when(j == steps - 1)
    def _end() -> None:
        out[...] = (sums[...] / total[...]).astype(out.dtype)

    for n in range(count):

        @pl.when(start[b, i * count + n] // slots == j)
        def _wait(n: int = n) -> None:
            for copy in copies(n):
                copy.wait()
