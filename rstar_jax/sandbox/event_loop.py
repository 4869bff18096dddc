"""The thread that keeps snippets running while the caller does something else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Container, Sequence

from rstar_jax.errors import UserError
from rstar_jax.sandbox.pool import Pool
from rstar_jax.sandbox.result import ExecResult
from rstar_jax.sandbox.worker import Job

Finished = Callable[[Job, ExecResult], None]


class ResultQueue:
    """Results of one caller's snippets, each under the number it was ordered with.

    everything: its owner waits for all of them, not for any. left: snippets whose results are still to come.
    error: what kept them from coming.
    """

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self.left = 0
        self.done: list[tuple[int, ExecResult]] = []
        self.error: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Return whether its owner has nothing to wait for."""
        return not self.left or self.error is not None or (bool(self.done) and not self.everything)


class EventLoop:
    """Orders of any number of threads, run by one thread of its own that starts with the first.

    make_pool: opens the zygotes, given whom to tell of results. remember: told of every result, by its key.
    snippets_run: runs, the memory of results aside. Whatever ends the thread is raised in all who wait; the
    next order starts another.
    """

    def __init__(
        self, make_pool: Callable[[Finished], Pool], remember: Callable[[bytes, ExecResult], None]
    ) -> None:
        self._make_pool, self._remember = make_pool, remember
        self.snippets_run = 0
        self._pid = os.getpid()
        self._changed = threading.Condition()  # guards all that follows
        self._thread: threading.Thread | None = None
        self._pool: Pool | None = None
        self._layers: dict[str, str] | None = None
        self._closing = False
        self._failures = 0
        self._error: BaseException | None = None
        self._inbox: list[Job] = []
        self._dropped: list[Job] = []
        self._waiting: dict[bytes, tuple[Job, list[tuple[ResultQueue, int]]]] = {}
        self._busy_s, self._busy_since = 0.0, 0.0  # since: 0 while nothing is to be run

    @property
    def busy_s(self) -> float:
        """Seconds in which a snippet ran or waited to be run, until now."""
        with self._changed:
            return self._busy_s + (time.monotonic() - self._busy_since if self._busy_since else 0.0)

    def _clock(self) -> None:
        """Note whether there is anything to run. Called with the lock held, when that may have changed."""
        if self._waiting and not self._busy_since:
            self._busy_since = time.monotonic()
        elif not self._waiting and self._busy_since:
            self._busy_s += time.monotonic() - self._busy_since
            self._busy_since = 0.0

    def layers(self) -> dict[str, str]:
        """Return what the first zygote's self-test found. Raises UserError where none starts."""
        with self._changed:
            failures = self._failures
            while self._layers is None:
                if self._failures > failures:
                    raise _renewed(self._error)
                self._run()
                self._changed.wait()
            return self._layers

    def order(self, jobs: Sequence[tuple[int, Job]], queue: ResultQueue) -> None:
        """Have snippets run, each under a number, or wait with those who have ordered the same."""
        with self._changed:
            self._run()
            for number, job in jobs:
                queue.left += 1
                if job.key in self._waiting:
                    self._waiting[job.key][1].append((queue, number))
                else:
                    self._inbox.append(job)
                    self._waiting[job.key] = (job, [(queue, number)])
            self._clock()
            self._wake()

    def fill(self, queue: ResultQueue, number: int, result: ExecResult) -> None:
        """Put a result that is known already into a queue."""
        with self._changed:
            queue.done.append((number, result))
            self._changed.notify_all()

    def collect(self, queue: ResultQueue, timeout_s: float | None = None) -> list[tuple[int, ExecResult]]:
        """Return what has come into a queue since the last time.

        Waits for all that was ordered into it or for any of it, as its owner wants, but for `timeout_s` at
        most. Raises what ended the thread.
        """
        with self._changed:
            self._changed.wait_for(lambda: queue.settled, timeout=timeout_s)
            if queue.error is not None:
                error, queue.error = queue.error, None
                raise _renewed(error)
            done, queue.done = queue.done, []
            return done

    def withdraw(self, queue: ResultQueue, numbers: Container[int] | None = None) -> None:
        """Forget what was ordered into a queue, or these numbers of it; what nobody else waits for is not
        run, or ended where it runs already."""
        with self._changed:
            for key, (job, waiting) in list(self._waiting.items()):
                kept = [
                    (other, number)
                    for other, number in waiting
                    if other is not queue or (numbers is not None and number not in numbers)
                ]
                queue.left -= len(waiting) - len(kept)
                waiting[:] = kept
                if not waiting:
                    del self._waiting[key]
                    self._dropped.append(job)
            self._clock()
            self._wake()

    def close(self) -> None:
        """End the thread and the zygotes; whoever waits gets an error."""
        if os.getpid() != self._pid:
            return  # a fork of the caller: both are its parent's
        with self._changed:
            thread = self._thread
            if thread is None:
                return
            self._closing = True
            self._wake()
        if thread is not threading.current_thread():
            thread.join()

    def release(self) -> None:
        """For a fork of the caller, where the thread does not exist: closes the copies of its descriptors."""
        if self._pool is not None:
            self._pool.release()

    def _run(self) -> None:
        """Make sure that the thread runs. Called with the lock held."""
        while self._closing:
            self._changed.wait()
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="sandbox", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self._thread = None
                raise UserError(f"the sandbox cannot start a thread: {error}.") from error

    def _wake(self) -> None:
        if self._pool is not None:
            self._pool.wake()

    def _main(self) -> None:
        error: BaseException | None = None
        pool: Pool | None = None
        try:
            pool = self._make_pool(self._deliver)
            with self._changed:
                self._pool = pool
            while self._pass_on(pool):
                pool.turn()
        except BaseException as failure:
            error = failure
        with self._changed:
            self._pool = None
        if pool is not None:
            try:
                pool.stop()
            except BaseException as failure:
                error = error or failure
        with self._changed:
            self._end(error or RuntimeError("the sandbox was closed while snippets ran"))

    def _pass_on(self, pool: Pool) -> bool:
        """Hand the pool what has been ordered and withdrawn; False if it is time to end."""
        # Set before the pool is woken: what is not seen here is seen in the next turn.
        if not (self._inbox or self._dropped or self._closing or self._layers is None):
            return True
        with self._changed:
            if pool.layers is not None and self._layers is None:
                self._layers = pool.layers
                self._changed.notify_all()
            inbox, self._inbox = self._inbox, []
            dropped, self._dropped = self._dropped, []
            closing = self._closing
        for job in inbox:
            pool.add(job)
        if dropped:
            pool.drop(set(dropped))
        return not closing

    def _deliver(self, job: Job, result: ExecResult) -> None:
        self._remember(job.key, result)
        with self._changed:
            self.snippets_run += job.runs
            known = self._waiting.get(job.key)
            if known is None or known[0] is not job:
                return  # withdrawn
            del self._waiting[job.key]
            self._clock()
            for queue, number in known[1]:
                queue.done.append((number, result))
                queue.left -= 1
            if any(queue.settled for queue, _ in known[1]):
                self._changed.notify_all()

    def _end(self, error: BaseException) -> None:
        """Tell everyone who waits. Called with the lock held."""
        queues = {id(queue): queue for _, waiting in self._waiting.values() for queue, _ in waiting}
        for queue in queues.values():
            queue.error, queue.left = error, 0
        self._waiting.clear()
        self._clock()
        self._inbox.clear()
        self._dropped.clear()
        self._thread, self._closing = None, False
        self._failures += 1
        self._error = error
        self._changed.notify_all()


def _renewed(error: BaseException | None) -> Exception:
    """The error as a new exception, as each thread that waits raises one."""
    if isinstance(error, UserError):
        return UserError(str(error))
    failure = RuntimeError(f"the sandbox stopped: {error}")
    failure.__cause__ = error
    return failure
