"""Tokens that trainings will read of rows that are there: estimated anew once a search is curated.

A sample is encoded, whole questions of it, as trees in which what their rows share stands once
(`train/trees.py`); the rest is counted, not read.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rstar_jax.curate import StepValues
from rstar_jax.data.row_file import RowFile, built
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.reward_models import REWARD_MODELS, SFT
from rstar_jax.plan.texts import SAMPLE
from rstar_jax.train import TrainConfig
from rstar_jax.train.solution_trees import Example, links
from rstar_jax.train.trees import token_tree
from rstar_jax.types import PreferencePair, SftRow

pc: Any = pyarrow.compute
_AT_ONCE = 8192  # rows as a table


@dataclasses.dataclass(frozen=True)
class Learnt:
    """rows: how many. tokens: of one epoch. looked_at: rows that were encoded; long: of those, longer than a
    row of the training."""

    rows: int
    tokens: float
    looked_at: int
    long: int


def of_solutions(context: Context, path: Path, config: TrainConfig) -> Learnt:
    """Count what a policy reads of a file of solutions: trees of questions."""
    tokenizer, prompt = _tokenizer(context), context.prompt("finetuned")
    chosen, long, tokens = _some_questions(RowFile(path, SftRow)), 0, 0
    for rows in chosen:
        kept = []
        for row in rows:
            ids, trained = tokenizer.encode_solution(prompt(row.question), row.steps)
            is_long = len(ids) > config.seq_len
            long += is_long
            if not is_long or config.long == "truncate":
                part = slice(config.seq_len)
                kept.append(Example(np.asarray(ids[part], np.int32), np.asarray(trained[part], bool)))
        tokens += len(token_tree(links(kept)[0]).tokens) if kept else 0
    return _learnt(RowFile(path, SftRow), chosen, tokens, long)


def of_reward_rows(context: Context, path: Path, config: TrainConfig) -> Learnt:
    """Count what the run's reward model reads of a file of the rows that it learns: trees of questions."""
    kind = REWARD_MODELS[context.settings.train.reward].kind
    tokenizer, prompt = _tokenizer(context), context.prompt("ppm")
    file: RowFile[Any] = RowFile(path, kind)
    chosen, long, tokens = _some_questions(file), 0, 0
    for rows in chosen:
        sequences = []
        for row in rows:
            before = tokenizer.encode_prompt(prompt(row.question))
            ways = [np.asarray(before + tokenizer.encode_steps(way), np.int32) for way in _ways(row)]
            is_long = max(map(len, ways)) > config.seq_len
            long += is_long
            if not is_long or config.long == "truncate" or kind is StepValues:
                sequences += [way[: config.seq_len] for way in ways]
        tokens += len(token_tree(sequences).tokens) if sequences else 0
    return _learnt(file, chosen, tokens, long)


def _learnt(file: RowFile[Any], chosen: Sequence[Sequence[Any]], tokens: int, long: int) -> Learnt:
    looked_at = sum(map(len, chosen))
    return Learnt(len(file), tokens * len(file) / max(1, looked_at), looked_at, long)


def _ways(row: PreferencePair | StepValues) -> list[tuple[str, ...]]:
    if isinstance(row, StepValues):
        return [row.steps]
    return [(*row.prefix, *side) for side in (row.positive, row.negative)]


def _some_questions(file: RowFile[Any]) -> list[list[Any]]:
    """The rows of SAMPLE questions, drawn from the whole file, as problems may come in turns; those of a
    question are mostly together."""
    begun = list[np.ndarray]()  # rows whose question is another than that before
    before, last = 0, None
    for table in file.tables(_AT_ONCE):
        questions = table["question"].combine_chunks()
        differs = pc.not_equal(questions[1:], questions[:-1]).to_numpy(zero_copy_only=False)
        first = [] if questions[0].as_py() == last else [before]
        begun += [np.asarray(first, np.int64), np.flatnonzero(differs) + before + 1]
        before, last = before + len(questions), questions[-1].as_py()
    bounds = np.concatenate([*begun, [before]]).astype(np.int64)
    count = len(bounds) - 1
    drawn = sorted(random.Random(0).sample(range(count), min(SAMPLE, count)))
    return _rows(file, [(int(bounds[i]), int(bounds[i + 1])) for i in drawn])


def _rows(file: RowFile[Any], wanted: Sequence[tuple[int, int]]) -> list[list[Any]]:
    """Rows [first, end) of a file, for spans in rising order."""
    found, parts, before = list[list[Any]](), list[pa.Table](), 0
    waiting = list(wanted)
    for table in file.tables(_AT_ONCE):
        after = before + len(table)
        while waiting and waiting[0][0] < after:
            first, end = waiting[0]
            begin = max(first, before)
            parts.append(table.slice(begin - before, min(end, after) - begin))
            if end > after:
                break
            found.append([row for part in parts for row in built(part, file.kind)])
            waiting.pop(0)
            parts.clear()
        before = after
    return found


def _tokenizer(context: Context) -> Any:
    tokenizer = context.tokenizer(context.base)
    if context.settings.policy.delimiters == "tokens":  # as they will be when it is trained
        tokenizer.add_special_tokens()
    return tokenizer


def after_curate(context: Context, round: int) -> tuple[Learnt, Learnt]:
    """Estimate what a round's policy and reward model will read, an epoch, by its curated rows."""
    folder, train = context.folder(round, "curate"), context.settings.train
    reward_rows = folder / REWARD_MODELS[train.reward].file
    return (
        of_solutions(context, folder / SFT, train.policy),
        of_reward_rows(context, reward_rows, train.ppm),
    )
