"""Strength of the walls around snippets."""

from __future__ import annotations

import dataclasses

from rstar_jax.errors import UserError

# What may be left out by name, to find a fault or to see what a layer holds back.
LAYERS = ("user", "landlock", "seccomp")


@dataclasses.dataclass(frozen=True)
class Isolation:
    """Options of the layers around a snippet; the self-test at start says which of them hold here.

    allow_unsafe: start even where there is no system call filter.
    bubblewrap: run the zygotes inside bubblewrap (`bwrap`), with name spaces of their own.
    without: layers to leave out, of `LAYERS`.
    """

    allow_unsafe: bool = False
    bubblewrap: bool = False
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.without:
            if name not in LAYERS:
                raise UserError(
                    f"verify.sandbox.without: {name!r} given, one of {', '.join(LAYERS)} expected."
                )
