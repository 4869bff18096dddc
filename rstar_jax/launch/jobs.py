"""The jobs that a config may name: its options made typed, once, and the one call that does it."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rstar_jax.errors import UserError
from rstar_jax.settings import from_config

# By job: the dataclass of its options.
_SETTINGS = {
    "evolve": ("rstar_jax.evolve.settings", "RunSettings"),
    "sft": ("rstar_jax.evolve.sft", "SftSettings"),
    "pretrain": ("rstar_jax.evolve.pretrain", "PretrainConfig"),
    "solve": ("rstar_jax.solve.settings", "SolveSettings"),
    "replay": ("rstar_jax.evolve.replay", "ReplaySettings"),
}


class Unread(BrokenPipeError):
    """Nobody reads what is printed, as behind `| head -1`, and no more than that would come: not a word."""


@contextlib.contextmanager
def unread_is_no_loss() -> Iterator[None]:
    """Raise a broken pipe in the block as Unread."""
    try:
        yield
    except BrokenPipeError as error:
        raise Unread(*error.args) from error


def settings_of(job: str) -> type:
    """The dataclass of a job's options."""
    module, name = _SETTINGS[job]
    return getattr(importlib.import_module(module), name)


def _evolve(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import rounds

    settings = from_config(settings_of("evolve"), config.to_dict())
    return lambda workdir: rounds.run(settings, workdir)


def _sft(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import sft

    settings = from_config(settings_of("sft"), config.to_dict())
    return lambda workdir: sft.run(settings, workdir)


def _solve(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.solve import ask

    try:
        settings = from_config(settings_of("solve"), config.to_dict())
    except UserError as error:  # options of rooms that name themselves
        raise UserError(re.sub(r"^(?=(search|decode)\b)", "config.", str(error))) from None

    def run(workdir: Path) -> Any:
        with unread_is_no_loss():
            return ask.run(settings, workdir)

    return run


def _pretrain(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import pretrain

    settings = from_config(settings_of("pretrain"), config.to_dict())
    return lambda workdir: pretrain.run(settings, workdir)


def _replay(config: ConfigDict) -> Callable[[Path], Any]:
    from rstar_jax.evolve import replay

    settings = from_config(settings_of("replay"), config.to_dict())
    return lambda workdir: replay.run(settings, workdir)


# What they import is imported when they are called: a misspelt flag is answered before jax is loaded.
JOBS: dict[str, Callable[[ConfigDict], Callable[[Path], Any]]] = {
    "evolve": _evolve,
    "sft": _sft,
    "pretrain": _pretrain,
    "solve": _solve,
    "replay": _replay,
}
