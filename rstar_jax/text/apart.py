"""Delimiters that are text, split off before a vocabulary merges anything: a pre-tokenizer before its own.

Without it "code.<code>" may become "code", ".<", "code", ">", so that a policy which is asked after "code."
has never seen how the text goes on. The split is part of tokenizer.json, so whoever else reads a saved folder
gets the same ids.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers import Regex, pre_tokenizers

_SPACE = "▁"  # how SentencePiece writes a space
_BAR = re.compile(r"(?<!\\)\|")  # between two alternatives, not the escaped one of "<\\|user\\|>"


def isolating(delimiters: Sequence[str], merging: Any) -> Any:
    """A pre-tokenizer that splits these off and does the rest as `merging` does (None: nothing more).

    Without delimiters it is `merging` itself.
    """
    if not delimiters:
        return merging
    split = pre_tokenizers.Split(Regex("|".join(map(re.escape, delimiters))), behavior="isolated")
    return pre_tokenizers.Sequence([split] if merging is None else [split, merging])


def without(pre_tokenizer: Any, delimiters: Sequence[str]) -> Any:
    """The pre-tokenizer that `isolating` was given, of what it returned for some of these delimiters; any
    other one as it is."""
    if pre_tokenizer is None:
        return None
    parts = json.loads(pre_tokenizer.__getstate__()).get("pretokenizers") or []
    pattern = parts[0].get("pattern") if parts else None
    if not isinstance(pattern, dict) or not isinstance(pattern.get("Regex"), str):
        return pre_tokenizer
    alternatives = {re.sub(r"\\(.)", r"\1", part) for part in _BAR.split(pattern["Regex"])}
    if not alternatives <= set(delimiters):
        return pre_tokenizer
    rest = [pre_tokenizer[i] for i in range(1, len(parts))]
    return pre_tokenizers.Sequence(rest) if rest else None


def begin_once(backend: tokenizers.Tokenizer, merging: Any) -> Any:
    """Put the space that SentencePiece begins a text with at its beginning alone; return what `merging`, the
    pre-tokenizer, is to be.

    Llama 2's way of it, a normalizer, also puts one behind every token that was added: a step that goes on
    with a line end behind `<code>` would be read as with a space before it, and one more at each reading.
    This is what transformers does for `legacy=False`. Others' tokenizers stay as they are.
    """
    normalizer = json.loads(backend.normalizer.__getstate__()) if backend.normalizer else {}
    kinds = [(part["type"], part.get("prepend")) for part in normalizer.get("normalizers", [])]
    if kinds == [("Prepend", _SPACE), ("Replace", None)] and merging is None:
        backend.normalizer = None  # type: ignore[assignment]
        return pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
    return merging


def halved(
    text: str, tokens: re.Pattern[str] | None, spans: Sequence[tuple[int, int]] | None = None
) -> list[str]:
    """The text in pieces, cut behind the first letter of everything in it (in these spans of it) that has the
    name of one of these tokens: the tokenizer knows no half of a token."""
    cuts = [0]
    if tokens is not None:
        for found in tokens.finditer(text):
            within = (start <= found.start() and found.end() <= end for start, end in spans or ())
            if spans is None or any(within):
                cuts.append(found.start() + 1)
    return [text[start:end] for start, end in itertools.pairwise([*cuts, len(text)])]
