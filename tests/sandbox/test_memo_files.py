"""What the file of remembered results may suffer: damage, strangers, locks, no room."""

import dataclasses
import json
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest

from rstar_jax.sandbox.memo import Memo
from tests.sandbox.memos import OK, key, warnings, written
from tests.sandbox.processes import soon


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
        connect = sqlite3.connect

        def full(*args, **options) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.execute("PRAGMA max_page_count = 4")
            return connection

        monkeypatch.setattr(sqlite3, "connect", full)
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


def test_a_result_with_a_flipped_bit_is_none(tmp_path):
    path = tmp_path / "memo"
    written(path, 1)
    with sqlite3.connect(path) as connection:
        ((row,),) = connection.execute("SELECT value FROM results WHERE key = ?", (key(0),)).fetchall()
    connection.close()
    served = []
    for at in range(len(row)):
        with sqlite3.connect(path) as connection:
            flipped = row[:at] + chr(ord(row[at]) ^ 1) + row[at + 1 :]
            connection.execute("UPDATE results SET value = ? WHERE key = ?", (flipped, key(0)))
        connection.close()
        memo = Memo(path)
        served.append(memo.get(key(0)))
        memo.close()
    assert served == [None] * len(row)


def test_a_value_that_is_no_result_is_none(tmp_path):
    path = tmp_path / "memo"
    written(path, 1)
    values = ["", "null", "[]", json.dumps(["fine", "", "", "", 0, 0]), json.dumps(["ok", 1, "", "", 0, 0])]
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO results VALUES (?, ?)", [(key(9 + i), v) for i, v in enumerate(values)]
        )
        connection.execute("INSERT INTO results VALUES (?, ?)", (key(8), b"\xff"))
        moved = "INSERT INTO results SELECT ?, value FROM results WHERE key = ?"
        connection.execute(moved, (key(14), key(0)))
    connection.close()
    memo = Memo(path)
    assert not any(memo.get(key(8 + number)) for number in range(7))  # the last is another program's
    assert memo.get(key(0)) is not None
    memo.close()
