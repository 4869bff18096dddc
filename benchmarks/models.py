"""Forward and training tokens per second, against transformers and torch with the same weights.

    taskset -c 1 python benchmarks/models.py                       # every row of docs/BENCHMARKS.md
    taskset -c 1 python benchmarks/models.py --shapes small --dtypes bfloat16 --lengths 512 --what train
    python benchmarks/models.py --gpu                 # 1.5B and 7B shapes, random weights: shares of peak

Rows are a shape times a dtype times a length times forward or training, in CPU seconds of one core, to which
all is pinned. Shapes: "small", a Qwen2 of --width and --layers, or those of `shape.py` by name; --model
measures a folder in their place. Weights are the same on both sides. Forward is one text to all its logits; a
training step is the mean cross-entropy, its gradients and AdamW, parameters in the dtype named. torch's
attention is scaled_dot_product_attention, its optimiser the foreach one.

Each side has a process of its own, as one's allocator would be measured with what the other left behind; for
each dtype and length a new one. They run by turns; the ratio is the median over the turns (above 1: we are
faster), rates are each side's best. first: CPU seconds of our first call, compilation and all. A row has at
least three turns, and no more once they took --seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from shape import SHAPES, listed

from rstar_jax.compilations import jit
from rstar_jax.models import Decoder, DecoderConfig, Rope, attention, init_random
from rstar_jax.models.config import Remat
from rstar_jax.models.params import param_specs
from rstar_jax.train import TrainConfig, policy_loss
from rstar_jax.weights import load_pretrained, save_pretrained

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bfloat16 operations a second
ON_GPU = {
    "1.5B": SHAPES["qwen2.5-1.5b"],
    "7B": DecoderConfig(
        vocab_size=152_064,
        width=3584,
        layers=28,
        heads=28,
        kv_heads=4,
        head_dim=128,
        mlp=18_944,
        rope=Rope(1e6),
        tied=False,
    ),
}
Step = Callable[[], object]
FORK = multiprocessing.get_context("fork")


def cpu_seconds(step: Step) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def ours(model: Decoder, tokens: np.ndarray, remat: Remat = "none") -> tuple[Step, Step]:
    """A forward pass, and a training step that updates its own copy of the parameters."""
    graphdef, params = nnx.split(model)
    optimiser = optax.adamw(1e-5, weight_decay=0.1)
    state = optimiser.init(params)
    config = TrainConfig(seq_len=tokens.shape[1], microbatch=len(tokens), remat=remat)
    batch = {
        "tokens": jnp.asarray(tokens),
        "positions": jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape),
        "segment_ids": jnp.ones(tokens.shape, jnp.int32),
        "ends": jnp.full(tokens.shape, tokens.shape[1], jnp.int32),
        "targets": jnp.asarray(np.roll(tokens, -1, axis=1)),
        "weights": jnp.ones(tokens.shape, jnp.float32),
        "marks": jnp.zeros(tokens.shape, jnp.int8),
    }

    def train(params: Any, state: Any, batch: dict[str, jax.Array]) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            total, count = policy_loss(nnx.merge(graphdef, params), batch, config)["loss"]
            return total / count

        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    forward = jit(lambda params, tokens: nnx.merge(graphdef, params)(tokens))
    train = jit(train, donate_argnums=(0, 1))
    held = [jax.tree.map(jnp.copy, params), state]

    def step() -> None:
        held[:] = train(held[0], held[1], batch)
        jax.block_until_ready(held)

    return lambda: jax.block_until_ready(forward(params, batch["tokens"])), step


def theirs(model: Any, tokens: np.ndarray) -> tuple[Step, Step]:
    import torch

    ids = torch.tensor(tokens, dtype=torch.long)
    targets = torch.tensor(np.roll(tokens, -1, axis=1), dtype=torch.long)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.1, foreach=True)

    def forward() -> None:
        with torch.no_grad():
            model(ids, use_cache=False)

    def step() -> None:
        logits = model(ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return forward, step


def torch_steps(path: Path, dtype: str, tokens: np.ndarray) -> tuple[Step, Step]:
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    return theirs(model.eval(), tokens)


def jax_steps(path: Path, dtype: str, tokens: np.ndarray) -> tuple[Step, Step]:
    return ours(load_pretrained(path, dtype=jnp.dtype(dtype)), tokens)


def serve(make: Callable[..., tuple[Step, Step]], given: tuple[Any, ...], asked: Connection) -> None:
    """A side's process: CPU seconds of each step that is asked for, until None."""
    steps = dict(zip(("forward", "train"), make(*given), strict=True))
    while (what := asked.recv()) is not None:
        asked.send(cpu_seconds(steps[what]))


class Side:
    """One of the two, in a process of its own: forked, as nothing runs here yet and imports take longest."""

    def __init__(self, make: Callable[..., tuple[Step, Step]], *given: Any) -> None:
        self._to, other = FORK.Pipe()
        self._process = FORK.Process(target=serve, args=(make, given, other), daemon=True)
        self._process.start()
        other.close()

    def __call__(self, what: str) -> float:
        self._to.send(what)
        return self._to.recv()

    def end(self) -> None:
        self._to.send(None)
        self._process.join()


def save_random(config: DecoderConfig, dtype: str, path: str) -> None:
    save_pretrained(init_random(config, 0, dtype=jnp.dtype(dtype)), path)


def compare(args: argparse.Namespace) -> None:
    import transformers

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    small = DecoderConfig(
        vocab_size=8192,
        width=args.width,
        layers=args.layers,
        heads=args.width // 64,
        kv_heads=2,
        head_dim=64,
        mlp=args.width * 11 // 4,
    )
    print("shape         dtype     rows x length  what      ours   torch  ratio (turns)        first")
    for shape in [args.model.name] if args.model else args.shapes.split(","):
        with tempfile.TemporaryDirectory() as made:
            path = args.model or Path(made)
            if not args.model:
                dtype = "float32" if "float32" in args.dtypes else "bfloat16"
                saving = FORK.Process(target=save_random, args=(SHAPES.get(shape, small), dtype, made))
                saving.start()
                saving.join()
            for dtype in args.dtypes.split(","):
                for T in map(int, args.lengths.split(",")):
                    rows_of(args, path, shape, dtype, max(1, args.tokens // T) if shape == "small" else 1, T)


def rows_of(args: argparse.Namespace, path: Path, shape: str, dtype: str, rows: int, T: int) -> None:
    """Measure and print the rows of one dtype and length."""
    vocabulary = json.loads((path / "config.json").read_text())["vocab_size"]
    tokens = np.random.default_rng(T).integers(vocabulary, size=(rows, T)).astype(np.int32)
    mine, other = (Side(make, path, dtype, tokens) for make in (jax_steps, torch_steps))
    for what in args.what.split(","):
        first = mine(what)
        other(what)
        pairs: list[tuple[float, float]] = []
        while len(pairs) < 3 or (len(pairs) < args.turns and sum(map(sum, pairs)) < args.seconds):
            pairs.append((mine(what), other(what)))
        fastest = [rows * T / min(side) for side in zip(*pairs, strict=True)]
        ratios = sorted(b / a for a, b in pairs)
        print(
            f"{shape:13} {dtype:9} {rows:4} x {T:6}  {what:7} {fastest[0]:6,.0f} {fastest[1]:7,.0f} "
            f"{statistics.median(ratios):6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) {first:6.1f}",
            flush=True,
        )
    for side in (mine, other):
        side.end()


def operations(c: DecoderConfig, T: int) -> float:
    """Of a forward pass per token: two per weight that a matmul reads, and causal attention's."""
    weights = sum(np.prod(s.shape) for name, s in param_specs(c).items() if name != "embed" or c.tied)
    return 2.0 * float(weights) + 2 * 2 * c.layers * c.heads * c.head_dim * T / 2


def shares_of_peak(args: argparse.Namespace) -> None:
    """Random bfloat16 weights and moments; each layer is computed again in the backward pass.

    That second computation does not count as work done (MFU, arXiv 2204.02311, appendix B).
    """
    device = jax.devices()[0]
    peak = next((n for name, n in PEAK.items() if name in device.device_kind), None)
    if jax.default_backend() != "gpu" or peak is None:
        raise SystemExit(f"--gpu: {device.device_kind} given, one of {', '.join(PEAK)} expected")
    T = 4096
    print(f"{device.device_kind}, {peak / 1e12:.0f} TFLOP/s, rows of {T} tokens, wall seconds")
    print("shape  rows  what     tokens/s  share of peak")
    for label, c in ON_GPU.items():
        print(attention.describe(c, T, jnp.bfloat16))
        for rows in map(int, args.rows.split(",")):
            params = {n: 0.02 * jnp.ones(s.shape, jnp.bfloat16) for n, s in param_specs(c).items()}
            tokens = np.random.default_rng(0).integers(c.vocab_size, size=(rows, T)).astype(np.int32)
            model = Decoder(c, params)
            _, step = ours(model, tokens, remat="full")
            prefill = jax.jit(lambda model, tokens: model.prefill(tokens, jnp.full(len(tokens), T))[0][:, -1])
            for what, times, run in (
                ("prefill", 1, lambda: jax.block_until_ready(prefill(model, tokens))),  # noqa: B023
                ("train", 3, step),
            ):
                run()
                seconds = []
                for _ in range(args.turns):
                    begin = time.perf_counter()
                    run()
                    seconds.append(time.perf_counter() - begin)
                rate = rows * T / statistics.median(seconds)
                share = rate * times * operations(c, T) / peak
                print(f"{label:5} {rows:5}  {what:7} {rate:9,.0f} {share:14.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ("small", *SHAPES)
    parser.add_argument("--shapes", type=listed(*known), default="small,smollm2-135m", help=", ".join(known))
    parser.add_argument("--model", type=Path, help="a Hugging Face folder in their place")
    parser.add_argument("--width", type=int, default=384, help="of the small shape, a multiple of 128")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument(
        "--tokens", type=int, default=1024, help="of a call of the small shape; others take one row"
    )
    parser.add_argument("--lengths", type=listed(), default="256,512,1024")
    parser.add_argument("--dtypes", type=listed("float32", "bfloat16"), default="float32,bfloat16")
    parser.add_argument("--what", type=listed("forward", "train"), default="forward,train")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=30.0, help="of both sides' turns in a row")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rows", type=listed(), default="1,4", help="of a call, with --gpu")
    args = parser.parse_args()
    if args.width < 128 or args.width % 128 or min(args.layers, args.tokens) < 1:
        parser.error("--width must be a multiple of 128, --layers and --tokens above 0")
    if args.model and not (args.model / "config.json").is_file():
        parser.error(f"--model {args.model}: no Hugging Face folder (config.json is missing)")
    (shares_of_peak if args.gpu else compare)(args)


if __name__ == "__main__":
    main()
