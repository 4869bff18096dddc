"""Files are whole or absent, and what cannot be read or written is named."""

import errno

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.manifests import fingerprint
from rstar_jax.types import SftRow


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "sft.parquet"
    row = SftRow("p", "q", ("a",), 0.5, 0.5, 1)
    parquet.write_rows(path, SftRow, [row])

    def full(table, where, **_):
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"sft\.parquet: the disk is full"):
        parquet.write_rows(path, SftRow, [row, row])
    assert parquet.read_rows(path, SftRow) == [row]
    assert [p.name for p in tmp_path.iterdir()] == ["sft.parquet"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "give yourself the right to read it and"),
        (OSError(errno.EMFILE, "Too many open files"), "raise `ulimit -n` and"),
        (OSError(errno.EIO, "Input/output error"), "see to the disk and"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), "no memory for it"),
    ],
)
def test_what_the_system_cannot_read_now_is_not_damaged(tmp_path, monkeypatch, error, message):
    path, of_json = tmp_path / "sft.parquet", tmp_path / "a.json"
    parquet.write_rows(path, SftRow, [])
    records.write_json(of_json, {})

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fails)
    monkeypatch.setattr(type(of_json), "read_text", fails)
    rows, plain = (lambda: parquet.read_rows(path, SftRow)), (lambda: records.read_json(of_json))
    for file, read in ((path, rows), (of_json, plain)):
        with pytest.raises(UserError, match="cannot be read") as told:
            read()
        assert not isinstance(told.value, records.Damaged)
        assert str(told.value).startswith(f"{file}: ") and message in str(told.value)


@pytest.mark.parametrize("read", [records.read_json, lambda path: parquet.read_rows(path, SftRow)])
def test_a_missing_file_and_a_folder_in_its_place_are_damage(tmp_path, read):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(records.Damaged):
            read(path)


@pytest.mark.parametrize("of", [records.digest, fingerprint])
def test_what_cannot_be_summed_up_is_named(tmp_path, of):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "none", "a file expected there (No such file or directory). Put it back"),
        (tmp_path / "file" / "below", "a file expected there (Not a directory)"),
        (loop, "cannot be read (Too many levels of symbolic links). It stays where it is"),
    ):
        with pytest.raises(UserError) as told:
            of(path)
        assert str(told.value).startswith(f"{path}: {message}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written"):
        records.write_json(tmp_path / "file" / "x.json", {})


def test_quarantine_keeps_every_damaged_copy(tmp_path):
    path = tmp_path / "x.json"
    for n in (1, 2):
        path.write_text("{")
        assert records.quarantine(path).name == f"x.json.damaged-{n}"
    assert not path.exists()
