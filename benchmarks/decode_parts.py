"""Where a decode step's time goes on a CPU, and from which prefix length sharing the prefix pays.

    taskset -c 1 python benchmarks/decode_parts.py [--dtype float32]     one step, by leaving parts out
    taskset -c 1 python benchmarks/decode_parts.py --sharing [--prefixes 16,32,64,128,256]

The model of `decode.py`, a loop of decode steps without the engine around it. --sharing: candidates of a leaf
against their one prefix, or each row against a copy of its own, otherwise the same arithmetic.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from shape import SHAPE

from rstar_jax.engine import sampling
from rstar_jax.models import Decoder, init_random
from rstar_jax.models.cache import lay_out
from rstar_jax.transforms.decode_layout import for_decode

STEPS, S = 32, 64  # of a call; columns of the suffix caches


def cpu_ms(call: Callable[[], object], calls: int = 5) -> float:
    """The fastest of some calls, in CPU milliseconds a step; the first one compiles and does not count."""
    call()
    taken = []
    for _ in range(calls):
        begin = time.process_time()
        call()
        taken.append(time.process_time() - begin)
    return min(taken) / STEPS * 1e3


def step_ms(
    model: Decoder, B: int, N: int, P: int, *, drawn: bool = True, head: bool = True, cached: bool = True
) -> float:
    """A decode step of B leaves with N candidates after prefixes of P tokens.

    drawn: tokens are sampled, not taken from the largest logit. head: there are logits. cached: tokens see
    prefix and suffix; else each is a text of its own.
    """
    c, params = model.config, for_decode(model.params(), model.config)
    prefix = jnp.zeros((c.layers, B, P, c.kv_heads, c.head_dim), model.compute_dtype)
    length = jnp.full(B, P)
    shared = jax.jit(lambda: model.share(lay_out((prefix, prefix)), length, S))()
    keys, rows = jnp.zeros((B * N, 2), jnp.uint32), jnp.arange(B * N)

    @functools.partial(jax.jit, donate_argnums=0)
    def loop(state: tuple, params: dict, shared: object) -> tuple:
        m = Decoder(c, params)

        def body(_: jax.Array, state: tuple) -> tuple:
            token, start, suffix = state
            if cached:
                x, suffix, _ = m.extend(token[..., None], start, shared, length, suffix)  # type: ignore[arg-type]
            else:
                x = m.hidden(token.reshape(-1, 1)).reshape(B, N, 1, -1)
            out = (m.logits(x[:, :, 0]) if head else x).reshape(B * N, -1)
            if drawn:
                u = sampling.uniforms(keys, rows, start.reshape(-1))
                token = sampling.draw(out, u, jnp.ones(B * N))[0]
            else:
                token = (jnp.max(out, axis=-1) * 1e3).astype(jnp.int32) % c.vocab_size
            return token.reshape(B, N), (start + 1) % S, suffix

        return jax.lax.fori_loop(0, STEPS, body, state)

    state = jnp.zeros((B, N), jnp.int32), jnp.zeros((B, N), jnp.int32), model.empty_suffix(B, N, S)

    def call() -> None:
        nonlocal state
        state = jax.block_until_ready(loop(state, params, shared))

    return cpu_ms(call)


def parts(model: Decoder) -> None:
    for B, N, P in ((8, 8, 256), (8, 8, 1024), (1, 16, 256)):
        whole = step_ms(model, B, N, P)
        largest = step_ms(model, B, N, P, drawn=False)
        bare = step_ms(model, B, N, P, drawn=False, head=False)
        alone = step_ms(model, B, N, 0, drawn=False, head=False)
        layers = step_ms(model, B, N, 0, drawn=False, head=False, cached=False)
        print(
            f"{B}x{N} after {P:4}: {whole:.1f} ms a step, {B * N / whole * 1e3:,.0f} tokens a second; "
            f"layers {layers:.1f}, suffix {alone - layers:.1f}, prefix {bare - alone:.1f}, "
            f"head {largest - bare:.1f}, sampling {whole - largest:.1f}",
            flush=True,
        )


def sharing(model: Decoder, prefixes: list[int]) -> None:
    print("ms a step, 64 rows but for one leaf alone: shared / a prefix of its own for every row")
    print("prefix    64 leaves x 1     16 x 4             8 x 8              1 x 8")
    for P in prefixes:
        cells = []
        for B, N in ((64, 1), (16, 4), (8, 8), (1, 8)):
            own = step_ms(model, B * N, 1, P, drawn=False, head=False)
            together = own if N == 1 else step_ms(model, B, N, P, drawn=False, head=False)
            cells.append(f"{together:6.2f} /{own:6.2f} {own / together:4.2f}")
        print(f"{P:6}  " + " ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--sharing", action="store_true")
    parser.add_argument("--prefixes", default="16,32,64,128,256")
    args = parser.parse_args()
    model = init_random(SHAPE, 0, dtype=jnp.dtype(args.dtype))
    if args.sharing:
        sharing(model, [int(P) for P in args.prefixes.split(",")])
    else:
        parts(model)


if __name__ == "__main__":
    main()
