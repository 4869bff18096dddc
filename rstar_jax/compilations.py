"""Compiled programs: made several at a time, counted, let go. They are kept on disk by `kept_programs.py`."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

log = logging.getLogger(__name__)

# More threads than this gain nothing: tracing holds Python's lock, and the compiler splits programs itself.
THREADS = 8
# Bytes beside arrays from which on programs are forgotten between stages; Python and JAX take 0.3 GB.
MOST_HELD = 1 << 30
_generation = 0
# XLA:CPU orders operations for many threads: of layers that run one by one it cuts out all weights before
# the first product, new pages at each call; for little memory it cuts each where it is used. And it copies
# what is donated and read more than once, unless it looks at the order. Other platforms take no notice.
_COMPILER = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_copy_insertion_use_region_analysis": True,
}


def jit(function: Callable[..., Any], **options: Any) -> _Jitted:
    """Jit as `jax.jit` with these options, and have programs compiled with the compiler options of this house
    where they are called by themselves; within another jit or a gradient they are part of that program."""
    return _Jitted(function, options)


class _Jitted:
    """A function as `jax.jit` returns it, that may be called while something is traced.

    JAX refuses compiler options there.
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._alone = jax.jit(function, compiler_options=_COMPILER, **options)
        self._as_part = jax.jit(function, **options)
        self.lower, self.trace, self.eval_shape = self._alone.lower, self._alone.trace, self._alone.eval_shape
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        is_part = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((arguments, keywords)))
        return (self._as_part if is_part else self._alone)(*arguments, **keywords)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Programs that were compiled, those that were found on disk instead, and the seconds of either with
    tracing and lowering, added up over threads."""

    programs: int = 0
    cached: int = 0
    seconds: float = 0.0

    def since(self, before: Counts) -> Counts:
        """Return what was added after `before`."""
        return Counts(
            self.programs - before.programs,
            self.cached - before.cached,
            round(self.seconds - before.seconds, 3),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceProgram:
    """A row of a catalogue: one compilation, described before there is any array. Equal rows are one program.

    name, sizes: for people. function: jitted, and told there what it donates. arguments: abstract, as calls
    will give them: shapes, dtypes and, of what must lie where it does, shardings. static: keywords besides.
    """

    name: str
    sizes: tuple[int, ...]
    function: Any
    arguments: tuple[Any, ...]
    static: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, *arguments: Any) -> Any:
        """Run it; what was compiled ahead is found, and what is being compiled waited for."""
        if (compiling := _SOON.pop(self, None)) is not None:
            with contextlib.suppress(CancelledError):  # then it is compiled here
                compiling.result()
        return self.function(*arguments, **self.static)

    def lower(self) -> jax.stages.Lowered:
        """Lower it, for the devices of its arguments."""
        return self.function.lower(*self.arguments, **self.static)

    def compile(self) -> jax.stages.Compiled:
        """Compile it without running it, for calls to come and for whoever reads what the compiler says."""
        return self.lower().compile()

    @functools.cached_property
    def _key(self) -> tuple[Any, ...]:
        arrays, tree = jax.tree.flatten(self.arguments)
        return self.function, tuple(self.static.items()), tree, tuple(arrays)

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._key)  # of hundreds of arrays, and looked up at every call

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DeviceProgram) and self._key == other._key)

    def __str__(self) -> str:
        return " ".join(map(str, (self.name, *self.sizes)))


_SOON: dict[DeviceProgram, Future[Any]] = {}  # that are compiled in threads, for calls to come


def soon(programs: Sequence[DeviceProgram]) -> None:
    """Start compiling programs that will be called one after another, in as many threads as there are cores
    beside the caller's, which has a program of its own to compile.

    Where the main thread ends before them, by an interrupt for one, no further program is begun: a process
    waits for its threads, and so for what each has under way.
    """
    for program in [p for p, compiling in _SOON.items() if compiling.done()]:
        _SOON.pop(program, None)  # nobody called it, or nobody has to wait for it
    left = SimpleQueue[tuple[DeviceProgram, Future[Any]]]()
    try:
        for program in programs:
            if program not in _SOON and _cores() > 1:
                left.put((program, compiled := Future[Any]()))
                _SOON[program] = compiled
        for _ in range(min(THREADS, _cores() - 1, left.qsize())):
            threading.Thread(target=_compile_in_turn, args=(left,)).start()
    except BaseException:  # an interrupt, or no thread to be had: nobody may wait for what nobody compiles
        with contextlib.suppress(Empty):
            while True:
                left.get_nowait()[1].cancel()
        raise


def _compile_in_turn(left: SimpleQueue[tuple[DeviceProgram, Future[Any]]]) -> None:
    with contextlib.suppress(Empty):
        while True:
            program, compiled = left.get_nowait()
            if not threading.main_thread().is_alive():
                compiled.cancel()
                continue
            try:
                compiled.set_result(program.compile())
            except BaseException as error:  # whoever calls the program is told
                compiled.set_exception(error)


def abstract(arrays: Any) -> Any:
    """Shapes and dtypes of arrays, and shardings of those that must lie where they do, for a row's arguments.
    What is abstract stays."""

    def one(a: Any) -> jax.ShapeDtypeStruct:
        if isinstance(a, jax.ShapeDtypeStruct):
            return a
        where = a.sharding if getattr(a, "committed", False) else None
        return jax.ShapeDtypeStruct(np.shape(a), a.dtype, sharding=where)

    return jax.tree.map(one, arrays)


class _Listener:
    """Adds up what JAX tells of compilations in this process."""

    def __init__(self) -> None:
        self.made = self.cached = 0
        self.seconds = 0.0
        self._lock = threading.Lock()
        jax.monitoring.register_event_listener(self._event)
        jax.monitoring.register_event_duration_secs_listener(self._duration)

    def _event(self, event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            with self._lock:
                self.cached += 1

    def _duration(self, event: str, duration_secs: float, **_: Any) -> None:
        # Of the compiler alone, or of reading what it once made; then of what comes before it.
        compiled = event == "/jax/core/compile/backend_compile_duration"
        if compiled or event in (
            "/jax/core/compile/jaxpr_trace_duration",
            "/jax/core/compile/jaxpr_to_mlir_module_duration",
        ):
            with self._lock:
                self.made += compiled
                self.seconds += duration_secs


_LISTENER = _Listener()


def counts() -> Counts:
    """Count the compilations of this process so far."""
    heard = _LISTENER
    return Counts(heard.made - heard.cached, heard.cached, heard.seconds)


def together(
    work: Sequence[Callable[[], None]], on_done: Callable[[int], None] | None = None, threads: int = 0
) -> None:
    """Runs what compiles programs, several at a time; raises what the first to fail raised.

    on_done: called with how many are done, from the caller's thread. threads: 0: as many as this process may
    use cores, up to THREADS.
    """
    threads = threads or min(THREADS, _cores())
    pool = ThreadPoolExecutor(threads)
    try:
        futures = [pool.submit(one) for one in work]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            if on_done is not None:
                on_done(done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a signal waits for no compilation


def give_back() -> None:
    """Hand memory that was freed back to the system, where glibc is the C library: much of what a compiler
    has used stays with the process otherwise, 50 to 150 MB for each program of 30 layers."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget() -> None:
    """Let go of this process's compiled programs where they hold much memory and lie on disk, too.

    A program of 30 layers holds 35 to 75 MB on a CPU, and JAX keeps each for good: after two stages of a run
    those of the third stood beside 2 GB of others. They are found again on disk. To be called where no
    thread computes. What a stage leaves in cycles of references goes first: the pages of an engine do.
    """
    gc.collect()
    on_disk = jax.config.values.get("jax_compilation_cache_dir") and jax.config.values.get(
        "jax_enable_compilation_cache"
    )
    if jax.default_backend() == "cpu" and on_disk and _held_by_programs() > MOST_HELD:
        global _generation
        _generation += 1
        jax.clear_caches()
        gc.collect()
    give_back()


def generation() -> int:
    """Count how often programs were forgotten: what was compiled before is not there any more."""
    return _generation


def _held_by_programs() -> int:
    """Bytes of this process that are no arrays; 0 where Linux does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        own = next(line for line in lines if line.startswith("RssAnon:"))
        return int(own.split()[1]) * 1024 - sum(array.nbytes for array in jax.live_arrays())
    return 0


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
