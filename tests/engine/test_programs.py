"""What is compiled holds no second copy of a cache: pools and slots change in place."""

import jax
import jax.numpy as jnp
import pytest

from rstar_jax.engine import DecodeConfig
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import DecoderConfig
from tests.engine.decode_settings import V

PAGES, B, N, P, S = 4096, 4, 2, 4096, 64


def size(arrays: object) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(arrays))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_no_program_copies_a_cache(dtype: jnp.dtype) -> None:
    config = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    rows = Catalogue(EngineModel(config, jnp.dtype(dtype)), DecodeConfig(chunk=16), PAGES)
    admit, decode = rows.admit(B, N, P, S), rows.decode(B, N, P, S)
    prefix = size(admit.arguments[0].prefix)

    stored = rows.store_chunk(16, B, N).compile().memory_analysis()
    assert stored.alias_size_in_bytes == size(rows.pool)
    assert stored.temp_size_in_bytes < size(rows.pool) / 10

    admitted = admit.compile().memory_analysis()
    assert admitted.alias_size_in_bytes >= prefix
    assert admitted.temp_size_in_bytes < prefix / B * 1.1  # the one leaf that is being placed

    memory = decode.compile().memory_analysis()
    assert memory.alias_size_in_bytes >= prefix
    assert memory.temp_size_in_bytes < prefix / 2


def test_programs_can_be_part_of_another_jit() -> None:
    config = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    rows = Catalogue(EngineModel(config, jnp.dtype(jnp.float32)), DecodeConfig(chunk=16), 64)
    for row in (rows.store_chunk(16, 2, 2), rows.admit(2, 2, 64, 16), rows.decode(2, 2, 64, 16)):
        inside = jax.jit(lambda *arrays, row=row: row(*arrays)).eval_shape(*row.arguments)
        assert inside == row.function.eval_shape(*row.arguments, **row.static)
