"""The jobs that a config may name: its options made typed, once, and the one call that does it."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rstar_jax.errors import UserError
from rstar_jax.launch import command, signals
from rstar_jax.launch.configs import config_of, known, override
from rstar_jax.settings import from_config, nearest

Job = Callable[[ConfigDict], Callable[[Path], Any]]
# By job: the dataclass of its options.
_SETTINGS = {
    "evolve": ("rstar_jax.evolve.settings", "RunSettings"),
    "sft": ("rstar_jax.evolve.sft", "SftSettings"),
    "synthesise": ("rstar_jax.evolve.synthesis", "SynthesiseSettings"),
    "pretrain": ("rstar_jax.pretrain", "PretrainConfig"),
    "solve": ("rstar_jax.solve.settings", "SolveSettings"),
    "replay": ("rstar_jax.replay", "ReplaySettings"),
    "export": ("rstar_jax.evolve.export", "ExportSettings"),
    "prepare": ("rstar_jax.evolve.prepare", "PrepareSettings"),
    "ppm": ("rstar_jax.evolve.ppm", "PpmSettings"),
    "compare": ("rstar_jax.compare.job", "CompareSettings"),
    "evaluate": ("rstar_jax.evolve.evaluation_settings", "EvaluationSettings"),
    "judge": ("rstar_jax.evolve.judge_settings", "JudgeSettings"),
    "view": ("rstar_jax.view", "ViewSettings"),
    "report": ("rstar_jax.evolve.report_page", "ReportSettings"),
    "plan": ("rstar_jax.evolve.plan_settings", "PlanSettings"),
    "launch": ("rstar_jax.pods.settings", "LaunchSettings"),
    "sweep": ("rstar_jax.sweep.settings", "SweepSettings"),
}
# Jobs that need not wait for jax to be loaded.
WITHOUT_DEVICE = frozenset({"view", "launch", "sweep"})
# Jobs that a sweep may run: each keeps what it found in a folder that its options claim.
_SWEPT = ("evolve", "sft", "ppm", "evaluate", "judge", "synthesise", "prepare", "export", "replay")


class Unread(BrokenPipeError):
    """The reader of what is printed has gone, as behind `| head -1`, and no more than that would come: not a
    word."""


@contextlib.contextmanager
def unread_is_no_loss() -> Iterator[None]:
    """Raise a broken pipe in the block as Unread."""
    try:
        yield
    except BrokenPipeError as error:
        raise Unread(*error.args) from error


def settings_of(job: str) -> type:
    """The dataclass of a job's options."""
    module, name = _SETTINGS[job]
    return getattr(importlib.import_module(module), name)


def _job(job: str, module: str, read: Callable[[ConfigDict, str], Any]) -> Job:
    """Call `run(options, workdir)` of a module; read: makes a config the typed options of a job."""

    def start(config: ConfigDict) -> Callable[[Path], Any]:
        settings = read(config, job)
        return lambda workdir: importlib.import_module(module).run(settings, workdir)

    return start


def _plain(config: ConfigDict, job: str) -> Any:
    return from_config(settings_of(job), config.to_dict())


def _asked(config: ConfigDict, job: str) -> Any:
    try:
        return _plain(config, job)
    except UserError as error:  # options of rooms that name themselves
        raise UserError(re.sub(r"^(?=(search|decode|clean)\b)", "config.", str(error))) from None


def _solve(config: ConfigDict) -> Callable[[Path], Any]:
    run = _job("solve", "rstar_jax.solve.ask", _asked)(config)

    def heard(workdir: Path) -> Any:
        with unread_is_no_loss():
            return run(workdir)

    return heard


def _launch(config: ConfigDict) -> Callable[[Path], Any]:
    if command.FLAGS.is_parsed() and (given := command.FLAGS.workdir):
        raise UserError(
            f"--workdir={given}: nothing is kept here. The run's folder there is --config.workdir={given}."
        )
    return _elsewhere(config)


def _elsewhere(config: ConfigDict) -> Callable[[Path], Any]:
    """Write what starts another config's job elsewhere, whose options are made typed here, too."""
    settings = _plain(config, "launch")
    if not settings.of or settings.of == "launch":
        raise UserError(f"--config.job={settings.of}: a config to run there expected. {nearest('', known())}")
    try:
        there = config_of(settings.of)
    except UserError as error:
        raise UserError(str(error).replace("--config=", "--config.job=", 1)) from None
    for option in settings.options:  # those that neither has may be misspelt ones of ours
        if (name := option.partition("=")[0].partition(".")[0]) not in there:
            hint = nearest(name, [*there.keys(), *config.keys()])
            raise UserError(f"--config.{name}: neither launch nor {settings.of} has such an option. {hint}")
    there = override(there, [f"--config.{option}" for option in settings.options])
    job = there.get("job", None)
    if job not in _SETTINGS:
        raise UserError(f"--config.job={settings.of}: its job is {job!r}; {nearest(str(job), _SETTINGS)}")
    options = _asked(there, job)
    return lambda _: importlib.import_module("rstar_jax.pods.job").run(settings, options)


def _sweep(config: ConfigDict) -> Callable[[Path], Any]:
    settings = _plain(config, "sweep")

    def start(workdir: Path) -> Any:
        job = importlib.import_module("rstar_jax.sweep.job")
        given = command.FLAGS.workdir or ""
        launcher = job.Launcher(_resolved, command.of_config, _write_manifest, signals.number, given)
        return job.run(settings, launcher, workdir)

    return start


def _write_manifest(of: str, options: Sequence[str], launch: Sequence[str]) -> None:
    """Do what --config=launch does of a job. options, launch: the job's and its own, as OPTION=VALUE."""
    try:
        config = override(config_of("launch"), [f"--config.{option}" for option in launch])
        config.of, config.options = of, tuple(options)
        _elsewhere(config)(Path())
    except UserError as error:
        raise UserError(f"--config.launch: {error}") from None


def _resolved(name: str, options: Sequence[str]) -> Any:
    """The typed options of the job of a config, with overrides as OPTION=VALUE. Raises UserError."""
    try:
        config = config_of(name)
    except UserError as error:
        raise UserError(str(error).replace("--config=", "--config.job=", 1)) from None
    config = override(config, [f"--config.{option}" for option in options])
    if (job := config.get("job", None)) not in _SWEPT:
        raise UserError(f"--config.job={name}: its job is {job!r}; one of {', '.join(_SWEPT)} expected.")
    return _asked(config, job)


# What they import is imported when they are called: a misspelt flag is answered before jax is loaded.
JOBS: dict[str, Job] = {
    "evolve": _job("evolve", "rstar_jax.evolve.rounds", _plain),
    "sft": _job("sft", "rstar_jax.evolve.sft", _plain),
    "synthesise": _job("synthesise", "rstar_jax.evolve.synthesise", _plain),
    "pretrain": _job("pretrain", "rstar_jax.pretrain", _plain),
    "solve": _solve,
    "replay": _job("replay", "rstar_jax.replay", _plain),
    "export": _job("export", "rstar_jax.evolve.export", _plain),
    "prepare": _job("prepare", "rstar_jax.evolve.prepare", _asked),
    "ppm": _job("ppm", "rstar_jax.evolve.ppm", _plain),
    "compare": _job("compare", "rstar_jax.compare.job", _plain),
    "evaluate": _job("evaluate", "rstar_jax.evolve.evaluation", _asked),
    "judge": _job("judge", "rstar_jax.evolve.judge", _plain),
    "view": _job("view", "rstar_jax.view", _plain),
    "report": _job("report", "rstar_jax.evolve.report_page", _plain),
    "plan": _job("plan", "rstar_jax.evolve.plan", _plain),
    "launch": _launch,
    "sweep": _sweep,
}
