"""The sandbox as its users see it: programs in, results out; see the package for what it protects against."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import operator
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.queues import Queue
from rstar_jax.sandbox import source
from rstar_jax.sandbox.event_loop import EventLoop, ResultQueue
from rstar_jax.sandbox.image import image
from rstar_jax.sandbox.isolation import Isolation
from rstar_jax.sandbox.memo import Memo
from rstar_jax.sandbox.pool import Pool
from rstar_jax.sandbox.result import ExecResult, Limits
from rstar_jax.sandbox.worker import Job

_log = logging.getLogger(__name__)
_TOGETHER = 32  # snippets handed over at a time: the first run while the rest are looked at
_warned: set[str] = set()  # missing layers that this process has been warned about
_open: weakref.WeakSet[Sandbox] = weakref.WeakSet()


class Sandbox:
    """Runs snippets in up to `workers` processes at a time, of each of two kinds.

    limits: of one snippet. isolation: the layers around it. memo: a file in which results outlive this
    process; it may be shared by processes of one machine. The same program, comments aside, is run once.

    For any number of threads. Processes start with `with` or the first snippet, and end with `close`, with
    this object or with this process, whatever comes first; a snippet after `close` starts new ones. A fork of
    this process starts its own.

    Raises UserError for nonsense, off Linux, and, when it starts, where it cannot hold what it promises.
    """

    def __init__(
        self,
        workers: int = 2,
        limits: Limits | None = None,
        *,
        isolation: Isolation | None = None,
        memo: Path | None = None,
    ) -> None:
        if not sys.platform.startswith("linux"):
            raise UserError(f"the sandbox needs Linux (limits, /proc), this is {sys.platform}.")
        # A zygote with sympy takes some 100 MB, and more of them than cores help only programs that sleep.
        limit = 4 * (os.cpu_count() or 1) + 64
        if type(workers) is not int or not 1 <= workers <= limit:
            raise UserError(
                f"sandbox workers: {workers!r} given, 1 to {limit} expected on this machine. More than one "
                "per core does not make it faster; set verify.workers."
            )
        self.workers, self.limits = workers, limits or Limits()
        self.isolation = isolation or Isolation()
        self._memo_path = memo
        self._begin_anew()
        _open.add(self)

    def _begin_anew(self) -> None:
        self._stem: hashlib._Hash | None = None
        self._memo = Memo(self._memo_path)
        make_pool = functools.partial(Pool, self.workers, self.limits, self.isolation)
        self._loop = EventLoop(make_pool, self._memo.put)
        # Neither may hold this object, which would then never be collected.
        self._finalizer = weakref.finalize(self, _close, self._loop, self._memo)

    def __enter__(self) -> Sandbox:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def layers(self) -> dict[str, str]:
        """Return what the self-test found: layer -> what it does here, or "missing: why". Starts the
        sandbox."""
        self._start()
        return dict(self._loop.layers())

    @property
    def snippets_run(self) -> int:
        """Runs so far, without those that the memory of results has spared."""
        return self._loop.snippets_run

    @property
    def busy_s(self) -> float:
        """Return the seconds until now in which a snippet ran or waited for a process, whoever looked."""
        return self._loop.busy_s

    def run(self, codes: Sequence[str]) -> list[ExecResult]:
        """Run every snippet on its own and return their results in order."""
        _require_texts(codes)
        queue = ResultQueue(everything=True)
        try:
            self._order(codes, range(len(codes)), queue)
            finished = self._loop.collect(queue)
        except BaseException:
            self._loop.withdraw(queue)
            raise
        return [result for _, result in sorted(finished, key=operator.itemgetter(0))]

    def queue(self) -> Queue[str, ExecResult]:
        """Make a queue of snippets to run; each owner has one of its own."""
        return _Runs(self)

    def close(self) -> None:
        """End every process and thread of the sandbox; a later snippet starts new ones."""
        _close(self._loop, self._memo)

    def _start(self) -> None:
        if self._stem is None:
            layers = self._loop.layers()
            for layer, text in layers.items():
                if text.startswith("missing") and layer not in _warned:
                    _warned.add(layer)
                    _log.warning("sandbox: the layer %s is %s.", layer, text)
            depends_on = [dataclasses.astuple(self.limits), image(layers)]
            self._stem = hashlib.sha256(json.dumps(depends_on).encode())

    def _order(self, codes: Sequence[str], numbers: Sequence[int], queue: ResultQueue) -> None:
        self._start()
        assert self._stem is not None
        jobs: list[tuple[int, Job]] = []
        for code, number in zip(codes, numbers, strict=True):
            code = source.normalise(code)
            hashed = self._stem.copy()
            hashed.update(code.encode("utf-8", "surrogatepass"))
            key = hashed.digest()
            result = self._memo.get(key)
            if result is not None:
                self._loop.fill(queue, number, result)
                continue
            jobs.append((number, Job(key, code, "heavy" if source.needs_packages(code) else "light")))
            if len(jobs) == _TOGETHER:
                self._loop.order(jobs, queue)
                jobs = []
        if jobs:
            self._loop.order(jobs, queue)

    def _forked(self) -> None:
        """In a fork of this process: leaves the zygotes and the file to the parent."""
        self._finalizer.detach()
        self._loop.release()
        self._memo.release()
        self._begin_anew()


class _Runs(Queue[str, ExecResult]):
    """Snippets of one owner. In a fork of its process nothing is open: that is the parent's."""

    cooperative = False

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox, self._loop, self._queue = sandbox, sandbox._loop, ResultQueue(everything=False)

    def submit(self, requests: Sequence[str]) -> list[int]:
        """Take snippets as `Queue.submit`. Raises UserError for what is no list of texts."""
        _require_texts(requests)
        return super().submit(requests)

    def _begin(self, entries: Mapping[int, str]) -> None:
        if self._loop is not self._sandbox._loop:
            self.__init__(self._sandbox)
            self._open |= entries
        self._sandbox._order(list(entries.values()), list(entries), self._queue)

    def _work(self, block: bool) -> None:
        if self._loop is not self._sandbox._loop:
            self._open.clear()
        elif self._open:
            try:
                finished = self._loop.collect(self._queue, None if block else 0.0)
            except BaseException:
                if not self._queue.left:  # what ended the thread, with all that was open
                    self._open.clear()
                raise
            for ticket, result in finished:
                self._finish(ticket, result)

    def _drop(self, tickets: set[int]) -> None:
        self._loop.withdraw(self._queue, tickets)


def _require_texts(codes: Any) -> None:
    """Refuse what is no list of programs."""
    listed = isinstance(codes, Sequence) and not isinstance(codes, str | bytes)
    if not listed or not all(isinstance(code, str) for code in codes):
        shown = repr(codes) if len(repr(codes)) <= 80 else repr(codes)[:77] + "..."
        raise UserError(
            f'sandbox programs: {shown} given, a list of texts expected, one a program: run(["print(1)"]).'
        )


def _close(loop: EventLoop, memo: Memo) -> None:
    loop.close()
    memo.close()


def _leave_to_parent() -> None:
    for sandbox in list(_open):
        sandbox._forked()


os.register_at_fork(after_in_child=_leave_to_parent)
