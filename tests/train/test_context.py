"""Rows whose tokens are split over a mesh's context axis: the losses and gradients of one device."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rstar_jax import sharding
from rstar_jax.errors import UserError
from rstar_jax.kernels import attention_tpu, attention_xla
from rstar_jax.kernels.attention_xla import Intervals, Part
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.train import TrainConfig, policy, ppm_loss
from rstar_jax.transforms import lora
from tests.on_devices import printed

B, T, H, G, A = 2, 256, 4, 2, 16
SHAPE = DecoderConfig(
    vocab_size=32,
    width=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp=32,
    window=40,
    sliding=(True, False),
)
# A row of trees: a root, below it a branch to 99 and one to 199, then another tree.
ENDS = np.select([np.arange(T) < 50, np.arange(T) < 100, np.arange(T) < 200], [200, 100, 200], 256)


def packed_rows(kind):
    if kind == "segments":
        return jnp.asarray(np.arange(T)[None] // np.array([[90], [256]]), jnp.int32)
    if kind == "trees":
        ends = np.broadcast_to(ENDS.astype(np.int32), (B, T))
        return Intervals(
            jnp.asarray(ends), jnp.asarray(np.arange(T, dtype=np.int32)[None] % 100).repeat(B, 0)
        )
    return None


@pytest.mark.parametrize("window", [None, 30])
@pytest.mark.parametrize("kind", ["none", "segments", "trees"])
def test_a_part_of_the_queries_attends_as_in_the_whole_row(kind, window):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(B, T, n, A)), jnp.float32) for n in (H, G, G))
    packed, own = packed_rows(kind), slice(128, 256)
    part = Part(jnp.int32(128), jax.tree.map(lambda x: x[:, own], packed))
    whole = attention_xla.causal(q, k, v, packed, window, 20.0)
    found = attention_xla.of_part(q[:, own], k, v, packed, window, 20.0, part, 64)
    np.testing.assert_allclose(found, whole[:, own], atol=1e-5)


def test_a_part_of_the_queries_attends_alike_by_the_kernel():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(1, T, n, A)), jnp.float32) for n in (2, 1, 1))
    packed = packed_rows("segments")[:1]
    part = Part(jnp.int32(128), packed[:, 128:])
    whole = attention_xla.causal(q, k, v, packed, None, None)
    found = attention_tpu.of_part(q[:, 128:], k, v, packed, None, None, part, interpret=True)
    np.testing.assert_allclose(found, whole[:, 128:], atol=1e-5)


def microbatch():
    rng = np.random.default_rng(0)
    rows, tokens = 4, 64
    segments = 1 + (np.arange(tokens)[None] >= rng.integers(10, 50, (rows, 1))).astype(np.int32)
    positions = np.where(
        segments == 1, np.arange(tokens), np.arange(tokens) - (segments == 1).sum(1)[:, None]
    )
    ids = rng.integers(0, 32, (rows, tokens)).astype(np.int32)
    return {
        "tokens": ids,
        "positions": positions.astype(np.int32),
        "segment_ids": segments,
        "ends": np.where(segments == 1, (segments == 1).sum(1)[:, None], tokens).astype(np.int32),
        "targets": np.roll(ids, -1, 1),
        "weights": rng.integers(0, 2, (rows, tokens)).astype(np.float32),
        "marks": np.zeros((rows, tokens), np.int8),
        "positive": rng.integers(0, rows * tokens, 8).astype(np.int32),
        "negative": rng.integers(0, rows * tokens, 8).astype(np.int32),
        "pair_weights": np.ones(8, np.float32),
    }


def main():
    """Prints the largest difference between one device's gradients and losses and those of meshes."""
    from rstar_jax.train.step import place_of

    policy.LOGITS_AT_ONCE = 1 << 9  # several pieces
    config, batch, off = TrainConfig(), microbatch(), {}
    meshes = {
        "context": {"context": 8},
        "fsdp": {"fsdp": 2, "context": 4},
        "tensor": {"fsdp": 2, "tensor": 2, "context": 2},
    }

    def gradients(kind, mesh):
        model = init_random(SHAPE, 0)
        if kind == "ppm":
            model = from_policy(model)
        if mesh is not None:
            sharding.shard_module(model, mesh)
        if kind == "lora":
            lora.adapt(model, lora.LoraConfig(rank=2), seed=0)
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        loss = ppm_loss if kind == "ppm" else policy.policy_loss
        everywhere = mesh and jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        own = {n: a if mesh is None else jax.device_put(a, place_of(a, everywhere)) for n, a in batch.items()}

        def total(params, rest, own):
            terms = loss(nnx.merge(graphdef, params, rest), own, config)
            return terms["loss"][0], terms

        found, terms = jax.jit(jax.grad(total, has_aux=True))(params, rest, own)
        return jax.device_get((jax.tree.leaves(found), terms["loss"]))

    for kind in ("policy", "ppm", "lora"):
        exact = gradients(kind, None)
        size = max(np.abs(a).max() for a in exact[0])
        for name, sizes in meshes.items():
            if kind != "policy" and name != "tensor":
                continue
            found = gradients(kind, sharding.make_mesh(**sizes))
            worst = max(np.abs(a - b).max() for a, b in zip(found[0], exact[0], strict=True))
            off[f"{kind} {name}"] = [float(worst / size), abs(float(found[1][0] / exact[1][0]) - 1)]
    mesh = sharding.make_mesh(fsdp=2, context=4)
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    try:
        place_of(np.zeros((2, 30)), everywhere)
    except UserError as error:
        refused = str(error)
    lies = place_of(np.zeros((2, 64)), everywhere).shard_shape((2, 64))
    print(json.dumps([off, refused, lies]))


def test_meshes_that_split_tokens_equal_one_device():
    off, refused, lies = json.loads(printed(__file__))
    assert len(off) == 5 and all(worst < 1e-5 for both in off.values() for worst in both), off
    assert "train.seq_len: 30 given" in refused and refused.endswith("such as 32.") and lies == [1, 16]


def test_experts_and_tokens_are_not_split_together():
    with pytest.raises(UserError, match="expert=2 context=2: experts and the tokens of a row cannot both"):
        sharding.make_mesh(expert=2, context=2, devices=jax.devices() * 4)


if __name__ == "__main__":
    main()
