"""Rows to a `TokenStore`: chunk by chunk, by several processes where there are many, each chunk a piece.

What is there is not made again, so that whoever is killed goes on where it was, and a resumed training maps
what the first one made. Of several hosts that share the folder each makes its share.

    chunks -> own ones that are not there -> processes (`tokenize_worker.py`) write -> hosts meet -> mapped
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import pickle
import queue
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from rstar_jax import records
from rstar_jax.data.token_store import Arrays, TokenStore, batch_of, open_piece, write_piece
from rstar_jax.errors import UserError

log = logging.getLogger(__name__)
T = TypeVar("T")

# (chunk, counts) -> the arrays of each example; it adds what it counts.
Encode = Callable[[Any, Counter[str]], Iterable[Arrays]]

CHUNK = 8192  # rows of a piece
_ROWS_A_WORKER = 20_000  # below it a process of its own is not worth its start


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of the chunks that a host encodes. led: has the first host call something and tells the
    others; meet: returns when all are here and each sees what the others wrote."""

    part: int = 0
    parts: int = 1
    led: Callable[[Callable[[], Any]], Any] = lambda work: work()
    meet: Callable[[], None] = lambda: None


def tokenized(
    chunks: Callable[[], Iterable[Any]],
    encode: Encode,
    kind: Callable[..., T],
    *,
    rows: int,
    folder: Path | None = None,
    key: str = "",
    share: Share | None = None,
    on_done: Callable[[int], None] = lambda _: None,
) -> TokenStore[T]:
    """The examples of all chunks. kind: of an example (`TokenStore`).

    chunks: yields what `encode` takes, with a length, the same each time it is called. rows: how many in all.
    folder: where the pieces go; None: into memory. key: names them by all that they depend on; pieces of
    another one there are removed. on_done: told now and then of the rows that are done. Raises what `encode`
    raises, and UserError where the folder cannot be written.
    """
    if folder is None:
        return TokenStore(_in_memory(chunks(), encode, on_done), kind)
    share, index = share or Share(), folder / f"{key}.json"
    if share.led(lambda: _sweep(folder, key, index)):
        count = records.read_signed(index)["pieces"]
    else:
        count = _make(chunks(), encode, folder, key, share, rows, on_done)
        share.meet()
        share.led(lambda: records.write_signed(index, {"pieces": count, "rows": rows}))
    paths = [_path(folder, key, number) for number in range(count)]
    return TokenStore((open_piece(path, path.stem) for path in paths), kind, paths)


def piece_of(chunk: Any, encode: Encode, key: str = "") -> pa.RecordBatch:
    """Encode one chunk."""
    counts = Counter[str]()
    return batch_of(list(encode(chunk, counts)), counts, key)


def _in_memory(
    chunks: Iterable[Any], encode: Encode, on_done: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    done = 0
    for chunk in chunks:
        yield piece_of(chunk, encode)
        done += len(chunk)
        on_done(done)


def _path(folder: Path, key: str, number: int) -> Path:
    return folder / f"{key}-{number:06d}.arrow"


def _sweep(folder: Path, key: str, index: Path) -> bool:
    """Remove what is of another key or damaged; return whether all is there."""
    for path in folder.glob("*") if folder.exists() else ():
        try:
            if path == index:
                continue
            if not path.name.startswith(f"{key}-"):
                path.unlink()
            else:
                open_piece(path, path.stem)
        except records.Damaged as error:
            log.warning("%s It is made again.", error)
            path.unlink()
    if not index.exists():
        return False
    try:
        count = records.read_signed(index)["pieces"]
    except (records.Damaged, KeyError, TypeError):
        count = None
    if count is not None and all(_path(folder, key, number).exists() for number in range(count)):
        return True
    index.unlink()
    return False


def _make(
    chunks: Iterable[Any],
    encode: Encode,
    folder: Path,
    key: str,
    share: Share,
    rows: int,
    on_done: Callable[[int], None],
) -> int:
    """Write the pieces of a host's share that are not there. Returns how many pieces there are in all."""
    done, count = 0, 0

    def own() -> Iterator[tuple[Path, Any]]:
        nonlocal done, count
        for number, chunk in enumerate(chunks):
            count = number + 1
            path = _path(folder, key, number)
            if number % share.parts == share.part and not path.exists():
                yield path, chunk
            done += len(chunk)
            on_done(done)

    workers = min(len(os.sched_getaffinity(0)), rows // share.parts // _ROWS_A_WORKER)
    if workers < 2 or (request := _pickled(encode)) is None:
        for path, chunk in own():
            write_piece(path, piece_of(chunk, encode, path.stem))
        return count
    with _Workers(request, workers) as pool:
        for path, chunk, made in pool.map(own()):
            if not made:  # its process was killed, for want of memory mostly
                write_piece(path, piece_of(chunk, encode, path.stem))
    return count


def _pickled(value: Any) -> bytes | None:
    """None where it holds what no other process can be given: a lambda, an open file."""
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


class _Workers:
    """Processes that encode, each asked by one thread at a time. They end when their input is closed, also by
    our own death.

    idle -> given what encodes, the first time -> given a chunk -> it has written the piece -> idle
    """

    def __init__(self, request: bytes, count: int) -> None:
        # Their own threads would be as many as there are cores, in each.
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-m", "rstar_jax.data.tokenize_worker"]
        self._request, self._count, self._told = request, count, set[int]()
        self._idle, self._all = queue.SimpleQueue[subprocess.Popen[bytes]](), list[subprocess.Popen[bytes]]()
        for _ in range(count):
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a ^C is for us
            )
            self._all.append(child)
            self._idle.put(child)
        self._threads, self._ended = ThreadPoolExecutor(count), False

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for child in self._all:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in self._all:
            child.communicate()

    def map(self, jobs: Iterable[tuple[Path, Any]]) -> Iterator[tuple[Path, Any, bool]]:
        """Have the pieces of jobs (path, chunk) written; yield each with whether it was. Few are under way
        at a time. Raises the UserError of one that cannot be encoded."""
        waiting = collections.deque[tuple[Path, Any, Future[bool]]]()
        for path, chunk in jobs:
            waiting.append((path, chunk, self._threads.submit(self._ask, path, chunk)))
            if len(waiting) > self._count:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())

    def _ask(self, path: Path, chunk: Any) -> bool:
        child = self._idle.get()
        assert child.stdin is not None and child.stdout is not None
        try:
            if child.pid not in self._told:
                child.stdin.write(self._request)
                self._told.add(child.pid)
            child.stdin.write(pickle.dumps((path, chunk)))
            child.stdin.flush()
            refused: UserError | None = pickle.load(child.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            if not self._ended:
                log.warning("A process that tokenizes was killed; its rows are encoded by this one.")
            return False
        finally:
            self._idle.put(child)  # one that is dead says so at once
        if refused is not None:
            raise refused
        return True


def _result(job: tuple[Path, Any, Future[bool]]) -> tuple[Path, Any, bool]:
    path, chunk, future = job
    return path, chunk, future.result()
