"""Every way of causal attention equals the definition, written out in float64, and so do its gradients."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.kernels import attention_tpu, attention_xla
from rstar_jax.models import attention
from rstar_jax.models.attention import Intervals, Sometimes, causal, choose
from tests.on_devices import printed

# name: (heads, kv heads, key dimension, value dimension, rows in segments (or of trees), window, soft cap)
CASES: dict[str, tuple[int, int, int, int, bool | str, Any, float | None]] = {
    "grouped": (4, 2, 16, 16, True, None, None),
    "window": (2, 2, 16, 16, True, 5, None),
    "cap": (2, 1, 16, 16, False, None, 2.0),
    "narrow values": (2, 2, 32, 16, True, None, None),
    "all of it": (4, 2, 16, 16, True, 20, 3.0),
    "trees": (4, 2, 16, 16, "trees", None, None),
    "trees, all of it": (4, 2, 32, 16, "trees", 5, 3.0),
}
TREES = [name for name, case in CASES.items() if case[4] == "trees"]
SCANNED = {f"window {'here' if here else 'elsewhere'}": here for here in (True, False)}


def trees(rng: np.random.Generator, B: int, T: int) -> Intervals:
    """Rows of trees, in depth-first order: most tokens go on from the one before, some from one above it."""
    ends, depths = np.full((B, T), T, np.int32), np.zeros((B, T), np.int32)
    for b in range(B):
        above: list[int] = []
        for t in range(T):
            left = rng.integers(len(above) + 1) if rng.random() < 0.3 else len(above)
            ends[b, above[left:]] = t
            above = [*above[:left], t]
            depths[b, t] = left
    return Intervals(jnp.asarray(ends), jnp.asarray(depths))


def example(name: str, T: int) -> tuple[tuple[jax.Array, ...], Any, Any, float | None]:
    H, G, A, C, packed, window, cap = CASES[name]
    rng = np.random.default_rng(len(name))
    q, k, v = (rng.normal(size=(2, T, *shape)).astype(np.float32) for shape in ((H, A), (G, A), (G, C)))
    cuts = np.sort(rng.integers(1, T, size=(2, 2)), axis=1)
    segments = (np.arange(T) >= cuts[:, :, None]).sum(axis=1).astype(np.int32)
    rows = trees(rng, 2, T) if packed == "trees" else segments if packed else None
    return (jnp.asarray(q * A**-0.5), jnp.asarray(k), jnp.asarray(v)), rows, window, cap


def before(packed: Any, b: int, t: int) -> list[int]:
    """The places that token t may see, itself last, by the definition of each kind of row."""
    if isinstance(packed, Intervals):
        depths, found = np.asarray(packed.depths)[b], [t]
        while depths[found[-1]]:  # the one above is the last before it that is less deep by one
            found.append(max(s for s in range(found[-1]) if depths[s] == depths[found[-1]] - 1))
        return found[::-1]
    return [s for s in range(t + 1) if packed is None or packed[b, s] == packed[b, t]]


def defined(q: Any, k: Any, v: Any, packed: Any, window: int | None, cap: float | None) -> np.ndarray:
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        g = h // (q.shape[2] // k.shape[2])
        places = before(packed, b, t)
        if window is not None and isinstance(packed, Intervals):
            places = places[-window:]
        elif window is not None:
            places = [s for s in places if t - s < window]
        logits = k[b, places, g] @ q[b, t, h]
        weights = np.exp(logits if cap is None else cap * np.tanh(logits / cap))
        out[b, t, h] = weights @ v[b, places, g] / weights.sum()
    return out


def gradients(f: Any, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return jax.jit(jax.grad(lambda *arrays: jnp.sum(jnp.sin(f(*arrays))), (0, 1, 2)))(*arrays)


@pytest.mark.parametrize("name", CASES)
def test_blocks_equal_the_definition(name: str) -> None:
    arrays, segments, window, cap = example(name, T=21)
    wanted = defined(*arrays, segments, window, cap)
    ways = [
        lambda *qkv, block=block: attention_xla.causal(*qkv, segments, window, cap, block)
        for block in (None, 8, 1)  # whole; two blocks and a rest; bands of several blocks
    ]
    grads = gradients(ways[0], arrays)
    for way in ways:
        np.testing.assert_allclose(jax.jit(way)(*arrays), wanted, rtol=1e-5, atol=1e-6)
        for got, expected in zip(gradients(way, arrays), grads, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_whole_gradients_are_the_slopes() -> None:
    arrays, segments, window, cap = example("all of it", T=12)
    step = np.random.default_rng(0).normal(size=(3, 2, 12, 4, 16))
    eps = 1e-4
    moved = [
        tuple(
            np.asarray(x, np.float64) + side * eps * d[:, :, : x.shape[2]]
            for x, d in zip(arrays, step, strict=True)
        )
        for side in (1, -1)
    ]
    up, down = (np.sum(np.sin(defined(*m, segments, window, cap))) for m in moved)
    grads = gradients(lambda *qkv: attention_xla.causal(*qkv, segments, window, cap), arrays)
    slope = sum(float(np.sum(g * d[:, :, : g.shape[2]])) for g, d in zip(grads, step, strict=True))
    assert slope == pytest.approx((up - down) / (2 * eps), rel=1e-3)


def test_bfloat16_blocks_stay_near_float32() -> None:
    arrays, segments, window, cap = example("grouped", T=24)
    half = tuple(x.astype(jnp.bfloat16) for x in arrays)
    exact = tuple(x.astype(jnp.float32) for x in half)
    way = functools.partial(attention_xla.causal, packed=segments, window=window, cap=cap)
    for block in (None, 8):
        blocked = functools.partial(way, block=block)
        assert blocked(*half).dtype == jnp.bfloat16
        np.testing.assert_allclose(blocked(*half).astype(jnp.float32), way(*exact), atol=0.02)
        for got, expected in zip(gradients(blocked, half), gradients(way, exact), strict=True):
            np.testing.assert_allclose(got.astype(jnp.float32), expected, rtol=0.05, atol=0.03)


def test_blocks_hold_less_at_once() -> None:
    """Temporaries of a row twice as long are twice as many, not four times."""

    def temporaries(T: int) -> int:
        shape = jax.ShapeDtypeStruct((1, T, 2, 16), jnp.float32)
        f = jax.jit(lambda q, k, v: attention_xla.causal(q, k, v, None, None, None, 32))
        return f.lower(shape, shape, shape).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(2048) < 2.6 * temporaries(1024)


@pytest.mark.parametrize(
    "name", ["grouped", "all of it", "narrow values", "trees", "trees, all of it", *SCANNED]
)
def test_splash_equals_plain_attention(name: str) -> None:
    arrays, segments, window, cap = example("grouped" if name in SCANNED else name, T=256)
    plain = splash = window
    if name in SCANNED:
        here = SCANNED[name]
        plain, splash = (7 if here else None), Sometimes(7, jnp.asarray(here))
    way = lambda *qkv: attention_tpu.causal(*qkv, segments, splash, cap, interpret=True)  # noqa: E731
    reference = lambda *qkv: attention_xla.causal(*qkv, segments, plain, cap)  # noqa: E731
    np.testing.assert_allclose(jax.jit(way)(*arrays), reference(*arrays), rtol=1e-5, atol=1e-5)
    for got, expected in zip(gradients(way, arrays), gradients(reference, arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("here", SCANNED.values())
def test_a_window_of_some_layers_is_one_or_none(here: bool) -> None:
    arrays, segments, _, cap = example("grouped", T=40)
    found = causal(*arrays, segments, Sometimes(6, jnp.asarray(here)), cap)
    np.testing.assert_array_equal(found, causal(*arrays, segments, 6 if here else None, cap))


SHAPE = (2, 4096, 28, 128), (2, 4096, 4, 128), (2, 4096, 4, 128)
SHORT = tuple((b, 60, h, a) for b, _, h, a in SHAPE)
ODD = tuple((b, 4095, h, a) for b, _, h, a in SHAPE)
LIMITS = [
    (("tpu", *SHAPE, jnp.bfloat16, True, None, 50.0), "splash", ""),
    (("tpu", *SHAPE, jnp.bfloat16, True, Sometimes(8, jnp.array(True)), None), "splash", ""),
    (("tpu", *SHAPE, jnp.bfloat16, True, jnp.array(9), None), "blocks", "window"),
    (("tpu", *ODD, jnp.bfloat16, True, None, None), "blocks", "4095 tokens"),
    (("tpu", *SHORT, jnp.bfloat16, True, None, None), "whole", "60 tokens"),
    (("tpu", *[(2, 128, 4, 12)] * 3, jnp.bfloat16, True, None, None), "whole", "dimension 12"),
    (("cuda", *SHAPE, jnp.bfloat16, True, 4096, None), "cudnn", ""),
    (("cuda", *SHAPE, jnp.bfloat16, True, None, 50.0), "blocks", "cap"),
    (("cuda", *SHAPE, jnp.float32, True, None, None), "blocks", "float32"),
    (("cuda", *ODD, jnp.bfloat16, True, None, None), "blocks", "odd"),
    (("cuda", *[(2, 128, 4, 256)] * 3, jnp.bfloat16, True, None, None), "whole", "256"),
    (("rocm", *SHAPE, jnp.bfloat16, True, None, None), "blocks", "rocm"),
    (("cpu", *SHAPE, jnp.float32, False, None, None), "blocks", "cpu"),
]


@pytest.mark.parametrize(("asked", "kind", "why"), LIMITS)
def test_what_a_kernel_cannot_do_goes_without_it(asked: tuple, kind: str, why: str) -> None:
    platform, *rest = asked
    found, reason = choose(*rest, platform=platform)
    assert found == kind
    assert (why in reason) and bool(why) == bool(reason)


def test_cudnn_gets_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowered for a GPU that is not here: one call forward, one backward, no logits outside of it."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    q, k, v = (jax.ShapeDtypeStruct((2, 256, n, 64), jnp.bfloat16) for n in (4, 2, 2))
    narrow = jax.ShapeDtypeStruct((2, 256, 2, 32), jnp.bfloat16)
    segments = jax.ShapeDtypeStruct((2, 256), jnp.int32)
    for values, ids, window in ((v, segments, 16), (v, None, 16), (narrow, None, None)):

        def loss(q, k, v, ids, window=window):
            return jnp.sum(causal(q, k, v, ids, window, kind="cudnn").astype(jnp.float32))

        step = jax.jit(jax.grad(loss, (0, 1, 2)))
        checks = [jax.export.DisabledSafetyCheck.custom_call(f"__cudnn$fmha{s}") for s in CUDNN_CALLS]
        text = jax.export.export(step, platforms=["cuda"], disabled_checks=checks)(
            q, k, values, ids
        ).mlir_module()
        assert text.count("custom_call @__cudnn$fmha") == 2
        assert "2x4x256x256xf32" not in text
        assert ('"sliding_window_length": 16' in text.replace("\\22", '"')) == (
            ids is None and window is not None
        )


CUDNN_CALLS = ("Softmax", "SoftmaxBackward", "ScaleBiasSoftmax", "ScaleBiasSoftmaxBackward")


def across(shape: dict[str, int], H: int, G: int) -> None:
    """On a mesh of eight devices: each way, batch and heads split, the result as well."""
    from rstar_jax import sharding

    mesh = sharding.make_mesh(**shape)
    rng = np.random.default_rng(0)
    T, A = 128, 16
    arrays = tuple(jnp.asarray(rng.normal(size=(2, T, n, A)), jnp.float32) for n in (H, G, G))
    segments = jnp.asarray(np.arange(T) // [[50], [90]], jnp.int32)
    whole = functools.partial(causal, packed=segments, window=40, kind="whole")
    wanted, grads = whole(*arrays), gradients(whole, arrays)
    placed = tuple(
        jax.device_put(x, sharding.sharding(mesh, axes, x.shape, sharding.preset_for(mesh)))
        for x, axes in zip(arrays, (HEADS, KV_HEADS, KV_HEADS), strict=True)
    )
    for kind in ("blocks", "splash"):
        way = functools.partial(causal, packed=segments, window=40, kind=kind)
        found = jax.jit(functools.partial(way, mesh=mesh))(*placed)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        assert kind == "blocks" or found.addressable_shards[0].data.size * 8 == found.size
        with jax.set_mesh(mesh):
            for got, expected in zip(gradients(way, placed), grads, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-4)
    print(shape, H, G, flush=True)


# The last two have fewer key/value heads than devices: one is read by each, and two.
MESHES = (({"data": 2, "tensor": 4}, 8, 4), ({"fsdp": 2, "tensor": 4}, 8, 2), ({"tensor": 8}, 24, 6))
HEADS, KV_HEADS = ("batch", None, "heads", None), ("batch", None, "kv_heads", None)


def test_eight_devices_equal_one() -> None:
    assert len(printed(__file__).splitlines()) == len(MESHES)


def test_a_log_says_which_way_is_taken(tiny) -> None:
    assert (
        attention.describe(tiny.config, 64, jnp.float32)
        == "attention over 64 tokens on cpu: whole (no kernel for cpu)"
    )


if __name__ == "__main__":
    for run in MESHES:
        across(*run)
