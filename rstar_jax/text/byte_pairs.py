"""Training of a byte-level BPE vocabulary: texts to a `tokenizers` backend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

_DIGIT = r"\p{N}"
# Qwen2's splitting: contractions, words with their space, single digits, punctuation, line ends, spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def trained(
    texts: Iterable[str], vocab_size: int, *, special: Sequence[str], phrases: bool
) -> tokenizers.Tokenizer:
    """A byte-level BPE, digits single, with special tokens. phrases: tokens may span words."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_DIGIT if phrases else SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The trainer would take special tokens for text and spend merges on them.
    between = re.compile("|".join(map(re.escape, special)))
    pieces = (piece for text in texts for piece in between.split(text) if piece)
    backend.train_from_iterator(pieces, trainer)
    return backend


def splits_as_qwen2(backend: tokenizers.Tokenizer) -> bool:
    """Return whether text is normalized and split before merging exactly as by Qwen2's tokenizer class."""
    parts = (backend.normalizer, backend.pre_tokenizer)
    normal, split = (json.loads(part.__getstate__()) if part else {} for part in parts)
    kinds = [(part["type"], part.get("pattern")) for part in split.get("pretokenizers", [])]
    return normal == {"type": "NFC"} and kinds == [("Split", {"Regex": SPLIT}), ("ByteLevel", None)]
