"""Rows of a user's file, read as what it is: JSON lines, a JSON array or object, Parquet; JSON also gzipped.

The content decides, not the name. Texts that JSON has silently made something else of are refused.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax.errors import Unfit, UserError
from rstar_jax.records import MOST_TEXT

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
# An array of objects, or one object of several lines, as each of MATH's files is.
_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*\{|\{[ \t]*\r?\n)")
_HEAD = 2**16  # bytes in which an array shows
_BATCH = 1024  # rows of Parquet that are held at once
_MOST_UNPACKED = 4 * 2**30  # bytes of a gzipped file: a few kilobytes may stand for any number
_SUSPECT = re.compile("[\f\b\t\r\n\ud800-\udfff]")  # all that is looked for below begins with one of these
_SURROGATE = re.compile("[\ud800-\udfff]")
# "\frac" with one backslash is JSON's escape for a form feed, and then "rac". Nobody writes a form feed or a
# backspace; a tab, return or line end is such an accident where the rest of a TeX command follows.
_LOST = {"\f": "f", "\b": "b", "\t": "t", "\r": "r", "\n": "n"}
_RESTS = {
    "\t": "heta imes ext extbf extit extrm exttt extstyle frac riangle herefore ilde binom anh",
    "\r": "ight ightarrow angle floor ceil ule m",
    "\n": "abla eq eg otin leq geq mid parallel exists earrow warrow ewline onumber",
}
# These are words or letters, too: an accident only inside $...$, which seldom has tabs or line ends.
_SHORT = {"\t": "o an au op", "\r": "ho", "\n": "u e i ot"}


def _alternatives(rests: dict[str, str]) -> str:
    return "|".join(f"{lost}(?:{'|'.join(words.split())})(?![A-Za-z])" for lost, words in rests.items())


_ACCIDENT = re.compile(rf"[\f\b][A-Za-z]*|{_alternatives(_RESTS)}")
_SHORT_ACCIDENT = re.compile(_alternatives(_SHORT))
_DOLLAR = re.compile(r"(?<![\\$])\$(?!\$)")
# takes "eq = Eq(x, 3)", "mid //= 2", "eq.lhs", "mid, r = 3, 1", not "eq 3", "mid. Then"
_CODE = re.compile(r"[A-Za-z_]\w*(?:[ \t]*(?:[-+*/%]*=|[(\[])|\.[A-Za-z_]|:[ \t]|,[^\n]*=)")


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a row: "line 3" of JSON lines, "item 3" of an array, "row 3" of Parquet, from 1."""

    path: Path | str
    kind: str
    number: int

    def __str__(self) -> str:
        line = self.kind == "line"
        return f"{self.path}:{self.number}" if line else f"{self.path}: {self.short}"

    @property
    def short(self) -> str:
        return f"{self.kind} {self.number}"


OnBad = Callable[[Unfit], None]


def raise_it(error: Unfit) -> None:
    """Take a bad row as the end of reading."""
    raise error


def unfit(error: UserError) -> Unfit:
    """Take what is wrong with a row as a fault by which such rows are counted."""
    return error if isinstance(error, Unfit) else Unfit("malformed", error)


def is_parquet(path: Path) -> bool:
    """Return whether a file says that it is of that kind."""
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def read_objects(
    path: Path, expected: str, on_bad: OnBad = raise_it
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of a file, each with its place; empty lines are passed over.

    Lines are read one by one; a line, or an array, is parsed whole and may have `MOST_TEXT` bytes.
    expected: the keys that an error names. on_bad: told of file and place of what is no JSON object, and
    raises, or has it passed over. Raises UserError naming the file where it is of no such kind, too large,
    damaged, or cannot be read, or an array that is not JSON.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_PARQUET))
            file.seek(0)
            if head == _PARQUET:
                yield from _parquet(path)
            elif head.startswith(_GZIP):
                with gzip.open(file) as unpacked:
                    yield from _json(path, unpacked, expected, on_bad, _MOST_UNPACKED)
            else:
                yield from _json(path, file, expected, on_bad)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged ({error}), a whole gzip file expected. Copy it again.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Check its rights.") from error


def _json(
    path: Path, file: IO[bytes] | gzip.GzipFile, expected: str, on_bad: OnBad, limit: float = math.inf
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of JSON lines or of one JSON text, whose file may have `limit` bytes."""
    if _ARRAY.match(file.read(_HEAD)):
        file.seek(0)
        try:
            items = _parsed(_text(str(path), file.read(MOST_TEXT + 1), "an array", 0), str(path))
        except Unfit as error:  # one of a folder's files, each of which is a row
            on_bad(error)
            return
        for number, item in enumerate(items if isinstance(items, list) else [items], start=1):
            place = Place(path, "item", number)
            try:
                found = _object(item, place, expected)
            except Unfit as error:
                on_bad(error)
            else:
                yield place, found
        return
    file.seek(0)
    offset = 0
    for number, line in enumerate(iter(lambda: file.readline(MOST_TEXT + 1), b""), start=1):
        place, before = Place(path, "line", number), offset
        offset += len(line)
        try:
            text = _text(str(place), line, "a line", before)
            if offset > limit:
                raise UserError(
                    f"{path}: unpacks to more than {limit:,} bytes, which a gzipped file may have at most. "
                    "Divide it, or unpack it."
                )
            if not text.strip():
                continue
            found = _object(_parsed(text, str(place)), place, expected)
        except Unfit as error:
            on_bad(error)
        else:
            yield place, found


def _text(place: str, data: bytes, what: str, offset: int) -> str:
    """Return the text to parse at once that begins at byte `offset` of the file. place: for errors."""
    if len(data) > MOST_TEXT:
        raise UserError(
            f"{place}: {what} of more than {MOST_TEXT:,} bytes, which is the most that is parsed at once. "
            "Write JSON lines, an object a line."
        )
    try:
        return data.decode("utf-8" if offset else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(
            "not UTF-8",
            f"{place}: not UTF-8 text ({error.reason} at byte {offset + error.start}). Save it as UTF-8; "
            "JSON lines, a JSON array or Parquet is expected, the first two gzipped or not.",
        ) from None


def _parquet(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    number = 0
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        # Nothing is read from dates, which may have no form in Python.
        names = [field.name for field in file.schema_arrow if not pa.types.is_temporal(field.type)]
        for batch in file.iter_batches(_BATCH, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield Place(path, "row", number), row
    except (pa.ArrowException, ValueError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({why}), a whole Parquet file expected. Copy it again.") from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        row = f"line {error.lineno}, " if "\n" in text.strip() else ""
        hint = " A backslash of TeX is written as two in JSON." if "escape" in error.msg else ""
        raise Unfit(
            "not JSON", f"{place}: not JSON ({error.msg} at {row}column {error.colno}).{hint}"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise Unfit("not JSON", f"{place}: cannot be read as JSON ({error}).") from None


def _object(value: Any, place: Place, expected: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit("not JSON", f"{place}: {type(value).__name__} given, an object with {expected} expected.")
    return value


def require_text(place: Place, key: str, text: str, *, code: bool = False) -> None:
    r"""Refuse a text that JSON's escapes have spoilt: half a character, or `\frac` with one backslash, which
    is a form feed and "rac".

    code: the text is a program in part, where a line may begin with `eq = ...`.
    """
    if not _SUSPECT.search(text):
        return
    require_whole(place, key, text)
    if found := _accident(text, code):
        command = _LOST[found[0][0]] + found[0][1:]
        raise Unfit(
            "spoilt text",
            f"{place}: {key} holds {found[0]!r}, a control character and the rest of a TeX command: one "
            rf"backslash too few, '\{command}'. Write '\\{command}' in JSON, or leave the character out.",
        )


def require_whole(place: Place, key: str, text: str) -> None:
    """Refuse a text with half a character in it, which JSON can spell and no file hold."""
    if half := _SURROGATE.search(text):
        raise Unfit(
            "spoilt text",
            f"{place}: {key} holds half a character ({half[0]!a}), which is no text. Mend that escape.",
        )


def _accident(text: str, code: bool) -> re.Match[str] | None:
    for found in _ACCIDENT.finditer(text):
        # "\neq = Eq(x, 3)" in a program is a line of its own.
        begins_line = not text[: found.start() + 1].rpartition("\n")[2].strip(" \t")
        if not (code and begins_line and _CODE.match(text, found.start() + 1)):
            return found
    for found in () if code or "$" not in text else _SHORT_ACCIDENT.finditer(text):
        before = len(_DOLLAR.findall(text, 0, found.start()))
        if before % 2 and _DOLLAR.search(text, found.end()):
            return found
    return None


def shown(value: object) -> str:
    """A value in an error: as Python writes it, and no longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
