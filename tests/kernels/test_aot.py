"""Attention compiled for TPUs that are not here; needs libtpu, which is no requirement of ours."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from rstar_jax import sharding
from rstar_jax.engine import DecodeConfig
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import Decoder, DecoderConfig
from rstar_jax.models.attention import Intervals, Sometimes, causal
from rstar_jax.models.cache import ByToken
from rstar_jax.models.candidates import attend
from rstar_jax.models.params import param_specs

pytestmark = pytest.mark.libtpu
MESHES = {"v5e:2x4": {"fsdp": 4, "tensor": 2}, "v5p:2x2x1": {"data": 2, "tensor": 2}}
T = 384  # no other size below


@pytest.fixture(params=MESHES)
def mesh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> jax.sharding.Mesh:
    from jax.experimental import topologies

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    devices = topologies.get_topology_desc(platform="tpu", topology_name=request.param).devices
    return sharding.make_mesh(**MESHES[request.param], devices=devices)


def array(mesh: Any, shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: Any) -> Any:
    where = sharding.sharding(mesh, axes, shape, sharding.preset_for(mesh))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=where)


def kernels(compiled: Any) -> int:
    return compiled.as_text().count('custom_call_target="tpu_custom_call"')


@pytest.mark.parametrize(
    ("A", "C", "cap"), [(128, 128, None), (64, 64, None), (192, 128, None), (256, 256, 50.0)]
)
def test_kernels_compile_forward_and_backward(mesh: Any, A: int, C: int, cap: float | None) -> None:
    """Head dimensions of Qwen2.5-7B, of its 0.5B, of DeepSeek-V2 and of Gemma 2; some layers slide."""
    q, k, v = (
        array(mesh, (4, T, n, d), ("batch", None, axis, None), jnp.bfloat16)
        for n, d, axis in ((8, A, "heads"), (4, A, "kv_heads"), (4, C, "kv_heads"))
    )
    segments = array(mesh, (4, T), ("batch", None), jnp.int32)
    applies = jax.ShapeDtypeStruct((), jnp.bool_, sharding=jax.NamedSharding(mesh, jax.P()))

    def loss(q: Any, k: Any, v: Any, segments: Any, applies: Any) -> jax.Array:
        window = Sometimes(100, applies) if cap else None
        return jnp.sum(causal(q, k, v, segments, window, cap, mesh=mesh).astype(jnp.float32))

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v, segments, applies).compile()
    assert kernels(compiled) == (6 if cap else 3)  # forward, and backward for queries and for keys


@pytest.mark.parametrize("cap", [None, 50.0])
def test_kernels_of_trees_compile_forward_and_backward(mesh: Any, cap: float | None) -> None:
    """With a window and without, in one program: what differs is the mask."""
    q, k, v = (
        array(mesh, (4, T, n, 128), ("batch", None, axis, None), jnp.bfloat16)
        for n, axis in ((8, "heads"), (4, "kv_heads"), (4, "kv_heads"))
    )
    ends = array(mesh, (4, T), ("batch", None), jnp.int32)
    applies = jax.ShapeDtypeStruct((), jnp.bool_, sharding=jax.NamedSharding(mesh, jax.P()))

    def loss(q: Any, k: Any, v: Any, ends: Any, depths: Any, applies: Any) -> jax.Array:
        window = Sometimes(100, applies) if cap else None
        out = causal(q, k, v, Intervals(ends, depths), window, cap, mesh=mesh)
        return jnp.sum(out.astype(jnp.float32))

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v, ends, ends, applies).compile()
    assert kernels(compiled) == 3  # of all rows of a device, one after the other


def test_a_decode_step_leaves_its_caches_in_place(mesh: Any) -> None:
    """Layers that are scanned: two kernels in their body, one suffix cache and no second one."""
    c = DecoderConfig(vocab_size=256, width=256, layers=13, heads=8, kv_heads=2, head_dim=64, mlp=512)
    shape, *_ = EngineModel(c, jnp.dtype(jnp.bfloat16)).over(mesh)
    rows = Catalogue(shape, DecodeConfig(chunk=9))
    with jax.set_mesh(shape.mesh):
        decode = rows.decode(8, 4, 256, 512)
        compiled = decode.compile()
    assert kernels(compiled) == 2
    (one,) = decode.arguments[1].suffix
    size = math.prod(one.v.sharding.shard_shape(one.v.shape)) * one.v.dtype.itemsize
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= 2 * size
    assert memory.temp_size_in_bytes < size / 2


@pytest.mark.parametrize("name", ["MLA", "Gemma 2"])
def test_prefix_kernels_compile(mesh: Any, name: str) -> None:
    """Latents of DeepSeek-V2 as they are cached; head dimensions, a window and soft caps of Gemma 2."""
    H, G, A, C, T, cap = {"MLA": (16, 1, 576, 640, 1, None), "Gemma 2": (8, 4, 256, 256, 5, 50.0)}[name]
    B, N, P, S, L = 8, 4, 256, 128, 2
    batch, bf16 = "batch", jnp.bfloat16
    q = array(mesh, (B, N, T, H, A), (batch, None, None, "heads", None), bf16)
    new = (array(mesh, (B, N, T, G, A), (batch, None, None, "kv_heads", None), bf16),) * 2
    k = array(mesh, (L, B, G, A, P), (None, batch, "kv_heads", None, None), bf16)
    v = array(mesh, (L, B, G, P, C), (None, batch, "kv_heads", None, None), bf16)
    own = (array(mesh, (L, B, N, G, S, C), (None, batch, None, "kv_heads", None, None), bf16),) * 2
    length = array(mesh, (B,), (batch,), jnp.int32)
    start = array(mesh, (B, N), (batch, None), jnp.int32)

    def run(q: Any, new: Any, prefix: Any, length: Any, k: Any, v: Any, start: Any, layer: Any) -> Any:
        window = 100 if cap else None
        return attend(q, new, prefix, length, (ByToken(k, v),), layer, start, window, cap)

    layer = jax.ShapeDtypeStruct((), jnp.int32, sharding=jax.NamedSharding(mesh, jax.P()))
    with jax.set_mesh(mesh):
        args = q, new, ((k, v),), length, *own, start, layer
        compiled = jax.jit(run, donate_argnums=(4, 5)).lower(*args).compile()
    assert kernels(compiled) == 1  # one latent lies on every device, and five tokens are no decode step


def test_gradients_of_a_decoder_run_by_the_kernel(mesh: Any) -> None:
    c = DecoderConfig(vocab_size=256, width=256, layers=2, heads=4, kv_heads=2, head_dim=64, mlp=512)
    params = {name: array(mesh, s.shape, s.axes, jnp.float32) for name, s in param_specs(c).items()}
    tokens = array(mesh, (4, T), ("batch", None), jnp.int32)

    def loss(params: Any, tokens: Any) -> jax.Array:
        model = Decoder(c, params, compute_dtype=jnp.bfloat16, mesh=mesh)
        return jnp.sum(model(tokens, None, jnp.ones_like(tokens)))

    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
    assert kernels(compiled) == 3 * c.layers
    assert f"{T},{T}]" not in compiled.as_text()  # no logits outside of it
