"""Dataclasses as columns: the Parquet schema of a kind of rows, its instances as plain values and back.

A field that had another name in the last release says so in its metadata (`was`); columns of that release are
read for one more, and what they lack that has a default gets it. One that is of no use in a file says
`stored: False` there.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa

T = TypeVar("T")


@functools.cache
def schema(kind: type) -> pa.Schema:
    """Return the columns of a kind."""
    hints = get_type_hints(kind)
    return pa.schema([(name, _arrow(hints[name])) for name in _names(kind)])


def _arrow(hint: Any) -> pa.DataType:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _arrow(next(a for a in args if a is not type(None)))
    if origin is typing.Literal or hint is str:
        return pa.string()
    if origin is tuple:
        return pa.list_(_arrow(args[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(schema(hint)))  # type: ignore[arg-type]
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]


def plain(value: Any) -> Any:
    """Return a value as Parquet takes it: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in _stored(kind))


def _stored(kind: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.metadata.get("stored", True)]


def build(kind: type[T], row: dict[str, Any]) -> T:
    """Make an instance of its plain values."""
    return kind(**{name: convert(row[name]) for name, convert in _converters(kind)})


@functools.cache
def _converters(kind: type) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    hints = get_type_hints(kind)
    return [(name, _converter(hints[name])) for name in _names(kind)]


def _converter(hint: Any) -> Callable[[Any], Any]:
    args = get_args(hint)
    if get_origin(hint) is tuple:
        inner = _converter(args[0])
        return lambda values: tuple(inner(v) for v in values)
    if dataclasses.is_dataclass(hint):
        return lambda row: build(hint, row)  # type: ignore[arg-type]
    return lambda value: value


def is_older(fields: Iterable[pa.Field], kind: type) -> bool:
    """Return whether columns are those of the last release."""
    hints, rest = get_type_hints(kind), {field.name: field.type for field in fields}
    for field in _stored(kind):
        found = rest.pop(field.name, None) or rest.pop(field.metadata.get("was", ""), None)
        if found is None:
            if field.default is dataclasses.MISSING:
                return False
        elif found != _arrow(hints[field.name]):
            inner = _inner(hints[field.name])
            struct = found.value_type if pa.types.is_list(found) else found
            if inner is None or not pa.types.is_struct(struct) or not is_older(struct, inner):
                return False
    return not rest


def brought_up(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    """Give the plain values of the last release today's names, and those that it lacks their defaults."""
    hints, values = get_type_hints(kind), {}
    for field in _stored(kind):
        key = field.name if field.name in row else field.metadata.get("was", "")
        value, inner = row.get(key, field.default), _inner(hints[field.name])
        if key not in row or inner is None:
            values[field.name] = plain(value)
        elif isinstance(value, list):
            values[field.name] = [brought_up(inner, item) for item in value]
        else:
            values[field.name] = brought_up(inner, value)
    return values


def _inner(hint: Any) -> type | None:
    """Return the dataclass of a field that holds one or a tuple of them, else None."""
    hint = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return hint if dataclasses.is_dataclass(hint) else None  # type: ignore[return-value]
