"""Configs by name: the files that make them, and the flags that override their options."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest


def folders() -> list[Path]:
    """Where configs are looked for: beside the code, then in the current folder."""
    return [Path(__file__).resolve().parents[2] / "configs", Path.cwd() / "configs"]


def load(name: str) -> ModuleType:
    """The config module of a name or path. Raises UserError listing what there is."""
    path = Path(name)
    if path.suffix != ".py":
        found = [p for folder in folders() if (p := folder / f"{name}.py").is_file()]
        if not found:
            raise UserError(f"--config={name}: no such config. {nearest(name, known())}")
        path = found[0]
    if not path.is_file():
        raise UserError(
            f"--config={name}: no such file. Give a .py file with a get_config(), or one of: "
            f"{', '.join(known())}."
        )
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config={name}: {path} {_failed(error, path)}") from error
    if not callable(getattr(module, "get_config", None)):
        raise UserError(f"--config={name}: {path} has no function get_config().")
    return module


def made(name: str) -> ConfigDict:
    """What the config's get_config() gives. Raises UserError where that fails or is something else."""
    module = load(name)
    try:
        config = module.get_config()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"--config={name}: get_config() {_failed(error, Path(module.__file__ or ''))}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={name}: get_config() gave a {type(config).__name__}, a ConfigDict expected, such as "
            "rstar_jax.settings.to_config_dict(RunSettings())."
        )
    return config


def _failed(error: Exception, path: Path) -> str:
    """How a user's file failed, with the last of its lines that took part."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    where = f" in line {lines[-1]}" if lines else ""
    return f"failed{where}: {type(error).__name__}: {error}"


def known() -> list[str]:
    return sorted(
        {
            str(p.relative_to(folder).with_suffix(""))
            for folder in folders()
            for p in folder.rglob("*.py")
            if not p.name.startswith("_")
        }
    )


def override(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """Applies `--config.a.b=value` flags. Raises UserError naming the flag and the nearest known option."""
    # Given twice, the last one holds; the library would join the two where the option is a tuple.
    overrides = list({flag.partition("=")[0]: flag for flag in overrides}.values())
    kinds: dict[str, type] = {}
    for flag in overrides:
        path = flag.partition("=")[0].removeprefix("--config.").split(".")
        group: Any = config
        for i, key in enumerate(path):
            if not isinstance(group, ConfigDict):
                raise UserError(
                    f"--config.{'.'.join(path)}: config.{'.'.join(path[:i])} is an option, not a group."
                )
            if key not in group:
                where = ".".join(("config", *path[:i]))
                raise UserError(
                    f"--config.{'.'.join(path)}: {where} has no option '{key}'. {nearest(key, group.keys())}"
                )
            group = group[key]
        if isinstance(group, ConfigDict):
            raise UserError(f"{flag}: a group of options ({', '.join(group.keys())}); set one of them.")
        kinds[flag] = type(group)
    values = flags.FlagValues()
    try:
        argv = ["launch", *overrides]
        holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (flags.Error, ValueError, TypeError) as error:
        for flag, kind in kinds.items():  # the library's own words for it are Python's
            if f"flag {flag}:" in str(error):
                expected = _KINDS.get(kind, kind.__name__)
                raise UserError(f"{flag}: {flag.partition('=')[2]!r} given, {expected} expected.") from error
        raise UserError(str(error)) from error
    return holder.value


_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def help_text() -> str:
    """What --help prints: the configs, each with its first line, and how to override."""
    lines = [
        "python -m rstar_jax.launch --config=NAME [--config.GROUP.OPTION=VALUE ...] [--workdir=DIR]",
        "",
        "Configs:",
    ]
    for name in known():
        try:
            about = (load(name).__doc__ or "").strip().splitlines()
        except UserError as error:  # a broken file of the user's must not hide the others
            about = str(error).splitlines()
        lines.append(f"  {name:24}{about[0] if about else ''}")
    lines += [
        "",
        "NAME may be a path to a file of your own. Any option of a config can be overridden:",
        "  --config.search.rollouts=64             one value for every round",
        "  --config.search.rollouts='(8,16,32)'    one a round, the last repeated",
        "  --config.problems.train=FILE.jsonl      your problems: rows {id, problem, answer}",
        "  --config.policy.init=DIR                your model, in Hugging Face format",
        "DIR defaults to runs/NAME. The same command goes on where a stopped run was.",
        "Compiled programs are kept for all runs in JAX_COMPILATION_CACHE_DIR where that is set, else in",
        "~/.cache/rstar_jax/compiled; --compiled=DIR names another folder, --compiled=none keeps none.",
    ]
    return "\n".join(lines)
