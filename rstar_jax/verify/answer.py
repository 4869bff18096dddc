r"""Grading final answers against their references.

    grade(r"\boxed{\frac{2}{4}}", "0.5")                     # "right"
    with Grader(workers=2) as grader:
        grades = grader.grade([(prediction, reference), ...])

Numbers, lists of numbers and plain words are compared exactly and at once (`spelling.py`, `number.py`,
`equal.py`); what is left (algebra, surds, inequalities) goes to processes of their own, limited in time and
memory (`algebra.py`, `symbolic.py`, `expressions.py`). Nothing is ever eval()ed. A pair that could not be
judged (time, memory, a reference that cannot be read) is "ungraded", which is neither right nor wrong.
"""

from __future__ import annotations

import atexit
import collections
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from rstar_jax.errors import UserError
from rstar_jax.types import Grade
from rstar_jax.verify import released
from rstar_jax.verify.algebra import Allowance, Pool
from rstar_jax.verify.equal import Compare, equal
from rstar_jax.verify.spelling import clean

_REMEMBERED = 1 << 17  # verdicts


class _NeedsAlgebra(Exception):
    """The rules alone do not decide a pair."""


def _ask_nobody(reference: str, prediction: str) -> str:
    raise _NeedsAlgebra


def judge(prediction: str, reference: str, compare: Compare) -> Grade:
    """The strict rules, with `compare` for what needs algebra."""
    if prediction.strip() == reference.strip():
        return "right" if reference.strip() else "ungraded"
    theirs = clean(reference)
    if not theirs:
        return "ungraded"
    ours = clean(prediction)
    if not ours:
        return "wrong"
    found = equal(ours, theirs, compare)
    return "ungraded" if found is None else "right" if found else "wrong"


Rules = Callable[[str, str, Compare], Grade]
RULES: dict[str, Rules] = {"strict": judge, "released": released.judge}


class Grader:
    """Grades pairs, many at once, from any number of threads. Verdicts are remembered.

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
        self._pool = Pool(workers, allowance or Allowance())
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grading")
        self._known: collections.OrderedDict[tuple[str, str], Grade] = collections.OrderedDict()
        self._lock = threading.Lock()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Verdicts on (prediction, reference) pairs, in order. A pair that comes twice is judged once."""
        verdicts: dict[tuple[str, str], Grade] = {}
        waiting: list[tuple[str, str]] = []
        for pair in dict.fromkeys((prediction, reference) for prediction, reference in pairs):
            verdict = self._remembered(pair)
            if verdict is None:
                try:
                    verdict = self._rules(pair[0], pair[1], _ask_nobody)
                except _NeedsAlgebra:
                    waiting.append(pair)
                    continue
            verdicts[pair] = verdict
        if len(waiting) == 1:
            verdicts[waiting[0]] = self._with_algebra(waiting[0])
        else:
            verdicts.update(zip(waiting, self._threads.map(self._with_algebra, waiting), strict=True))
        with self._lock:
            for pair, verdict in verdicts.items():
                if verdict != "ungraded":  # another time there may be more time
                    self._known[pair] = verdict
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return [verdicts[prediction, reference] for prediction, reference in pairs]

    def _with_algebra(self, pair: tuple[str, str]) -> Grade:
        return self._rules(pair[0], pair[1], self._pool.compare)

    def _remembered(self, pair: tuple[str, str]) -> Grade | None:
        with self._lock:
            return self._known.get(pair)

    def close(self) -> None:
        """Ends the processes. Comparisons under way are waited for."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pool.stop()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@functools.cache
def shared(grading: str) -> Grader:
    """This process's grader by those rules, a key of `GRADINGS`."""
    grader = Grader(workers=2, grading=grading)
    atexit.register(grader.close)
    return grader


def grade(prediction: str, reference: str) -> Grade:
    r"""Judges an answer, with or without its `\boxed{}`, by the strict rules. Safe from any thread."""
    return shared("strict").grade([(prediction, reference)])[0]


def grade_released(prediction: str, reference: str) -> Grade:
    """Judges an answer as the authors' released code would: leniently (`released.py`)."""
    return shared("released").grade([(prediction, reference)])[0]


# verify.grading -> how an answer is judged
GRADINGS: dict[str, Callable[[str, str], Grade]] = {"strict": grade, "released": grade_released}
