"""What is compiled holds no second copy of a cache: pools and slots change in place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.engine import pool, programs, stops
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import DecoderConfig, init_random
from tests.engine.decode_settings import V

PAGES, PAGE, B, N, P, S, CHUNK = 4096, 16, 4, 2, 4096, 64, 16


def size(arrays: object) -> int:
    return sum(a.nbytes for a in jax.tree.leaves(arrays))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_no_program_copies_a_cache(dtype: jnp.dtype) -> None:
    config = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    model = init_random(config, 0, dtype=dtype)
    shape, table = EngineModel.of(model), stops.build([(1,)], V, 0)
    pages = shape.empty_pool(PAGES, PAGE)
    slots = programs.empty(shape, table, B, N, P, S)
    prefix = size(slots.prefix)

    written = jnp.zeros((config.layers, CHUNK, B, N, config.kv_heads, config.head_dim), dtype)
    todo = pool.orders([], 16, PAGES, np.zeros((CHUNK, B, N), np.int32))
    stored = pool.store_rows.lower(pages, (written, written), todo, shape=shape).compile().memory_analysis()
    assert stored.alias_size_in_bytes == size(pages)
    assert stored.temp_size_in_bytes < size(pages) / 10

    column = np.zeros(B, np.int32)
    arrivals = programs.NewRequests(
        tables=np.zeros((B, P // PAGE), np.int32),
        slot=column,
        count=np.int32(0),
        prefix_length=column,
        last=column,
        first=column,
        n=column,
        limit=column,
        opens=column,
        temperature=np.zeros(B, np.float32),
        key=jnp.zeros((B, 2), jnp.uint32),
    )
    admitted = programs.admit.lower(slots, pages, arrivals, shape=shape).compile().memory_analysis()
    assert admitted.alias_size_in_bytes >= prefix
    assert admitted.temp_size_in_bytes < prefix / B * 1.1  # the one leaf that is being placed

    advanced = programs.advance.lower(
        shape.place(model.params()),
        slots,
        None,
        table,
        B,
        shape=shape,
        S=S,
        chunk=CHUNK,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
    )
    memory = advanced.compile().memory_analysis()
    assert memory.alias_size_in_bytes >= prefix
    assert memory.temp_size_in_bytes < prefix / 2
