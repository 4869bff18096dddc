"""Starting a sweep's points on other machines: a line of a shell each, or a manifest each."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.pods.settings import LaunchSettings
from rstar_jax.stores import url_of
from rstar_jax.sweep.grid import Point
from rstar_jax.sweep.processes import Places
from rstar_jax.sweep.settings import SweepSettings

if TYPE_CHECKING:
    from rstar_jax.sweep.job import Launcher

COMMANDS, MANIFESTS = "commands.sh", "manifests"
_LABEL = 30  # characters of a job's name before the point's own
_MADE = ("out", "of", "options")  # options of --config=launch that a sweep gives itself


def commands(settings: SweepSettings, launcher: Launcher, places: Places, points: Sequence[Point]) -> None:
    """Write and print a line of a shell for each point."""
    root = url_of(launcher.given) if launcher.given else None
    lines = list[str]()
    for point in points:
        folder = f"{root}/points/{point.name}" if root else places.folder(point).absolute()
        lines.append(shlex.join(launcher.command(settings.of, folder, point.options)))
    path = places.root / COMMANDS
    with records.replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print("\n".join([*lines, f"# {_told(points)}, written to {path}."]))


def manifests(settings: SweepSettings, launcher: Launcher, places: Places, points: Sequence[Point]) -> None:
    """Write what starts each point as a job of its own, as --config=launch does.

    Each has its name and folder below those of the sweep. Raises UserError as --config=launch does.
    """
    given = dict(option.split("=", 1) for option in settings.launch)
    for name in _MADE:
        if name in given:
            raise UserError(f"--config.launch.{name}: given, but a sweep says it itself. Leave it out.")
    if "workdir" not in given and launcher.given and (root := url_of(launcher.given)):
        given["workdir"] = root
    try:
        named = {name: given.get(name, "") for name in ("topology", "platform", "name", "workdir")}
        whole = LaunchSettings(of=settings.of, **named)  # type: ignore[arg-type]
        label, root, suffix = whole.label(), whole.place(), "yaml" if whole.started_by() == "jobset" else "sh"
    except UserError as error:
        raise UserError(f"--config.launch: {error}") from None
    folder = places.root / MANIFESTS
    for point in points:
        digest = hashlib.sha256(point.name.encode()).hexdigest()[:6]
        own = {
            **{"compiled": f"{root}/compiled"} | given,
            "name": f"{label[:_LABEL].rstrip('-')}-{digest}",
            "workdir": f"{root}/points/{point.name}",
            "out": str(folder / f"{point.name}.{suffix}"),
        }
        launcher.manifest(settings.of, point.options, [f"{name}={value}" for name, value in own.items()])
    print(f"{_told(points)}, in {folder}; their folders are below {root}.")


def _told(points: Sequence[Point]) -> str:
    return f"{len(points)} points that are not done; --config.do=table makes the table of what they do"
