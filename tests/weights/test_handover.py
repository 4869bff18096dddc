"""Weights that stay on the devices: taken once, by whom they suit, while their folder is as it was."""

import os

import numpy as np

from rstar_jax import sharding
from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.weights import Handover, load_pretrained, save_pretrained
from tests.on_devices import printed

CONFIG = DecoderConfig(vocab_size=32, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, mlp=32)


def main(folder):
    """On eight devices: each case is whether the very arrays came, or weights that had to be read."""
    mesh, other = sharding.make_mesh(data=2, fsdp=4), sharding.make_mesh(fsdp=8)
    model = init_random(CONFIG, 0)
    sharding.shard_module(model, mesh)
    save_pretrained(model, folder)

    def loaded(change=lambda held: None, **wanted):
        held, read = Handover(), []
        held.leave(folder, model.params())
        change(held)
        got = load_pretrained(folder, held=held, on_progress=read.append, **wanted)
        assert not held._held, "taken once"
        for name, value in model.params().items():
            np.testing.assert_array_equal(
                np.asarray(got.params()[name]), value.astype(got.params()[name].dtype)
            )
        return "read" if read else "moved"

    def touch(held):
        os.utime(folder / "model.safetensors", ns=(1, 1))

    print(loaded(mesh=mesh), loaded(mesh=other), loaded(mesh=mesh, dtype="bfloat16"))
    print(loaded(lambda held: held.narrow("bfloat16"), mesh=mesh, dtype="bfloat16"), loaded(touch, mesh=mesh))
    print(loaded(lambda held: held.settle("bfloat16"), dtype="bfloat16"), loaded(lambda held: held.clear()))


def test_weights_are_taken_where_they_suit(tmp_path):
    said = printed(__file__, tmp_path / "model").split()
    assert said == ["moved", "read", "read", "moved", "read", "moved", "read"]


def test_one_device_keeps_its_memory(tmp_path):
    model, held, read = init_random(CONFIG, 0), Handover(), []
    save_pretrained(model, tmp_path)
    held.leave(tmp_path, model.params())
    load_pretrained(tmp_path, held=held, on_progress=read.append)
    assert read


if __name__ == "__main__":
    import sys
    from pathlib import Path

    main(Path(sys.argv[1]))
