"""Freezes logits that transformers (torch, CPU, float32) computes, for test_reference.py to hold us to.

    python tests/weights/make_reference.py                       # the random models under tests/golden/models
    python tests/weights/make_reference.py --folder rstar_jax/assets/tiny-base

Each folder of tests/golden/models holds reference.npz: tokens [B, T], the positions `at` whose logits are
kept, logits [B, len(at), V], and `folder`, the model's folder relative to the repository (the random models
lie beside their reference).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "models"
LOGIT_BYTES = 120_000


def freeze(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vocab = model.config.vocab_size
    tokens = np.random.default_rng(0).integers(vocab, size=(2, 40)).astype(np.int32)
    keep = max(1, min(40, LOGIT_BYTES // (2 * 4 * vocab)))
    at = np.unique(np.linspace(0, 39, keep).astype(np.int32))
    with torch.no_grad():
        logits = model(torch.tensor(tokens)).logits.float().numpy()[:, at]
    out = GOLDEN / folder.name
    out.mkdir(parents=True, exist_ok=True)
    where = str(folder.resolve().relative_to(ROOT))
    np.savez_compressed(out / "reference.npz", tokens=tokens, at=at, logits=logits, folder=where)
    print(f"{out / 'reference.npz'}: {(out / 'reference.npz').stat().st_size} bytes")


def make_random(name: str, *, tied: bool) -> Path:
    torch.manual_seed(int(tied))
    config = transformers.Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_theta=5000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        initializer_range=0.3,
    )
    model = transformers.Qwen2ForCausalLM(config)
    with torch.no_grad():  # transformers starts biases at 0 and norms at 1, which would hide a mistake
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    folder = GOLDEN / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a model folder inside the repository")
    given = parser.parse_args().folder
    for folder in (
        [given] if given else [make_random("qwen2-tied", tied=True), make_random("qwen2", tied=False)]
    ):
        freeze(folder)
