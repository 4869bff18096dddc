"""Stages that meet only through files, and a working directory that knows what is done.

    WORKDIR/config.json              the options of the run; another run's are refused
    WORKDIR/inputs.json              checksums of the problems and models that it reads; changed ones, too
    WORKDIR/round2/search/...        what a stage wrote
    WORKDIR/round2/search/DONE.json  its manifest (`manifests.py`): result, seconds, SHA-256 of each output

A stage whose manifest stands and whose outputs are whole is not run again. An output that does not
match its manifest is moved aside and its stage runs again; stages make the same files from the same
inputs, so that what came after stays true.

With several hosts (`rstar_jax.distributed`) the leader locks the folder, claims it, decides which stages are
done and writes their manifests; the others are told. Every host makes the same calls in the same order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from rstar_jax import compilations, distributed, manifests, mirror, records, stores
from rstar_jax.errors import UserError
from rstar_jax.evolve.changes import changes
from rstar_jax.manifests import MANIFEST
from rstar_jax.settings import from_config, renamed, to_dict

# Folders in which stages lie: those of rounds, of trainings on given data, of an export, and that of a
# prepared set.
_STAGES = (
    *("base", "round*", "rows", "policy", "evaluate"),
    *("trees", "trajectories", "solutions", "pairs", "authors_*", "trl_*", "chat", "ppm", "compare"),
    "rstar_problems",
    "written",
    "cleaned",
    "solved",
    "problems",
    "answers",
    "benchmarks",
    *("processbench", "prmbench", "suite"),
    "points",  # of a sweep
)
_SEEN_S = 20.0  # in which a file of one host must be seen by the others

Scope = Literal["host", "global", "leader"]


class Workdir:
    """A run's folder. Holds a lock while open, so that two runs never write into one.

    Raises UserError if the folder belongs to a run with other options (the difference is shown), is in
    use by another run, cannot be written, or is not on storage that all hosts of the run share.
    """

    def __init__(self, root: Path, settings: Any):
        self.root = root
        self._settings = settings
        self._lock: int | None = None

    def __enter__(self) -> Workdir:
        distributed.led(self._open)
        try:
            _require_shared(self.root)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"--workdir={self.root}: a file, a folder expected. Choose another --workdir.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise records.writing_failed(self.root, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            raise UserError(
                f"--workdir={self.root}: another run is using this folder. Wait for it, stop it, or choose "
                "another --workdir."
            ) from error
        try:
            self._claim()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def require_same(self) -> None:
        """Raise UserError as opening does for a folder that other options have made, in which a run may be at
        work: takes no lock."""
        if self._begun():
            self._claim()

    def _claim(self) -> None:
        path, mine = self.root / "config.json", to_dict(self._settings)
        begun = self._begun()
        if begun and not path.exists():
            raise UserError(
                f"{path}: not there, so that nobody can tell which options made the files beside it. Choose "
                "a new --workdir, or put it back (report.json holds the same options under 'config')."
            )
        if begun:
            try:
                theirs = records.read_signed(path)
            except records.Damaged as error:
                aside = records.quarantine(path)
                raise UserError(
                    f"{path}: damaged, so that nobody can tell which options made this folder's files; it "
                    f"now lies in {aside.name}. Choose a new --workdir."
                ) from error
            if (job := theirs.get("job")) != mine.get("job"):
                raise UserError(
                    f"--workdir={self.root}: made by a job '{job}', and one of '{mine.get('job')}' is to "
                    "work there. Choose a folder of its own, as a new --workdir."
                )
            changed = list(changes(self._brought_up(theirs), mine))
            if changed:
                raise UserError(
                    f"--workdir={self.root}: made with other options:\n  "
                    + "\n  ".join(changed)
                    + "\nUse the same options to go on with it, or a new --workdir for these."
                )
        else:
            records.write_signed(path, mine)

    def _brought_up(self, options: dict[str, Any]) -> dict[str, Any]:
        """Give options of an earlier release today's names, and those that it lacked their defaults."""
        try:
            return to_dict(from_config(type(self._settings), options))
        except UserError:  # not this kind's: the differences say so
            return options

    def _begun(self) -> bool:
        """Return whether a stage wrote something; a run that failed before that leaves nothing to protect."""
        return any(p.is_file() for stage in _STAGES for p in self.root.glob(f"{stage}/**/*"))

    def claim_inputs(self, digests: dict[str, str]) -> None:
        """Remembers what the run reads from outside, by option; refuses other contents under the same name.

        What is read for the first time is remembered beside the rest.

        Raises UserError naming the options whose files have changed since the folder's stages ran, and those
        whose files differ between hosts.
        """
        distributed.agree({f"contents of config.{name}": digest for name, digest in digests.items()})
        distributed.led(lambda: self._claim_inputs(digests))

    def _claim_inputs(self, digests: dict[str, str]) -> None:
        path = self.root / "inputs.json"
        if path.exists() and self._begun():
            known = records.read_signed(path)
            theirs = {renamed(name, digests, "config"): digest for name, digest in known.items()}
            changed = [
                f"config.{name}" for name in digests if theirs.get(name, digests[name]) != digests[name]
            ]
            if changed:
                raise UserError(
                    f"--workdir={self.root}: made from other contents of {', '.join(changed)}. Put the files "
                    "back as they were to go on with it, or choose a new --workdir for these."
                )
            digests = {**theirs, **digests}
        records.write_signed(path, digests)

    def stage(
        self, name: str, work: Callable[[Path], dict[str, Any]], scope: Scope = "leader"
    ) -> dict[str, Any]:
        """Runs `work(folder)` unless stage `name` is done; returns its manifest either way.

        `work` writes its outputs into the folder and returns a JSON-ready result. scope: "leader" has it run
        by the first host alone, "host" and "global" by all, of which the first one's result holds. The
        manifest: {name, result, seconds, peak_mb (the largest of a host's), compiled (as
        `compilations.Counts`), outputs: {path: [bytes, sha256]}}.
        """
        done = self.manifest(name)
        if done is not None:
            return done
        folder = self.root / name
        distributed.led(lambda: _begin(folder))
        mirror.pull()
        mirror.need(folder)  # checkpoints
        began, compiled = time.monotonic(), compilations.counts()
        with _peak_memory() as peak:
            try:
                result = distributed.led(lambda: work(folder)) if scope == "leader" else work(folder)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise records.writing_failed(folder, error) from error
        compilations.forget()  # before the next stage's peak
        mirror.push()
        peaks = distributed.gathered(peak())  # and with it all that the others write is there
        manifest = {
            "name": name,
            "result": result,
            "seconds": round(time.monotonic() - began, 3),
            "peak_mb": max((mb for mb in peaks if mb is not None), default=None),
            "compiled": dataclasses.asdict(compilations.counts().since(compiled)),
        }
        return distributed.led(lambda: _end(folder, manifest))

    def manifest(self, name: str) -> dict[str, Any] | None:
        """A done stage's manifest; None if it has to run. Damaged outputs are moved aside here."""
        return distributed.led(lambda: self.manifest_here(name))

    def manifest_here(self, name: str) -> dict[str, Any] | None:
        """As `manifest`, without the other hosts."""
        folder = self.root / name
        path = folder / MANIFEST
        if not path.exists():
            return None
        try:
            manifest = manifests.read(path)
        except records.Damaged:
            logging.warning(
                "%s: damaged, moved to %s; the stage runs again.", path, records.quarantine(path).name
            )
            return None
        whole = True
        for name_, expected in manifest["outputs"].items():
            file = folder / name_
            if mirror.size_of(file) == expected[0]:
                continue  # `manifests.require_whole` holds it to this when it has come
            if not file.exists():
                logging.warning("%s: missing; its stage runs again.", file)
                whole = False
            elif not manifests.agrees(file, expected):
                aside = records.quarantine(file)
                logging.warning("%s: damaged, moved to %s; its stage runs again.", file, aside.name)
                whole = False
        if not whole:
            path.unlink()
            return None
        return manifest


def _require_shared(root: Path) -> None:
    """Refuse a folder that the other hosts do not see. A name that is new is in nobody's cache."""
    if distributed.here().count == 1:
        return
    met, store = distributed.shared(f".met-{secrets.token_hex(4)}"), stores.store(root)
    try:
        distributed.led(lambda: store.write(met, b""))
        until = time.monotonic() + _SEEN_S
        while not (seen := store.read(met) is not None) and time.monotonic() < until:
            time.sleep(0.1)
        blind = [name for name, sees in distributed.gathered((distributed.here().name, seen)) if not sees]
    finally:
        if distributed.here().leader:
            store.remove(met)
    if blind:
        raise UserError(
            f"--workdir={root}: what host 0 writes there is not seen by {', '.join(blind[:8])}. Give a "
            "folder on storage that all hosts share, under the same path (NFS), or a bucket's address."
        )


def _begin(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    _sweep(folder)
    mirror.push()  # what was moved aside here is not to be read by other hosts


def _end(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    mirror.pull()
    mirror.need(folder)
    outputs = {str(p.relative_to(folder)): manifests.fingerprint(p) for p in _outputs(folder)}
    manifest = {**manifest, "outputs": outputs}
    records.write_signed(folder / MANIFEST, manifest)
    mirror.push()
    return manifest


def _sweep(folder: Path) -> None:
    """Removes what a killed process was writing; the lock says that nobody is writing now."""
    for path in list(folder.glob(".*")):
        if path.name.endswith(".part"):
            path.unlink()
        elif ".new-" in path.name or ".old-" in path.name:
            shutil.rmtree(path)


def _outputs(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST and ".damaged-" not in str(path.relative_to(folder)):
            yield path


@contextlib.contextmanager
def _peak_memory() -> Iterator[Callable[[], int | None]]:
    """Yields a function that tells this process's peak resident memory in MiB since the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark; Linux only

    def peak() -> int | None:
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) // 1024
        return None

    yield peak
