"""Candidates attend by the GPU's kernel as plainly: interpreted, and lowered for a GPU that is not here."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax import sharding
from rstar_jax.engine import DecodeConfig, StepDecoder, StepScorer
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.kernels import prefix_gpu
from rstar_jax.models import DecoderConfig, attention, from_policy, init_random
from rstar_jax.models import cache as caches
from rstar_jax.models.cache import ByToken
from rstar_jax.models.candidates import PLAIN, Choice, attend, choose, describe
from tests.on_devices import printed

BOTH, PREFIX, SUFFIX = (
    Choice(*ways, "") for ways in (("triton",) * 2, ("triton", "plain"), ("plain", "triton"))
)
L, B, N, S = 2, 2, 2, 64
# name: (queries per kv head, kv heads of queries and of the cache, keys, values, columns, first column
# seen at most, soft cap, lengths, expected blocks)
Part = tuple[int, int, int, int, int, int, int | None, float | None, list[int], tuple[int, int, int]]
PARTS: dict[str, Part] = {
    "one block": (6, 2, 2, 16, 16, 64, None, None, [64, 17], (16, 64, 1)),
    "nothing to see": (20, 1, 1, 32, 16, 128, None, None, [0, 128], (32, 64, 2)),
    "blocks of queries, heads of many": (150, 1, 3, 128, 128, 320, None, None, [320, 65], (128, 64, 5)),
    "keys wider than values": (16, 1, 1, 256, 16, 128, None, None, [128, 70], (16, 64, 2)),
    "odd widths in a window": (37, 1, 2, 96, 48, 192, 150, 5.0, [192, 100], (64, 64, 3)),
}


def normal(rng: np.random.Generator, dtype: Any, *shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", PARTS)
def test_it_equals_plain_operations(name: str, dtype: Any) -> None:
    R, G, heads, A, C, P, latest, cap, lengths, sizes = PARTS[name]
    rng = np.random.default_rng(R)
    q, k, v = (
        normal(rng, dtype, *shape) for shape in ((B, G, R, A), (L, B, heads, A, P), (L, B, heads, P, C))
    )
    if dtype == jnp.bfloat16:
        assert prefix_gpu.blocks(B * G, R, A, C, P, 2) == sizes
    length, head = jnp.array(lengths), heads - G
    first = None if latest is None else jnp.asarray(rng.integers(-5, latest, (B, R))).at[0].max(64)
    seen = (jnp.arange(P)[None] < length[:, None])[:, None]
    if first is not None:
        seen = seen & (jnp.arange(P)[None, None] >= first[..., None])
    # What is not seen is not read either: a NaN would show.
    unread = jnp.arange(P)[None] >= -(-length // 64)[:, None] * 64
    if first is not None:
        unread = unread | (jnp.arange(P)[None] < jnp.min(first, axis=1)[:, None] // 64 * 64)
        assert unread[0, :64].all()
    k = jnp.where(unread[None, :, None, None], jnp.nan, k)
    v = jnp.where(unread[None, :, None, :, None], jnp.nan, v)
    got = prefix_gpu.part(q, k, v, 1, length, first, cap, head=head, interpret=True)
    k, v = (jnp.nan_to_num(x[1, :, head:]) for x in (k, v))
    expected = attention.part(q, k, v, seen[:, None], cap)
    some = np.broadcast_to(jnp.any(seen, axis=2)[:, None], (B, G, R))
    assert all(np.isfinite(each).all() for each in got)
    assert (got[1][~some] == attention.MASKED).all()
    means = (sums[some] / totals[some] for sums, _, totals in (got, expected))
    bound = 5e-3 if dtype == jnp.bfloat16 else 1e-5  # weights are rounded, by another largest logit
    np.testing.assert_allclose(*means, rtol=bound, atol=bound)
    for one, other in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one[some], other[some], rtol=1e-5)


def example(H: int, G: int, A: int, T: int, P: int) -> tuple[Any, ...]:
    """Queries, new keys and values, prefixes and suffixes, as they lie on a GPU."""
    rng, kind = np.random.default_rng(H + T), jnp.float32
    q, new = normal(rng, kind, B, N, T, H, A), (normal(rng, kind, B, N, T, G, A),) * 2
    prefix = caches.by_layer((normal(rng, kind, L, B, G, A, P), normal(rng, kind, L, B, G, P, A)))
    own = caches.by_layer(ByToken(*(normal(rng, kind, L, B, N, G, S, A) for _ in range(2))))
    return q, new, prefix, jnp.array([P - 3, 0]), own


@pytest.mark.parametrize(
    "case",
    [
        (1, [[0, 15], [16, 63]], None, BOTH),
        (1, [[3, 20], [62, 9]], 12, BOTH),
        (1, [5, 6], None, SUFFIX),
        (3, 4, 12, PREFIX),
        (3, [[3, 20], [16, 9]], None, PREFIX),
    ],
)
def test_candidates_attend_by_it(case: tuple[int, Any, int | None, Choice]) -> None:
    T, start, window, choice = case
    arrays = example(6, 2, 16, T, 128)
    args = jnp.asarray(start), window, 3.0
    expected, own = attend(*arrays, 1, *args)
    out, pair = attend(*arrays, 1, *args, choice=choice, interpret=True)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    jax.tree.map(np.testing.assert_array_equal, pair, own)


def on_a_gpu() -> Any:
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", platform="gpu", num_cores=None)
    mesh = jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize("case", [(1, None, 2), (5, 100, 1)])
def test_it_lowers_for_a_gpu_that_is_not_here(case: tuple[int, int | None, int]) -> None:
    T, window, kernels = case
    q, new, prefix, length, _ = jax.eval_shape(lambda: example(12, 2, 128, T, 256))
    c = DecoderConfig(vocab_size=64, width=16, layers=L, heads=12, kv_heads=2, head_dim=128, mlp=24)
    with on_a_gpu():
        own = jax.eval_shape(lambda: caches.empty_suffix(c, jnp.bfloat16, B, N, S))
    assert all(isinstance(pair, ByToken) for pair in own)
    bf16 = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.bfloat16), (q, new, prefix, own))

    def lowered(when: Any) -> str:
        def run(q: Any, new: Any, prefix: Any, own: Any, length: Any) -> Any:
            start = jnp.zeros((B, N), jnp.int32)
            return attend(q, new, prefix, length, own, 1, start, window, 30.0, when=when)

        return jax.jit(run).trace(*bf16, length).lower(lowering_platforms=("cuda",)).as_text()

    with on_a_gpu():
        assert lowered("on").count("@__gpu$xla.gpu.triton") == kernels
        assert "custom_call" not in lowered("auto")


@pytest.mark.parametrize("kernels", ["on", "auto"])
def test_the_engine_does_as_its_option_says(kernels: Any) -> None:
    c = DecoderConfig(vocab_size=64, width=16, layers=L, heads=4, kv_heads=2, head_dim=16, mlp=24)
    model, config = init_random(c, 0), DecodeConfig(leaves=B, rows=N, context=256, kernels=kernels)
    scorer = StepScorer(from_policy(model), config)
    (shape,) = {
        engine._caches.replicas[0].shape for engine in (StepDecoder(model, {}, config, seed=0), scorer)
    }
    with on_a_gpu():
        row = Catalogue(shape, config, params=model.params()).decode(B, N, 128, S)
        traced = row.function.trace(*row.arguments, **row.static)
        program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert ("@__gpu$xla.gpu.triton" in program) == (kernels == "on")


@pytest.mark.parametrize(
    "case",
    [
        ("auto", 1, 128, 1024, 256, PLAIN, "kernels were not timed on cuda, they must be turned on"),
        ("off", 1, 128, 1024, 256, PLAIN, "kernels are off"),
        ("on", 1, 128, 1024, 256, BOTH, ""),
        ("on", 8, 128, 1024, 256, PREFIX, "suffix: 8 tokens at once"),
        ("on", 1, 128, 1024, 80, PREFIX, "suffix: 80 columns, not a multiple of 64"),
        ("on", 1, 128, 0, 256, SUFFIX, "prefix: 0 columns, not a multiple of 64"),
        ("on", 8, 24, 64, 64, PLAIN, "prefix: keys of 24 numbers, not a multiple of 16 up to 256; suffix: 8"),
    ],
)
def test_choice(case: tuple[Any, int, int, int, int, Choice, str]) -> None:
    when, T, A, P, S, expected, why = case
    choice = choose("cuda", T, A, 128, P, S, by_token=True, own_heads=False, when=when)
    assert choice[:2] == expected[:2]
    assert choice.why.startswith(why) and bool(choice.why) == bool(why)


def test_a_tpus_kernels_can_be_turned_off() -> None:
    choice = choose("tpu", 1, 128, 128, 1024, 256, by_token=True, when="off")
    assert choice == PLAIN._replace(why="kernels are off")


def test_describe() -> None:
    c = DecoderConfig(vocab_size=64, width=16, layers=2, heads=4, kv_heads=2, head_dim=16, mlp=24)
    with on_a_gpu():
        mesh = jax.sharding.get_abstract_mesh()
    assert describe(c, 1, 256, 64, mesh, "on") == (
        "candidates of 1 tokens after 256 on cuda: prefix triton, suffix triton"
    )


def test_eight_devices_equal_one() -> None:
    assert printed(__file__).count("same") == 4


def on_eight_devices() -> None:
    """Kv heads that are split, that lie on every device while the queries' are split, and no split at all."""
    start = jnp.array([[3, 20], [16, 9]])
    for tensor, H, G, choice in ((2, 4, 2, BOTH), (4, 4, 2, SUFFIX), (4, 4, 2, BOTH), (2, 3, 1, PREFIX)):
        mesh = sharding.make_mesh(data=2, fsdp=4 // tensor, tensor=tensor)

        @jax.jit
        def both(*arrays, mesh=mesh, choice=choice):
            return [
                attend(*arrays, 1, start),
                attend(*arrays, 1, start, mesh=mesh, choice=choice, interpret=True),
            ]

        (expected, own), (out, pair) = jax.device_get(both(*example(H, G, 16, 1, 128)))
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
        jax.tree.map(np.testing.assert_array_equal, pair, own)
        print("same", tensor, H, G, choice)


if __name__ == "__main__":
    on_eight_devices()
