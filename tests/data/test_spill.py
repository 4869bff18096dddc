"""Rows that wait on disk: back as they were; an error says where there is no room, and what to do."""

import pytest

from rstar_jax.data.spill import Spill
from rstar_jax.errors import UserError


def test_rows_come_back_as_they_were():
    rows = Spill("CREATE TABLE some (number INTEGER, text TEXT)")
    rows.insert("INSERT INTO some VALUES (?, ?)", ((i, "é" * i) for i in range(5)))
    rows.execute("DELETE FROM some WHERE number = ?", (3,))
    assert list(rows.select("SELECT * FROM some WHERE number > ?", (1,))) == [(2, "éé"), (4, "éééé")]


def test_a_full_disk_is_named_and_what_makes_the_rows_is_not_blamed_on_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rows = Spill("PRAGMA max_page_count = 4", "CREATE TABLE some (text TEXT)")
    with pytest.raises(UserError, match=rf"{tmp_path}: temporary files cannot be written .*full.*TMPDIR"):
        rows.insert("INSERT INTO some VALUES (?)", [("x" * 100_000,)])

    def broken():
        yield ("one",)
        raise UserError("a.jsonl:2: not JSON")

    with pytest.raises(UserError, match=r"^a\.jsonl:2"):
        rows.insert("INSERT INTO some VALUES (?)", broken())
