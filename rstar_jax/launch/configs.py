"""Configs by name: the files that make them, and the flags that override their options."""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest, renamed

GROUP = "distributed"  # of options, of jobs that several processes can do


def folders() -> list[Path]:
    """Folders in which configs are looked for: in the package (of a checkout a link to its configs/), then
    here."""
    return [Path(__file__).resolve().parents[1] / "configs", Path.cwd() / "configs"]


def path_of(name: str) -> Path:
    """The file of a config by name or path, without what follows a colon. Raises UserError listing what there
    is."""
    plain = name.partition(":")[0]
    path = Path(plain)
    if path.suffix != ".py":
        found = [p for folder in folders() if (p := folder / f"{plain}.py").is_file()]
        if not found:
            raise UserError(f"--config={name}: no such config. {nearest(plain, known())}")
        return found[0]
    if not path.is_file():
        raise UserError(
            f"--config={name}: no such file. Give a .py file with a get_config(), or one of: "
            f"{', '.join(known())}."
        )
    return path


def load(name: str) -> ModuleType:
    """The config module of a name or path. Raises UserError listing what there is."""
    path = path_of(name)
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


def config_of(name: str) -> ConfigDict:
    """Return what the config's get_config() gives, which is called with what follows a colon in `name`, if
    one does. Raises UserError where that fails or is something else."""
    module = load(name)
    _, colon, text = name.partition(":")
    arguments = (text,) if colon else ()
    try:
        inspect.signature(module.get_config).bind(*arguments)
    except TypeError:
        todo = "takes none: leave it out" if colon else "needs one: --config=FILE.py:TEXT"
        raise UserError(
            f"--config={name}: {'a' if colon else 'no'} text for get_config() given, which {todo}."
        ) from None
    try:
        config = module.get_config(*arguments)
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
    """Describe how a user's file failed, with the last of its lines that took part."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    line = f" in line {lines[-1]}" if lines else ""
    return f"failed{line}: {type(error).__name__}: {error}"


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
    """Apply `--config.a.b=value` flags. Raises UserError naming the flag and the nearest known option."""
    # Given twice, the last one holds; the library would join the two where the option is a tuple.
    last_ones = list({flag.partition("=")[0]: flag for flag in overrides}.values())
    kinds: dict[str, type] = {}
    overrides = []
    for flag in last_ones:
        path = flag.partition("=")[0].removeprefix("--config.").split(".")
        group: Any = config
        for i, key in enumerate(path):
            if not isinstance(group, ConfigDict):
                raise UserError(
                    f"--config.{'.'.join(path)}: config.{'.'.join(path[:i])} is an option, not a group."
                )
            group_name = ".".join(("config", *path[:i]))
            path[i] = key = renamed(key, group.keys(), group_name)
            if key == GROUP and key not in group and i == 0:
                raise UserError(
                    f"--config.{'.'.join(path)}: a job '{config.get('job', '')}' is one process's. Leave it "
                    "out, and start the job once."
                )
            if key not in group:
                raise UserError(
                    f"--config.{'.'.join(path)}: {group_name} has no option '{key}'. "
                    f"{nearest(key, group.keys())}"
                )
            group = group[key]
        if isinstance(group, ConfigDict):
            raise UserError(f"{flag}: a group of options ({', '.join(group.keys())}); set one of them.")
        _, equals, value = flag.partition("=")
        flag = f"--config.{'.'.join(path)}{equals}{value}"
        overrides.append(flag)
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


def handed_on(config: ConfigDict, overrides: list[str]) -> list[str]:
    """Put what is said of another job into a config that is about one (`of`, `options`); returns the rest.

    `--config.job=NAME` says which; options that the config itself has not are that job's. Of a tuple of
    OPTION=VALUE, as a sweep's `over`, `--config.over.X=V` is one.
    """
    if "of" not in config or "options" not in config:
        return overrides
    rest, given = list[str](), dict[str, list[str]]()
    for flag in overrides:
        name, _, value = flag.removeprefix("--config.").partition("=")
        first, _, inner = name.partition(".")
        if name == "job":
            config.of = value
        elif first not in config:
            given.setdefault("options", []).append(f"{name}={value}")
        elif inner and isinstance(config[first], tuple):
            given.setdefault(first, []).append(f"{inner}={value}")
        else:
            rest.append(flag)
    for group, texts in given.items():
        config[group] = (*config.to_dict()[group], *texts)
    return rest


_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}
