"""Specifications of problems, one string each.

    240, suite:240             so many problems of the embedded suite
    suite:240:2-3, suite:90:3  of some of its levels alone
    FILE, FOLDER               problems of your own, whatever their form (`tables.py`); gs:// and s3://, too
    jsonl:FILE, parquet:FILE   the same, refused where the content is another
    hf:openai/gsm8k:train      a set of the Hugging Face hub, or a folder: NAME[:CONFIG]:SPLIT
    tfds:NAME/SPLIT            a set prepared by tensorflow-datasets, by name or folder

Parts that each name their kind are joined by "+", and "*0.5" behind one takes that share of its rows:
`suite:100+jsonl:FILE*0.5`. A file whose name looks like one of these is the file.
"""

from __future__ import annotations

import dataclasses
import os.path
import re

from rstar_jax.errors import UserError
from rstar_jax.problems.suite import LEVELS

KINDS = ("suite", "jsonl", "parquet", "hf", "tfds")
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(KINDS)}):)")
_COLON = re.compile(r":(?!//)(?![^\[]*\])")  # not that of gs://bucket, nor of train[:100]
_SHARE = re.compile(r"(.+)\*(\d*\.?\d+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class SourcePart:
    """A part of a specification.

    kind: one of KINDS, or "file" where none is named. name: a number, file, folder or set. config, split: of
    a set. levels: of the suite. share: of its rows, above 0 to 1. text: the part as it was given, without its
    share.
    """

    kind: str
    name: str
    config: str = ""
    split: str = ""
    levels: tuple[int, ...] = tuple(LEVELS)
    share: float = 1.0
    text: str = ""


def parse(spec: str, option: str) -> tuple[SourcePart, ...]:
    """Divide a specification into its parts. Raises UserError naming the option and the part that has another
    form."""
    spec = spec.strip()
    if not _is_number(spec) and (not spec or os.path.exists(spec)):
        return (SourcePart("file", spec, text=spec),)
    return tuple(_part(text, option) for text in _JOINT.split(spec))


def _part(text: str, option: str) -> SourcePart:
    share = 1.0
    if not os.path.exists(text.partition(":")[2] or text) and (found := _SHARE.fullmatch(text)):
        text, share = found[1], float(found[2])
        if not 0 < share <= 1:
            raise UserError(
                f"{option}: '{text}*{found[2]}' given, a share of its rows above 0 and up to 1 expected: a "
                "problem is searched once."
            )
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS:
        return SourcePart("suite" if _is_number(text) else "file", text, share=share, text=text)
    part = SourcePart(kind, name, share=share, text=text)
    if kind == "suite":
        number, colon, given = name.partition(":")
        levels = _levels(given) if colon else part.levels
        if not _is_number(number) or not levels:
            raise UserError(
                f"{option}: '{text}' given, suite:NUMBER or suite:NUMBER:LEVELS expected, such as suite:240 "
                f"or suite:240:2-3; its levels are {min(LEVELS)} to {max(LEVELS)}."
            )
        part = dataclasses.replace(part, name=number, levels=levels)
    if kind == "hf":
        name, *rest = _COLON.split(name)
        if not name or len(rest) not in (1, 2) or not all(rest):
            raise UserError(
                f"{option}: '{text}' given, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT expected, such as "
                "hf:openai/gsm8k:train."
            )
        part = dataclasses.replace(part, name=name, config=rest[0] if len(rest) == 2 else "", split=rest[-1])
    if kind == "tfds":
        name, slash, split = name.rpartition("/")
        if not (slash and name and split):
            raise UserError(f"{option}: '{text}' given, tfds:NAME/SPLIT expected.")
        part = dataclasses.replace(part, name=name, split=split)
    return part


def _levels(text: str) -> tuple[int, ...]:
    """The levels of "3" and of "2-3"; none where the text is of another form or names others."""
    found = re.fullmatch(r"(\d)(?:-(\d))?", text)
    return tuple(n for n in LEVELS if found and int(found[1]) <= n <= int(found[2] or found[1]))


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
