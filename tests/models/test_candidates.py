"""Candidates attend by kernels as they do plainly, on one device and on eight."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax import sharding
from rstar_jax.kernels import prefix_tpu, suffix_tpu
from rstar_jax.models import DecoderConfig, attention
from rstar_jax.models import cache as caches
from rstar_jax.models.cache import ByToken
from rstar_jax.models.candidates import Choice, attend, choose, describe
from tests.on_devices import printed

KERNELS = Choice("mosaic", "mosaic", "")
PREFIX = Choice("mosaic", "plain", "")
L, B, N, S = 2, 2, 2, 32
LENGTHS = jnp.array([200, 0])
# name: (query heads, kv heads, head dimension, tokens, prefix columns, start, window, soft cap, choice)
CASES: dict[str, tuple[int, int, int, int, int, Any, int | None, float | None, Choice]] = {
    "decoding": (6, 2, 16, 1, 256, [[0, 15], [16, 31]], None, None, KERNELS),
    "in a window": (2, 1, 16, 1, 256, [[3, 20], [16, 9]], 12, 3.0, KERNELS),
    "prefix plainly": (2, 2, 16, 1, 80, [[3, 20], [16, 9]], 60, None, Choice("plain", "mosaic", "")),
    "scoring": (6, 2, 16, 3, 256, 4, None, None, PREFIX),
    "scoring in a window": (2, 2, 16, 3, 256, [[3, 20], [16, 9]], 12, 3.0, PREFIX),
}


def example(H: int, G: int, A: int, T: int, P: int, layers: int = L) -> tuple[Any, ...]:
    """Queries, new keys and values, prefixes, and suffixes with columns for keys and by token."""
    rng = np.random.default_rng(H + T)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    def whole(a: Any) -> Any:
        return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, 128 - A)])

    q, new = normal(B, N, T, H, A), (normal(B, N, T, G, A), normal(B, N, T, G, A))
    prefix = caches.by_layer((normal(layers, B, G, A, P), whole(normal(layers, B, G, P, A))))
    k, v = normal(layers, B, N, G, A, S), normal(layers, B, N, G, S, A)
    by_token = ByToken(whole(np.swapaxes(k, 4, 5)), whole(v))
    return q, new, prefix, caches.by_layer((k, v)), caches.by_layer(by_token)


@pytest.mark.parametrize("name", CASES)
def test_kernels_equal_plain_operations(name: str) -> None:
    H, G, A, T, P, start, window, cap, choice = CASES[name]
    q, new, prefix, suffix, by_token = example(H, G, A, T, P, layers=13 if name == "decoding" else L)
    args = jnp.asarray(start), window, cap

    @jax.jit
    def both(q: Any, new: Any, prefix: Any, suffix: Any, by_token: Any) -> Any:
        return (
            attend(q, new, prefix, LENGTHS, suffix, 1, *args),
            attend(q, new, prefix, LENGTHS, by_token, 1, *args, choice=choice, interpret=True),
        )

    (expected, own), (out, pair) = both(q, new, prefix, suffix, by_token)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    assert all(isinstance(each, ByToken) for each in pair)
    for layer in range(2):
        (k, v), wanted = jax.device_get((caches.get(pair, layer), caches.get(own, layer)))
        np.testing.assert_array_equal(np.swapaxes(k[..., :A], 3, 4), wanted[0])
        np.testing.assert_array_equal(v[..., :A], wanted[1])


def test_suffixes_by_token_are_attended_to_plainly_too() -> None:
    q, new, prefix, suffix, by_token = example(4, 2, 16, 1, 8)
    starts = jnp.int32(3), jnp.array([2, 7]), jnp.array([[2, 7], [0, 31]])

    @jax.jit
    def both(*arrays: Any) -> Any:
        q, new, prefix, *suffixes = arrays
        return [
            [attend(q, new, prefix, LENGTHS // 100, suffix, 0, start, 5)[0] for suffix in suffixes]
            for start in starts
        ]

    for expected, out in both(q, new, prefix, suffix, by_token):
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


def test_many_queries_go_in_blocks() -> None:
    """The sums themselves, over several blocks of queries and of columns, some of which nobody needs."""
    rng = np.random.default_rng(0)
    R, A, P = 520, 128, 1024
    q, k, v = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((B, 2, R, A), (L, B, 2, A, P), (L, B, 2, P, A))
    )
    assert prefix_tpu.blocks(2, R, A, A, P, 4) == (272, 512)
    length, first = jnp.array([300, 1024]), jnp.broadcast_to(jnp.array([[0], [600]]), (B, R))
    out = prefix_tpu.part(q, k, v, 1, length, first, interpret=True)
    columns = jnp.arange(P)[None]
    seen = (columns < length[:, None]) & (columns >= first[:, :1])
    for one, other in zip(out, attention.part(q, k[1], v[1], seen[:, None, None], None), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_start_beyond_the_cache_writes_nothing_outside_of_it() -> None:
    assert suffix_tpu.blocks(16, 2, 8, 128, 128, 256, 2) == (16, 128)
    q, new, prefix, _, by_token = example(2, 1, 16, 1, 0)
    args = jnp.full((B, N), S + 40), None, None
    run = jax.jit(lambda *arrays: attend(*arrays, 1, *args, choice=KERNELS, interpret=True))
    _, (one, other) = run(q, new, prefix, LENGTHS, by_token)
    np.testing.assert_array_equal(one.k, by_token[0].k)
    np.testing.assert_array_equal(np.asarray(other.k)[..., : S - 1, :], by_token[1].k[..., : S - 1, :])


@pytest.mark.parametrize(
    "case",
    [
        ("tpu", 1, 128, 1024, 256, True, True, "mosaic", "mosaic"),
        ("tpu", 64, 128, 1024, 64, True, True, "mosaic", "plain"),
        ("tpu", 1, 128, 100, 256, True, True, "plain", "mosaic"),
        ("tpu", 1, 128, 0, 256, True, True, "plain", "mosaic"),
        ("tpu", 1, 128, 1024, 250, True, True, "mosaic", "plain"),
        ("tpu", 1, 128, 1024, 256, False, True, "mosaic", "plain"),
        ("tpu", 1, 128, 1024, 256, True, False, "mosaic", "plain"),
        ("tpu", 1, 4, 1024, 256, True, True, "plain", "mosaic"),
        ("cpu", 1, 128, 1024, 256, False, True, "plain", "plain"),
        ("cuda", 1, 128, 1024, 256, False, True, "plain", "plain"),
    ],
)
def test_choice(case: tuple[str, int, int, int, int, bool, bool, str, str]) -> None:
    platform, T, A, P, S, by_token, own, in_prefix, in_suffix = case
    choice = choose(platform, T, A, 128, P, S, by_token=by_token, own_heads=own)
    assert (choice.prefix, choice.suffix) == (in_prefix, in_suffix)
    assert bool(choice.why) == ("plain" in (in_prefix, in_suffix))


@pytest.mark.parametrize("T", [1, 5])
def test_kernels_lower_for_a_tpu_that_is_not_here(T: int) -> None:
    device = jax.sharding.AbstractDevice(device_kind="TPU v5 lite", platform="tpu", num_cores=1)
    mesh = jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)
    q, new, prefix, _, by_token = example(12, 2, 128, T, 256)
    arrays = jax.tree.map(jnp.bfloat16, (q, new, prefix, by_token))

    def run(q: Any, new: Any, prefix: Any, suffix: Any) -> Any:
        return attend(q, new, prefix, LENGTHS, suffix, 1, jnp.zeros((B, N), jnp.int32), 100, 30.0)

    with jax.sharding.use_abstract_mesh(mesh):
        exported = jax.export.export(jax.jit(run), platforms=["tpu"])(*arrays)
    assert exported.mlir_module().count("tpu_custom_call") == (2 if T == 1 else 1)


def test_describe() -> None:
    c = DecoderConfig(vocab_size=64, width=16, layers=2, heads=4, kv_heads=2, head_dim=4, mlp=24)
    assert describe(c, 1, 256, 32) == (
        "candidates of 1 tokens after 256 on cpu: prefix plain, suffix plain (no kernel for cpu)"
    )


def test_eight_devices_equal_one() -> None:
    assert printed(__file__).count("same") == 3


def on_eight_devices() -> None:
    """Kv heads that are split, that lie on every device while the queries' are split, and no split at all."""
    start = jnp.array([[3, 20], [16, 9]])
    for tensor, H, G, choice in ((2, 4, 2, KERNELS), (4, 4, 2, PREFIX), (2, 3, 1, KERNELS)):
        mesh = sharding.make_mesh(data=2, fsdp=4 // tensor, tensor=tensor)

        @jax.jit
        def both(q, new, prefix, suffix, by_token, mesh=mesh, choice=choice):
            return (
                attend(q, new, prefix, LENGTHS, suffix, 1, start),
                attend(q, new, prefix, LENGTHS, by_token, 1, start, mesh=mesh, choice=choice, interpret=True),
            )

        (expected, own), (out, pair) = jax.device_get(both(*example(H, G, 16, 1, 128)))
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(np.swapaxes(pair[1].k[..., :16], 3, 4), own[1][0])
        print("same", tensor, H, G)


if __name__ == "__main__":
    on_eight_devices()
