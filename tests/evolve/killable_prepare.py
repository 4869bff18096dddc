"""Prepares a set and kills itself at every moment at which files change, one process for each moment.

    python -m tests.evolve.killable_prepare FOLDER

Prints how many were killed, after how many of them there was no set, and after how many a whole one.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow_datasets as tfds

from rstar_jax.data.load import load_problems
from rstar_jax.errors import UserError
from rstar_jax.evolve import prepare

SETTINGS = prepare.PrepareSettings(sources="suite:20", heldout="suite:4", shard=6)


def fatal(function: Callable, left: list[int]) -> Callable:
    """A function that kills the process in the place of a call, when its turn comes."""

    def call(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def prepare_in_a_process(work: Path, moment: int) -> bool:
    """Return whether it was killed. moment: 0: never."""
    pid = os.fork()
    if not pid:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        left = [moment]
        for name in ("rename", "replace"):
            setattr(os, name, fatal(getattr(os, name), left))
        writer = tfds.core.GeneratorBasedBuilder._example_writer

        def killing(self: tfds.core.GeneratorBasedBuilder) -> object:
            found = writer(self)
            found.write = fatal(found.write, left)
            return found

        tfds.core.GeneratorBasedBuilder._example_writer = killing
        prepare.run(SETTINGS, work)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def read(work: Path) -> list | None:
    try:
        splits = ("train", "heldout")
        return [list(load_problems(f"tfds:{work}/{split}", seed=0, split="train")) for split in splits]
    except UserError:
        return None


def main(folder: Path) -> None:
    prepare_in_a_process(folder / "unbroken", 0)
    expected, counts = read(folder / "unbroken"), {"killed": 0, "absent": 0, "whole": 0}
    assert expected and list(map(len, expected)) == [20, 4], expected
    while prepare_in_a_process(work := folder / str(counts["killed"]), counts["killed"] + 1):
        found = read(work)
        assert found in (None, expected), f"moment {counts['killed']}: {found}"
        counts["killed"] += 1
        counts["absent" if found is None else "whole"] += 1
        assert not prepare_in_a_process(work, 0)
        assert read(work) == expected
        left = {path.name for path in (work / "rstar_problems").iterdir()}
        assert left == {"1.0.0", "DONE.json"}, left
    print(*counts.values())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
