"""Compiled programs: counted, made by several threads, let go."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax import compilations
from rstar_jax.compilations import DeviceProgram


def test_work_is_done_by_several_threads_and_told_of_in_one() -> None:
    meet, done, threads = threading.Barrier(3, timeout=30), list[int](), set[int]()

    def on_done(count: int) -> None:
        done.append(count)
        threads.add(threading.get_ident())

    compilations.together([lambda: meet.wait() and None] * 3, on_done, threads=3)
    assert done == [1, 2, 3] and threads == {threading.get_ident()}
    compilations.together([])


def test_the_first_failure_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        compilations.together([fail, lambda: None], threads=1)


def test_memory_that_was_freed_goes_back() -> None:
    """In a process of its own: small pieces with one behind them that stays, as a compiler leaves them."""
    code = (
        "import ctypes, rstar_jax.compilations as c\n"
        "def rss(): return next(int(l.split()[1]) for l in open('/proc/self/status') if 'VmRSS' in l)\n"
        "pieces = [ctypes.create_string_buffer(b'x' * 60000) for _ in range(4000)]\n"
        "last = ctypes.create_string_buffer(b'x' * 60000)\n"
        "del pieces\n"
        "before = rss(); c.give_back(); print(before - rss(), hasattr(ctypes.CDLL(None), 'malloc_trim'))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    freed, glibc = ran.stdout.split()
    assert int(freed) > 100_000 or glibc == "False"


def test_no_program_is_begun_after_an_interrupt() -> None:
    code = (
        "import time, rstar_jax.compilations as c\n"
        "class Slow:\n"
        "    def compile(self): print('compiles', flush=True); time.sleep(3)\n"
        "c._cores = lambda: 3\n"
        "c.soon([Slow() for _ in range(9)]); time.sleep(0.3)\n"
        "raise KeyboardInterrupt"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.count("compiles") == 2 and "KeyboardInterrupt" in ran.stderr


class Interrupted:
    """A program at whose turn the user interrupts."""

    def __hash__(self) -> int:
        raise KeyboardInterrupt


def test_nobody_waits_for_what_an_interrupt_kept_from_being_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilations, "_cores", lambda: 2)
    row = DeviceProgram("triple", (), jax.jit(lambda x: 3 * x), (jax.ShapeDtypeStruct((), jnp.int32),))
    with pytest.raises(KeyboardInterrupt):
        compilations.soon([row, Interrupted()])  # pyright: ignore[reportArgumentType]
    assert row(jnp.int32(3)) == 9 and row not in compilations._SOON


def test_a_program_that_is_not_compiled_in_a_thread_any_more_is_compiled_by_its_call() -> None:
    row = DeviceProgram("double", (), jax.jit(lambda x: 2 * x), (jax.ShapeDtypeStruct((), jnp.int32),))
    compilations._SOON[row] = Future()
    compilations._SOON[row].cancel()
    assert row(jnp.int32(3)) == 6 and row not in compilations._SOON


def test_what_is_lowered_and_compiled_ahead_is_what_a_call_finds() -> None:
    """What decoding's ahead-of-time compiling rests on in JAX."""

    @jax.jit
    def double(x: jax.Array, y: np.ndarray) -> jax.Array:
        return 2 * x + y

    x = jnp.ones(7) + 0
    double.lower(jax.ShapeDtypeStruct((7,), jnp.float32), np.ones(7, np.float32)).compile()
    before = compilations.counts()
    double(x, np.zeros(7, np.float32))
    assert compilations.counts().since(before).programs == 0


NESTED = {
    "jit": jax.jit,
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, 1)[0],
    "gradient": lambda f: lambda x: jax.grad(lambda x: jnp.vdot(f(x), f(x)) / 4)(x) / 2,
    "gradient in a jit": lambda f: jax.jit(jax.grad(lambda x: jnp.vdot(f(x), f(x)) / 4)),
    "vmap": lambda f: jax.vmap(f),
    "vmap in a jit": lambda f: jax.jit(jax.vmap(f)),
    "remat": lambda f: lambda x: jax.vjp(jax.checkpoint(f), x)[1](x)[0],
}


@pytest.mark.parametrize("how", NESTED)
def test_a_program_may_be_part_of_another(how: str) -> None:
    @functools.partial(compilations.jit, static_argnames="times")
    def scaled(x: jax.Array, times: int) -> jax.Array:
        return times * x

    factor = {"gradient": 1, "gradient in a jit": 2}.get(how, 2)
    found = NESTED[how](lambda x: scaled(x, times=2))(jnp.arange(3.0))
    assert np.array_equal(found, factor * np.arange(3.0))


def test_a_program_that_donates_has_a_gradient_and_runs_once_for_it() -> None:
    runs: list[int] = []

    @functools.partial(compilations.jit, donate_argnums=0)
    def double(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: runs.append(1))
        return 2 * x

    assert np.array_equal(jax.grad(lambda x: double(x).sum())(jnp.arange(3.0)), [2, 2, 2])
    jax.effects_barrier()
    assert len(runs) == 1


def test_what_is_compiled_ahead_is_found_and_errors_of_tracing_stay() -> None:
    @compilations.jit
    def double(x: jax.Array) -> jax.Array:
        if x.ndim:
            raise ValueError("a scalar")
        return 2 * x

    x = jax.ShapeDtypeStruct((), jnp.float32)
    row = DeviceProgram("double", (), double, (x,))
    row.compile()
    y = jnp.float32(3)
    before = compilations.counts()
    found = row(y), double(y)
    assert compilations.counts().since(before).programs == 0 and found == (6, 6)
    with pytest.raises(ValueError, match="a scalar"):
        double(jnp.ones(3))
    with pytest.raises(ValueError, match="a scalar"):
        jax.jit(double)(jnp.ones(3))


def test_programs_are_forgotten_where_they_hold_much_and_lie_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    double = jax.jit(lambda x: 2 * x)
    assert double(3) == 6 and double._cache_size() == 1
    before = compilations.generation()
    monkeypatch.setattr(compilations, "_held_by_programs", lambda: 2 * compilations.MOST_HELD)
    with jax_option("jax_compilation_cache_dir", None):
        compilations.forget()
    assert double._cache_size() == 1 and compilations.generation() == before
    with jax_option("jax_compilation_cache_dir", str(tmp_path)):
        monkeypatch.setattr(compilations, "_held_by_programs", lambda: 0)
        compilations.forget()
        assert double._cache_size() == 1
        monkeypatch.setattr(compilations, "_held_by_programs", lambda: 2 * compilations.MOST_HELD)
        compilations.forget()
    assert double._cache_size() == 0 and compilations.generation() == before + 1
    assert double(3) == 6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what a process holds")
def test_what_is_held_beside_arrays_leaves_arrays_out() -> None:
    before = compilations._held_by_programs()
    array = jax.block_until_ready(jnp.ones(2**24))
    assert before > 0 and abs(compilations._held_by_programs() - before) < array.nbytes / 2


@contextlib.contextmanager
def jax_option(name: str, value: object) -> Iterator[None]:
    kept = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, kept)
