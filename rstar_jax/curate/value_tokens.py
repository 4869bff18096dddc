"""Values of steps as a reward model learns them: token ids and what is told of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rstar_jax.curate.values import StepValues
from rstar_jax.data.row_tokens import RowEncoder, question_number
from rstar_jax.data.token_store import Arrays


class ValueEncoder(RowEncoder):
    """Arrays of ways through trees.

    tokens: int32 [T] of prompt and steps. ends: int64 [steps], places of the last tokens of steps. values,
    weights: float32 [steps]. question: int64 [1] (`question_number`).
    """

    row = StepValues

    def arrays(self, row: StepValues, counts: Counter[str]) -> Arrays:
        """Encode one way."""
        ids, ends = self.prompt_ids(row.question), list[int]()
        for step in row.steps:
            ids += self.tokenizer.encode_steps((step,))
            ends.append(len(ids) - 1)
        values, weights = np.asarray([row.values, row.weights], np.float32)
        return {
            "tokens": np.asarray(ids, np.int32),
            "ends": np.asarray(ends, np.int64),
            "values": values,
            "weights": weights,
            "question": np.asarray([question_number(row.question)]),
        }
