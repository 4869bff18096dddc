"""The card of an exported data set: the header that the hub and `datasets` read, and what a person needs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_ABOUT = {
    "trees": "every search, a row a node; those of a tree together, its root (node 0, no text) first",
    "trajectories": "every way from a question to a graded answer",
    "solutions": "the right trajectories that a policy was trained on",
    "pairs": "two ways on from one prefix, the first preferred: what a PPM was trained on",
    "authors_sft": "the solutions as the authors' train_SFT.py reads them, JSON lines",
    "authors_ppm": "the pairs as the authors' train_RM.py reads them, JSON lines",
    "authors_trees": "the trees as the authors' main.py writes them, JSON lines; `data/authors.py` says what "
    "that form cannot hold",
    "trl_preference": "the pairs for TRL's preference trainers",
    "trl_stepwise": "the trajectories for TRL's PRMTrainer; a step's label is whether its Q is above 0",
    "chat": "the solutions as chats",
}
_COLUMNS = {
    "tree_id": "round, index of the tree, problem",
    "node": "its place in the tree; `parent` names one",
    "q": "Q(s) = value_sum / visits, [-1, 1]; before any visit the PPM's value, or 0",
    "reference": "the answer that `grade` is by",
    "answer": "what the text states",
    "status": "ok, answer, or why the step is no valid one; unknown: it could not be run",
    "ppm_value": "the PPM's value when the node was made",
    "observation": "what the interpreter showed",
    "token_ids": "those that the policy sampled, by its own tokenizer",
    "origin_node": "where the step was proposed, with the three columns beside it",
    "policy_model": "hash of the model that searched",
    "margin": "difference of Q, up to 2",
    "weight": "of the pair in the loss",
    "final": "whether whole solutions are compared",
}


@dataclasses.dataclass(frozen=True)
class CardPart:
    """A part of a data set. name: of its folder, and of the card's config where it is Parquet. schema: None
    for JSON lines. rows, bytes: how many."""

    name: str
    schema: pa.Schema | None
    rows: int
    bytes: int


def dataset_card(parts: Sequence[CardPart], provenance: Mapping[str, Any], licence: str | None) -> str:
    """The text of a card. Parts without rows have no files, and no config. licence: of the base model."""
    parts = [part for part in parts if part.rows]
    lines = ["---", "license: unknown", "task_categories:", "- text-generation"]
    lines += ["tags:", "- rstar-math", "- math", "- process-supervision", "- tree-search", "configs:"]
    for part in parts:
        if part.schema is None:  # one folder is of one kind of files to `datasets`
            continue
        lines += [f"- config_name: {part.name}", f'  data_files: "{part.name}/*.parquet"']
        lines += ["  default: true"] if part.name == "trajectories" else []
    lines += ["---", "", "# Searches of mathematical reasoning", ""]
    lines += ["Made by rstar_jax, after rStar-Math (arXiv 2501.04519).", ""]
    lines += ["| part | rows | MB | what it is |", "|---|---|---|---|"]
    lines += [
        f"| `{part.name}` | {part.rows:,} | {part.bytes / 1e6:,.1f} | {_ABOUT[part.name]} |" for part in parts
    ]
    lines += ["", "## Licence", "", *_licence(licence)]
    lines += ["", "## Provenance", ""]
    lines += [f"- {key}: {' '.join(str(_plain(value)).split())}" for key, value in provenance.items()]
    for part in parts:
        if part.schema is not None:
            lines += [
                "",
                f"## Columns of `{part.name}`",
                "",
                "| column | type | what it is |",
                "|---|---|---|",
            ]
            lines += [f"| `{f.name}` | {_type(f.type)} | {_COLUMNS.get(f.name, '')} |" for f in part.schema]
    return "\n".join(lines) + "\n"


def _licence(base: str | None) -> list[str]:
    known = (
        f"The card of the base model names `{base}`." if base else "No licence of the base model is known."
    )
    return [
        "Nobody has chosen one: `license: unknown` stands above until whoever publishes this replaces it.",
        "What there is to decide: questions and reference answers come from the problem sets named below,",
        f"under their licences; the steps were written by the models named below. {known}",
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"{f.name}: {_type(f.type)}" for f in kind) + "}"
    return str(kind)
