"""Frozen dataclasses <-> ml_collections ConfigDicts, with errors that name the key.

Each room declares its options as a frozen dataclass; their defaults are the options' only source.
`launch/` offers them as a ConfigDict (so that flags can override them) and turns the result back,
once, into the dataclass. Nothing else sees a ConfigDict.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from rstar_jax.errors import UserError

T = TypeVar("T")
log = logging.getLogger(__name__)

# Options and values by the name that they had in the last release, which is taken for one more.
_OLD_OPTIONS = {
    "released_code": "reference_code",
    "released_rules": "reference_rules",
    "pairs": "rows",  # of a training of a reward model, which may learn values, too
}
_OLD_VALUES = {("pairs", "released_code"): "reference_code"}


def to_config_dict(settings: Any) -> ConfigDict:
    """A locked ConfigDict holding every option of a dataclass instance, nested as it is."""
    return ConfigDict(_plain(settings, tuples=True)).lock()


def to_dict(settings: Any) -> dict[str, Any]:
    """The options as JSON-ready nested dicts (tuples become lists)."""
    return _plain(settings, tuples=False)


def _plain(value: Any, *, tuples: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), tuples=tuples) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        items = [_plain(v, tuples=tuples) for v in value]
        return tuple(items) if tuples else items
    return value


def from_config(kind: type[T], values: Mapping[str, Any], *, where: str = "config") -> T:
    """Builds dataclass `kind` from a mapping; every field is checked against its annotation.

    Raises UserError naming the key, the value, what was expected and the nearest known key.
    """
    hints = get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    fields = {}
    for given, value in values.items():
        key = renamed(given, known, where)
        if key not in known:
            raise UserError(f"{where}.{key}: no such option. {nearest(key, known)}")
        if isinstance(value, str) and (key, value) in _OLD_VALUES:
            new = _OLD_VALUES[key, value]
            log.warning("%s.%s='%s' is called '%s' now; the old name will go.", where, key, value, new)
            value = new
        fields[key] = _convert(hints[key], value, f"{where}.{key}")
    return kind(**fields)


def renamed(key: str, known: typing.Container[str], where: str) -> str:
    """Return today's name of an option, with a warning where `key` is its name of the last release."""
    new = _OLD_OPTIONS.get(key, key)
    if key in known or new not in known:
        return key
    if new != key:
        log.warning("%s.%s is called %s now; the old name will go.", where, key, new)
    return new


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """A sentence that proposes the known word nearest to a misspelt one, or lists them all."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else f"Known here: {', '.join(known)}."


def home_expanded(path: Path, where: str) -> Path:
    """The path with `~` replaced; of a bucket's URL (gs://...) what is fetched of it onto this machine.

    Raises UserError where `~name` is nobody's, for a URL of another scheme, and as `mirror.fetch`.
    """
    if "/" in str(path) and ":" in str(path).partition("/")[0]:
        from rstar_jax import mirror, stores  # which load more than options need

        try:
            if (url := stores.url_of(path)) is not None:
                return mirror.fetch(url)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{where}={path}: there is no such user. Give the folder's whole path.") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {value!r} given, a group of options expected.")
        return from_config(hint, value, where=where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, tuple | list) and len(value) == 1:
        return _one(hint, value, where)
    if _matches(hint, value):
        return _cast(hint, value)
    raise UserError(f"{where}: {value!r} ({type(value).__name__}) given, {_name(hint)} expected.")


def _one(hint: Any, value: Any, where: str) -> Any:
    """A tuple of one, as of a single value on the command line, of which errors then speak."""
    if _matches(hint, value):
        return _cast(hint, value)
    item = get_args(hint)[0]
    raise UserError(
        f"{where}: {value[0]!r} given, {_name(item)} expected, or several, as in '(FIRST,SECOND)'."
    )


def _matches(hint: Any, value: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(a, value) for a in args)
    if origin is typing.Literal:
        return value in args
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_matches(args[0], v) for v in value)
        return len(args) == len(value) and all(_matches(a, v) for a, v in zip(args, value, strict=True))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _cast(hint: Any, value: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is float:
        return float(value)
    if origin is tuple:
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else args
        return tuple(_cast(k, v) for k, v in zip(kinds, value, strict=True))
    return value


def _name(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return f"a tuple, each item {_name(args[0])},"
    known = {int: "a whole number", float: "a finite number", bool: "True or False", str: "text"}
    return known.get(hint) or (hint.__name__ if isinstance(hint, type) and not args else str(hint))


def require(holds: object, where: str, value: object, expected: str) -> None:
    """Raise UserError for an option that is not as it must be; where: its name without "config."."""
    if not holds:
        raise UserError(f"config.{where}: {value!r} given, {expected} expected.")


def at_least(settings: object, group: str, **least: float) -> None:
    """Require every option named to be at least so much; of a tuple, every value of at least one."""
    for name, bound in least.items():
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        shown = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        dotted = f"{group}.{name}" if group else name
        require(values and min(values) >= bound, dotted, shown, f"{bound} or more")


def at_most(settings: object, group: str, **most: float) -> None:
    """Require every option named to be at most so much."""
    for name, bound in most.items():
        value = getattr(settings, name)
        require(value <= bound, f"{group}.{name}", value, f"{bound} or less")
