"""Preference pairs as a reward model learns them: token ids and what is told of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rstar_jax.data.row_tokens import RowEncoder, question_number
from rstar_jax.data.token_store import Arrays
from rstar_jax.types import PreferencePair

WHOLE = 0  # the depth of a pair of whole solutions


class PairEncoder(RowEncoder):
    """Arrays of pairs.

    tokens: int32 [T], what both sides share, the rest of the preferred one, that of the other. cuts: int32
    [2], where in them the two rests begin. question: int64 [1] (`question_number`). weight: float32 [1].
    depth: int32 [1], of the first step that differs, from 1; WHOLE.
    """

    row = PreferencePair

    def arrays(self, row: PreferencePair, counts: Counter[str]) -> Arrays:
        """Encode one pair."""
        ids, encode, cuts = self.prompt_ids(row.question), self.tokenizer.encode_steps, list[int]()
        for steps in (row.prefix, row.positive, row.negative):
            ids += encode(steps)
            cuts.append(len(ids))
        return {
            "tokens": np.asarray(ids, np.int32),
            "cuts": np.asarray(cuts[:2], np.int32),
            "question": np.asarray([question_number(row.question)]),
            "weight": np.asarray([row.weight], np.float32),
            "depth": np.asarray([WHOLE if row.final else len(row.prefix) + 1], np.int32),
        }
