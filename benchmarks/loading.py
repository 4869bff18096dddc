"""Loading and saving a folder of Qwen2.5-7B's shape: GB per second, and memory beside the arrays themselves.

    python benchmarks/loading.py [--layers=2 --shard-gb=1 --devices=8 --folder=DIR --kinds=...]

Makes a folder of random bfloat16 shards (28 layers are 15.2 GB, 2 are 3.1), loads it in fresh processes and
removes it. `beside` is the peak of resident memory less what was resident before and less the arrays that
were loaded, in MB: what a load needs on top. `cold` reads after the files were dropped from the page cache.
transformers loads the same folder, in the same type, where torch is there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("one device", "mesh", "as an accelerator", "cache", "save", "transformers")
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def make(folder: Path, layers: int, shard_bytes: int) -> int:
    """Writes a folder of random weights; returns its bytes."""
    import jax.numpy as jnp
    import numpy as np

    from rstar_jax.weights import FAMILIES
    from rstar_jax.weights.families import places
    from rstar_jax.weights.weight_files import write_weights

    config = CONFIG | {"num_hidden_layers": layers}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    c = FAMILIES["qwen2"].read(config, "config.json")
    table = FAMILIES["qwen2"].weights(c)
    named = {name: weight for ours, weight in table.items() for _, name in places(ours, weight, c)}
    order = sorted(named, key=lambda name: (".layers." in name, name))
    noise = (np.random.default_rng(0).standard_normal(2**22, np.float32) * 0.02).astype(jnp.bfloat16)

    def value(name: str):
        shape = named[name].shape
        rows = max(1, len(noise) // int(np.prod(shape[1:])))
        for first in range(0, shape[0], rows):
            part = (min(rows, shape[0] - first), *shape[1:])
            yield noise[: int(np.prod(part))].reshape(part)

    write_weights(folder, {name: (named[name].shape, noise.dtype) for name in order}, value, shard_bytes)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def measure(kind: str, folder: Path) -> dict[str, Any]:
    """Seconds, and bytes of memory beside the arrays, of one load or save in this process."""
    import numpy as np

    work = prepare(kind, folder)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    taken = np.empty(2 * size, np.uint8)
    taken[:: resource.getpagesize()] = 1  # the host of a virtual machine is slow to give memory: have it give
    del taken
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started, cpu = resident(), time.perf_counter(), time.process_time()
    held = work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    return {"seconds": seconds, "cpu": cpu, "beside": peak - before - held}


def prepare(kind: str, folder: Path) -> Callable[[], int]:
    """A function that loads or saves, and returns the bytes of the arrays that it made."""
    if kind == "transformers":
        import torch
        from transformers import AutoModelForCausalLM

        def theirs() -> int:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
            sum(
                float(p.view(-1)[:: 2**11].float().sum()) for p in model.parameters()
            )  # a page may lie on disk
            return sum(p.numel() * p.element_size() for p in model.parameters())

        return theirs

    import jax
    import jax.numpy as jnp

    from rstar_jax import sharding
    from rstar_jax.weights import load_pretrained, loading, save_pretrained

    options: dict[str, Any] = {"dtype": jnp.bfloat16}
    if kind == "mesh" or kind.startswith("cache"):
        options["mesh"] = sharding.make_mesh(fsdp=-1)
    if kind.startswith("cache"):
        options["cache"] = folder / "cache"
    if kind == "as an accelerator":
        loading._on_host = lambda mesh: False

    def ours() -> int:
        model = load_pretrained(folder, **options)
        return sum(value.nbytes for value in model.params().values())

    if kind != "save":
        jax.block_until_ready(jnp.zeros(1))
        return ours
    model = load_pretrained(folder, **options)

    def save() -> int:
        save_pretrained(model, folder / "saved")
        return 0

    return save


def drop(folder: Path) -> None:
    """Drops the files of a folder from the page cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--shard-gb", type=float, default=1.0)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], Path(args.measure[1]))))
        return
    root = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        needed = int((2.2 + 0.94 * args.layers) * 1e9)
        times = 3 if {"save", "cache"} & set(args.kinds.split(",")) else 1
        if shutil.disk_usage(root).free < times * needed:
            sys.exit(f"{root}: {times * needed / 1e9:.0f} GB of free disk are needed")
        size = make(root / "model", args.layers, int(args.shard_gb * 1e9))
        print(f"{args.layers} layers, {size / 1e9:.2f} GB in bfloat16, largest tensor 1.09 GB")
        print("kind                 files    GB/s   CPU s   beside MB", flush=True)
        for kind in args.kinds.split(","):
            if kind == "transformers" and importlib.util.find_spec("torch") is None:
                print("transformers: torch is not there")
                continue
            if kind == "cache":
                first = run(kind, root / "model", args.devices)
                print_row("cache, first", "warm", first, size)
            for state in ("cold", "warm") if kind != "save" else ("warm",):
                if state == "cold":
                    drop(root / "model")
                result = run(kind, root / "model", args.devices)
                print_row(f"{kind} of {args.devices}" if kind == "mesh" else kind, state, result, size)
            shutil.rmtree(root / "model" / "saved", ignore_errors=True)
            shutil.rmtree(root / "model" / "cache", ignore_errors=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def print_row(kind: str, state: str, result: dict[str, float], size: int) -> None:
    rate = size / 1e9 / result["seconds"]
    print(f"{kind:20} {state:5} {rate:7.2f} {result['cpu']:7.1f} {result['beside'] / 1e6:11.0f}", flush=True)


def run(kind: str, folder: Path, devices: int) -> dict[str, float]:
    several = f"--xla_force_host_platform_device_count={devices}" if kind in ("mesh", "cache") else ""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": several}
    command = [sys.executable, __file__, "--measure", kind, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
