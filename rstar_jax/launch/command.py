"""The command line: absl's flags (and jax's, where one is given), a config by name, the options of a config.

    words -> flag files read in -> config options | the others -> absl's own parser

absl parses every flag that has a name; options of a config have none before the config is read, so they are
split off first and handed on as they are written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags

from rstar_jax.errors import UserError
from rstar_jax.launch.configs import known
from rstar_jax.settings import nearest

FLAGS = flags.FLAGS
HELP = ("help", "h", "?", "helpshort", "helpfull", "helpxml")
PROGRAM = "python -m rstar_jax.launch"
_OURS = {"config": "quickstart", "workdir": "runs/mine", "compiled": "none"}  # each with an example
_OPTION = re.compile(r"--?(config\.[^=]*)")

flags.DEFINE_string(
    "config",
    None,
    "The config: a NAME that --help lists, or a file with a get_config(); NAME:TEXT hands it a text. Its "
    "options are --config.GROUP.OPTION=VALUE, and --config=NAME --help lists them.",
)
flags.DEFINE_string(
    "workdir", None, "The run's folder, also gs://… or s3://…; runs/NAME where none is given."
)
flags.DEFINE_string(
    "compiled",
    None,
    "Folder, also gs://… or s3://…, in which compiled programs are kept for all runs; 'none' keeps none. "
    "Where it is not given: JAX_COMPILATION_CACHE_DIR, else ~/.cache/rstar_jax/compiled.",
)


def parse(argv: Sequence[str]) -> list[str]:
    """Parse a command line, the program's name first, into absl's FLAGS, as `absl.app.run` asks for.

    Returns the program's name, the help that is asked for (`--helpfull`), if any, and the config's options as
    `--config.a.b=value`. Raises UserError for whatever is no flag, has no value, or a wrong one.
    """
    program, *words = argv
    app.define_help_flags()
    FLAGS.unparse_flags()
    try:
        words = FLAGS.read_flags_from_files(list(words), force_gnu=False)
    except (flags.Error, UnicodeDecodeError) as error:
        why = str(error).removeprefix("ERROR:: ")
        raise UserError(f"--flagfile: {why}. A text file with one flag a line expected.") from error
    asked, named, options = _split(words)
    try:
        FLAGS([program, *named])
    except flags.Error as error:  # "flag --verbosity=abc: ..."
        raise UserError(str(error).removeprefix("flag ").rstrip(".") + ".") from error
    if FLAGS["verbosity"].using_default_value:
        FLAGS.verbosity = -1  # warnings; absl would take "info", which other libraries are full of
    return [program, *asked, *options]


def of_config(name: str, workdir: Path | str, options: Sequence[str]) -> list[str]:
    """The command of a config with options as OPTION=VALUE, and with the flags of this command line."""
    ours = {"config", "workdir", "flagfile", "undefok"}
    given = {found.name: found for name in FLAGS if (found := FLAGS[name]).present}  # one may have two names
    shared = [found.serialize() for name, found in given.items() if name not in ours]
    chosen = [f"--config={name}", f"--workdir={workdir}", *filter(None, shared)]
    return [sys.executable, "-m", "rstar_jax.launch", *chosen, *(f"--config.{option}" for option in options)]


def _split(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(the help that is asked for, flags for absl as --x=v, options of the config), each given as --x=v or
    --x v."""
    asked, named, options = list[str](), list[str](), list[str]()
    ignored = {name for word in words if re.match("--?undefok=", word) for name in _undefok(word)}
    remaining = iter(words)
    for word in remaining:
        flag, given, value = word.partition("=")
        name = flag.lstrip("-")
        if option := _OPTION.fullmatch(flag):
            options.append(f"--{option[1]}={value if given else _next(flag, remaining)}")
        elif flag.startswith("-") and name in HELP:
            asked.append(f"--{name}")
        elif flag.startswith("-") and (found := _flag(name)) is not None:
            if found.boolean or given:
                named.append(word)
            else:
                value = _next(flag, remaining)
                named.append(f"{flag}={value}")
            if name in _OURS and not value:
                raise UserError(f"{flag}: no value given. For example {flag}={_OURS[name]}.")
        elif name not in ignored:
            raise UserError(_unknown(word))
    return asked, named, options


def _undefok(word: str) -> list[str]:
    return [part for name in word.partition("=")[2].split(",") for part in (name, f"no{name}")]


def _flag(name: str) -> flags.Flag | None:
    """absl's flag of a name, or of the negation of one ("nojax_debug_nans")."""
    if re.match("(no)?jax_", name):
        add_jax()
    if name in FLAGS:
        return FLAGS[name]
    plain = name.removeprefix("no")
    return FLAGS[plain] if plain != name and plain in FLAGS and FLAGS[plain].boolean else None


def add_jax() -> None:
    """Define jax's options as flags, once; `absl.app.run` hands jax those that are given."""
    if "jax_debug_nans" not in FLAGS:
        import jax

        jax.config.config_with_absl()


def _next(flag: str, remaining: Iterator[str]) -> str:
    """The value of a flag given as two words."""
    value = next(remaining, "")
    if value.startswith("--"):
        raise UserError(f"{flag}: no value given, '{value}' follows. Write {flag}=VALUE.")
    return value


def _unknown(word: str) -> str:
    if not word.startswith("-"):
        hint = f"--config={word}" if word in known() else "--config=NAME"
        return f"{word}: a flag expected. Did you mean {hint}?"
    flag = "--" + word.partition("=")[0].lstrip("-")
    hint = nearest(flag, tuple(f"--{name}" for name in (*_OURS, "help")))
    if hint.startswith("Known"):  # none of ours is like it; one of the others may be
        other = nearest(flag, [f"--{name}" for name in FLAGS])
        hint = other if other.startswith("Did") else hint
    return f"{word}: no such flag. {hint} A config's options are given as --config.GROUP.OPTION=VALUE."
