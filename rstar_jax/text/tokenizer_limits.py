"""Limits of what a tokenizer's own rules may cost: they come with a folder, and are applied to every text."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import tokenizers

# A group that is repeated, "(a+)+": of those alone an expression can take exponential time. Not "a+b+".
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_UNIT = re.compile(r"\w{2,}")
_LENGTH = 64  # letters in which exponential time shows
_UNITS = 64  # tried at most
_MOST_CPU_S = 2.0  # of all trials, which take milliseconds
_MOST_GROWTH = 1000  # letters that one becomes by a normalizer's replacements, one after another


def unfit(backend: tokenizers.Tokenizer) -> str | None:
    """Say why a tokenizer's rules are not fit for use, None where they are.

    Texts are tried in which one letter, or word, of its expressions is repeated, only where some expression
    repeats a group. The library itself gives a match up after ten million steps, by a panic, so that each
    text takes a bounded time; whatever takes longer than it may here is refused, too.
    """
    parts = [json.loads(p.__getstate__()) for p in (backend.normalizer, backend.pre_tokenizer) if p]
    if (growth := _growth(parts)) > _MOST_GROWTH:
        return f"its normalizer makes {growth:,} letters of one"
    expressions = list(_expressions(parts))
    if not any(_REPEATED_GROUP.search(expression) for expression in expressions):
        return None
    with _quiet():
        return _slow(backend, expressions)


def _slow(backend: tokenizers.Tokenizer, expressions: list[str]) -> str | None:
    """Try texts of these expressions' letters and words."""
    letters = "".join(dict.fromkeys("".join([*expressions, "a1 \n!"])))
    words = [word for expression in expressions for word in _UNIT.findall(expression)]
    began = time.process_time()
    for unit in [*dict.fromkeys([*letters, *words])][:_UNITS]:
        # What an expression asks for at its end is there, but not where it is asked for.
        text = f"{unit * (1 + _LENGTH // len(unit))}\0{letters}"
        try:
            backend.encode(text, add_special_tokens=False)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            return f"an expression in it fails at the text {text[:20]!r}... ({error})"
        if time.process_time() - began > _MOST_CPU_S:
            return f"an expression in it takes too long at the text {text[:20]!r}..."
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Rust prints of a panic off standard error: the UserError says it."""
    try:
        saved = os.dup(2)
    except OSError:  # closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def is_panic(error: BaseException) -> bool:
    """Tell if the Rust code of `tokenizers` has panicked, which is no Exception to Python."""
    return type(error).__name__ == "PanicException"


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("Regex"), str):
            yield value["Regex"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)


def _growth(value: Any) -> int:
    """Letters that one may become by all replacements together."""
    if isinstance(value, list):
        product = 1
        for inner in value:
            product *= _growth(inner)
        return product
    if not isinstance(value, dict):
        return 1
    content = value.get("content") if value.get("type") == "Replace" else None
    return max(1, len(content)) if isinstance(content, str) else _growth(list(value.values()))
