"""Results to be remembered, and files that hold some."""

import dataclasses
import logging
from pathlib import Path

from rstar_jax.sandbox import ExecResult
from rstar_jax.sandbox.memo import Memo

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
