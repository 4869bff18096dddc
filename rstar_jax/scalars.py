"""Scalars of a run for TensorBoard and, where it is asked for, Weights & Biases: the same, by one interface.

    sink:  start(step) --> write(step, values) ... --> close()        start again where a killed run resumes

A series is a training ("round2/policy", keyed by step) or that of the rounds ("rounds", keyed by round). What
a resumed run does again is written once: TensorBoard discards what it had from the step on that `start`
names; Weights & Biases has no such thing, so that a file of each series says up to where it was sent, and is
written before. A failure of Weights & Biases ends no run: the figures are in metrics.jsonl and report.json.

    ROOT/scalars/events...         the rounds, for TensorBoard; a training's lie in its stage's folder
    ROOT/scalars/rounds.json       which of the rounds' scalars were written to which
    ROOT/scalars/wandb/...         the run's id, and how far each series was sent
    ROOT/wandb/...                 Weights & Biases' own files; `wandb sync` sends those of an offline run
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from rstar_jax import records
from rstar_jax.errors import UserError

log = logging.getLogger(__name__)
Rounds = Mapping[int, Mapping[str, float]]  # by round, 0 for what was before: values by name
_FOLDER, _ROUNDS, _DIGITS = "scalars", "rounds.json", 20


class ScalarSink(Protocol):
    """A series that is written to."""

    def start(self, step: int) -> None:
        """Begin at a step; of what was written from there on nothing may stay beside what comes."""
        ...

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step. Steps rise."""
        ...

    def close(self) -> None:
        """Flush; writing may go on after another `start`."""
        ...


class TensorBoard:
    """Events in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._purge: int | None = None

    def start(self, step: int) -> None:
        """As `ScalarSink.start`."""
        self.close()
        # On reading, TensorBoard discards the older events from this step on.
        self._purge = step if any(self._folder.glob("events.*")) else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """As `ScalarSink.write`."""
        if self._writer is None:
            from tensorboardX import SummaryWriter  # imported when first needed: it takes seconds

            # Its files are named by the second, and read in the order of their names.
            suffix = f".{time.time_ns()}"
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge, filename_suffix=suffix)
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """As `ScalarSink.close`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandbRun:
    """One run of Weights & Biases for a run's folder, resumed with it.

        not begun --log--> open --close--> done        what is logged after a failure goes nowhere

    config: the run's options. warn: told of a failure, once. has_failed: whether there was one.
    """

    def __init__(
        self, project: str, root: Path, config: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._project, self._root, self._config, self._warn = project, root, config, warn
        self._run: Any = None
        self.has_failed = False
        self._defined = set[str]()

    def series(self, name: str) -> WandbSeries:
        """A series of the run."""
        return WandbSeries(self, name, self._root / _FOLDER / "wandb" / name.replace("/", "-"))

    def log(self, values: Mapping[str, float | int], step: str) -> None:
        """Send values; step: the name of the one that they are keyed by."""
        if self.has_failed:
            return
        try:
            if self._run is None:
                self._run = self._begin()
            for name in values:
                if name not in self._defined:
                    self._defined.add(name)
                    self._run.define_metric(name, step_metric=None if name == step else step)
            self._run.log(dict(values))
        except Exception as error:  # whatever it raises: a run of days does not end for a chart
            self.failed(error)

    def close(self) -> None:
        """End the run; it may be resumed."""
        run, self._run = self._run, None
        try:
            if run is not None:
                run.finish()
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Tell of a failure; nothing is sent from now on."""
        self.has_failed, self._run = True, None
        first = (str(error).splitlines() or [type(error).__name__])[0]
        self._warn(
            f"Weights & Biases failed ({first}); the run goes on without it. Its figures are in "
            "metrics.jsonl, in report.json and in TensorBoard's events."
        )

    def _begin(self) -> Any:
        wandb = importlib.import_module("wandb")
        name = self._root / _FOLDER / "wandb" / "run"
        name.parent.mkdir(parents=True, exist_ok=True)
        if not name.exists():
            with records.replacing(name) as temporary:
                temporary.write_text(secrets.token_hex(4))
        # Without a key it would ask on a terminal, and fail elsewhere.
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        return wandb.init(
            project=self._project,
            dir=str(self._root),
            id=name.read_text(),
            resume="allow",
            name=self._root.name,
            config=dict(self._config),
            mode=mode,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )


class WandbSeries:
    """A series of a `WandbRun`, named as its prefix. path: keeps up to which step it was sent."""

    def __init__(self, run: WandbRun, name: str, path: Path) -> None:
        self._run, self._name, self._path = run, name, path
        self._file: int | None = None
        self._sent = -1

    def start(self, step: int) -> None:
        """As `ScalarSink.start`: what was sent is not sent again, whatever the step."""
        del step
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """As `ScalarSink.write`."""
        if self._run.has_failed:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
                self._sent = int(os.pread(self._file, _DIGITS, 0) or b"-1")
            if step <= self._sent:
                return
            # Before it is sent: a kill between the two loses a point, and never doubles one.
            self._sent = step
            os.pwrite(self._file, f"{step:{_DIGITS}}".encode(), 0)
        except (OSError, ValueError) as error:
            self._run.failed(error)
            return
        key = f"{self._name}/step"
        self._run.log({key: step, **{f"{self._name}/{name}": float(v) for name, v in values.items()}}, key)

    def close(self) -> None:
        """As `ScalarSink.close`."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class RunScalars:
    """The scalars of a run's folder. project: of Weights & Biases; "": it is not asked."""

    def __init__(
        self, root: Path, project: str, config: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._root = root
        self._wandb = WandbRun(project, root, config, warn) if project else None

    def training(self, folder: Path) -> list[ScalarSink]:
        """Sinks of a training beside TensorBoard's, which lies in its folder."""
        name = folder.relative_to(self._root).as_posix()
        return [self._wandb.series(name)] if self._wandb else []

    def rounds(self, found: Rounds) -> None:
        """Write what the rounds have come to, as far as it was not written: after every stage."""
        path = self._root / _FOLDER / _ROUNDS
        ledger: dict[str, dict[str, list[str]]] = {}
        with contextlib.suppress(records.Damaged):
            ledger = records.read_json(path) if path.exists() else {}
        for kind, write in (("tensorboard", self._to_tensorboard), ("wandb", self._to_wandb)):
            if kind == "wandb" and self._wandb is None:
                continue
            written = {int(number): names for number, names in ledger.get(kind, {}).items()}
            new = {
                number: [name for name in values if name not in written.get(number, [])]
                for number, values in sorted(found.items())
            }
            if any(new.values()):
                known = {str(number): list(values) for number, values in sorted(found.items())}
                write(found, new, lambda kind=kind, known=known: _note(path, ledger, kind, known))

    def _to_tensorboard(self, found: Rounds, new: Mapping[int, list[str]], note: Callable[[], None]) -> None:
        first = min(number for number, names in new.items() if names)
        board = TensorBoard(self._root / _FOLDER)
        board.start(
            first
        )  # discards what it has of these rounds, so that a kill before the note doubles none
        for number in sorted(found):
            if number >= first:
                board.write(number, found[number])
        board.close()
        note()

    def _to_wandb(self, found: Rounds, new: Mapping[int, list[str]], note: Callable[[], None]) -> None:
        assert self._wandb is not None
        note()
        for number, names in new.items():
            if names:
                values = {f"rounds/{name}": float(found[number][name]) for name in names}
                self._wandb.log({"rounds/round": number, **values}, "rounds/round")

    def close(self) -> None:
        """Flush what is open."""
        if self._wandb is not None:
            self._wandb.close()


def _note(path: Path, ledger: dict[str, Any], kind: str, known: dict[str, list[str]]) -> None:
    ledger[kind] = known
    records.write_json(path, ledger)


def require(project: str, option: str = "config.wandb") -> None:
    """Raise UserError where Weights & Biases is asked for and not installed."""
    if project and importlib.util.find_spec("wandb") is None:
        raise UserError(
            f"{option}: {project!r} given, but wandb is not installed. pip install 'rstar-jax[wandb]', or "
            "leave it out: TensorBoard gets the same scalars."
        )
