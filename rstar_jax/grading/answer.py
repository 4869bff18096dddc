r"""Grading final answers against their references.

    grade(r"\boxed{\frac{2}{4}}", "0.5")                     # "right"
    with Grader(workers=2) as grader:
        grades = grader.grade([(prediction, reference), ...])

Numbers, lists of numbers and plain words are compared exactly and at once (`spelling.py`, `number.py`,
`equal.py`); what is left (algebra, surds, inequalities) goes to processes of their own, limited in time and
memory (`algebra.py`, `symbolic.py`, `expressions.py`). Nothing is ever eval()ed. A pair that could not be
judged (time, memory, a reference that cannot be read) is "ungraded", which is neither right nor wrong. What
one pair may cost is bounded, whatever its author wrote (`budget.py`).
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
import hashlib
import os
import queue
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from rstar_jax.errors import UserError
from rstar_jax.grading import released
from rstar_jax.grading.algebra import Allowance, Inquiry, Pool
from rstar_jax.grading.budget import Budget, Compare, Spent
from rstar_jax.grading.equal import equal
from rstar_jax.grading.spelling import clean
from rstar_jax.queues import Queue
from rstar_jax.types import Grade

_REMEMBERED = 1 << 17  # verdicts
# takes `7`, `-12.50`, not `1/2`, `.5`, `1,200`; the rules need not be asked about such a number
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?")
_open: weakref.WeakSet[Grader] = weakref.WeakSet()


class _NeedsAlgebra(Exception):
    """The rules alone do not decide a pair."""


def _refuse_algebra(reference: str, prediction: str) -> str:
    raise _NeedsAlgebra


def judge(prediction: str, reference: str, compare: Compare) -> Grade:
    """The strict rules, with `compare` for what needs algebra."""
    if prediction.strip() == reference.strip():
        return "right" if reference.strip() else "ungraded"
    expected = clean(reference)
    if not expected:
        return "ungraded"
    answer = clean(prediction)
    if not answer:
        return "wrong"
    try:
        found = equal(answer, expected, Budget(compare))
    except Spent:
        found = None
    return "ungraded" if found is None else "right" if found else "wrong"


@functools.lru_cache(maxsize=1 << 14)  # sets repeat their answers
def gradable(reference: str) -> bool:
    """Return whether the strict rules find a reference right when it is answered in a box.

    What they leave to algebra is taken as gradable: to find out costs a process each.
    """
    if _NUMBER.fullmatch(reference.strip()):
        return True
    try:
        return judge(f"\\boxed{{{reference}}}", reference, _refuse_algebra) == "right"
    except _NeedsAlgebra:
        return True


Rules = Callable[[str, str, Compare], Grade]
RULES: dict[str, Rules] = {"strict": judge, "released": released.judge}


class Grader:
    """Grades pairs, many at once, from any number of threads. Verdicts are remembered.

    A fork of this process starts processes of its own. After `close` there is no more grading (RuntimeError).
    workers: processes for algebra, started when first needed. allowance: what one comparison may cost.
    grading: "strict", or "released" for the lenient rules of the authors' code (`released.py`).
    """

    def __init__(
        self, workers: int = 2, *, allowance: Allowance | None = None, grading: str = "strict"
    ) -> None:
        if workers < 1:
            raise UserError(f"workers: {workers!r} given, at least 1 is needed")
        if grading not in RULES:
            raise UserError(f"grading: {grading!r} given, expected one of {', '.join(sorted(RULES))}")
        self._rules = RULES[grading]
        self._workers, self._allowance = workers, allowance or Allowance()
        self._closed = False
        self._begin_anew()
        _open.add(self)

    def _begin_anew(self) -> None:
        self._pool = Pool(self._workers, self._allowance)
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="grading")
        self._known: collections.OrderedDict[bytes, Grade] = collections.OrderedDict()
        self._lock = threading.Lock()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Verdicts on (prediction, reference) pairs, in order. A pair that comes twice is judged once."""
        if self._closed:
            raise RuntimeError("this Grader is closed: grade before close(), or make another")
        passing: set[tuple[str, str]] = set()  # of which another time more may be found out
        verdicts: dict[tuple[str, str], Grade] = {}
        waiting: list[tuple[str, str]] = []
        for pair in dict.fromkeys((prediction, reference) for prediction, reference in pairs):
            verdict = self._at_once(pair)
            if verdict is None:
                waiting.append(pair)
            else:
                verdicts[pair] = verdict
        ask = self._with_algebra
        found = self._threads.map(ask, waiting) if len(waiting) > 1 else map(ask, waiting)
        for pair, (verdict, lost) in zip(waiting, found, strict=True):
            verdicts[pair] = verdict
            if lost and verdict == "ungraded":
                passing.add(pair)
        with self._lock:
            for pair, verdict in verdicts.items():
                if pair not in passing:
                    self._known[_digest(pair)] = verdict
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return [verdicts[prediction, reference] for prediction, reference in pairs]

    def queue(self) -> Queue[tuple[str, str], Grade]:
        """Make a queue of pairs to grade; each owner has one of its own."""
        return _Gradings(self)

    def _with_algebra(self, pair: tuple[str, str]) -> tuple[Grade, bool]:
        """The verdict, and whether a process was lost on the way."""
        inquiry = Inquiry(self._pool)
        return self._rules(pair[0], pair[1], inquiry.compare), inquiry.lost

    def _at_once(self, pair: tuple[str, str]) -> Grade | None:
        """The verdict, if it is remembered or the rules alone decide; None if it needs algebra."""
        with self._lock:
            known = self._known.get(_digest(pair))
        if known is not None:
            return known
        try:
            return self._rules(pair[0], pair[1], _refuse_algebra)
        except _NeedsAlgebra:
            return None

    def close(self) -> None:
        """End the processes, for good. Comparisons under way are waited for."""
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pool.stop()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Gradings(Queue[tuple[str, str], Grade]):
    """Pairs of one owner: what needs algebra is waited for by the grader's threads."""

    cooperative = False

    def __init__(self, grader: Grader) -> None:
        super().__init__()
        self._grader = grader
        self._answers: queue.SimpleQueue[tuple[int, Future[list[Grade]]]] = queue.SimpleQueue()

    def _begin(self, entries: Mapping[int, tuple[str, str]]) -> None:
        for ticket, pair in entries.items():
            grade = self._grader._at_once(pair)
            if grade is not None:
                self._finish(ticket, grade)
                continue
            future = self._grader._threads.submit(self._grader.grade, [pair])
            future.add_done_callback(lambda done, ticket=ticket: self._answers.put((ticket, done)))

    def _work(self, block: bool) -> None:
        wait = block and bool(self._open) and not self._done
        with contextlib.suppress(queue.Empty):
            while True:
                ticket, future = self._answers.get(wait)
                wait = False
                self._finish(ticket, future.result()[0])


def _digest(pair: tuple[str, str]) -> bytes:
    """Hash a pair, whose texts may be of any length, for the memory of verdicts."""
    prediction, reference = (text.encode("utf-8", "surrogatepass") for text in pair)
    hashed = hashlib.blake2b(b"%d " % len(prediction), digest_size=16)
    hashed.update(prediction)
    hashed.update(reference)
    return hashed.digest()


def _leave_to_parent() -> None:
    """In a fork: neither the processes nor the threads are this process's."""
    for grader in list(_open):
        grader._pool.release()
        grader._begin_anew()


os.register_at_fork(after_in_child=_leave_to_parent)


@functools.cache
def shared(grading: str) -> Grader:
    """This process's grader by those rules, a key of `GRADINGS`."""
    grader = Grader(workers=2, grading=grading)
    atexit.register(grader.close)
    return grader


def grade(prediction: str, reference: str) -> Grade:
    r"""Judge an answer, with or without its `\boxed{}`, by the strict rules. Safe from any thread."""
    return shared("strict").grade([(prediction, reference)])[0]


def grade_released(prediction: str, reference: str) -> Grade:
    """Judge an answer as the authors' released code would: leniently (`released.py`)."""
    return shared("released").grade([(prediction, reference)])[0]


# verify.grading -> how an answer is judged
GRADINGS: dict[str, Callable[[str, str], Grade]] = {"strict": grade, "released": grade_released}
