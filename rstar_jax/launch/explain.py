"""The help: which configs there are; every option of one, with its value and what its dataclass says of it.

A docstring says it as `name: text` or `name, other: text`; the text reaches to the next such names or an
empty line. "as in `search.SearchConfig`" is answered by what that class says of the same field.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

from absl import flags
from ml_collections import ConfigDict

from rstar_jax.errors import UserError
from rstar_jax.launch.command import PROGRAM, add_jax
from rstar_jax.launch.configs import config_of, known, load, path_of

_WIDTH = 110
# Takes "trees, batch: " where both are fields; takes no "2: " and no "here: ".
_NAMES = re.compile(r"(?:(?<=\s)|^)([a-z]\w*(?:,\s+[a-z]\w*)*):\s")
_ELSEWHERE = re.compile(r"\bas in `(?:\w+\.)*(\w+)`")


def help_text() -> str:
    """Return the text of --help: the configs, each with its first line, and how to override."""
    lines = [f"{PROGRAM} --config=NAME [--config.GROUP.OPTION=VALUE ...] [--workdir=DIR]", "", "Configs:"]
    lines += [f"  {name:24}{_first_line(name)}" for name in known()]
    lines += [
        "",
        "--config=NAME --help lists every option of a config. Any of them can be overridden:",
        "  --config.search.rollouts=64             one value for every round",
        "  --config.search.rollouts='(8,16,32)'    one a round, the last repeated",
        "  --config.problems.train=FILE.jsonl      your problems: rows {question, answer}",
        "  --config.policy.init=DIR                your model, in Hugging Face format",
        "NAME may be a path to a file of your own; FILE.py:TEXT calls its get_config(TEXT).",
        "DIR defaults to runs/NAME. The same command goes on where a stopped run was.",
        "Compiled programs are kept for all runs in JAX_COMPILATION_CACHE_DIR where that is set, else in",
        "~/.cache/rstar_jax/compiled; --compiled=DIR names another folder, --compiled=none keeps none.",
        "Other flags, absl's and jax's, such as --flagfile, --verbosity, --jax_debug_nans: --helpfull.",
    ]
    return "\n".join(lines)


def full_text() -> str:
    """Return the text of --helpfull: the same, and every flag of absl and jax."""
    add_jax()
    return f"{help_text()}\n\n{flags.FLAGS.get_help()}"


def config_text(name: str, kind: type) -> str:
    """Return the text of --config=NAME --help: the config's docstring and options. kind: its settings'
    class."""
    about = inspect.cleandoc(load(name).__doc__ or "")
    lines = [f"--config={name}: {about}" if about else f"--config={name}", ""]
    lines.append("Options, given as --config.OPTION=VALUE, with what they are without that:")
    for option, value, field_text in options(config_of(name), kind):
        lines.append(f"  {option} = {value!r}")
        lines += textwrap.wrap(field_text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def options(config: ConfigDict, kind: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted name, value, what its class says of it) of a config's options but the job, in order."""
    hints = get_type_hints(kind)
    for name in (field.name for field in dataclasses.fields(kind)):
        if name not in config or (name == "job" and not prefix):
            continue
        value, hint = config[name], hints[name]
        if dataclasses.is_dataclass(hint) and isinstance(value, ConfigDict):
            yield from options(value, hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", value, field_text(kind, name)


def field_text(kind: type, name: str) -> str:
    """Return what a dataclass says of one of its fields; "" if nothing."""
    text = _sentences(kind).get(name, "")
    if found := _ELSEWHERE.search(text):
        other = getattr(sys.modules[kind.__module__], found[1], None)
        if dataclasses.is_dataclass(other) and (text_of_other := field_text(other, name)):  # type: ignore[arg-type]
            return text_of_other
    return text


@functools.cache
def _sentences(kind: type) -> dict[str, str]:
    """Split the docstring of a dataclass into what it says of its fields, by name."""
    names, found = {field.name for field in dataclasses.fields(kind)}, dict[str, str]()
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or "")):
        marks = [mark for mark in _NAMES.finditer(paragraph) if {*_listed(mark[1])} <= names]
        ends = [*(mark.start() for mark in marks), len(paragraph)][1:]
        for mark, end in zip(marks, ends, strict=False):
            text = " ".join(paragraph[mark.end() : end].split())
            found |= {name: text for name in _listed(mark[1]) if name not in found}
    return found


def _listed(names: str) -> list[str]:
    return re.split(r",\s+", names)


def _first_line(name: str) -> str:
    """The first line of a config's docstring, read without running it; of a broken file, what is broken."""
    try:
        path = path_of(name)
        text = ast.get_docstring(ast.parse(path.read_bytes(), str(path))) or ""
    except UserError as error:
        text = str(error)
    except (OSError, SyntaxError, ValueError) as error:
        text = f"cannot be read: {error}"
    return text.strip().partition("\n")[0]
