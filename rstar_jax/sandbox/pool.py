"""The zygotes of a sandbox and the snippets they are given: who gets what, and what is run again.

All of it belongs to one thread (`event_loop.py`); only `wake` may be called from others.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import selectors
import time
from collections.abc import Callable

from rstar_jax.errors import UserError
from rstar_jax.sandbox.isolation import Isolation
from rstar_jax.sandbox.kinds import Kind
from rstar_jax.sandbox.result import ExecResult, Limits
from rstar_jax.sandbox.worker import Answer, Job, Worker, WorkerDied

# Snippets that a zygote has been sent: one runs, the others wait in its pipe, behind it whatever it does.
# More only while snippets are quick on average: they are sent, and their answers read, several at a time.
_AHEAD, _AHEAD_QUICK = 2, 8
_QUICK_S, _NAP_S = 0.02, 0.02
_WEIGHT = 0.05  # of the latest snippet in the average
_LOOK_S = 1.0  # how often it is asked whether a zygote is stuck
_STALL_S = 3.0  # a turn that takes longer tells of a host, or a process, that stood still
_MAX_DEATHS = 40  # of zygotes in a row: more is no snippet's doing
_END_S = 1.0  # what a zygote is given to end by itself


class Pool:
    """Up to `workers` zygotes of each kind, started when first needed.

    finished: called with every snippet that is done and its result. `turn` raises UserError where zygotes
    refuse to work or do not come up.
    """

    def __init__(
        self, workers: int, limits: Limits, isolation: Isolation, finished: Callable[[Job, ExecResult], None]
    ) -> None:
        self.layers: dict[str, str] | None = None
        self._workers, self._limits, self._isolation, self._finished = workers, limits, isolation, finished
        self._pool: dict[Kind, list[Worker]] = {"light": [], "heavy": []}
        self._queues: dict[Kind, collections.deque[Job]] = {
            "light": collections.deque(),
            "heavy": collections.deque(),
        }
        self._mean_s: dict[Kind, float] = {"light": 1.0, "heavy": 1.0}
        self._failed_starts = self._deaths = 0
        self._next_look = 0.0
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        try:
            self._start("light")  # for its layers
        except BaseException:
            self.stop()
            raise

    def wake(self) -> None:
        """Make a `turn` that waits, or the next one, return at once."""
        os.eventfd_write(self._bell, 1)

    def add(self, job: Job) -> None:
        self._queues[job.kind].append(job)

    def drop(self, jobs: set[Job]) -> None:
        """Forget snippets that nobody waits for; zygotes that run one are ended."""
        for kind, queue in self._queues.items():
            self._queues[kind] = collections.deque(job for job in queue if job not in jobs)
        for worker in self._all():
            if worker.jobs and worker.jobs[0] in jobs:
                self._remove(worker)
                self._queues[worker.kind].extendleft(job for job in reversed(worker.jobs) if job not in jobs)

    def turn(self) -> None:
        """Hand out snippets, wait for the next event, take in what has come."""
        began = time.monotonic()
        self._hand_out()
        awaited = [worker for worker in self._all() if worker.jobs or worker.layers is None]
        if awaited and all(
            worker.pace_s < _QUICK_S and len(worker.jobs) == _AHEAD_QUICK for worker in awaited
        ):
            time.sleep(_AHEAD_QUICK / 2 * min(worker.pace_s for worker in awaited))
        for key, _ in self._selector.select(_LOOK_S if awaited else None):
            worker: Worker | None = key.data
            if worker is None:
                os.eventfd_read(self._bell)
            elif worker in self._pool[worker.kind]:  # else just replaced, by an event before this one
                try:
                    self._handle_event(worker, key.fd)
                except WorkerDied:
                    self._replace(worker)
        if awaited and (took := time.monotonic() - began) > _STALL_S:
            for worker in self._all():
                worker.excuse(took)
        if time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + _LOOK_S
            for worker in self._all():
                if worker.stuck:
                    self._replace(worker)

    def stop(self) -> None:
        """End every zygote and close every descriptor."""
        deadline = time.monotonic() + _END_S
        for worker in self._all():
            worker.hang_up()
        for worker in self._all():
            self._remove(worker, deadline)
        self._selector.close()
        os.close(self._bell)

    def release(self) -> None:
        """For a fork of the caller: closes its copies of the descriptors and lets the zygotes be."""
        for worker in self._all():
            worker.release()
        self._selector.close()
        os.close(self._bell)

    def _hand_out(self) -> None:
        for kind, queue in self._queues.items():
            pool = self._pool[kind]
            ahead = _AHEAD_QUICK if self._mean_s[kind] < _QUICK_S else _AHEAD
            while queue:
                worker = min(pool, key=lambda w: len(w.jobs), default=None)
                if (worker is None or worker.jobs) and len(pool) < self._workers:
                    worker = self._start(kind)
                if worker is None or len(worker.jobs) >= ahead:
                    break
                try:
                    worker.send(queue.popleft())
                    # A program larger than the pipe is written piece by piece as the zygote reads it.
                    if worker.full and worker.stdin not in self._selector.get_map():
                        self._selector.register(worker.stdin, selectors.EVENT_WRITE, worker)
                except WorkerDied:
                    self._replace(worker)

    def _handle_event(self, worker: Worker, fd: int) -> None:
        """Handle a zygote's descriptor that became ready: read its answers, or go on writing to it."""
        if fd == worker.stdin:
            worker.flush()
            if not worker.full:
                self._selector.unregister(fd)
            return
        for job, answer in worker.receive():
            self._take(job, answer)
        if worker.layers is not None:
            self._failed_starts = 0
            self.layers = self.layers or worker.layers

    def _take(self, job: Job, answer: Answer) -> None:
        job.runs += 1
        self._deaths = 0
        result = answer.result
        self._mean_s[job.kind] += _WEIGHT * (result.wall_s - self._mean_s[job.kind])
        # A host that was stalled or out of memory must not become a label.
        little = result.status != "timeout_wall" or result.cpu_s < self._limits.cpu_s / 2
        stalled = little and answer.starved
        if stalled and job.runs == 1:
            self._queues[job.kind].append(job)
        else:
            self._finished(job, dataclasses.replace(result, lost=stalled))

    def _replace(self, worker: Worker) -> None:
        """Drop a dead or stuck zygote. What it ran is run again once; what waited in its pipe, always."""
        self._remove(worker)
        jobs = worker.jobs
        if worker.layers is None:
            self._failed_starts += 1
            if self._failed_starts > 1:
                hint = ""
                if self._isolation.bubblewrap:
                    hint = " Leave out verify.sandbox.bubblewrap where bwrap may not make namespaces."
                raise UserError(f"the sandbox does not come up: {worker.last_words}.{hint}")
            if self.layers is None and not jobs:
                self._start(worker.kind)
        elif jobs:
            self._deaths += 1
            if self._deaths > _MAX_DEATHS:
                raise UserError(
                    f"{self._deaths} processes of the sandbox died one after the other without an answer. "
                    "See the kernel's log: memory may be short (lower verify.workers or verify.memory_mb)."
                )
            jobs[0].lost += 1
            if jobs[0].lost > 1:
                self._finished(jobs.popleft(), ExecResult("signal", lost=True))
        self._queues[worker.kind].extendleft(reversed(jobs))

    def _start(self, kind: Kind) -> Worker:
        worker = Worker(kind, self._limits, self._isolation)
        self._pool[kind].append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        return worker

    def _remove(self, worker: Worker, deadline: float | None = None) -> None:
        for fd in (worker.stdout, worker.stdin):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        self._pool[worker.kind].remove(worker)
        worker.stop(time.monotonic() + _END_S if deadline is None else deadline)

    def _all(self) -> list[Worker]:
        return [worker for pool in self._pool.values() for worker in pool]
