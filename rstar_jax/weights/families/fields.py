"""The fields of a config.json, each read with an error that names it.

A field that a file leaves out has the default of its family in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError

_MOST = 1e300  # above are infinities, and whole numbers that are none as a float
# Ten times what any model has. Each layer, and each expert of each, is names of tensors to look for.
MOST_LAYERS, MOST_EXPERTS = 4096, 2**18


class Fields:
    """The fields of one config.json (or of an object in it), read by name and type.

    Every reader raises UserError, naming file and field, for a value of another kind, and for a field that is
    neither there nor among the defaults.
    """

    def __init__(
        self, config: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.where, self.defaults = config, where, defaults or {}

    def value(self, name: str) -> Any:
        """Return what the file says, else the default, else None."""
        return self.config[name] if name in self.config else self.defaults.get(name)

    def number(self, name: str, *, least: int = 1, most: int = 2**40) -> int:
        """A whole number from `least` to `most`."""
        value = self._given(name)
        if type(value) is not int or value < least:
            raise self._wrong(name, f"a whole number of {least} or more")
        if value > most:
            raise self._wrong(name, f"a whole number up to {most:,}")
        return value

    def real(self, name: str) -> float:
        """A number above 0."""
        value = self._given(name)
        if type(value) not in (int, float) or not 0 < value < _MOST:
            raise self._wrong(name, "a number above 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self._given(name)
        if type(value) is not bool:
            raise self._wrong(name, "true or false")
        return value

    def optional_number(self, name: str) -> int | None:
        """As `number`, or None where it is null or not there."""
        return None if self.value(name) is None else self.number(name)

    def optional_real(self, name: str) -> float | None:
        """As `real`, or None where it is null or not there."""
        return None if self.value(name) is None else self.real(name)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers above 0."""
        value = self._given(name)
        if not isinstance(value, list) or not all(type(x) in (int, float) and 0 < x < _MOST for x in value):
            raise self._wrong(name, "a list of numbers above 0")
        return tuple(float(x) for x in value)

    def tokens(self, name: str) -> tuple[int, ...]:
        """Token ids: one, a list of them, or null."""
        value = self.value(name)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if not all(type(i) is int for i in ids):
            raise self._wrong(name, "a token id or a list of them")
        return tuple(ids)

    def token(self, name: str) -> int | None:
        """One token id, or None where it is null or not there."""
        ids = self.tokens(name)
        if len(ids) > 1:
            raise self._wrong(name, "one token id")
        return ids[0] if ids else None

    def object(self, name: str) -> Fields:
        """The object in a field, or an empty one where there is none."""
        value = self.value(name)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(name, "an object")
        return Fields(value or {}, f"{self.where}: {name}")

    def refuse(self, name: str, *allowed: Any) -> None:
        """Raises UserError if the field is there and is none of these values (nor null)."""
        if self.config.get(name) not in (None, *allowed):
            supported = ", ".join(repr(a) for a in allowed) or "leaving it out"
            raise UserError(
                f"{self.where}: field '{name}' is {self.config[name]!r}, which this decoder does not do. "
                f"Supported: {supported}."
            )

    def choose(self, name: str, choices: Mapping[str, str]) -> str:
        """Our name of a field's value; raises UserError with the list of what is supported."""
        value = self.value(name)
        if not isinstance(value, str) or value not in choices:
            raise UserError(
                f"{self.where}: field '{name}' is {value!r}, which this decoder does not do. "
                f"Supported: {', '.join(repr(a) for a in choices)}."
            )
        return choices[value]

    def _given(self, name: str) -> Any:
        if name not in self.config and name not in self.defaults:
            raise UserError(f"{self.where}: no field '{name}', which a model of this type must have.")
        return self.value(name)

    def _wrong(self, name: str, expected: str) -> UserError:
        return UserError(f"{self.where}: field '{name}' is {self.value(name)!r}, {expected} expected.")
