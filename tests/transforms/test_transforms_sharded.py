"""int8 and low-rank additions on eight devices: where things lie, and that they compute what one does."""

import functools
import json

import numpy as np

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, PolicyBatches, TrainConfig, fit, policy_loss
from rstar_jax.train.host_rows import Rows
from rstar_jax.transforms.lora import LoraConfig, adapted, additions
from rstar_jax.transforms.quantize import to_int8
from tests.on_devices import printed

CONFIG = DecoderConfig(vocab_size=32, width=16, layers=5, heads=4, kv_heads=2, head_dim=8, mlp=32)

NEW = range(26, 30)  # on both sides of where the tensor axis splits their rows, were they split


def lies(array):
    return [str(axis) for axis in (*array.sharding.spec, *[None] * 4)[: array.ndim]]


def main():
    import flax.nnx as nnx

    from rstar_jax import sharding

    options = TrainConfig(epochs=3, batch=8, seq_len=32, microbatch=8, learning_rate=1e-2)
    rng = np.random.default_rng(0)
    examples = [
        Example(rng.integers(0, 32, n).astype(np.int32), np.arange(n) >= 3) for n in rng.integers(20, 32, 16)
    ]
    found = []
    for mesh in (None, sharding.make_mesh(data=2, fsdp=2, tensor=2)):
        model = init_random(CONFIG, 0)
        if mesh is not None:
            sharding.shard_module(model, mesh)
        rows = functools.partial(Rows.sizes, mesh, options.microbatch)
        batches = PolicyBatches(examples, options, 0, rows)
        before = np.asarray(model.embed[...])
        with adapted(model, LoraConfig(rank=2, targets=("q", "o")), seed=0, new_tokens=NEW):
            a_and_b = additions(model)
            summary = fit(model, batches, policy_loss, options, total_steps=batches.total_steps)
        weights = model.params()
        changed = np.flatnonzero(np.any(np.asarray(weights["embed"]) != before, axis=1)).tolist()
        to_int8(model)
        int8 = model.params()
        logits = nnx.jit(lambda m, t: m(t))(model, np.arange(64).reshape(8, 8) % 32)
        found.append([summary.first_loss, summary.last_loss, np.asarray(logits).tolist(), changed])
    o, embed = int8["layers.o"], int8["embed"]
    places = {
        "a": lies(a_and_b["layers.o.a"]),
        "b": lies(a_and_b["layers.o.b"]),
        "rows": lies(a_and_b["embed.rows"]),
        "merged": lies(weights["layers.o"]),
        "merged table": lies(weights["embed"]),
        "values": lies(o.values),
        "scale": lies(o.scale),
        "embed": lies(embed.values),
        "embed scale": lies(embed.scale),
    }
    print(json.dumps([found, places]))


def test_eight_devices_equal_one():
    (one, eight), places = json.loads(printed(__file__))
    np.testing.assert_allclose(one[:2], eight[:2], rtol=1e-3)
    assert one[1] < one[0]
    np.testing.assert_allclose(one[2], eight[2], atol=0.05 * np.abs(one[2]).max())  # of int8: roundings flip
    assert one[3] == eight[3] == list(NEW)
    assert places == {
        "a": ["None", "tensor", "None", "None"],
        "b": ["None", "None", "fsdp"],
        "rows": ["None", "fsdp"],
        "merged": ["None", "tensor", "None", "fsdp"],
        "merged table": ["tensor", "fsdp"],
        "values": ["None", "tensor", "None", "fsdp"],
        "scale": ["None", "None", "None", "fsdp"],
        "embed": ["tensor", "fsdp"],
        "embed scale": ["tensor", "None"],
    }


if __name__ == "__main__":
    main()
