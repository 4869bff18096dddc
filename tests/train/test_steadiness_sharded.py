"""On eight devices bad steps change nothing, either, and the best parameters come back as they were split."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, TrainConfig
from tests.on_devices import printed
from tests.train.test_checkpoints import Killed, kill_at
from tests.train.test_steadiness import train


def main(folder):
    """Trains on one of eight devices, on a mesh of all, and on that with a kill; prints what they tell."""
    from rstar_jax import sharding

    config = DecoderConfig(vocab_size=32, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    options = TrainConfig(
        epochs=6, batch=8, seq_len=32, microbatch=8, learning_rate=1e-2, ema=0.5, spike=1e9, keep="best"
    )
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 32, n).astype(np.int32) for n in rng.integers(20, 32, 8)]
    examples = [Example(t, np.arange(len(t)) >= 3) for t in tokens]

    def params(model):
        return jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Param)))

    def same(one, other):
        return jax.tree.all(jax.tree.map(np.array_equal, one, other))

    def trained(name, mesh, kill=None, before=0):
        """before: figures that an earlier call has taken."""
        model, shown = init_random(config, 0), []
        if mesh is not None:
            sharding.shard_module(model, mesh)

        def held_out(model):
            shown.append(params(model))
            return {"loss": float(abs(before + len(shown) - 4))}  # the fourth is best

        more = {"held_out": held_out, "held_out_every": 1, "checkpoints": folder / name}
        poison = {1: np.nan, 2: np.inf}
        summary = train(model, examples, poison, options, on_step=kill_at(kill), **more)
        return [summary.skipped, summary.kept_step], shown, model

    mesh = sharding.make_mesh(data=2, fsdp=4)
    told, alone, _ = trained("one", None)
    eight, together, model = trained("eight", mesh)
    told += eight
    told += [same(shown[0], shown[n]) for shown in (alone, together) for n in (1, 2, 3)]
    close = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-4), alone[-1], together[-1])
    told += [jax.tree.all(close), model.embed[...].sharding.num_devices, same(params(model), together[3])]
    try:
        trained("killed", mesh, kill=5)
    except Killed:  # the state after step 4 is on disk, which was the best
        again, _, model = trained("killed", mesh, before=4)
        told += again
    print(json.dumps([*told, same(params(model), together[3])]))


def test_eight_devices_skip_as_one_does(tmp_path):
    told = json.loads(printed(__file__, tmp_path))
    assert told[:4] == [2, 4, 2, 4]  # skipped, kept
    assert told[4:10] == [True, True, False] * 2  # a step that is skipped changes no bit, the next one does
    assert told[10:13] == [True, 8, True]
    assert told[13:] == [2, 4, True]  # killed and gone on with


if __name__ == "__main__":
    main(Path(sys.argv[1]))
