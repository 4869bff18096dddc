"""Loading onto meshes: the values of one device, each byte read once and by whom it concerns."""

import socket
import sys
from pathlib import Path

import jax
import numpy as np

from rstar_jax import sharding
from rstar_jax.models import Decoder, DecoderConfig, init_random, resize_vocab
from rstar_jax.weights import Progress, load_pretrained, loading, save_pretrained
from rstar_jax.weights.source import Source
from rstar_jax.weights.weight_files import WeightFiles
from tests.on_devices import printed, start

CUBE, EXPERT = {"data": 2, "fsdp": 2, "tensor": 2}, {"fsdp": 2, "tensor": 2, "expert": 2}
RUNS = {
    "qwen2": [CUBE, {"tensor": 8}],
    "phi3": [CUBE, {"fsdp": 8}],
    "deepseek-v2": [EXPERT],
}


def read_share(files: WeightFiles, wanted: loading.Wanted, mesh: jax.sharding.Mesh, device: jax.Device):
    """What one device holds of a parameter, read as if this process had no other."""
    entry = loading._Entry(files, "it", None, wanted, np.dtype(np.float32), mesh)
    entry.parts = {device: entry.parts[device]}
    entry.allocate()
    for index, name in entry.places:
        entry.read(index, name)
    return entry._memory[entry.parts[device]]


def compare(folder: Path) -> None:
    """Loads models on one and on all of eight devices, by both ways, and device by device."""
    from tests.models.zoo import config

    for family, shapes in RUNS.items():
        save_pretrained(init_random(config(family), seed=0), folder / family, shard_bytes=50_000)
        alone = load_pretrained(folder / family).params()
        for shape in shapes:
            mesh = sharding.make_mesh(**shape)
            source = Source(folder / family, reward=False)
            for on_host in (True, False):
                loading._on_host = lambda mesh, on_host=on_host: on_host
                params = loading.read_params(source.files, source.wanted, np.float32, mesh)
                for name, value in params.items():
                    np.testing.assert_array_equal(value, alone[name], err_msg=name)
                    spec = source.wanted[name].spec
                    assert value.sharding == sharding.on_mesh(spec.axes, spec.shape, mesh)
            for name, wanted in source.wanted.items():
                for shard in params[name].addressable_shards[::3]:
                    before = source.files.bytes_read
                    found = read_share(source.files, wanted, mesh, shard.device)
                    np.testing.assert_array_equal(found, shard.data)
                    assert source.files.bytes_read - before == shard.data.nbytes, (family, shape, name)
        print(family, "as on one device", flush=True)
    grow(folder)


def together(folder: Path, rank: int, port: str) -> None:
    """One of two processes with four devices each: reads its share, and both save what they hold."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=rank)
    mesh = sharding.make_mesh(fsdp=8)
    seen = []
    reads = WeightFiles.read
    WeightFiles.read = lambda self, *args: (seen.append(block := reads(self, *args)), block)[1]
    model = load_pretrained(folder / "one", mesh=mesh)
    save_pretrained(model, folder / "again")
    print("read", sum(block.nbytes for block in seen), flush=True)


def grow(folder: Path) -> None:
    """Adds tokens on a mesh that splits the vocabulary, and saves; one device loads it again."""
    tiny = init_random(DecoderConfig(61, 16, 1, 4, 2, 4, 24, tied=False), seed=0)
    sharding.shard_module(tiny, mesh := sharding.make_mesh(fsdp=2, tensor=4))
    assert tiny.embed[...].sharding.spec[0] is None, "61 rows do not split over 4 devices"
    grown = resize_vocab(tiny, 66)
    save_pretrained(grown, folder / "grown")
    again = load_pretrained(folder / "grown", mesh=mesh)
    assert grown.config.vocab_size == again.config.vocab_size == 80
    for name in ("embed", "head"):
        old, new = np.asarray(tiny.params()[name]), again.params()[name]
        assert new.sharding == grown.params()[name].sharding
        assert new.addressable_shards[0].data.shape == (20, 8)
        np.testing.assert_array_equal(new[:61], old)
        np.testing.assert_allclose(new[61:], np.repeat(old.mean(0, keepdims=True), 19, 0), atol=1e-6)
    assert resize_vocab(grown, 48).params()["embed"].shape == (48, 16)
    print("grown", flush=True)


def test_progress_ends_with_all_bytes(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path)
    seen: list[Progress] = []
    load_pretrained(tmp_path, on_progress=seen.append)
    size = sum(value.nbytes for value in tiny.params().values())
    assert seen[-1].done == seen[-1].total == size
    assert [p.done for p in seen] == sorted({p.done for p in seen})
    assert str(Progress(2 * 10**9, 6 * 10**9, 4.0)) == "2.0 of 6.0 GB, 0.50 GB/s, 8 s left"


def test_a_long_load_is_logged(tiny: Decoder, tmp_path: Path, monkeypatch, caplog) -> None:
    save_pretrained(tiny, tmp_path)
    monkeypatch.setattr(loading, "_LOG_EVERY_S", 0.0)
    with caplog.at_level("INFO", logger=loading.__name__):
        load_pretrained(tmp_path)
    assert str(tmp_path) in caplog.messages[0] and "GB/s" in caplog.messages[0]


def test_eight_devices_load_what_one_does_and_each_only_its_share(tmp_path: Path) -> None:
    lines = printed(__file__, tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == [*RUNS, "grown"]


def test_two_processes_read_a_half_each_and_save_the_whole(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "one")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [start(__file__, tmp_path, rank, port, devices=4) for rank in range(2)]
    outs = [done.communicate(timeout=300) for done in both]
    assert [done.returncode for done in both] == [0, 0], outs
    lines = [line.split() for out, _ in outs for line in out.splitlines()]  # gloo talks, too
    read = [int(line[1]) for line in lines if line[0] == "read"]
    params = tiny.params()
    split = sum(v.nbytes for k, v in params.items() if not k.endswith("_bias"))  # others have no width
    whole = sum(v.nbytes for k, v in params.items() if k.endswith("_bias"))
    assert read == [split // 2 + whole] * 2
    for name, value in load_pretrained(tmp_path / "again").params().items():
        np.testing.assert_array_equal(value, params[name])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        together(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        compare(Path(sys.argv[1]))
