"""States of optimisers are split as parameters are, and a saved one goes on on another mesh."""

import functools
import json
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, PolicyBatches, TrainConfig, fit, policy_loss
from rstar_jax.train.host_rows import Rows
from rstar_jax.train.optimizer import optimizer, state_shardings
from tests.on_devices import printed

# On which one training runs, on which another begins, and on which that one ends.
TENSOR = ({"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}, {"fsdp": 8})
CONTEXT = ({"data": 4, "fsdp": 2}, {"fsdp": 4, "context": 2}, {"data": 4, "fsdp": 2})
SHAPE = DecoderConfig(vocab_size=64, width=256, layers=1, heads=2, kv_heads=2, head_dim=16, mlp=512)


class Stopped(Exception):
    pass


def stop(done, *_):
    if done == 2:
        raise Stopped


def main():
    """Trains on meshes of eight devices, on the last one from the state after two steps on the one before;
    prints losses, how far parameters are apart, and what lies on a device."""
    from rstar_jax import sharding

    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 64, 24).astype(np.int32), np.arange(24) >= 3) for _ in range(8)]
    options = TrainConfig(
        optimizer=sys.argv[1], epochs=4, batch=8, seq_len=32, microbatch=8, learning_rate=1e-3,
        checkpoint_every_steps=2,
    )  # fmt: skip
    losses, learnt, share = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for sizes, on_step in zip(json.loads(sys.argv[2]), (None, stop, None), strict=True):
            model, mesh = init_random(SHAPE, 0), sharding.make_mesh(**sizes)
            sharding.shard_module(model, mesh)
            rows = functools.partial(Rows.sizes, mesh, options.microbatch)
            batches = PolicyBatches(examples, options, 0, rows)
            kept = None if not losses else Path(folder)
            try:
                found = fit(
                    model, batches, policy_loss, options, total_steps=4,
                    checkpoints=kept, on_step=on_step,
                )  # fmt: skip
                losses.append(found.last_loss)
                learnt.append(jax.device_get(model.params()))
            except Stopped:
                continue
            params = jax.tree.map(
                lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=p.sharding), model.params()
            )
            transformation = optimizer(options)
            state = jax.eval_shape(transformation.init, params)
            everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
            where = state_shardings(transformation, params, everywhere)
            own = jax.tree.map(lambda a, s: np.prod(s.shard_shape(a.shape)) * a.dtype.itemsize, state, where)
            whole = jax.tree.map(lambda a: a.size * a.dtype.itemsize, state)
            share = sum(jax.tree.leaves(own)) / sum(jax.tree.leaves(whole))
    apart = max(float(np.abs(a - learnt[1][name]).max()) for name, a in learnt[0].items())
    print(json.dumps([losses, apart, float(share)]))


@pytest.mark.parametrize(
    ("name", "meshes", "most"),
    [("adamw8bit", TENSOR, 1e-2), ("adafactor", TENSOR, 1e-2), ("adamw", CONTEXT, 1e-5)],
)
def test_a_state_is_split_and_goes_on_on_another_mesh(name, meshes, most):
    (unbroken, resumed), apart, share = json.loads(printed(__file__, name, json.dumps(meshes)))
    assert resumed == pytest.approx(unbroken, rel=1e-4)
    assert apart < most
    parts = meshes[-1]["fsdp"]
    assert 1 / parts <= share < 1.3 / parts


if __name__ == "__main__":
    main()
