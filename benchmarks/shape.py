"""The models that benchmarks are run with: shapes by name with random weights, or any Hugging Face folder."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax.numpy as jnp

from rstar_jax.models import Decoder, DecoderConfig, Rope, init_random
from rstar_jax.weights import load_pretrained, save_pretrained

SHAPES = {
    # The Qwen2 shape in small.
    "47m": DecoderConfig(
        vocab_size=32_768,
        width=512,
        layers=8,
        heads=8,
        kv_heads=2,
        head_dim=64,
        mlp=2048,
        rope=Rope(theta=1e6),
    ),
    "smollm2-135m": DecoderConfig(
        vocab_size=49_152,
        width=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        mlp=1536,
        rope=Rope(theta=1e5),
        norm_eps=1e-5,
        qkv_bias=False,
        max_positions=8192,
        family="llama",
    ),
    "qwen2.5-0.5b": DecoderConfig(
        vocab_size=151_936,
        width=896,
        layers=24,
        heads=14,
        kv_heads=2,
        head_dim=64,
        mlp=4864,
        rope=Rope(theta=1e6),
        max_positions=32_768,
    ),
    "qwen2.5-1.5b": DecoderConfig(
        vocab_size=151_936,
        width=1536,
        layers=28,
        heads=12,
        kv_heads=2,
        head_dim=128,
        mlp=8960,
        rope=Rope(theta=1e6),
        max_positions=32_768,
    ),
}
SHAPE = SHAPES["47m"]


def listed(*known: str) -> Callable[[str], str]:
    """A flag's type: names of these, joined by commas, or, where there are none, whole numbers above 0."""

    def read(value: str) -> str:
        for one in value.split(","):
            if known and one not in known:
                raise argparse.ArgumentTypeError(f"{one!r} is none of {', '.join(known)}")
            if not known and not (one.isdecimal() and int(one)):
                raise argparse.ArgumentTypeError(f"{one!r} is no whole number above 0")
        return value

    return read


def add_flags(parser: argparse.ArgumentParser, shape: str | None = "47m") -> None:
    """--model and --shape; shape: what is taken if neither is given."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--model", type=Path, help="a Hugging Face folder")
    either.add_argument("--shape", choices=SHAPES, default=shape, help="random weights of this shape")


@contextlib.contextmanager
def folder(args: argparse.Namespace, dtype: str, other: DecoderConfig = SHAPE) -> Iterator[Path]:
    """The folder of --model, or a temporary one with random weights of --shape in this dtype.

    other: the shape if neither is given.
    """
    if args.model:
        yield args.model
        return
    with tempfile.TemporaryDirectory() as made:
        config = SHAPES[args.shape] if args.shape else other
        save_pretrained(init_random(config, 0, dtype=jnp.dtype(dtype)), made)
        yield Path(made)


def decoder(args: argparse.Namespace, dtype: str) -> Decoder:
    """That of --model, or a random one of --shape."""
    if args.model:
        return load_pretrained(args.model, dtype=jnp.dtype(dtype))
    return init_random(SHAPES[args.shape], 0, dtype=jnp.dtype(dtype))


def name(args: argparse.Namespace) -> str:
    """Of what the flags choose, for a heading."""
    return args.model.name if args.model else args.shape
