"""The model that decoding and searching are measured with: the Qwen2 shape in small, 47 M parameters."""

from rstar_jax.models import DecoderConfig, Rope

SHAPE = DecoderConfig(
    vocab_size=32_768,
    width=512,
    layers=8,
    heads=8,
    kv_heads=2,
    head_dim=64,
    mlp=2048,
    rope=Rope(theta=1e6),
)
