"""Points of a sweep: what each is called, the options that it is given, and all of them checked.

over search.c=0.5,1 and 2 seeds     search.c=0.5,seed=0   search.c=0.5,seed=1   search.c=1,seed=0   ...
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest, to_dict
from rstar_jax.sweep.settings import SweepSettings

SEED = "seed"
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_LONGEST = 100  # characters of a point's name, which is a folder's

# The typed options of a config by name with overrides as OPTION=VALUE; UserError for what is wrong with them.
Resolve = Callable[[str, Sequence[str]], Any]


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of the job.

    name: its folder's. swept: its values of the swept options, by name. seed: None where the job has none, or
    the sweep is over it. options: all that it is given, as OPTION=VALUE. settings: the job's typed options.
    """

    name: str
    swept: dict[str, str]
    seed: int | None
    options: tuple[str, ...]
    settings: Any

    @property
    def setting(self) -> str:
        """Its values of the swept options, which its other seeds share."""
        return ", ".join(f"{name}={value}" for name, value in self.swept.items()) or "all"


def points(settings: SweepSettings, resolve: Resolve) -> list[Point]:
    """Every point of a sweep, its seeds one after the other, in the order of the values given.

    Raises UserError naming the option for values that the job does not take, and for points that are equal.
    """
    _require_known(settings, resolve)
    over = swept(settings.over)
    if not over and settings.seeds == 1:
        raise UserError(
            "config.over: nothing to sweep. Give values of an option of the job, as in "
            "--config.over.search.c=0.5,1,2, or several seeds, as in --config.seeds=3."
        )
    fixed = [text.partition("=")[0] for text in settings.options]
    for name in over:
        if name in fixed:
            raise UserError(f"--config.{name}: given beside --config.over.{name}. Leave one of them out.")
    base = resolve(settings.of, settings.options)
    first = getattr(base, SEED, None)
    if settings.seeds > 1 and SEED in over:
        raise UserError("--config.over.seed: given beside --config.seeds. Leave one of them out.")
    if settings.seeds > 1 and first is None:
        raise UserError(
            f"--config.seeds={settings.seeds}: the job of {settings.of} has no seed. Leave it out."
        )
    seeds = [None] if first is None or SEED in over else range(first, first + settings.seeds)
    found, known = list[Point](), dict[str, Point]()
    for values, seed in itertools.product(_settings(over, settings.zip), seeds):
        point = _point(settings, dict(zip(over, values, strict=True)), seed, resolve)
        same = known.setdefault(json.dumps(to_dict(point.settings), sort_keys=True), point)
        if same is not point:
            raise UserError(
                f"--config.over: the points {same.name} and {point.name} are the same. Leave one out."
            )
        found.append(point)
    return found


def swept(over: Sequence[str]) -> dict[str, list[str]]:
    """The values of each swept option, by name; the last one given holds. Raises UserError."""
    texts = dict(text.split("=", 1) for text in over)
    return {name: values(text, f"--config.over.{name}") for name, text in texts.items()}


def values(text: str, where: str) -> list[str]:
    """Split at commas that stand in no brackets and no quotes; a value's own quotes are taken off.

    `(8,16),4` is `(8,16)` and `4`; `"a,b",c` is `a,b` and `c`. Raises UserError for brackets and quotes that
    do not end, and for values that are empty and not quoted.
    """
    found, value, closing, quote, quoted = list[str](), "", "", "", False

    def end() -> None:
        nonlocal value, quoted
        if not quoted and not value.strip():
            raise UserError(
                f"{where}={text}: an empty value, values joined by commas expected. Write '\"\"' for one."
            )
        found.append(value if quoted else value.strip())
        value, quoted = "", False

    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
            value += "" if not quote and not closing else letter
        elif letter in "\"'" and (closing or not value.strip()):
            quote, quoted = letter, quoted or not closing
            value = value + letter if closing else ""
        elif closing:
            closing = closing[:-1] if letter == closing[-1] else closing + _PAIRS.get(letter, "")
            value += letter
        elif letter == ",":
            end()
        else:
            closing += _PAIRS.get(letter, "")
            value += letter
    if quote or closing:
        raise UserError(f"{where}={text}: {quote or closing[-1]} is missing at its end.")
    end()
    return found


def _settings(over: dict[str, list[str]], pairs: bool) -> Iterator[tuple[str, ...]]:
    """The values of each setting, one for each swept option."""
    if not pairs:
        return itertools.product(*over.values())
    counts = {name: len(of) for name, of in over.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"config.zip: as many values of each option expected; given: {told}.")
    return zip(*over.values(), strict=True) if over else iter([()])


def _point(settings: SweepSettings, swept: dict[str, str], seed: int | None, resolve: Resolve) -> Point:
    named = dict(sorted(swept.items())) | ({} if seed is None else {SEED: str(seed)})
    options = (*settings.options, *(f"{name}={value}" for name, value in named.items()))
    name = _name(named)
    try:
        return Point(name, swept, seed, options, resolve(settings.of, options))
    except UserError as error:
        raise UserError(_said_of_swept(str(error), swept, name)) from None


def _said_of_swept(text: str, swept: dict[str, str], name: str) -> str:
    """Name the flag that was given, where one is at fault; else the point."""
    for option in swept:
        said, times = re.subn(rf"\bconfig\.{re.escape(option)}(?![\w.])", f"config.over.{option}", text)
        if times:
            return said
    return f"the point {name}: {text}"


def _name(named: dict[str, str]) -> str:
    """A folder's name that says the values; one that cannot say them all ends with a checksum of them."""
    text = ",".join(f"{name}={value}" for name, value in named.items()) or "all"
    told = {
        name: re.sub(r"[^\w.=+,-]+", "_", value, flags=re.ASCII).strip("_,") for name, value in named.items()
    }
    plain = ",".join(f"{name}={value}" for name, value in told.items()) or "all"
    if plain == text and len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _require_known(settings: SweepSettings, resolve: Resolve) -> None:
    """Refuse an option that neither a sweep nor its job has, where a misspelt one of the sweep is likely."""
    job = {field.name for field in dataclasses.fields(resolve(settings.of, ()))}
    ours = {field.name for field in dataclasses.fields(settings)}
    for text in settings.options:
        name = text.partition("=")[0]
        if name.partition(".")[0] not in job:
            raise UserError(
                f"--config.{name}: neither a sweep nor the job of {settings.of} has such an option. "
                f"{nearest(name.partition('.')[0], job | ours)}"
            )
