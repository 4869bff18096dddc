"""A sweep: `--config=sweep --config.job=NAME --config.over.OPTION=A,B,... --config.seeds=3`.

    WORKDIR/points/NAME/        a point's own --workdir, as of the job alone
    WORKDIR/points/NAME.log     what it printed
    WORKDIR/points/NAME.json    how it ended, once it has
    WORKDIR/sweep.md, .json, .csv    the table
    WORKDIR/commands.sh, manifests/  what starts the points elsewhere, if asked for

Each point is the job's own command in a process of its own, which is what one would type: it shares compiled
programs with the others by their folder (--compiled), and can be looked at, killed and gone on with alone.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rstar_jax import records
from rstar_jax.compare.job import CompareSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report.progress import Progress
from rstar_jax.sweep import base, elsewhere, figures, grid, processes, table
from rstar_jax.sweep.grid import Point, Resolve
from rstar_jax.sweep.processes import Places, Process, Status
from rstar_jax.sweep.settings import SweepSettings

_LOOK_S = 0.1  # between two looks at what is running
_INTERVAL_S = 30.0  # between two lines of progress in a log


@dataclasses.dataclass(frozen=True)
class Launcher:
    """All that a sweep is handed of the command line.

    resolve: as `grid.Resolve`. command: a point's command of a config's name, its folder and its options.
    manifest: writes what starts a config's job elsewhere, by the job's options and those of --config=launch.
    signal: the number of the signal that has been raised. given: --workdir as it was given, which may be a
    bucket's address.
    """

    resolve: Resolve
    command: Callable[[str, Path | str, Sequence[str]], list[str]]
    manifest: Callable[[str, Sequence[str], Sequence[str]], None]
    signal: Callable[[KeyboardInterrupt], int]
    given: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """Options that all points of a sweep's folder share. The points' own are claimed by themselves."""

    job: str = "sweep"
    of: str = "quickstart"


def run(settings: SweepSettings, launcher: Launcher, workdir: Path) -> int:
    """Run every point that is not done, and make the table. Returns 0, or 1 where a point failed.

    1. check the options of all points; find out which are done
    2. run the others, several at a time if asked; the base's evaluation is made once
    3. read the figures of all that are done; write and print the table

    Raises UserError for options that the job does not take, and for points that other options have made.
    """
    asked = CompareSettings(metrics=settings.metrics).figures
    points = grid.points(settings, launcher.resolve)  # 1
    places = Places(workdir)
    with Workdir(workdir, Claim(of=settings.of)):
        for left_over in places.points.glob(".*.part"):  # of a killed sweep
            left_over.unlink()
        for point in points:
            if places.folder(point).exists():
                _require_same(places.folder(point), point, at_work=settings.do != "run")
        left = [point for point in points if not is_done(places, point)]
        if settings.do in ("commands", "manifests"):
            write = elsewhere.commands if settings.do == "commands" else elsewhere.manifests
            write(settings, launcher, places, left)
            return 0
        with Progress(interval=_INTERVAL_S) as progress:
            if settings.do == "run":
                _Run(settings, launcher, places, points, progress).work()  # 2
            found = _collect(settings, asked, places, points, progress)  # 3
        print(table.write(found, workdir), end="")
        print(f"\nWritten to {workdir / table.MARKDOWN}, {table.JSON} and {table.CSV}.")
    return int(any(point.status == "failed" for point in found.points))


def is_done(places: Places, point: Point) -> bool:
    """Tell whether a point has ended as it should, and is still there."""
    status = processes.read_status(places.status(point))
    there = (places.folder(point) / "config.json").is_file()
    return status is not None and status.status == "done" and there


def _require_same(folder: Path, point: Point, *, at_work: bool) -> None:
    """Refuse a folder that other options have made. at_work: whether another process may be at work in it."""
    work = Workdir(folder, point.settings)
    if at_work:
        work.require_same()
    else:
        with work:
            pass


class _Run:
    """Points at work. States of a point: `processes`; where one waits for the base: `_start`."""

    def __init__(
        self,
        settings: SweepSettings,
        launcher: Launcher,
        places: Places,
        points: Sequence[Point],
        progress: Progress,
    ) -> None:
        self._settings, self._launcher, self._places = settings, launcher, places
        self._points, self._progress = points, progress
        self._keys = {point.name: base.key(point.settings) for point in points}
        self._made = dict[str | None, Path]()  # folders that hold the evaluation of the base, by its key
        for point in points:
            self._note_base(point)
        self._waiting = [point for point in points if not is_done(places, point)]
        self._again = set[str]()  # ended by a signal, once
        self._running = list[Process]()
        self._began, self._ended = time.monotonic(), 0

    def work(self) -> None:
        """Run all points that are not done."""
        done = len(self._points) - len(self._waiting)
        with self._progress.stage("points", len(self._points), "points", done=done):
            try:
                while self._waiting or self._running:
                    self._start()
                    self._harvest()
                    self._progress.update(done + self._ended, doing=self._doing(), note=self._rate())
                    time.sleep(_LOOK_S)
            except KeyboardInterrupt as signalled:
                processes.stop(self._running, self._launcher.signal(signalled))
                raise
            except BaseException:
                processes.stop(self._running, signal.SIGTERM)
                raise

    def _start(self) -> None:
        """Start what may be started: a point waits while another one makes the evaluation of its base."""
        held_back = set[str | None]()
        for point in list(self._waiting):
            if len(self._running) >= self._settings.at_once:
                return
            if self._keys[point.name] in held_back:
                continue
            if not self._share(point):
                held_back.add(self._keys[point.name])
            else:
                self._waiting.remove(point)
                folder = self._places.folder(point)
                command = self._launcher.command(self._settings.of, folder, point.options)
                self._running.append(processes.start(point, command, self._places.log(point)))

    def _note_base(self, point: Point) -> None:
        folder = self._places.folder(point)
        if base.is_made(folder):
            self._made.setdefault(self._keys[point.name], folder)

    def _share(self, point: Point) -> bool:
        """Give a point the evaluation of its base that another one has made; False while one makes it."""
        key, folder = self._keys[point.name], self._places.folder(point)
        if key is None or base.has_begun(folder):
            return True
        makers = [process.point for process in self._running if self._keys[process.point.name] == key]
        for maker in makers:
            self._note_base(maker)
        if key in self._made and base.share(self._made[key], folder, point.settings):
            return True
        self._made.pop(key, None)  # there is none, or it is damaged
        return not makers

    def _harvest(self) -> None:
        for process in list(self._running):
            exit = process.popen.poll()
            if exit is None:
                continue
            self._running.remove(process)
            self._note_base(process.point)
            process.end()
            point, log = process.point, self._places.log(process.point)
            if processes.is_of_signal(exit) and point.name not in self._again:
                self._again.add(point.name)
                self._waiting.append(point)
                told = processes.why(log, exit)
                self._progress.log(f"{point.name}: stopped by another ({told}); it goes on after the others.")
                continue
            self._ended += 1
            before = processes.read_status(self._places.status(point))
            seconds = round(process.seconds + (before.seconds if before else 0.0), 3)
            status = Status(
                "failed" if exit else "done", exit, seconds, processes.why(log, exit) if exit else ""
            )
            records.write_signed(self._places.status(point), dataclasses.asdict(status))
            if exit:
                self._progress.log(f"{point.name}: failed: {status.why}. {log} has all; the others go on.")

    def _doing(self) -> str:
        return ", ".join(process.point.name for process in self._running)

    def _rate(self) -> str:
        hours = (time.monotonic() - self._began) / 3600
        return f"{self._ended / hours:.1f} points an hour" if self._ended else ""


def _collect(
    settings: SweepSettings,
    asked: Sequence[str],
    places: Places,
    points: Sequence[Point],
    progress: Progress,
) -> table.Sweep:
    """Read what all points have found."""
    groups = dict[str, figures.Setting]()
    results = list[table.PointResult]()
    for point in points:
        status = processes.read_status(places.status(point))
        begun = settings.do == "table" and places.folder(point).is_dir()
        told = status.status if status else "begun" if begun else "not done"
        if told == "done" or begun:
            group = groups.setdefault(point.setting, figures.Setting(point.setting, point.swept, {}))
            group.folders["" if point.seed is None else str(point.seed)] = places.folder(point)
        results.append(
            table.PointResult(
                name=point.name,
                swept=point.swept,
                seed=point.seed,
                status=told,
                minutes=round(status.seconds / 60, 3) if status else None,
                folder=str(places.folder(point)),
                why=status.why if status else "",
            )
        )
    cells, unread = figures.cells(list(groups.values()), asked, progress)
    if len({base.key(point.settings) for point in points}) == 1:  # and so are their figures of it
        cells = [c for c in cells if c.stage != "base" or c.setting == points[0].setting]
    results = [dataclasses.replace(p, why=unread.get(p.name, p.why)) for p in results]
    return table.Sweep(
        of=settings.of,
        options=settings.options,
        over=grid.swept(settings.over),
        points=tuple(results),
        cells=tuple(cells),
    )
