"""One command line, from its words to an exit status."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from absl import app
from absl import logging as absl_logging

from rstar_jax.distributed.watch import LOST, HostLost
from rstar_jax.errors import UserError
from rstar_jax.launch import command, explain, processes, signals
from rstar_jax.launch.configs import config_of, handed_on, load, override
from rstar_jax.launch.jobs import JOBS, WITHOUT_DEVICE, Unread, settings_of, unread_is_no_loss
from rstar_jax.launch.workdirs import opened
from rstar_jax.settings import home_expanded, nearest
from rstar_jax.stores import url_of

__all__ = ["JOBS", "load", "main", "override"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status: 0 done, 1 no answer was found or points of a sweep
    failed, 2 bad input or a file or disk that fails, 75 another host was lost, 130 interrupted, 141 nobody
    reads the output, 143 terminated.
    """
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(message)s"))
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        with unread_is_no_loss():
            sys.stdout.flush()  # not left to the interpreter's end, where a failure is a traceback
        return status
    except UserError as error:
        return _say(f"error: {error}", 2)
    except HostLost as error:
        return _say(f"error: {error}", LOST)
    except KeyboardInterrupt as signalled:
        return _say(f"\n{signals.message(signalled)}", signals.status(signalled))
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
        file = f"{error.filename}: " if error.filename is not None else ""
        return _say(
            f"error: {file}{error.strerror or error}. Nothing computed was lost; once that is mended, the "
            "same command goes on where it was.",
            2,
        )


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
    """Discard what is still buffered, so that the interpreter does not fail at it once more."""
    with contextlib.suppress(OSError, ValueError):
        fd, null = output.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)


def _run(arguments: list[str]) -> int:
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
            raise UserError(f"{argument!a}: not UTF-8, which names and values must be here (see LC_ALL).")
    try:
        app.run(_launch, argv=[command.PROGRAM, *arguments], flags_parser=command.parse)
    except SystemExit as ended:  # absl's way to hand on what _launch returns
        if isinstance(ended.__context__, BrokenPipeError) or not isinstance(ended.code, int | None):
            raise
        return ended.code or 0


def _launch(argv: Sequence[str]) -> int:
    """Do what FLAGS and the rest of the command line (`command.parse`) ask for; returns the exit status."""
    flags = command.FLAGS
    name: str | None = flags.config
    asked = [word for word in argv[1:] if not word.startswith("--config.")]
    if asked or name is None:
        print(_help(asked, name))
        return 0 if asked else 2
    config = config_of(name)
    config = override(config, handed_on(config, list(argv[1:])))
    job = config.get("job", None)
    if job not in JOBS:
        raise UserError(f"--config={name}: its job is {job!r}; {nearest(str(job), JOBS)}")
    run = JOBS[job](config)
    with processes.joined(job, config):
        if job not in WITHOUT_DEVICE:
            _keep_compiled(flags.compiled or "")
        with opened(flags.workdir or _default_workdir(name), job) as workdir:
            result = run(workdir)
    return result if isinstance(result, int) else 0  # a job's status, or what it found


def _help(asked: Sequence[str], name: str | None) -> str:
    if "--helpxml" in asked:
        with io.StringIO() as text:
            command.add_jax()
            command.FLAGS.write_help_in_xml_format(text)
            return text.getvalue()
    if "--helpfull" in asked:
        return explain.full_text()
    if name is None:
        return explain.help_text()
    config = config_of(name)
    job = config.get("job", None)
    if job not in JOBS:
        raise UserError(f"--config={name}: its job is {job!r}; {nearest(str(job), JOBS)}")
    return explain.config_text(name, settings_of(job))


def _default_workdir(name: str) -> str:
    """runs/NAME; of NAME:TEXT runs/NAME-TEXT, as the options differ."""
    plain, _, text = name.partition(":")
    return "-".join([f"runs/{Path(plain).stem}", *filter(None, [re.sub(r"[^\w.=+]+", "-", text)])])


def _keep_compiled(folder: str) -> None:
    """No run compiles again what another one of this user did. folder: "" the user's own, or "none"."""
    from rstar_jax import kept_programs

    if folder == "none":
        return
    try:
        url = url_of(folder)
    except UserError as error:
        raise UserError(f"--compiled: {error}") from error
    kept_programs.keep(url or (home_expanded(Path(folder), "--compiled") if folder else None))
