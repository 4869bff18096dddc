"""The memory of results: what is kept, for how long, and what a file may suffer."""

import dataclasses
import json
import logging
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import soon

from rstar_jax.verify.sandbox import ExecResult, Isolation, Limits, Sandbox, image
from rstar_jax.verify.sandbox.memo import Memo, lasting
from rstar_jax.verify.sandbox.store import Store

OK = ExecResult("ok", "7\n", cpu_s=0.25, wall_s=0.5)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def written(path: Path, count: int) -> None:
    """A file that holds results 0 to `count`."""
    memo = Memo(path)
    for number in range(count):
        memo.put(key(number), dataclasses.replace(OK, stdout=f"{number}\n" * 50))
    memo.close()


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


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
    monkeypatch.setattr("rstar_jax.verify.sandbox.memo._IN_MEMORY", 5000)
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
from rstar_jax.verify.sandbox import ExecResult
from rstar_jax.verify.sandbox.memo import Memo
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


@pytest.mark.parametrize("harm", ["text", "cut", "overwritten"])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(tmp_path, caplog, harm):
    path = tmp_path / "memo"
    written(path, 2000)
    size = path.stat().st_size
    if harm == "text":
        path.write_text("not a database at all\n" * 1000)
    elif harm == "cut":
        os.truncate(path, size // 2)
    else:
        with open(path, "r+b") as file:
            file.seek(4096)
            file.write(random.Random(0).randbytes(size - 4096))
    damaged = path.read_bytes()
    memo = Memo(path)
    for number in range(2000):
        result = memo.get(key(number))
        assert result is None or result.stdout == f"{number}\n" * 50
    memo.put(key(5000), OK)
    memo.close()
    assert (tmp_path / "memo.damaged-1").read_bytes() == damaged
    assert len(warnings(caplog)) == 1 and "memo.damaged-1" in warnings(caplog)[0]
    fresh = Memo(path)
    assert fresh.get(key(5000)) == OK
    fresh.close()


def test_damage_that_comes_while_it_is_open_is_noticed(tmp_path):
    path = tmp_path / "memo"
    written(path, 2000)
    memo = Memo(path)
    assert memo.get(key(1)) is not None
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for number in range(2, 2000):
        memo.get(key(number))
    assert soon((tmp_path / "memo.damaged-1").exists)
    memo.put(key(1999), OK)
    memo.close()
    fresh = Memo(path)
    assert fresh.get(key(1999)) == OK
    fresh.close()


def test_another_programs_database_is_left_alone(tmp_path, caplog):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE letters (text)")
    connection.close()
    before = path.read_bytes()
    memo = Memo(path)
    assert memo.get(key(1)) is None
    memo.put(key(1), OK)
    memo.close()
    assert path.read_bytes() == before
    assert ["something else" in text for text in warnings(caplog)] == [True]


@pytest.mark.parametrize("trouble", ["a folder", "below a file", "no rights", "full"])
def test_a_file_that_cannot_be_written_costs_the_memory_and_one_warning(
    tmp_path, caplog, monkeypatch, trouble
):
    path = tmp_path / "memo"
    if trouble == "a folder":
        path.mkdir()
    elif trouble == "below a file":
        path.write_text("")
        path = path / "memo"
    elif trouble == "no rights":
        path = Path("/proc/memo")  # also root may not
    else:
        opened = Store._opened

        def full(store: Store) -> sqlite3.Connection:
            connection = opened(store)
            connection.execute("PRAGMA max_page_count = 4")
            return connection

        monkeypatch.setattr(Store, "_opened", full)
    memo = Memo(path)
    for number in range(200):
        assert memo.get(key(number)) is None
        memo.put(key(number), dataclasses.replace(OK, stdout="x" * 500))
    memo.close()
    assert all(memo.get(key(number)) for number in range(200))  # in memory
    memo.close()
    assert len(warnings(caplog)) == 1 and str(path) in warnings(caplog)[0]


def test_a_locked_file_does_not_keep_a_search_waiting(tmp_path):
    path = tmp_path / "memo"
    written(path, 10)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("INSERT INTO results VALUES ('x', 'y')")
    memo = Memo(path)
    start = time.monotonic()
    for number in range(100):
        memo.get(key(number))
        memo.put(key(100 + number), OK)
    assert time.monotonic() - start < 4
    holder.execute("COMMIT")
    holder.close()
    time.sleep(0.1)
    memo.close()
    fresh = Memo(path)
    assert fresh.get(key(100)) == OK
    fresh.close()


def test_a_value_that_is_no_result_is_none(tmp_path):
    path = tmp_path / "memo"
    written(path, 1)
    values = ["", "null", "[]", json.dumps(["fine", "", "", "", 0, 0]), json.dumps(["ok", 1, "", "", 0, 0])]
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO results VALUES (?, ?)", [(key(9 + i), v) for i, v in enumerate(values)]
        )
        connection.execute("INSERT INTO results VALUES (?, ?)", (key(8), b"\xff"))
    connection.close()
    memo = Memo(path)
    assert not any(memo.get(key(8 + number)) for number in range(6))
    assert memo.get(key(0)) is not None
    memo.close()


def test_a_package_that_comes_or_goes_is_another_image(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "package_paths", lambda: (str(tmp_path),))
    found = set()
    for name in ("one-1.0.dist-info", "one-2.0.dist-info", "two.py"):
        image._installed.cache_clear()
        found.add(image.image({}))
        (tmp_path / name).touch()
    image._installed.cache_clear()
    assert image.image({}) not in found and len(found) == 3
    image._installed.cache_clear()
