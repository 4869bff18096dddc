"""Every Pallas kernel for TPUs lowers for one, forwards and backwards, with no TPU's compiler at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from rstar_jax import kernels
from rstar_jax.kernels import attention_tpu, prefix_tpu, suffix_tpu

# The letters of `types.py`; sizes that no kernel refuses.
B, N, T, H, G, A, P, S, L = 2, 4, 256, 8, 4, 128, 256, 128, 2
M = suffix_tpu.HEADS


def array(*shape: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def ints(*shape: int) -> jax.ShapeDtypeStruct:
    return array(*shape, dtype=jnp.int32)


def trained(q: Any, k: Any, v: Any, segments: Any) -> Any:
    def loss(*qkv: Any) -> jax.Array:
        return jnp.sum(attention_tpu.causal(*qkv, segments, None, 30.0).astype(jnp.float32))

    return jax.grad(loss, (0, 1, 2))(q, k, v)


PART = array(B, G, N * M, A), *(array(B, G, N * M, 1, dtype=jnp.float32),) * 2
# By module: what calls its kernel, arguments, and how many kernels there are in it.
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
    "attention_tpu": (
        trained,
        (array(B, T, H, A), array(B, T, G, A), array(B, T, G, A), ints(B, T)),
        3,  # forwards, and backwards for queries and for keys
    ),
    "prefix_tpu": (
        prefix_tpu.part,
        (array(B, G, N * M, A), array(L, B, G, A, P), array(L, B, G, P, A), ints(), ints(B), None),
        1,
    ),
    "suffix_tpu": (
        suffix_tpu.attend,
        (
            array(B, G, N, M, A),
            *(array(B, N, G, A),) * 2,
            *(array(L, B, N, G, S, A),) * 2,
            ints(),
            ints(B, N),
            PART,
        ),
        1,
    ),
}


def test_every_module_of_kernels_for_tpus_is_here() -> None:
    assert {path.stem for path in Path(kernels.__path__[0]).glob("*_tpu.py")} == set(CALLS)


@pytest.mark.parametrize("kind", ["TPU v5 lite", "TPU v5", "TPU v6 lite", "TPU7x"])
@pytest.mark.parametrize("name", CALLS)
def test_it_lowers(name: str, kind: str) -> None:
    call, arguments, count = CALLS[name]
    device = jax.sharding.AbstractDevice(device_kind=kind, platform="tpu", num_cores=1)
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)):
        exported = jax.export.export(jax.jit(call), platforms=["tpu"])(*arguments)
    assert exported.mlir_module().count("stablehlo.custom_call @tpu_custom_call") == count
