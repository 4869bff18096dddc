"""Rows of a training as token ids: one encoder for each kind of rows, and what is kept of its work.

solution_tokens.py           solutions, for a policy
pair_tokens.py               pairs, for a PPM or an ORM
curate/value_tokens.py       values of steps, for a PQM
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa

import rstar_jax
from rstar_jax import records
from rstar_jax.data.row_file import RowFile, built
from rstar_jax.data.token_store import Arrays, TokenStore
from rstar_jax.data.tokenize import CHUNK, Share, tokenized
from rstar_jax.text.tokenizer import Tokenizer

T = TypeVar("T")

_PROMPTS = 256  # remembered: rows of a question mostly stand together


@dataclasses.dataclass(frozen=True)
class RowEncoder(abc.ABC):
    """Arrays of rows of one `row` kind. form: of the arrays; what was kept in another is not found.

    prompt: question -> what stands before the steps. source: the file of the rows, to be named where one is
    not what its kind says.
    """

    row: ClassVar[type]
    form: ClassVar[int] = 1

    tokenizer: Tokenizer
    prompt: Callable[[str], str]
    source: Path | None = dataclasses.field(default=None, kw_only=True)

    def __call__(self, chunk: Any, counts: Counter[str]) -> Iterator[Arrays]:
        """chunk: a table of rows, or some of them. Raises Damaged for a row that its kind's `check` refuses,
        and what `arrays` raises."""
        for row in self._rows(chunk):
            yield self.arrays(row, counts)

    @abc.abstractmethod
    def arrays(self, row: Any, counts: Counter[str]) -> Arrays:
        """Encode one row, [n] each, "tokens" among them; add what is counted."""

    def key(self, rows: RowFile[Any]) -> str:
        """Name the tokens of a file of rows, by all that they depend on."""
        parts = self.tokenizer.__reduce__()[1]
        tokenizer = [part.to_str() if hasattr(part, "to_str") else part for part in parts]
        fields = (field.name for field in dataclasses.fields(self))
        options = [getattr(self, name) for name in fields if name not in ("tokenizer", "prompt", "source")]
        kind = type(self).__name__
        depends = rstar_jax.__version__, kind, self.form, self.prompt("{question}"), options, tokenizer
        found = hashlib.sha256(repr(depends).encode(errors="replace"))
        found.update(records.digest(rows.path).encode())
        return found.hexdigest()[:16]

    def prompt_ids(self, question: str) -> list[int]:
        """Ids of the prompt that asks a question."""
        return [*self._remembered(question)]

    @functools.cached_property
    def _remembered(self) -> Callable[[str], list[int]]:
        encode = self.tokenizer.encode_prompt
        return functools.lru_cache(_PROMPTS)(lambda question: encode(self.prompt(question)))

    def __getstate__(self) -> dict[str, Any]:  # without what is remembered, which no process can be sent
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _rows(self, chunk: Any) -> Iterator[Any]:
        try:
            yield from built(chunk, self.row) if isinstance(chunk, pa.Table) else chunk
        except ValueError as error:
            raise records.Damaged(self.source or Path("a table"), str(error)) from error


def encoded(
    rows: Collection[Any],
    encoder: RowEncoder,
    kind: Callable[..., T],
    *,
    folder: Path | None = None,
    share: Share | None = None,
    on_done: Callable[[int], None] = lambda _: None,
) -> TokenStore[T]:
    """Encode rows. folder: where the tokens of a `RowFile` are kept; those of other rows stay in memory, on
    each host. The rest as for `tokenized`."""
    if isinstance(rows, RowFile):
        key = encoder.key(rows) if folder else ""
        return tokenized(
            lambda: rows.tables(CHUNK),
            dataclasses.replace(encoder, source=rows.path),
            kind,
            rows=len(rows),
            folder=folder,
            key=key,
            share=share,
            on_done=on_done,
        )
    return tokenized(lambda: _chunks(rows), encoder, kind, rows=len(rows), on_done=on_done)


def question_number(question: str) -> np.int64:
    """Name a question by 64 bits of a digest, by which its rows are brought together whatever their order."""
    found = hashlib.blake2b(question.encode(errors="surrogatepass"), digest_size=8)
    return np.frombuffer(found.digest(), "<i8")[0]


def _chunks(rows: Iterable[T]) -> Iterator[Sequence[T]]:
    some = list[T]()
    for row in rows:
        some.append(row)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some
