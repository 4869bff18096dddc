"""Tokens per CPU second against transformers' `generate`, where candidates share their leaf's prefix.

    taskset -c 1 python benchmarks/decode.py [--shape smollm2-135m | --model FOLDER]
        [--prefixes 256,512,1024] [--batches 8x8,2x8,1x16] [--dtype float32]

A random model of a shape (by default 47 M parameters and 32,768 tokens, the Qwen2 shape in small) or a
Hugging Face folder, one core, the same weights and the same number of new tokens on both sides, sampled at
temperature 1; no token ends a step. A batch of 8x8 is 8 leaves of 8 candidates. transformers has its prompts
prefilled once per leaf and their caches repeated to the candidates, which is not counted, and the faster of
its dynamic and its static cache. The two take turns; a ratio is the median of its pairs, by CPU seconds.
Compilation and first calls are reported apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax.numpy as jnp
import numpy as np
import torch
import transformers
from engine import Ours, cpu_seconds
from shape import add_flags, folder, name

from rstar_jax.models import Decoder
from rstar_jax.weights import load_pretrained


class Theirs:
    """One batch shape on transformers. run() as for `Ours`, with a cache of the kind given."""

    def __init__(self, model: Any, prefixes: np.ndarray, n: int, new: int) -> None:
        self.model, self.n, self.new = model, n, new
        self.prefixes = torch.tensor(prefixes, dtype=torch.long)
        self.asked = self.prefixes.repeat_interleave(n, dim=0)

    @torch.inference_mode()
    def prefill(self) -> Any:
        """All but the last token, which `generate` must be left to feed."""
        cache = transformers.DynamicCache(config=self.model.config)
        self.model.model(self.prefixes[:, :-1], past_key_values=cache, use_cache=True)
        return cache

    @torch.inference_mode()
    def repeated(self, cache: Any, kind: str) -> Any:
        if kind == "dynamic":
            cache.batch_repeat_interleave(self.n)
            return cache
        length = self.prefixes.shape[1] + self.new
        static = transformers.StaticCache(config=self.model.config, max_cache_len=length)
        for i, layer in enumerate(cache.layers):
            k, v = (x.repeat_interleave(self.n, dim=0) for x in (layer.keys, layer.values))
            static.update(k, v, i)
        return static

    @torch.inference_mode()
    def generate(self, cache: Any) -> None:
        sampled = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        out = self.model.generate(
            self.asked,
            attention_mask=torch.ones_like(self.asked),
            past_key_values=cache,
            min_new_tokens=self.new,
            max_new_tokens=self.new,
            pad_token_id=0,
            **sampled,
        )
        assert out.shape == (len(self.asked), self.prefixes.shape[1] + self.new)

    def run(self, kind: str) -> tuple[float, float]:
        begin = time.process_time()
        cache = self.prefill()
        prefill = time.process_time() - begin
        cache = self.repeated(cache, kind)
        return prefill, cpu_seconds(lambda: self.generate(cache)) / (len(self.asked) * self.new)


def same_model(ours: Decoder, theirs: Any) -> float:
    """The largest difference of logits over their spread, on a text of 64 tokens."""
    ids = np.random.default_rng(0).integers(ours.config.vocab_size, size=(1, 64))
    with torch.inference_mode():
        expected = theirs(torch.tensor(ids)).logits.float().numpy()
    return float(np.abs(np.asarray(ours(jnp.asarray(ids, jnp.int32))) - expected).max() / expected.std())


def compare(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # `past_key_values` was renamed in a late release
    with folder(args, args.dtype) as path:
        model = load_pretrained(path, dtype=jnp.dtype(args.dtype))
        peer = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, args.dtype), attn_implementation="sdpa"
        ).eval()
    count = sum(p.size for p in model.params().values())
    print(
        f"{name(args)}, {count / 1e6:.1f} M parameters, {args.dtype}, {args.new} new tokens; "
        f"logits differ by at most {same_model(model, peer):.3f} of their spread"
    )
    print("          decoded tokens per CPU second              prefilled        first call, CPU s")
    print("prefix  batch  transformers    ours  ratio (pairs)         theirs   ours     theirs  ours")
    for P in map(int, args.prefixes.split(",")):
        for batch in args.batches.split(","):
            B, n = map(int, batch.split("x"))
            drawn = np.random.default_rng(P)
            prefixes = drawn.integers(model.config.vocab_size, size=(B, P)).astype(np.int32)
            mine = Ours(model, prefixes, n, args.new, args.chunk)
            other = Theirs(peer, prefixes, n, args.new)
            first = cpu_seconds(lambda: other.run("dynamic")), cpu_seconds(mine.run)  # noqa: B023
            tried = {kind: other.run(kind)[1] for kind in ("static", "dynamic")}
            kind = min(tried, key=lambda kind: tried[kind])
            pairs = [(other.run(kind), mine.run()) for _ in range(args.pairs)]
            ratios = sorted(a[1] / b[1] for a, b in pairs)
            sides = list(zip(*pairs, strict=True))
            rates = [[1 / statistics.median(run[k] for run in side) for side in sides] for k in (0, 1)]
            filled = [rate * B * (P - 1) for rate in rates[0]]
            print(
                f"{P:6}  {batch:>5}  {rates[1][0]:6,.0f} {kind:7} {rates[1][1]:6,.0f}  "
                f"{statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  "
                f"{filled[0]:8,.0f} {filled[1]:6,.0f}     {first[0]:6.1f} {first[1]:5.1f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument("--prefixes", default="256,512,1024", help="tokens that a leaf's candidates share")
    parser.add_argument("--batches", default="8x8,2x8,1x16", help="leaves x candidates")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--new", type=int, default=48, help="tokens that each candidate gets")
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
