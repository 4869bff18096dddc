"""Solutions as a policy learns them: token ids, which of them are trained on, and where delimiters stand."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rstar_jax.data.row_tokens import RowEncoder, question_number
from rstar_jax.data.token_store import Arrays
from rstar_jax.errors import UserError
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import SftRow


@dataclasses.dataclass(frozen=True)
class SolutionEncoder(RowEncoder):
    """Arrays of solutions: tokens int32, trained bool, marks int8 (`marks`), [T]; question: int64 [1]
    (`question_number`).

    sampled_ids: a step is learnt by the ids that it was sampled with. room: most tokens of a solution, of
    which the steps that fit are kept; 0: all are.

    It counts "as_sampled", steps whose ids are the sampled ones where the tokenizer spells them otherwise;
    "ids_refused", steps whose sampled ids are none of their text in this vocabulary, so that the text is
    learnt; "truncated", solutions that were cut.
    """

    row = SftRow
    form = 2

    sampled_ids: bool = True
    room: int = 0

    def arrays(self, row: SftRow, counts: Counter[str]) -> Arrays:
        """Encode one solution. Raises UserError for one that teaches nothing."""
        ids = self.prompt_ids(row.question)
        trained = [False] * len(ids)
        sampled = row.token_ids if self.sampled_ids and row.token_ids else [()] * len(row.steps)
        for number, (step, given) in enumerate(zip(row.steps, sampled, strict=True)):
            written, output = self.tokenizer.encode_step(step, given)
            if self.room and number and len(ids) + len(written) + len(output) > self.room:
                counts["truncated"] += 1
                break
            if given and written != given:
                counts["ids_refused"] += 1
            elif given and written != self.tokenizer.encode_step(step)[0]:
                counts["as_sampled"] += 1
            ids += written + output
            trained += [True] * len(written) + [False] * len(output)
        if not any(trained):
            raise UserError(
                f"the solution of {row.problem_id!r}: none of its {len(row.steps)} steps holds a token that "
                "the policy writes, so that nothing can be learnt of it. Leave it out."
            )
        return {
            "tokens": np.asarray(ids, np.int32),
            "trained": np.asarray(trained, bool),
            "marks": marks(ids, self.tokenizer),
            "question": np.asarray([question_number(row.question)]),
        }


def marks(ids: Sequence[int], tokenizer: Tokenizer) -> np.ndarray:
    """Mark where delimiters stand: int8 [T], k at the first token of the k-th delimiter that the policy
    writes (from 1), -k at the others that spell it, 0 elsewhere."""
    tokens = np.asarray(ids, np.int32)
    found = np.zeros(len(tokens), np.int8)
    for k, token in enumerate(tokenizer.grammar.written, 1):
        spelling = tokenizer.encode_steps((token,))  # as it stands in a text, not at its beginning
        for start in np.flatnonzero(tokens == spelling[0]):
            if tokens[start : start + len(spelling)].tolist() == spelling:
                found[start : start + len(spelling)] = -k
                found[start] = k
    return found
