"""Rotary positions as config.json has them: read, checked and written.

transformers 4 and the folders of the hub say `rope_theta` and `rope_scaling`, transformers 5 says
`rope_parameters`. Where a file has both, transformers takes the older one, and so do we.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.models.config import Rope
from rstar_jax.models.rope import KINDS
from rstar_jax.weights.families.fields import Fields

_ORIGINAL = "original_max_position_embeddings"
# What the kinds of stretched rotary positions need, and what they may have, as config.json calls it.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
    "yarn": ("factor", _ORIGINAL),
    "longrope": ("short_factor", "long_factor", _ORIGINAL),
}
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    "longrope": ("factor", "attention_factor"),
}
_ALL_KINDS = {kind: kind for kind in KINDS}


def read(
    f: Fields,
    *,
    scaling: Fields | None = None,
    theta: str = "rope_theta",
    kinds: Mapping[str, str] = _ALL_KINDS,
    interleaved: bool = False,
    partial: bool = False,
) -> Rope:
    """Rotary positions of a config.

    scaling: the object that says how they are stretched; None: the config's own. theta: the config's field
    for their base, where that object has none. kinds: those of the family, and what they are here.
    interleaved: as Rope has it. partial: whether the family can rotate a part of each head.
    """
    if scaling is None:
        scaling = f.object("rope_scaling" if f.config.get("rope_scaling") else "rope_parameters")
    original = f.value(_ORIGINAL) or scaling.value(_ORIGINAL) or f.value("max_position_embeddings")
    kind = scaling.config.get("rope_type") or scaling.config.get("type") or "default"
    scaling = Fields({**scaling.config, "rope_type": kind, _ORIGINAL: original}, scaling.where)
    kind = scaling.choose("rope_type", kinds)
    values: dict[str, Any] = {name: _value(scaling, name) for name in _NEEDED.get(kind, ())}
    for name in _OPTIONAL.get(kind, ()):
        # A 0 among what is optional means "not given" to transformers, too.
        if scaling.value(name) or scaling.value(name) is False:
            values[name] = _value(scaling, name)
    part = scaling if "partial_rotary_factor" in scaling.config else f
    if not partial:
        part.refuse("partial_rotary_factor", 1)
    return Rope(
        theta=scaling.real("rope_theta") if "rope_theta" in scaling.config else f.real(theta),
        kind=kind,
        partial_rotary_factor=part.real("partial_rotary_factor") if partial else 1.0,
        interleaved=interleaved,
        **values,
    )


def _value(scaling: Fields, name: str) -> Any:
    if name in ("short_factor", "long_factor"):
        return scaling.numbers(name)
    if name == "truncate":
        return scaling.flag(name)
    return scaling.number(name) if name == _ORIGINAL else scaling.real(name)


def check(rope: Rope, dim: int, where: str) -> None:
    """Raises UserError if there are not as many factors as pairs of rotated dimensions of a head of `dim`."""
    pairs = int(dim * rope.partial_rotary_factor) // 2
    for name in ("short_factor", "long_factor"):
        factors = getattr(rope, name)
        if factors is not None and len(factors) != pairs:
            raise UserError(
                f"{where}: field '{name}' has {len(factors)} numbers; one for each of the {pairs} pairs of "
                "rotated dimensions expected."
            )


def write(rope: Rope) -> dict[str, Any]:
    """The inverse of `read`, in the words that transformers 4 and servers know, too."""
    out: dict[str, Any] = {"rope_theta": rope.theta}
    if rope.partial_rotary_factor != 1.0:
        out["partial_rotary_factor"] = rope.partial_rotary_factor
    if rope.kind != "default":
        keys = (*_NEEDED[rope.kind], *_OPTIONAL.get(rope.kind, ()))
        values = {key: getattr(rope, key) for key in keys if getattr(rope, key) is not None}
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        out["rope_scaling"] = {"rope_type": rope.kind, "type": rope.kind, **values}
    return out
