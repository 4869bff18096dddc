"""Solutions as a policy learns them: token ids, which of them are trained on, and where delimiters stand."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

import rstar_jax
from rstar_jax import records
from rstar_jax.data.row_file import RowFile, built
from rstar_jax.data.token_store import Arrays, TokenStore
from rstar_jax.data.tokenize import CHUNK, Share, tokenized
from rstar_jax.errors import UserError
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import SftRow

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class SolutionEncoder:
    """Arrays of solutions [T]: tokens int32, trained bool, marks int8 (`marks`).

    prompt: question -> what stands before the solution. sampled_ids: a step is learnt by the ids that it was
    sampled with. room: most tokens of a solution, of which the steps that fit are kept; 0: all are.

    It counts "as_sampled", steps whose ids are the sampled ones where the tokenizer spells them otherwise;
    "ids_refused", steps whose sampled ids are none of their text in this vocabulary, so that the text is
    learnt; "truncated", solutions that were cut.
    """

    tokenizer: Tokenizer
    prompt: Callable[[str], str]
    sampled_ids: bool = True
    room: int = 0

    def __call__(self, chunk: Any, counts: Counter[str]) -> Iterator[Arrays]:
        """chunk: a table of SftRows, or some of them. Raises UserError for one that teaches nothing."""
        for row in built(chunk, SftRow) if isinstance(chunk, pa.Table) else chunk:
            yield self.arrays(row, counts)

    def arrays(self, row: SftRow, counts: Counter[str]) -> Arrays:
        """Encode one solution."""
        ids = self.tokenizer.encode_prompt(self.prompt(row.question))
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
        }

    def key(self, rows: RowFile[SftRow]) -> str:
        """Name the tokens of a file of rows, by all that they depend on."""
        parts = self.tokenizer.__reduce__()[1]
        tokenizer = [part.to_str() if hasattr(part, "to_str") else part for part in parts]
        depends = rstar_jax.__version__, self.prompt("{question}"), self.sampled_ids, self.room, tokenizer
        found = hashlib.sha256(repr(depends).encode(errors="replace"))
        found.update(records.digest(rows.path).encode())
        return found.hexdigest()[:16]


def solutions(
    rows: Collection[SftRow],
    encoder: SolutionEncoder,
    kind: Callable[..., T],
    *,
    folder: Path | None = None,
    share: Share | None = None,
    on_done: Callable[[int], None] = lambda _: None,
) -> TokenStore[T]:
    """Encode solutions. folder: where the tokens of a `RowFile` are kept; those of other rows stay in memory,
    on each host. The rest as for `tokenized`."""
    if isinstance(rows, RowFile):
        key = encoder.key(rows) if folder else ""
        return tokenized(
            lambda: rows.tables(CHUNK),
            encoder,
            kind,
            rows=len(rows),
            folder=folder,
            key=key,
            share=share,
            on_done=on_done,
        )
    return tokenized(lambda: _chunks(rows), encoder, kind, rows=len(rows), on_done=on_done)


def _chunks(rows: Iterable[T]) -> Iterator[Sequence[T]]:
    some = list[T]()
    for row in rows:
        some.append(row)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some


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
