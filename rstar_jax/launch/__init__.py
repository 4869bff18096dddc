"""The only way in: `python -m rstar_jax.launch --config=NAME [--config.search.rollouts=64] [--workdir=DIR]`.

Flags -> config -> one call. NAME is a file in configs/ (or a path to one) whose get_config() gives a
ConfigDict; overrides are dotted; the result becomes typed settings here, once. --compiled=DIR says where
compiled programs are kept (`compilations.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ml_collections import ConfigDict

from rstar_jax.errors import UserError
from rstar_jax.launch.configs import folders, help_text, known, load, made, override
from rstar_jax.launch.signals import Terminated
from rstar_jax.settings import from_config, home_expanded, nearest

__all__ = ["JOBS", "folders", "help_text", "load", "main", "override"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit status: 0 done, 1 no answer was found, 2 bad input or a file or
    disk that fails, 130 interrupted, 141 nobody reads the output, 143 terminated.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        status = _launch(list(sys.argv[1:] if argv is None else argv))
        with _unread_is_no_loss():
            sys.stdout.flush()  # not left to the interpreter's end, where a failure is a traceback
        return status
    except UserError as error:
        return _say(f"error: {error}", 2)
    except Terminated as signalled:
        return _say(f"\n{str(signalled) or 'terminated; the same command goes on where it was.'}", 143)
    except KeyboardInterrupt as signalled:
        return _say(f"\n{str(signalled) or 'stopped; the same command goes on where it was.'}", 130)
    except (BrokenPipeError, SystemExit) as error:
        # rich exits at a broken pipe by itself
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _let_go_of(sys.stdout)
        if isinstance(error, Unread):
            return 141
        return _say("stopped: nobody reads the output. The same command goes on where it was.", 141)
    except OSError as error:
        if error.filename is None:  # most often of the output itself, such as a log on a full disk
            _let_go_of(sys.stdout)
        where = f"{error.filename}: " if error.filename is not None else ""
        return _say(
            f"error: {where}{error.strerror or error}. Nothing computed was lost; once that is mended, the "
            "same command goes on where it was.",
            2,
        )


class Unread(BrokenPipeError):
    """Nobody reads what is printed, as behind `| head -1`, and no more than that would come: not a word."""


@contextlib.contextmanager
def _unread_is_no_loss() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise Unread(*error.args) from error


def _say(text: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _let_go_of(sys.stdout)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # both outputs in one pipe, most often
        _let_go_of(sys.stderr)
    return status


def _let_go_of(output: TextIO) -> None:
    """What is still buffered goes nowhere, so that the interpreter does not fail at it once more."""
    with contextlib.suppress(OSError, ValueError):
        place, null = output.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, place)
        os.close(null)


def _launch(arguments: list[str]) -> int:
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
            raise UserError(f"{argument!a}: not UTF-8, which names and values must be here (see LC_ALL).")
    name, folders, overrides = _split(arguments)
    if name is None:
        print(help_text())
        return 0 if {"--help", "-h", "-help", "--helpfull"} & set(arguments) else 2
    config = override(made(name), overrides)
    job = config.get("job", None)
    if job not in JOBS:
        raise UserError(f"--config={name}: its job is {job!r}; {nearest(str(job), JOBS)}")
    run = JOBS[job](config)
    workdir = folders.get("--workdir", f"runs/{Path(name).stem}")
    _keep_compiled(folders.get("--compiled", ""))
    result = run(home_expanded(Path(workdir), "--workdir"))
    return result if isinstance(result, int) else 0  # a job's status, or what it found


_FOLDERS = ("--workdir", "--compiled")


def _split(arguments: list[str]) -> tuple[str | None, dict[str, str], list[str]]:
    """(config name, folders by their flags, the overrides), each flag given as --x=v or --x v. None as name:
    show help."""
    name, folders = None, dict[str, str]()
    overrides: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, given, value = argument.partition("=")
        if flag in ("--help", "-h", "-help", "--helpfull"):
            return None, {}, []
        if flag.startswith("--config."):
            overrides.append(argument if given else f"{argument}={_next(flag, waiting)}")
        elif flag in ("--config", *_FOLDERS):
            value = value if given else _next(flag, waiting)
            if not value:
                raise UserError(f"{flag}: no value given. For example {flag}=quickstart.")
            if flag == "--config":
                name = value
            else:
                folders[flag] = value
        else:
            raise UserError(_unknown(argument))
    return name, folders, overrides


def _next(flag: str, waiting: Iterator[str]) -> str:
    """The value of a flag given as two words."""
    value = next(waiting, "")
    if value.startswith("--"):
        raise UserError(f"{flag}: no value given, '{value}' follows. Write {flag}=VALUE.")
    return value


def _unknown(argument: str) -> str:
    if not argument.startswith("-"):
        hint = f"--config={argument}" if argument in known() else "--config=NAME"
        return f"{argument}: a flag expected. Did you mean {hint}?"
    flag = argument.partition("=")[0]
    return (
        f"{argument}: no such flag. {nearest(flag, ('--config', '--workdir', '--compiled', '--help'))} "
        "A config's options are given as --config.GROUP.OPTION=VALUE."
    )


def _evolve(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import rounds, settings

    run_settings = from_config(settings.RunSettings, config.to_dict())

    return lambda workdir: rounds.run(run_settings, workdir)


def _sft(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import sft

    settings = from_config(sft.SftSettings, config.to_dict())

    return lambda workdir: sft.run(settings, workdir)


def _solve(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.solve import ask
    from rstar_jax.solve.settings import SolveSettings

    try:
        settings = from_config(SolveSettings, config.to_dict())
    except UserError as error:  # options of rooms that name themselves
        raise UserError(re.sub(r"^(?=(search|decode)\b)", "config.", str(error))) from None

    def run(workdir: Path) -> Any:
        with _unread_is_no_loss():
            return ask.run(settings, workdir)

    return run


def _keep_compiled(folder: str) -> None:
    """No run compiles again what another one of this user did. folder: "" the user's own, or "none"."""
    from rstar_jax import compilations

    if folder != "none":
        compilations.keep(home_expanded(Path(folder), "--compiled") if folder else None)


def _pretrain(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import pretrain

    run_settings = from_config(pretrain.PretrainConfig, config.to_dict())
    return lambda workdir: pretrain.run(run_settings, workdir)


def _replay(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import replay

    settings = from_config(replay.ReplaySettings, config.to_dict())

    return lambda workdir: replay.run(settings, workdir)


# Imported when called: --help and a misspelt option answer before jax is loaded.
JOBS: dict[str, Callable[[ConfigDict], Callable[[Path], Any]]] = {
    "evolve": _evolve,
    "sft": _sft,
    "pretrain": _pretrain,
    "solve": _solve,
    "replay": _replay,
}
