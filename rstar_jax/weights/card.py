"""Model cards: the README.md of a model folder, saying only what the caller knows of its making."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rstar_jax.weights.folders import CARD, HUB_ID

_HEADER = 2**16  # characters of a card in which its header ends
_KINDS = {
    "policy": (
        "text-generation",
        "A policy of rStar-Math (arXiv 2501.04519): it writes solutions step by step, each step with Python "
        "code. Load it with `AutoModelForCausalLM`.",
    ),
    **{
        kind: (
            "text-classification",
            f"{what} of rStar-Math (arXiv 2501.04519): one score for the text up to its last token, higher "
            "is better, not bounded. Load it with `AutoModelForSequenceClassification`.",
        )
        for kind, what in (
            ("ppm", "A process preference model"),
            ("pqm", "A model of the Q of steps (PQM)"),
            ("orm", "An outcome reward model, which values whole solutions,"),
        )
    },
}


def model_card(
    kind: Literal["policy", "ppm", "pqm", "orm"],
    provenance: Mapping[str, Any],
    *,
    base: Path | None = None,
    usage: str | None = None,
) -> str:
    """The text of a model card.

    provenance: what is known of the training, as it is to be shown: words to text, numbers, lists or further
    such mappings (base model, round, counts of data, digest of the options). `base_model` in it also goes
    into the card's header if it is a hub id. base: the folder of the base model; where its own card names a
    licence, so does this one. usage: a section of its own, Markdown.
    """
    task, text = _KINDS[kind]
    header = {"library_name": "transformers", "pipeline_tag": task, "tags": ["rstar-math", "math"]}
    if HUB_ID.fullmatch(str(provenance.get("base_model", ""))):  # a path would mean nothing elsewhere
        header["base_model"] = str(provenance["base_model"])
    if base is not None and (found := licence(base)):
        header["license"] = found
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in header.items()), "---", "", text]
    if usage:
        lines += ["", usage.strip("\n")]
    if provenance:
        lines += ["", "## Provenance", "", *_items(provenance, "")]
    return "\n".join(lines) + "\n"


def licence(folder: Path) -> str | None:
    """The licence that the header of a folder's card names, None where there is none."""
    card = folder / CARD
    if not card.is_file():  # to open a pipe is to wait for whoever writes into it
        return None
    try:
        with card.open(encoding="utf-8") as file:
            text = file.read(_HEADER)
    except (OSError, ValueError):
        return None
    header = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    found = header and re.search(r"^license:[ \t]*[\"']?([\w.-]+)[\"']?[ \t\r]*(?:#.*)?$", header[1], re.M)
    return found[1] if found and found[1] != "null" else None


def _items(values: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}- {key}:", *_items(value, indent + "  ")]
        else:
            plain = value if isinstance(value, str) else json.dumps(value, default=str)
            lines.append(f"{indent}- {key}: {' '.join(plain.split())}")
    return lines
