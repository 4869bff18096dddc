"""A part of attention on an NVIDIA GPU: queries against a shared prefix, or their own tokens.

A Pallas kernel for Triton in the manner of flash-decoding (arXiv 2311.01282): a program takes some queries
of one kv head of a leaf against some of the columns with an online softmax; there are as many programs as
keep all processors busy where leaves are few, and what they leave is merged by its maxima. JAX's own kernel
(`pallas.ops.gpu.decode_attention`) wants keys of one layer, by token, and whole blocks of them.

Letters as in `prefix_tpu.py`.

    grid (R / rows, splits, G, B), the first axis fastest: program (r, s, g, b) goes in steps of
    `columns` over part s of the columns, as far as one of its queries sees them.

      columns of leaf b    0  first          length[b]             P
                           +-------------+-------------+-----------+
      head g, queries r=0  |  :[ ][ ][ ] | [ ][ ]:     |           |   [ ]  a step of the loop
                           +-------------+-------------+-----------+
      head g, queries r=1  |  :[ ][ ][ ] | [ ][ ]:     |           |
                           +-------------+-------------+-----------+
                              part s=0      part s=1      part s=2, which is empty

    GPU memory     queries and caches as for `prefix_tpu`; what each program leaves, float32: sums
                   [splits, B, G, R, C], top and total [splits, B, G, R]
    shared memory  keys and values [columns, A or C] of this step, and of the next on their way in
    registers      queries [rows, A], logits [rows, columns], top, total [rows], sums [rows, C]

No program waits for another: array operations after the kernel bring the parts to one maximum and add them.

Interpreted and compiled, but never run on a GPU: `candidates.SHORTEST` does not choose it by itself.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rstar_jax.kernels.attention_xla import MASKED, softcap

COLUMNS = 64  # of the prefix: caches come in whole multiples
TILE = 16  # the least that tensor cores multiply
WIDEST = 256  # keys and values, that the blocks below fit the shared memory of a processor (160 KB)
PROCESSORS = 132  # of an H100 or H200: about so many programs are wanted
_QUERY_BYTES = 2**15
_STEP_BYTES = 2**16  # of the keys and values that are multiplied; as many are being fetched
_FARTHEST = 2**30  # no text is so long


def missing(P: int, A: int, C: int) -> str:
    """Return why the kernel cannot do a cache of P columns with keys of A and values of C numbers, or ""."""
    if not P or P % COLUMNS:
        return f"{P} columns, not a multiple of {COLUMNS}"
    for what, size in (("keys", A), ("values", C)):
        if size % TILE or size > WIDEST:
            return f"{what} of {size} numbers, not a multiple of {TILE} up to {WIDEST}"
    return ""


def blocks(programs: int, R: int, A: int, C: int, P: int, width: int) -> tuple[int, int, int]:
    """Queries, and columns, that are multiplied at once, and the parts that columns are cut into.

    programs: leaves times kv heads. width: bytes of a number in the cache.
    """
    A, C = pl.next_power_of_2(A), pl.next_power_of_2(C)
    most = min(128, _QUERY_BYTES // (max(A, C) * width))
    rows = max(TILE, pl.next_power_of_2(-(-R // -(-R // most))))
    columns = min(COLUMNS, _STEP_BYTES // (2 * max(A, C) * width))
    steps = P // columns
    splits = max(1, min(steps, PROCESSORS // (programs * -(-R // rows))))
    return rows, columns, -(-steps // -(-steps // splits))


@functools.partial(jax.jit, static_argnames=("cap", "by_token", "interpret"))
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
    by_token: bool = False,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Arguments and result of `prefix_tpu.part`; float32 is multiplied as exactly as JAX is set to.

    by_token: keys lie as values do, [L, B, G, P, A].
    """
    B, G, R, A = q_BxGxRxA.shape
    L, _, heads, P, C = v_LxBxGxPxC.shape
    rows, columns, splits = blocks(B * G, R, A, C, P, k_LxBxGxAxP.dtype.itemsize)
    wide, wide_C = pl.next_power_of_2(A), pl.next_power_of_2(C)  # Triton knows no other sizes

    def of_leaf(*size: int) -> pl.BlockSpec:
        """All that a leaf has: where in it a program reads is known when it runs."""
        return pl.BlockSpec((L, None, heads, *size), lambda r, s, g, b: (0, b, 0, 0, 0))

    def result(*size: int) -> pl.BlockSpec:
        return pl.BlockSpec(
            (None, None, None, rows, *size), lambda r, s, g, b: (s, b, g, r, *(0 for _ in size))
        )

    layer_and_head = jnp.stack([jnp.asarray(layer, jnp.int32), jnp.asarray(head, jnp.int32)])
    in_specs = [
        pl.BlockSpec((2,), lambda *_: (0,)),
        pl.BlockSpec((1,), lambda r, s, g, b: (b,)),
        pl.BlockSpec((None, None, rows, wide), lambda r, s, g, b: (b, g, r, 0)),
        of_leaf(P, wide) if by_token else of_leaf(wide, P),
        of_leaf(P, wide_C),
    ]
    inputs = [layer_and_head, length_B.astype(jnp.int32), q_BxGxRxA, k_LxBxGxAxP, v_LxBxGxPxC]
    if first_BxR is not None:
        in_specs.append(pl.BlockSpec((None, rows), lambda r, s, g, b: (b, r)))
        inputs.append(first_BxR)
    shape = splits, B, G, R
    out, top, total = pl.pallas_call(
        functools.partial(
            _kernel, sizes=(R, A, C), columns=columns, splits=splits, cap=cap, by_token=by_token
        ),
        grid=(-(-R // rows), splits, G, B),  # the first goes fastest: those that read the same keys meet
        in_specs=in_specs,
        out_specs=[result(wide_C), result(), result()],
        out_shape=[jax.ShapeDtypeStruct(size, jnp.float32) for size in ((*shape, C), shape, shape)],
        compiler_params=triton.CompilerParams(num_warps=8 if rows == 128 else 4, num_stages=2),
        interpret=interpret,
        name="prefix_part",
    )(*inputs)
    joint_top = jnp.max(top, axis=0)
    share = jnp.exp(top - joint_top[None])
    out, total = jnp.sum(out * share[..., None], axis=0), jnp.sum(total * share, axis=0)
    return out, joint_top[..., None], total[..., None]


def _kernel(
    layer_and_head: Any,
    length: Any,
    q: Any,
    k: Any,
    v: Any,
    *refs: Any,
    sizes: tuple[int, int, int],
    columns: int,
    splits: int,
    cap: float | None,
    by_token: bool,
) -> None:
    """Some queries against one part of the columns."""
    *first, out, top_out, total_out = refs
    R, A, C = sizes
    (rows, wide), P, wide_C = q.shape, *v.shape[2:]
    layer, head, length = layer_and_head[0], layer_and_head[1] + pl.program_id(2), length[0]
    valid = pl.program_id(0) * rows + jnp.arange(rows) < R
    in_keys, in_values = _within(A, wide), _within(C, wide_C)
    queries = triton.load(q, mask=valid[:, None] & (jnp.arange(wide) < A)[None], other=0.0)
    steps = -(-(P // columns) // splits)
    begin = pl.program_id(1) * steps
    end = jnp.minimum(begin + steps, pl.cdiv(jnp.minimum(length, P), columns))
    firsts = None
    if first:
        firsts = triton.load(first[0], mask=valid, other=_FARTHEST)
        begin = jnp.maximum(begin, jnp.min(firsts) // columns)

    def step(j: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        top, total, sums = carry
        at = pl.ds(pl.multiple_of(j * columns, columns), columns)
        place = (j * columns + jnp.arange(columns))[None]
        seen = place < length
        if firsts is not None:
            seen = seen & (place >= firsts[:, None])
        if by_token:
            keys = _load(k.at[layer, head, at, :], None if in_keys is None else in_keys[None])
        else:
            keys = _load(k.at[layer, head, :, at], None if in_keys is None else in_keys[:, None])
        logits = softcap(triton.dot(queries, keys, trans_b=by_token), cap)
        logits = jnp.where(seen, logits, MASKED)
        new = jnp.maximum(top, jnp.max(logits, axis=1))
        weights, kept = jnp.exp(logits - new[:, None]), jnp.exp(top - new)
        values = _load(v.at[layer, head, at, :], None if in_values is None else in_values[None])
        sums = sums * kept[:, None] + triton.dot(weights.astype(values.dtype), values)
        return new, total * kept + jnp.sum(weights, axis=1), sums

    start = (jnp.full(rows, MASKED), jnp.zeros(rows), jnp.zeros((rows, wide_C)))
    top, total, sums = jax.lax.fori_loop(begin, end, step, start)
    triton.store(out, sums, mask=valid[:, None] & (jnp.arange(wide_C) < C)[None])
    triton.store(top_out, top, mask=valid)
    triton.store(total_out, total, mask=valid)


def _within(size: int, block: int) -> jax.Array | None:
    """Mask the numbers of a block that there are; None: all."""
    return None if size == block else jnp.arange(block) < size


def _load(ref: Any, mask: jax.Array | None) -> jax.Array:
    return triton.load(ref, mask=mask, other=None if mask is None else 0.0)
