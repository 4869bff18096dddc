"""Reading the fields of a config.json, each with an error that names it, and writing those all families have.

Fields that a file leaves out have transformers' defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig, Rope
from rstar_jax.models.rope import KINDS

_WANTED: Mapping[type, str] = {
    int: "a whole number above 0",
    float: "a number above 0",
    bool: "true or false",
}

# What the kinds of stretched rotary positions need, and what they may have, as config.json calls it.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings"),
}
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    "longrope": ("factor", "attention_factor"),
}


class Fields:
    """The fields of one config.json (or of an object in it), read by name and type."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where

    def number(self, name: str, default: Any = None) -> int:
        """A whole number above 0; raises UserError if it is not, or is missing and has no default."""
        return self._field(name, int, default)

    def real(self, name: str, default: Any = None) -> float:
        """A number above 0, likewise."""
        return self._field(name, float, default)

    def flag(self, name: str, default: Any = None) -> bool:
        """true or false, likewise."""
        return self._field(name, bool, default)

    def optional(self, name: str, kind: type, default: Any = None) -> Any:
        """A number above 0, or None where it is null; the default where it is missing."""
        return None if self.config.get(name, default) is None else self._field(name, kind, default)

    def _field(self, name: str, kind: type, default: Any) -> Any:
        value = self.config.get(name)
        value = default if value is None else value
        if value is None:
            raise UserError(f"{self.where}: no field '{name}', which a model of this type must have.")
        good = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not good or (kind is not bool and (isinstance(value, bool) or not value > 0)):
            raise UserError(f"{self.where}: field '{name}' is {value!r}, {_WANTED[kind]} expected.")
        return kind(value)

    def refuse(self, name: str, *allowed: Any) -> None:
        """Raises UserError if the field is there and is none of these values (nor null)."""
        if self.config.get(name) not in (None, *allowed):
            raise UserError(
                f"{self.where}: field '{name}' is {self.config[name]!r}, which this decoder does not do. "
                f"Supported: {', '.join(repr(a) for a in allowed) or 'leaving it out'}."
            )

    def choose(self, name: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """Our name of a field's value; raises UserError with the list of what is supported."""
        value = self.config.get(name) or default
        if not isinstance(value, str) or value not in choices:
            raise UserError(
                f"{self.where}: field '{name}' is {value!r}, which this decoder does not do. "
                f"Supported: {', '.join(repr(a) for a in choices)}."
            )
        return choices[value]

    def token(self, name: str) -> int | None:
        """A token id; of several ends of text the first, which is the one to write."""
        value = self.config.get(name)
        return (value[0] if value else None) if isinstance(value, list) else value

    def inside(self, name: str) -> Fields:
        """An object of this one, as if it were the `rope_parameters` of a config."""
        inner = self.object(name)
        return Fields({"rope_parameters": inner.config}, self.where)

    def object(self, name: str) -> Fields:
        """The object in a field, or an empty one where there is none."""
        value = self.config.get(name) or {}
        if not isinstance(value, Mapping):
            raise UserError(f"{self.where}: field '{name}' is {value!r}, an object expected.")
        return Fields(value, f"{self.where}: {name}")


def read_common(
    f: Fields,
    *,
    tied: bool = False,
    activation: str = "hidden_act",
    rope: Rope | None = None,
    rotated: int | None = None,
) -> dict[str, Any]:
    """What the configs of all families say in the same words, by the names of DecoderConfig.

    tied: whether embeddings are where the config does not say. activation: the name of that field.
    rope: rotary positions; None: as `read_rope` reads them. rotated: dimensions of a head that they are
    for; None: all.
    """
    width, heads = f.number("hidden_size"), f.number("num_attention_heads")
    kv_heads = f.number("num_key_value_heads", heads)
    if heads % kv_heads or (f.config.get("head_dim") is None and width % heads):
        raise UserError(
            f"{f.where}: hidden_size={width}, num_attention_heads={heads}, num_key_value_heads={kv_heads}: "
            "each must divide the one before."
        )
    head_dim, rope = f.number("head_dim", width // heads), rope or read_rope(f)
    _check_factors(rope, rotated or head_dim, f.where)
    return {
        "vocab_size": f.number("vocab_size"),
        "width": width,
        "layers": f.number("num_hidden_layers"),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "mlp": f.number("intermediate_size"),
        "rope": rope,
        "norm_eps": f.real("rms_norm_eps", 1e-6),
        "tied": f.flag("tie_word_embeddings", tied),
        "activation": f.choose(activation, ACTIVATIONS, "silu"),
        "max_positions": f.number("max_position_embeddings", 32_768),
        "qkv_bias": False,
        "bos_id": f.token("bos_token_id"),
        "eos_id": f.token("eos_token_id"),
        "pad_id": f.token("pad_token_id"),
    }


ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def write_common(c: DecoderConfig, *, activation: str = "hidden_act") -> dict[str, Any]:
    """The inverse of `read_common`."""
    return {
        "model_type": c.family,
        activation: next(theirs for theirs, ours in ACTIVATIONS.items() if ours == c.activation),
        "head_dim": c.head_dim,
        "hidden_size": c.width,
        "intermediate_size": c.mlp,
        "max_position_embeddings": c.max_positions,
        "num_attention_heads": c.heads,
        "num_hidden_layers": c.layers,
        "num_key_value_heads": c.kv_heads,
        "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tied,
        "vocab_size": c.vocab_size,
        "bos_token_id": c.bos_id,
        "eos_token_id": c.eos_id,
        "pad_token_id": c.pad_id,
        **write_rope(c.rope),
    }


def read_rope(
    f: Fields,
    *,
    theta: float = 10_000.0,
    names: Mapping[str, str] | None = None,
    interleaved: bool = False,
) -> Rope:
    """Rotary positions of a config: `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters`.

    f may also be the object that holds theta and scaling itself. theta: where nothing is said. names: of
    kinds, other than ours, and what they are. interleaved: as Rope has it.
    """
    scaling = f.object("rope_parameters" if f.config.get("rope_parameters") else "rope_scaling")
    name = "type" if "type" in scaling.config and "rope_type" not in scaling.config else "rope_type"
    known = {k: k for k in KINDS} | dict(names or {})
    kind = scaling.choose(name, known, "default")
    original = "original_max_position_embeddings"
    given = dict(scaling.config)
    if kind in _NEEDED and original in _NEEDED[kind]:
        given[original] = (
            f.config.get(original) or given.get(original) or f.config.get("max_position_embeddings")
        )
    stretch = Fields(given, scaling.where)
    more: dict[str, Any] = {}
    for key in (*_NEEDED.get(kind, ()), *_OPTIONAL.get(kind, ())):
        # A 0 among what is optional means "not given" to transformers, too.
        if key in _OPTIONAL.get(kind, ()) and given.get(key) in (None, 0) and given.get(key) is not False:
            continue
        if key in ("short_factor", "long_factor"):
            more[key] = _factors(stretch, key)
        elif key == "truncate":
            more[key] = stretch.flag(key)
        else:
            more[key] = stretch.number(key) if key == original else stretch.real(key)
    share = scaling.real("partial_rotary_factor", f.real("partial_rotary_factor", 1.0))
    theta = scaling.real("rope_theta", f.real("rope_theta", theta))
    return Rope(theta, kind, share, interleaved, **more)


def _factors(f: Fields, name: str) -> tuple[float, ...]:
    value = f.config.get(name)
    if not isinstance(value, list) or not all(isinstance(x, int | float) and x > 0 for x in value):
        raise UserError(f"{f.where}: field '{name}' is {value!r}, a list of numbers above 0 expected.")
    return tuple(float(x) for x in cast(list, value))


def _check_factors(rope: Rope, dim: int, where: str) -> None:
    pairs = int(dim * rope.partial_rotary_factor) // 2
    for name in ("short_factor", "long_factor"):
        factors = getattr(rope, name)
        if factors is not None and len(factors) != pairs:
            raise UserError(
                f"{where}: field '{name}' has {len(factors)} numbers; one for each of the {pairs} pairs of "
                "rotated dimensions expected."
            )


def write_rope(rope: Rope) -> dict[str, Any]:
    """The inverse of `read_rope`, in the words that transformers 4 and servers know, too."""
    out: dict[str, Any] = {"rope_theta": rope.theta}
    if rope.partial_rotary_factor != 1.0:
        out["partial_rotary_factor"] = rope.partial_rotary_factor
    if rope.kind != "default":
        keys = (*_NEEDED[rope.kind], *_OPTIONAL.get(rope.kind, ()))
        values = {key: getattr(rope, key) for key in keys if getattr(rope, key) is not None}
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        out["rope_scaling"] = {"rope_type": rope.kind, "type": rope.kind, **values}
    return out


def read_sliding(f: Fields, layers: int, default: list[bool]) -> tuple[bool, ...]:
    """Which layers slide: `layer_types` where the config has it, else the family's own pattern."""
    kinds = f.config.get("layer_types")
    if kinds is None:
        return tuple(default)
    known = {"sliding_attention": True, "full_attention": False}
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise UserError(
            f"{f.where}: field 'layer_types' is {kinds!r}; for each of the {layers} layers one of "
            f"{', '.join(repr(k) for k in known)} expected."
        )
    return tuple(known[kind] for kind in kinds)


def write_sliding(c: DecoderConfig) -> dict[str, Any]:
    """`sliding_window` and `layer_types`."""
    types = ["sliding_attention" if slides else "full_attention" for slides in c.slides]
    return {"sliding_window": c.window, "layer_types": types}
