"""A job that is a line of shell, such as one that copies an evaluation.

`python -m tests.sweep.fakes WORKDIR SCRIPT` sweeps two points of one, both at once.
"""

import ast
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rstar_jax import records
from rstar_jax.evolve.stages import Workdir
from rstar_jax.launch import signals
from rstar_jax.report import results
from rstar_jax.settings import from_config
from rstar_jax.sweep import job
from rstar_jax.sweep.settings import SweepSettings
from tests.evaluate.examples import predictions, write_evaluation


@dataclasses.dataclass(frozen=True)
class Fake:
    job: str = "evaluate"
    c: float = 1.0
    d: tuple[int, ...] = (1,)
    name: str = "a"
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.c < 100


def resolve(_: str, options: Sequence[str]) -> Fake:
    given = dict(option.split("=", 1) for option in options)
    values = {key: _value(text) for key, text in given.items()}
    if isinstance(values.get("d"), int):  # as on the command line
        values["d"] = (values["d"],)
    return from_config(Fake, values)


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def evaluation(folder: Path, right: Sequence[int]) -> None:
    """The folder of an evaluation that has solved the problems that are 1."""
    rows = [
        dataclasses.replace(row, grade="right" if right[i] else "wrong", same=0 if right[i] else 1)
        for i, row in enumerate(predictions("math500", len(right), 1))
    ]
    found = write_evaluation(folder, rows={"math500": rows}, k=1, metric="pass@1")
    records.write_signed(folder / "evaluation.json", results.to_json(found))


def launcher(
    script: Callable[[Path, Sequence[str]], str], manifest: Callable[..., None] = print, given: str = ""
) -> job.Launcher:
    """script: makes a line of shell of a point's folder and options."""

    def command(name: str, folder: Path, options: Sequence[str]) -> list[str]:
        with Workdir(folder, resolve(name, options)):  # as every job does
            pass
        return ["/bin/sh", "-c", script(folder, options)]

    return job.Launcher(resolve, command, manifest, signals.number, given)


if __name__ == "__main__":
    signals.install()
    settings = SweepSettings(over=("c=1,2",), at_once=2)
    try:
        status = job.run(settings, launcher(lambda *_: sys.argv[2]), Path(sys.argv[1]))
    except KeyboardInterrupt as signalled:
        status = signals.say(signalled)
    signals.leave(status)
