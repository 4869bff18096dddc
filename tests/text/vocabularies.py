"""Vocabularies that merge in different places, with the grammar's delimiters as tokens and as text."""

import itertools
import json
import os
import string
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

import rstar_jax
from rstar_jax.text import apart
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer

BUNDLED = Path(rstar_jax.__file__).parent / "assets" / "tiny-base"
# GPT-2's, and Qwen2's, whose punctuation takes line ends along (">\n" may be one token).
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
STEPS = CODE_STEPS.render(
    ("# Step 1: add (both).\ntotal = f(12, [3])", "# Step 2.\nprint('<', total)"),
    output="(46)",
    answer=r"There are \boxed{46}.",
)


def plain() -> tokenizers.Tokenizer:
    """Bytes, nothing merged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def greedy(split: str | None, grammar: Grammar = CODE_STEPS) -> tokenizers.Tokenizer:
    """Trained on little else than what stands around delimiters, so that it merges across wherever it may."""
    backend = plain()
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [] if split is None else [pre_tokenizers.Split(Regex(split), behavior="isolated")]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*pieces, alphabet])
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    written = [prompt("How many?") + "".join(STEPS) for prompt in PROMPTS.values()]
    ends = itertools.product((".", ")", "\n", "x"), grammar.delimiters, ("\n", "\n\n"))
    around = ["".join(parts) for parts in ends]
    backend.train_from_iterator((written + around) * 3, trainer)
    return backend


def sentencepiece(prepend: bool) -> tokenizers.Tokenizer:
    """In the manner of Llama 2 (a space before every text) or of Gemma (none); what is no letter is bytes."""
    letters = ["▁", *sorted({*string.ascii_letters, *string.digits, *string.punctuation})]
    pairs = [(".", "<"), (">", "."), ("c", "o"), ("d", "e"), ("co", "de"), (".<", "code"), ("▁", "a")]
    tokens = [*(f"<0x{i:02X}>" for i in range(256)), *letters, *(a + b for a, b in pairs)]
    model = models.BPE({token: i for i, token in enumerate(tokens)}, pairs, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    space = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prepend else space
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if prepend else back)
    return backend


def without_delimiters(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a folder, its delimiters taken for text."""
    content = json.loads((path / "tokenizer.json").read_text())
    added = content["added_tokens"]
    content["added_tokens"] = [token for token in added if token["content"] not in CODE_STEPS.delimiters]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def backends() -> Iterator[tuple[str, tokenizers.Tokenizer]]:
    """Fresh ones, by name; none has a delimiter as a token."""
    yield "bytes", plain()
    yield "bundled", without_delimiters(BUNDLED)
    yield "gpt2", greedy(GPT2)
    yield "qwen2", greedy(QWEN2)
    yield "phrases", greedy(None)
    yield "llama2", sentencepiece(prepend=True)
    yield "gemma", sentencepiece(prepend=False)
    if folder := os.environ.get("RSTAR_REAL_MODEL"):
        yield "real", without_delimiters(Path(folder))


def merging(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """What the vocabulary by itself makes of a text, delimiters merged with what is around them."""
    backend = tokenizers.Tokenizer.from_str(tokenizer._backend.to_str())
    backend.pre_tokenizer = apart.without(backend.pre_tokenizer, CODE_STEPS.delimiters)
    return backend
