"""Model folders as a whole: where one is, whether its tokenizer fits, and replacing one at once."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rstar_jax
from rstar_jax import manifests
from rstar_jax.errors import UserError
from rstar_jax.weights import contents
from rstar_jax.weights.adapter_config import CONFIG as ADAPTER_CONFIG
from rstar_jax.weights.adapter_config import AdapterConfig, is_adapter
from rstar_jax.weights.weight_files import INDEX, WEIGHTS, is_there, read_json

TINY_BASE = Path(rstar_jax.__file__).parent / "assets" / "tiny-base"  # the bundled one
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
CARD, GENERATION = "README.md", "generation_config.json"
HUB_FILES = ("config.json", GENERATION, ADAPTER_CONFIG, "*.safetensors", INDEX, CARD, *TOKENIZER_FILES)
_TWICE = "consolidated*"  # the weights again, in another form
_NO_TEXT = re.compile("image|audio|video|vision", re.IGNORECASE)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
StrPath = str | os.PathLike[str]


def local_folder(path: StrPath) -> Path:
    """The local folder of a path or hub id, downloaded if need be. Raises UserError if there is neither."""
    folder = Path(path)
    if is_there(folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: a file; the folder that holds config.json is expected.")
        if not is_there(folder / "config.json") and not is_adapter(folder):
            raise UserError(f"{folder}: {contents.without_config(folder)}")
        return folder
    if not HUB_ID.fullmatch(str(path)):
        raise UserError(f"{path}: no such folder (and no hub id, which looks like 'owner/name').")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"{path}: no such folder. To load it as a hub id: pip install huggingface_hub."
        ) from error
    try:
        return Path(
            hub.snapshot_download(str(path), allow_patterns=list(HUB_FILES), ignore_patterns=[_TWICE])
        )
    except Exception as error:
        raise UserError(
            f"{path}: no such folder here, and not to be had from the hub ({type(error).__name__}: {error}). "
            "Check the name and the network, or download the folder and give its path."
        ) from error


def require_whole(folder: Path) -> None:
    """Refuse the folder of a model that a run made, if it is not as it was made. Raises UserError."""
    manifests.require_whole(folder, but=(CARD,))


def base_folder(folder: Path) -> Path:
    """The folder of the model that an adapter's folder adds to; any other folder is its own.

    A path in adapter_config.json is taken from the adapter's folder on, then from the working directory, then
    as a hub id. Raises UserError where none is there, or the folder holds a model beside the adapter.
    """
    if not is_adapter(folder):
        return folder
    for name in (WEIGHTS, INDEX):
        if is_there(folder / name):
            raise UserError(
                f"{folder}: a whole model ({name}) and an adapter ({ADAPTER_CONFIG}) in one folder. If the "
                f"adapter is merged into the model, take {ADAPTER_CONFIG} away; if it is not, give it a "
                "folder of its own."
            )
    file, named = folder / ADAPTER_CONFIG, AdapterConfig.read(folder).base
    mend = f"Write the base's folder into that field of {file}."
    if not named:
        raise UserError(f"{file}: field 'base_model_name_or_path' names no base. {mend}")
    beside = folder / Path(named).expanduser()
    try:
        base = local_folder(beside if is_there(beside) else named)
    except UserError as error:
        raise UserError(f"{file}: field 'base_model_name_or_path': {error} {mend}") from error
    if is_adapter(base):
        raise UserError(
            f"{file}: field 'base_model_name_or_path': {base} is an adapter itself. Merge it into its base, "
            f"and then: {mend}"
        )
    return base


def tokenizer_folder(folder: Path) -> Path:
    """Find the tokenizer of a model: in its folder or, of an adapter that has none, in its base's."""
    own = any(is_there(folder / name) for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    return folder if own else base_folder(folder)


def check_tokenizer(folder: Path, vocab_size: int, embeddings: str) -> None:
    """Raises UserError if the folder's tokenizer has ids that the embeddings have no row for.

    More rows than ids are common: padding. An added token for images, sound or video may lie beyond: a family
    that also sees has one tokenizer for all its models, and `Tokenizer` keeps it from those of text. A folder
    without tokenizer, or with one in no JSON, passes. embeddings: what has the rows, for the message.
    """
    for name in ("tokenizer.json", "vocab.json"):
        if is_there(folder / name):
            top = _highest_id(folder / name)
            if top >= vocab_size:
                raise UserError(
                    f"{folder / name}: its highest id is {top}, but {embeddings} has {vocab_size} rows. "
                    "Take the tokenizer that belongs to these weights, or resize the embeddings."
                )
            return


def _highest_id(file: Path) -> int:
    content = read_json(file)
    vocab: Any = content
    ids: list[Any] = []
    if file.name == "tokenizer.json":
        model, added = content.get("model"), content.get("added_tokens")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        tokens = [token for token in added or () if isinstance(token, dict)]
        ids += [t.get("id") for t in tokens if not _NO_TEXT.search(str(t.get("content")))]
    if isinstance(vocab, list):  # a unigram model: the id is the place
        ids.append(len(vocab) - 1)
    elif isinstance(vocab, dict):
        ids += vocab.values()
    return max((i for i in ids if type(i) is int), default=-1)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer files that there are."""
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copy2(source / name, folder / name)


def replace_folder(path: Path, fill: Callable[[Path], None], size: int) -> None:
    """Makes the folder at `path` hold what `fill` writes, and what else it held, at once or not at all.

    size: bytes of the model, for messages. Raises UserError where it cannot be written.
    """
    path = path.resolve()  # a link's folder is replaced, not the link; and "." and ".." have no neighbours
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: a file is in the way of the model folder. Name another path.")
    fresh = path.with_name(f".{path.name}.new-{os.getpid()}")
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if path.exists():
            weights = {INDEX, WEIGHTS, *(f.name for f in path.glob("model-*-of-*.safetensors"))}
            shutil.copytree(path, fresh, ignore=lambda _, names: weights & set(names), dirs_exist_ok=True)
        fill(fresh)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if old.exists() and not path.exists():
            old.rename(path)
        raise UserError(
            f"{path}: the model ({size / 1e6:.1f} MB) could not be written: {error}. "
            "Free some space or name another path; nothing half-written was left."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
