"""Forward and training tokens per second, against transformers and torch with the same weights.

    taskset -c 1 python benchmarks/models.py [--dtypes float32,bfloat16]
        [--width=384 --layers=6 | --shape smollm2-135m | --model FOLDER]
    python benchmarks/models.py --gpu                 # 1.5B and 7B shapes, random weights: shares of peak

On one core, in CPU seconds: a random Qwen2 of some width, a shape by name or a folder, the same on both
sides. Forward is one text to all its logits; a training step is the mean cross-entropy, its gradients and
AdamW, parameters in the dtype named. Both run by turns; the ratio is the median over the turns (above 1: we
are faster), rates are each side's best. torch's attention is scaled_dot_product_attention, its optimiser the
foreach one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from shape import SHAPES, add_flags, folder, name

from rstar_jax.models import Decoder, DecoderConfig, Rope, attention
from rstar_jax.models.config import Remat
from rstar_jax.models.params import param_specs
from rstar_jax.train import TrainConfig, policy_loss
from rstar_jax.weights import load_pretrained

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

    forward = jax.jit(lambda params, tokens: nnx.merge(graphdef, params)(tokens))
    train = jax.jit(train, donate_argnums=(0, 1))
    held = [jax.tree.map(jnp.copy, params), state]

    def step() -> None:
        held[:] = train(*held, batch)
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


def compare(args: argparse.Namespace) -> None:
    import torch
    import transformers

    torch.set_num_threads(1)
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
    print(f"{name(args) or 'a small Qwen2'}, {args.tokens} tokens a call; tokens per CPU second")
    print("dtype     rows x length  what     ours   torch  ratio (turns)")
    with folder(args, "float32", small) as path:
        for dtype in args.dtypes.split(","):
            for T in map(int, args.lengths.split(",")):
                rows = max(1, args.tokens // T)
                model = load_pretrained(path, dtype=jnp.dtype(dtype))
                V = model.config.vocab_size
                tokens = np.random.default_rng(T).integers(V, size=(rows, T)).astype(np.int32)
                reference = transformers.AutoModelForCausalLM.from_pretrained(
                    path, dtype=getattr(torch, dtype), attn_implementation="sdpa"
                )
                pairs = zip(ours(model, tokens), theirs(reference.eval(), tokens), strict=True)
                for what, (mine, other) in zip(("forward", "train"), pairs, strict=True):
                    if what not in args.what.split(","):
                        continue
                    mine(), other()
                    turns = [(cpu_seconds(mine), cpu_seconds(other)) for _ in range(args.turns)]
                    fastest = [rows * T / min(side) for side in zip(*turns, strict=True)]
                    ratios = sorted(b / a for a, b in turns)
                    print(
                        f"{dtype:9} {rows:4} x {T:6}  {what:7} {fastest[0]:6,.0f} {fastest[1]:7,.0f} "
                        f"{statistics.median(ratios):6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                        flush=True,
                    )


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
    add_flags(parser, None)
    parser.add_argument("--width", type=int, default=384, help="a multiple of 128, where no shape is named")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=1024, help="of a call")
    parser.add_argument("--lengths", default="256,512,1024")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--what", default="forward,train")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rows", default="1,4", help="of a call, with --gpu")
    args = parser.parse_args()
    (shares_of_peak if args.gpu else compare)(args)


if __name__ == "__main__":
    main()
