"""Products of weights and activations: every matmul of a decoder goes through here.

A transform over the parameters (weights in int8, low-rank additions, rows for new tokens) puts one of the
classes below in the place of an array, and nothing else in a decoder knows of it. Sums are in float32: exact
enough for bfloat16, and faster than bfloat16 output on a CPU.

Letters as in `types.py`; here R: rank of an addition, K: new rows. Each form of the layers' `q`, an array
[L, D, H, A] with inputs D and outputs H, A, says that array's shape and dtype, and w[layer] is one layer's:

    form           holds                                                 made by transforms/
    Quantized      values [L, D, H, A] int8, scale [L, 1, H, A]          quantize.py
    LowRank        base [L, D, H, A], a [L, D, R], b [L, R, H, A]        lora.py
    OutputMajor    values [L, H * A, D]                                  decode_layout.py
    Unstacked      layers: L times any of these, without their L         decode_layout.py
    FusedWithGate  nothing: `up` stands in the rows below `gate`         decode_layout.py
    NewRows        base [V, D], rows [K, D]: of `embed` and `head`       lora.py

    matmul("...d,dha->...ha", x, w["q"][3], bfloat16)    x [B, T, D] -> [B, T, H, A], whatever the form
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from rstar_jax.models.einsum import einsum, letters

# Which dimensions of a parameter a matmul sums over, by the parameter's name in its layer. All but embed and
# head have their layer in front, experts then their expert; behind these stand inputs, then outputs.
# The router is not here: it decides, and is small.
SUMMED: dict[str, tuple[int, ...]] = {
    "embed": (1,),
    "head": (1,),
    "q": (1,),
    "k": (1,),
    "v": (1,),
    "o": (1, 2),
    "gate": (1,),
    "up": (1,),
    "down": (1,),
    "q_down": (1,),
    "kv_down": (1,),
    "kv_up": (1,),
    "experts_gate": (2,),
    "experts_up": (2,),
    "experts_down": (2,),
}

# Marks what products with weights give and `remat="dots"` keeps, rounded as it is used: the sums themselves
# are float32, twice as large.
product = functools.partial(checkpoint_name, name="product")


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values", "scale"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Quantized:
    """A weight as int8 values times scale: float32, of size 1 along the dimensions summed over.

    Indices may cut dimensions that are not summed over, and look up rows of an embedding.
    """

    values: jax.Array
    scale: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def dtype(self) -> Any:
        """Dtype of the weight that it stands for."""
        return self.scale.dtype

    def __getitem__(self, index: Any) -> Quantized:
        return Quantized(self.values[index], self.scale[index])

    def astype(self, dtype: Any) -> jax.Array:
        """The weight as one array."""
        return (self.values.astype(jnp.float32) * self.scale).astype(dtype)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["base", "a", "b"], meta_fields=["scale"])
@dataclasses.dataclass(frozen=True)
class LowRank:
    """A weight base + scale * a b (arXiv 2106.09685): a is [..., inputs, R], b [..., R, outputs].

    Indices may cut output dimensions from the end.
    """

    base: jax.Array | Quantized
    a: jax.Array
    b: jax.Array
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    def __getitem__(self, index: Any) -> LowRank:
        return LowRank(self.base[index], self.a, self.b[index], self.scale)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values", "bits"], meta_fields=["array_shape"]
)
@dataclasses.dataclass(frozen=True)
class OutputMajor:
    """A weight as a matrix [O, I], a row of all inputs for every output; or [L, O, I], a stack of them.

    XLA:CPU packs the right operand of a bfloat16 product anew at each call, which for few activations takes
    longer than the product. So here the weight is the left one. Indices look up rows.

        array [I = D, O = H * A], XLA's own         values [O, I], here
           x [tokens, I] @ w  -> [tokens, O]           values @ x.T  -> [O, tokens], then transposed
           w is copied into panels at each call        values are read as they lie, row by row

    array_shape: of the array that a matrix stands for. bits: of an embedding in bfloat16, the same memory as
    uint16. XLA:CPU looks rows of bfloat16 up in a float32 copy of the whole.
    """

    values: jax.Array
    array_shape: tuple[int, ...]
    bits: jax.Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.values.shape[:-2], *self.array_shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __getitem__(self, index: Any) -> OutputMajor | jax.Array:
        if index is Ellipsis:
            return self
        if self.bits is None:
            return self.values[index]
        return jax.lax.bitcast_convert_type(self.bits[index], self.dtype)


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["shape", "dtype"])
@dataclasses.dataclass(frozen=True)
class FusedWithGate:
    """A weight whose rows stand beneath those of another one, in the same `OutputMajor`: `up` beneath `gate`.

    So one product makes both, and packs the activations once. It has nothing of its own, and no index.
    """

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> FusedWithGate:
        return self


@functools.partial(jax.tree_util.register_dataclass, data_fields=["layers"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Unstacked:
    """A stack of weights kept apart, so that no loop over tokens has to cut it first. Indices are layers."""

    layers: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.layers), *self.layers[0].shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        return self.layers[0].dtype

    def __getitem__(self, index: Any) -> Any:
        return self if index is Ellipsis else self.layers[index]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["base", "rows"], meta_fields=["first"])
@dataclasses.dataclass(frozen=True)
class NewRows:
    """A table [V, D] whose rows from `first` on are not those of `base`, but these: rows [K, D]."""

    base: jax.Array | Quantized
    rows: jax.Array
    first: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    def put(self, ids: jax.Array, found: jax.Array) -> jax.Array:
        """Return the rows [..., D] of `base` for some ids [...], with the rows of those that are new in their
        place."""
        row, last = ids - self.first, len(self.rows) - 1
        new = self.rows.astype(found.dtype)[jnp.clip(row, 0, last)]
        return jnp.where(((row >= 0) & (row <= last))[..., None], new, found)


Weight = jax.Array | Quantized | LowRank | NewRows | OutputMajor


def lookup(
    table: Weight, ids: jax.Array, dtype: Any, place: Callable[[Any], Any] = lambda table: table
) -> jax.Array:
    """Rows [..., D] of a table [V, D], as `dtype`. place: says where on a mesh the table is to lie."""
    if isinstance(table, NewRows):
        return table.put(ids, lookup(table.base, ids, dtype, place))
    return place(table)[ids].astype(dtype)


def matmul(pattern: str, x: jax.Array, weight: Weight, dtype: Any) -> jax.Array:
    """einsum of an activation and a weight, both taken as `dtype`; float32."""
    if isinstance(weight, LowRank):
        return matmul(pattern, x, weight.base, dtype) + _addition(pattern, x, weight, dtype)
    if isinstance(weight, OutputMajor):
        return _output_major(pattern, x.astype(dtype), weight, dtype)
    if isinstance(weight, NewRows):
        return _with_new(
            matmul(pattern, x, weight.base, dtype), matmul(pattern, x, weight.rows, dtype), weight.first
        )
    if not isinstance(weight, Quantized):
        return einsum(pattern, dtype, x, weight)
    x_names, names, out_names = letters(pattern)
    if all(weight.scale.shape[i] == 1 for i, name in enumerate(names) if name not in out_names):
        out = matmul(pattern, x, weight.values, dtype)
        return out * _along(out_names, weight.scale, names, out.ndim)
    # Used the other way round (latent attention): what were outputs are summed over.
    scaled = x.astype(jnp.float32) * _along(x_names, weight.scale, names, x.ndim)
    return matmul(pattern, scaled, weight.values, dtype)


def grouped_matmul(
    x_RxK: jax.Array, weight_ExKxF: jax.Array | Quantized | LowRank, sizes_E: jax.Array, dtype: Any
) -> jax.Array:
    """Rows sorted by group, each times the weight of its own group: [R, F] float32.

    sizes: int32, how many rows each group has; they add up to R.
    """
    w = weight_ExKxF
    if isinstance(w, LowRank):
        inner = grouped_matmul(x_RxK, w.a, sizes_E, dtype)
        added = grouped_matmul(inner, w.b, sizes_E, dtype) * w.scale
        return grouped_matmul(x_RxK, w.base, sizes_E, dtype) + added
    if isinstance(w, Quantized):
        rows = len(x_RxK)
        group_R = jnp.repeat(jnp.arange(len(sizes_E)), sizes_E, total_repeat_length=rows)
        return grouped_matmul(x_RxK, w.values, sizes_E, dtype) * w.scale[group_R, 0]
    return jax.lax.ragged_dot(
        x_RxK.astype(dtype), w.astype(dtype), sizes_E, preferred_element_type=jnp.float32
    )


def output_major_product(weight: OutputMajor, x: jax.Array, inputs: int, dtype: Any) -> jax.Array:
    """The weight times x [tokens, I] or [I, tokens]; `inputs`: which axis of x is I. [O, tokens] float32."""
    over = (((1,), (inputs,)), ((), ()))
    out = jax.lax.dot_general(weight.values.astype(dtype), x, over, preferred_element_type=jnp.float32)
    # Else the compiler would take the transposed product for one with the weight on the right.
    return jax.lax.optimization_barrier(out)


def _output_major(pattern: str, x: jax.Array, weight: OutputMajor, dtype: Any) -> jax.Array:
    """`matmul`, where all that x has by name is summed over, in the weight's order."""
    x_names, names, out_names = letters(pattern)
    outputs = [size for size, name in zip(weight.array_shape, names, strict=True) if name in out_names]
    out = output_major_product(weight, x.reshape(-1, weight.values.shape[1]), 1, dtype)
    return out.T.reshape(*x.shape[: x.ndim - len(x_names)], *outputs)


def _addition(pattern: str, x: jax.Array, weight: LowRank, dtype: Any) -> jax.Array:
    """scale * x a b, or x b a where what were outputs are summed over."""
    x_names, names, out_names = letters(pattern)
    cut = weight.a.ndim - 1
    pair = [(names[:cut] + "z", weight.a), ("z" + names[cut:], weight.b)]
    if not set(names[:cut]) <= set(x_names):
        pair.reverse()
    (first, w_first), (second, w_second) = pair
    middle = "..." + "".join(n for n in x_names if n not in names or n in out_names) + "z"
    x = matmul(f"...{x_names},{first}->{middle}", x, w_first, dtype)
    return matmul(f"{middle},{second}->...{out_names}", x, w_second, dtype) * weight.scale


def _with_new(logits: jax.Array, new: jax.Array, first: int) -> jax.Array:
    """Logits [..., V] with those of new rows [..., K] in the place of first … first + K - 1.

    By a product with ones and zeros, exact, as each device of a mesh that splits V can make its own part.
    """
    row = jnp.arange(logits.shape[-1]) - first
    ones = (jnp.arange(new.shape[-1])[:, None] == row[None]).astype(new.dtype)
    spread = jnp.einsum("...k,kv->...v", new, ones, precision="highest")
    inside = jnp.expand_dims((row >= 0) & (row < new.shape[-1]), range(logits.ndim - 1))
    return jnp.where(inside, spread, logits)


def _along(target: str, scale: jax.Array, names: str, ndim: int) -> jax.Array:
    """The scale in a shape that multiplies an array of `ndim` dimensions, the last of them `target`."""
    sizes = [scale.shape[names.index(n)] if n in names else 1 for n in target]
    return scale.reshape([1] * (ndim - len(sizes)) + sizes)
