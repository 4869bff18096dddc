"""What others train on: TRL's preference pairs and labelled steps, chats.

    {"prompt", "chosen", "rejected"}        a pair, as text (TRL's DPOTrainer, RewardTrainer)
    {"prompt", "completions", "labels"}     a trajectory, a label a step (TRL's PRMTrainer)
    {"messages": [{"role", "content"}, ..]} a solution as a chat (TRL's SFTTrainer and others)

Prompts are those of this task, so that a prompt and what follows is the text that our models read. A chat
holds the question alone: the chat template of a policy that we trained makes the prompt of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from rstar_jax.data.authors import Frame
from rstar_jax.types import PreferencePair, SftRow

PREFERENCE = pa.schema([(name, pa.string()) for name in ("prompt", "chosen", "rejected")])
STEPWISE = pa.schema(
    [
        ("prompt", pa.string()),
        ("completions", pa.list_(pa.string())),
        ("labels", pa.list_(pa.bool_())),
    ]
)
CHAT = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])


def preference(pairs: Iterable[PreferencePair], frame: Frame) -> pa.Table:
    rows = [
        {
            "prompt": frame.asked(pair.question) + "".join(pair.prefix),
            "chosen": "".join(pair.positive),
            "rejected": "".join(pair.negative),
        }
        for pair in pairs
    ]
    return pa.Table.from_pylist(rows, schema=PREFERENCE)


def stepwise(trajectories: Sequence[dict[str, Any]], frame: Frame) -> pa.Table:
    """Label the steps of graded trajectories, rows of `flat_trees.TRAJECTORIES`: true where Q is above 0,
    which more right answers than wrong ones below a step make it."""
    rows = [
        {
            "prompt": frame.asked(row["question"]),
            "completions": row["steps"],
            "labels": [q > 0 for q in row["q"]],
        }
        for row in trajectories
        if row["grade"] != "ungraded"
    ]
    return pa.Table.from_pylist(rows, schema=STEPWISE)


def chat(rows: Iterable[SftRow]) -> pa.Table:
    chats = [
        [
            {"role": "user", "content": row.question},
            {"role": "assistant", "content": "".join(row.steps)},
        ]
        for row in rows
    ]
    return pa.Table.from_pylist([{"messages": messages} for messages in chats], schema=CHAT)
