"""The memory of results: what is kept, for how long, and what a file may suffer."""

import dataclasses
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax.sandbox import ExecResult, Isolation, Limits, Sandbox, image, kinds
from rstar_jax.sandbox.memo import Memo, lasting
from rstar_jax.sandbox.store import Store
from tests.sandbox.memos import OK, key, warnings, written


@pytest.mark.parametrize(
    "result",
    [
        OK,
        ExecResult("exception", "\N{SNOWMAN}\x00\n", "ValueError", 0.1, 0.2, 'a "quoted" one'),
        ExecResult("memory", "", "MemoryError", 0.1, 0.2),
        ExecResult("signal", cpu_s=0.001, wall_s=0.002),
    ],
)
def test_a_result_comes_back_as_it_was(tmp_path, result):
    path = tmp_path / "sub" / "memo"
    memo = Memo(path)
    memo.put(key(1), result)
    assert memo.get(key(1)) == result
    memo.close()
    assert Memo(path).get(key(1)) == result
    assert Memo(path).get(key(2)) is None


@pytest.mark.parametrize(
    "result",
    [
        ExecResult("timeout_wall", cpu_s=0.1, wall_s=10.0),
        ExecResult("signal", lost=True),
        ExecResult("memory", cpu_s=0.1, wall_s=0.1),
    ],
)
def test_what_the_machine_had_a_part_in_is_not_kept(tmp_path, result):
    assert not lasting(result)
    memo = Memo(tmp_path / "memo")
    memo.put(key(1), result)
    assert memo.get(key(1)) is None
    memo.close()
    assert Memo(tmp_path / "memo").get(key(1)) is None


def test_a_program_is_not_run_again_after_a_restart(tmp_path):
    codes = ["print(1)", "1 / 0", "import sys\nsys.exit()", "x ="]
    path = tmp_path / "memo"
    with Sandbox(workers=1, memo=path) as sandbox:
        first = sandbox.run(codes)
        assert sandbox.snippets_run == 4
    with Sandbox(workers=1, memo=path) as sandbox:
        again = sandbox.run(["# a thought", *codes])[1:]
        assert sandbox.snippets_run == 1  # the thought alone
    assert [dataclasses.replace(r, cpu_s=0, wall_s=0) for r in again] == [
        dataclasses.replace(r, cpu_s=0, wall_s=0) for r in first
    ]


def test_other_limits_layers_and_packages_are_another_program(tmp_path, monkeypatch):
    runs = []
    for options in ({}, {"limits": Limits(cpu_s=3)}, {"isolation": Isolation(without=("landlock",))}, {}):
        with Sandbox(workers=1, memo=tmp_path / "memo", **options) as sandbox:
            sandbox.run(["print(1)"])
            runs.append(sandbox.snippets_run)
    assert runs == [1, 1, 1, 0]
    monkeypatch.setattr(image, "_installed", lambda: ("Python 4",))
    with Sandbox(workers=1, memo=tmp_path / "memo") as sandbox:
        sandbox.run(["print(1)"])
        assert sandbox.snippets_run == 1


def test_memory_is_bounded_and_keeps_what_was_used_last(monkeypatch):
    monkeypatch.setattr("rstar_jax.sandbox.memo._IN_MEMORY", 5000)
    memo = Memo()
    for number in range(20):
        memo.put(key(number), dataclasses.replace(OK, stdout="x" * 200))
        memo.get(key(0))
    kept = [number for number in range(20) if memo.get(key(number))]
    assert kept == [0, *range(20 - len(kept) + 1, 20)] and 5 < len(kept) <= 10


def test_a_file_grows_to_its_bound(tmp_path, caplog):
    path = tmp_path / "memo"
    memo = Memo(path, max_mb=0.25)
    rng = random.Random(0)
    for number in range(40):
        for part in range(20):
            text = rng.randbytes(500).hex()
            memo.put(key(100 * number + part), dataclasses.replace(OK, stdout=text))
        memo.close()
    assert 0.1 * 2**20 < path.stat().st_size < 0.4 * 2**20
    assert len(warnings(caplog)) == 1
    assert Memo(path).get(key(0)) is not None  # it still serves


def test_a_lookup_is_cheap(tmp_path):
    written(tmp_path / "memo", 20_000)
    store = Store(tmp_path / "memo", 1024)
    assert store.get(key(5)) is not None
    keys = [key(number) for number in range(0, 40_000, 8)]  # half of them are there
    best = min(_seconds_per_lookup(store, keys) for _ in range(5))
    store.close()
    assert best < 40e-6  # some 10 measured; other processes may be running


def _seconds_per_lookup(store: Store, keys: list[bytes]) -> float:
    start = time.process_time()
    found = sum(store.get(one) is not None for one in keys)
    assert found == len(keys) // 2
    return (time.process_time() - start) / len(keys)


WRITER = """
import sys
from pathlib import Path
from rstar_jax.sandbox import ExecResult
from rstar_jax.sandbox.memo import Memo
memo, number = Memo(Path(sys.argv[1])), int(sys.argv[2])
while True:
    for _ in range(200):
        memo.put(number.to_bytes(32, "big"), ExecResult("ok", f"{number}\\n" * 200))
        number += 1
    if sys.argv[3] == "often":
        memo.close()
    print(number, flush=True)
    if sys.argv[3] == "once":
        sys.stdin.read()
"""


def writer(path: Path, start: int, how: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(start), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_kill_loses_a_second_at_most_and_damages_nothing(tmp_path):
    path = tmp_path / "memo"
    rng = random.Random(0)
    for turn in range(4):
        process = writer(path, turn * 10**6, "often")
        assert process.stdout is not None
        for _ in range(3):
            closed = int(process.stdout.readline())
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.communicate()
        memo = Memo(path)
        result = memo.get(key(closed - 1))
        assert result is not None and result.stdout == f"{closed - 1}\n" * 200
        memo.close()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    process = writer(path, 10**7, "once")
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(1.0)
    process.kill()
    process.communicate()
    memo = Memo(path)
    assert all(memo.get(key(10**7 + number)) for number in range(200))
    memo.close()


def test_two_processes_share_a_file(tmp_path):
    path = tmp_path / "memo"
    memo = Memo(path)
    assert memo.get(key(0)) is None
    others = [writer(path, start, "often") for start in (0, 10**6)]
    for other in others:
        assert other.stdout is not None and other.stdout.readline()
    for number in range(200):
        memo.put(key(5 * 10**6 + number), OK)
    assert memo.get(key(0)) and memo.get(key(10**6))
    for other in others:
        assert other.stdout is not None and other.stdout.readline()
        other.kill()
        other.communicate()
    memo.close()
    fresh = Memo(path)
    assert all(fresh.get(key(5 * 10**6 + number)) for number in range(200))
    fresh.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memo"]


def test_a_package_that_comes_or_goes_is_another_image(monkeypatch):
    found = set()
    for versions in ({}, {"one": "1.0"}, {"one": "2.0"}, {"one": "2.0", "two": "1.0"}):
        monkeypatch.setattr(image, "packages", lambda versions=versions: kinds.Packages(versions, {}, ()))
        image._installed.cache_clear()
        found.add(image.image({}))
    image._installed.cache_clear()
    assert len(found) == 4
