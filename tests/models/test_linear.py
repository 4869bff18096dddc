"""Whatever stands in the place of a weight multiplies as the weight that it stands for."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.models.linear import SUMMED, FusedWithGate, LowRank, Quantized, grouped_matmul, matmul
from rstar_jax.models.params import param_specs
from rstar_jax.models.stacks import of_layers
from rstar_jax.transforms.quantize import quantized
from tests.models import zoo

SIZES = {"d": 6, "h": 3, "a": 4, "f": 5, "r": 7, "v": 8, "e": 2, ".": 2}
# Every pattern of the decoder, and what the weight sums over where it is used the straight way.
PATTERNS = {
    "...d,dha->...ha": (0,),
    "...ha,had->...d": (0, 1),
    "...d,df->...f": (0,),
    "...f,fd->...d": (0,),
    "...d,vd->...v": (1,),
    "...d,dr->...r": (0,),
    "...r,rha->...ha": (0,),
    "...ha,rha->...hr": (0,),
    "...hr,rha->...ha": (0,),
}


def random(names: str, seed: int) -> jax.Array:
    shape = [SIZES[n] for n in names.replace("...", "..")]
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def low_rank(weight: jax.Array, summed: tuple[int, ...], seed: int = 5) -> tuple[LowRank, jax.Array]:
    """An addition of rank 3 to the weight, and the weight with it. All but the last sum are batches."""
    rng, first, end = np.random.default_rng(seed), summed[0], summed[-1] + 1
    a = rng.standard_normal((*weight.shape[:end], 3)).astype(np.float32)
    b = rng.standard_normal((*weight.shape[:first], 3, *weight.shape[end:])).astype(np.float32)
    flat_a = a.reshape(*a.shape[:first], -1, 3)
    added = np.matmul(flat_a, b.reshape(*b.shape[: first + 1], -1)).reshape(weight.shape)
    return LowRank(weight, jnp.asarray(a), jnp.asarray(b), 0.5), weight + 0.5 * added


def close(one: jax.Array, other: jax.Array) -> None:
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one, other, atol=2e-5 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_matmul_is_that_of_the_weight_stood_for(pattern: str) -> None:
    x_names, names = pattern.split("->")[0].split(",")
    x, weight, summed = random(x_names, 0), random(names, 1), PATTERNS[pattern]
    int8 = quantized(weight, summed, (None,) * weight.ndim)
    assert int8.values.dtype == jnp.int8 and int8.shape == weight.shape
    close(matmul(pattern, x, int8, jnp.float32), jnp.einsum(pattern, x, int8.astype(jnp.float32)))
    if names != "vd":
        for base in (weight, int8):
            more, whole = low_rank(jnp.asarray(base.astype(jnp.float32)), summed)
            more = LowRank(base, more.a, more.b, more.scale)
            close(matmul(pattern, x, more, jnp.float32), jnp.einsum(pattern, x, whole))


def test_a_grouped_matmul_too() -> None:
    x, weight, sizes = random("vd", 0), random("edf", 1), jnp.array([3, 5])
    int8 = quantized(weight, (1,), (None,) * 3)
    assert int8.scale.shape == (2, 1, 5)  # one for each output of each expert
    dense = int8.astype(jnp.float32)
    close(
        grouped_matmul(x, int8, sizes, jnp.float32),
        jnp.concatenate([x[:3] @ dense[0], x[3:] @ dense[1]]),
    )
    more, whole = low_rank(weight, (1,))
    close(
        grouped_matmul(x, more, sizes, jnp.float32),
        jnp.concatenate([x[:3] @ whole[0], x[3:] @ whole[1]]),
    )


def test_pieces_are_pieces_of_the_weight() -> None:
    weight = random("rha", 0)
    int8 = quantized(weight, (0,), (None,) * 3)
    more, whole = low_rank(weight, (0,))
    np.testing.assert_array_equal(int8[..., :3].astype(jnp.float32), int8.astype(jnp.float32)[..., :3])
    x = random("...r", 1)
    close(
        matmul("...r,rha->...ha", x, more[..., 1:], jnp.float32),
        jnp.einsum("...r,rha->...ha", x, whole[..., 1:]),
    )
    rows = quantized(random("vd", 2), (1,), (None,) * 2)
    at = jnp.array([[3, 0], [7, 3]])
    np.testing.assert_array_equal(rows[at].astype(jnp.float32), rows.astype(jnp.float32)[at])


def test_layers_of_a_stack_are_its_own_and_its_gradient_is_made_once() -> None:
    stack = LowRank(quantized(random("efd", 0), (1,), (None,) * 3), random("edr", 1), random("erf", 2), 0.5)
    for i, layer in enumerate(of_layers(stack)):
        same = jax.tree.map(lambda whole, part, i=i: bool((whole[i] == part).all()), stack, layer)
        assert all(jax.tree.leaves(same))

    def loss(stack: jax.Array) -> jax.Array:
        return sum((jnp.sum(jnp.sin(layer * i)) for i, layer in enumerate(of_layers(stack))), jnp.float32(0))

    found, program = jax.grad(loss)(stack.a), str(jax.make_jaxpr(jax.grad(loss))(stack.a))
    np.testing.assert_allclose(found, jnp.stack([i * jnp.cos(stack.a[i] * i) for i in range(2)]), rtol=1e-6)
    assert "pad" not in program and "scatter" not in program


def test_a_stack_that_has_nothing_of_its_own_has_layers_all_the_same() -> None:
    """`up` beneath `gate`, as the engine lays a model out: without them no layer would be found."""
    beneath = FusedWithGate((3, 4, 5), jnp.float32)
    assert of_layers(beneath) == [beneath] * 3


def test_bfloat16_sums_in_float32_and_rounds_no_scale() -> None:
    """Values of int8 are exact in bfloat16; the scale multiplies what is summed already."""
    x, weight = random("...d", 0).astype(jnp.bfloat16), random("df", 1)
    int8: Quantized = quantized(weight, (0,), (None,) * 2)
    exact = np.einsum(
        "abd,df->abf", np.asarray(x, np.float64), np.asarray(int8.astype(jnp.float32), np.float64)
    )
    close(matmul("...d,df->...f", x, int8, jnp.bfloat16), jnp.asarray(exact, jnp.float32))


def test_every_matmul_weight_of_every_family_is_known() -> None:
    """By name; and its inputs stand before its outputs, which low-rank additions count on."""
    for family in zoo.ZOO:
        for full, spec in param_specs(zoo.config(family)).items():
            name = full.rpartition(".")[2]
            small = re.search("norm|bias", name) or name == "router"
            assert (name in SUMMED) != bool(small), full
            if not small and name not in ("embed", "head"):
                assert SUMMED[name][0] == (2 if spec.axes[1] == "experts" else 1)
                assert SUMMED[name][-1] < len(spec.shape) - 1
