"""Tokenizer files of a model folder: read (nothing is executed, no pipe or device opened), and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers

from rstar_jax.errors import UserError
from rstar_jax.records import MOST_TEXT, refuse_pointer, require_file
from rstar_jax.text.tokenizer_limits import is_panic

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
# What is read besides, here or by transformers.
_BESIDE = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("chat_template.jinja", "config.json"),
)
_NAMES = "bos_token", "eos_token", "pad_token"
AS_WRITTEN = "PreTrainedTokenizerFast"  # the class that makes transformers take tokenizer.json as it is


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a tokenizer's files."""
    return any((folder / name).is_file() for name in _FILES)


def read(folder: Path) -> tuple[tokenizers.Tokenizer, dict[str, Any], int | None]:
    """The `tokenizers` object, the content of tokenizer_config.json, and how many embeddings the model has,
    None where that is not said. Raises UserError if the folder holds no tokenizer files, or they are damaged
    or odd."""
    for name in (*_FILES, *_BESIDE):
        refuse_pointer(folder / name)
        require_file(folder / name, MOST_TEXT)
    if not has_tokenizer(folder):
        raise UserError(
            f"{folder}: no tokenizer here; one of {', '.join(_FILES)} expected. Copy the tokenizer files "
            "of the model next to its weights."
        )
    hint = "Copy them again."
    try:
        names = _content(folder / "special_tokens_map.json")
        config = {name: names[name] for name in _NAMES if name in names}
        config |= _content(folder / "tokenizer_config.json")
        rows = _rows(folder / "config.json")
        if (folder / "tokenizer.json").is_file():
            return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")), config, rows
        if "auto_map" in config or "auto_map" in _content(folder / "config.json"):
            hint = (
                "Code that lies in a model's folder is never run here. Where you trust it, convert the "
                "tokenizer: AutoTokenizer.from_pretrained(DIR, trust_remote_code=True).save_pretrained(DIR)."
            )
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        backend = getattr(made, "backend_tokenizer", None)
    except BaseException as error:  # tokenizers raises bare Exception, or panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise UserError(f"{folder}: the tokenizer files cannot be read ({error}). {hint}") from error
    if backend is None:
        raise UserError(
            f"{folder}: this tokenizer has no fast form (tokenizer.json). Convert it with transformers: "
            "AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)."
        )
    return backend, config, rows


def _content(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{file.name}: a JSON object expected")
    return found


def _rows(file: Path) -> int | None:
    """Read the number of embeddings from a config.json, None where it does not say."""
    config = _content(file)
    rows = (config.get("text_config") or config).get("vocab_size")
    return rows if type(rows) is int else None


def write(folder: Path, backend: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
    """Write tokenizer.json and tokenizer_config.json (of this content), for our reader and transformers'."""
    folder.mkdir(parents=True, exist_ok=True)
    # A class of a family's own may split in its own way.
    config = {**config, "tokenizer_class": AS_WRITTEN}
    # An older listing of added tokens would override the ones in tokenizer.json; code stays behind.
    for name in ("added_tokens_decoder", "auto_map"):
        config.pop(name, None)
    # Others would make token types by default, which a decoder's `generate` refuses.
    config.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if "chat_template" in config:  # a file of an earlier save would come before it
        (folder / "chat_template.jinja").unlink(missing_ok=True)
    # not `save` of the library, which reports a full disk as a bare Exception
    (folder / "tokenizer.json").write_text(backend.to_str(pretty=True), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
