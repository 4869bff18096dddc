"""A folder here and its mirror image in a bucket, kept equal file by file.

    here                      there                     what is done
    changed                   as the ledger has it      sent (`Mirror.turn`)
    gone, in two turns        as the ledger has it      removed there
    as the ledger has it      changed                   fetched (`Mirror.pull`), at once or `later`
    as the ledger has it      gone                      removed here
    changed or unknown        changed or unknown        at a start there wins, as another machine went on
                                                        from it; after that here does

A bucket has no rename, so what belongs together is published by its last file: a stage's DONE.json and a
checkpoint's _CHECKPOINT_METADATA are sent when all of their folder lies there, and a checkpoint without it
is not fetched. Nothing is removed there before what came in its place has been sent.

    a turn: look -> send what changed -> send last files that the look before saw -> remove what that missed
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rstar_jax import records, stores
from rstar_jax.errors import UserError
from rstar_jax.mirror import later
from rstar_jax.mirror.ledger import Ledger, Version, version_here, version_there
from rstar_jax.stores import BucketStore, Unreachable

THREADS = 8
LAST = ("DONE.json", "_CHECKPOINT_METADATA")
# Takes ".x.part", "a/.new-7/b", "cache/x", "a/metrics.tmp", "a/3.orbax-checkpoint-tmp/x", "a/claims/b":
# temporary, of this machine alone, or written there by whoever means it. Takes no "a/x.tree".
_OURS_ALONE = re.compile(r"(.*/)?(\.[^/]*|claims)(/.*)?|cache/.*|.*\.tmp|.*orbax-checkpoint-tmp.*")
# Takes these, and "a/checkpoints/12/x", which orbax saves in the bucket by itself.
_SAVED_THERE = re.compile(rf"{_OURS_ALONE.pattern}|(.*/)?checkpoints/.*")
# Takes "round1/policy/model/model.safetensors", "round1/policy/checkpoints/12/state/d/0".
_LARGE = re.compile(r".*\.safetensors|(.*/)?checkpoints/.*")
# Takes "a/checkpoints/12/state/x": (a/checkpoints/12).
_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/\d+)/.*")
_PAUSE_S, _TOLD_EVERY_S = 0.1, 10.0

log = logging.getLogger(__name__)


class Mirror:
    """A folder of this machine that stands for one in a bucket.

    ledger: path of its file. may_write: whether this process may change the bucket now; None: never, it is
    only read. Raises UserError where the bucket or the folder cannot be read or written.
    """

    def __init__(
        self, store: BucketStore, folder: Path, ledger: Path, may_write: Callable[[], bool] | None = None
    ):
        self.folder, self._store, self._may_write = folder, store, may_write
        self._kept_out = _SAVED_THERE if stores.is_google(store.root) else _OURS_ALONE
        self._ledger = Ledger(ledger)
        self._seen = dict[str, Version]()  # in the look before
        self._postponed = set[str]()
        self._turning = threading.Lock()

    def pull(self, *, start: bool = False, only: str = "") -> int:
        """Fetch what has changed there, remove what has gone there; returns how many files there are.

        start: what is unknown here gives way. only: the one file that is looked at.
        """
        with self._turning:
            infos = self._store.listing(only) if only else self._store.listing()
            there = {name: version_there(info) for name, info in infos.items() if self._is_mirrored(name)}
            there = {n: v for n, v in there.items() if _is_published(n, there) and only in ("", n)}
            here, known = self._look(), dict(self._ledger.entries)
            fetched = list[str]()
            for name in sorted({*there, *known, *self._postponed} if not only else {only}):
                entry, mine, theirs = known.get(name), here.get(name), there.get(name)
                changed = mine is not None and (entry is None or mine != entry.here)
                if theirs is None:
                    if not changed:
                        self._remove_here(name)
                elif entry is None or theirs != entry.there or (start and mine is None):
                    if not changed or start:
                        fetched.append(name)
                elif changed and self._may_write is None:
                    fetched.append(name)
            if start and self._may_write is not None:
                self._give_way(there, here, known)
            self._fetch(fetched, there, here)
            return len(there)

    def turn(self) -> int:
        """Send what has changed here; returns how many changes are left, most often those of the last
        moment. Raises UserError where the bucket refuses, or does not answer."""
        if (may_write := self._may_write) is None:
            return 0
        held = list[str]()  # as the right to write went while others were sent

        def while_sure(work: Callable[[str], None]) -> Callable[[str], None]:
            return lambda name: work(name) if may_write() else held.append(name)

        with self._turning:
            now, before = self._look(), self._seen
            known = self._ledger.entries
            changed = [name for name, v in now.items() if name not in known or known[name].here != v]
            last = [name for name in changed if Path(name).name in LAST]
            gone = [name for name in list(known) if name not in now]
            self._seen = now
            if not may_write():
                return len(changed) + len(gone)
            self._in_threads(while_sure(self._send), sorted({*changed} - {*last}))
            if held:
                return len(changed) + len(gone)
            left = [name for name in last if before.get(name) != now[name]]
            self._in_threads(while_sure(self._send), sorted({*last} - {*left}))
            left += [name for name in gone if name in before]
            self._in_threads(while_sure(self._remove_there), sorted({*gone} - {*left}))
            return len(left) + len(held)

    def push(self, patience_s: float) -> None:
        """Send all that has changed here. Raises UserError as `turn`, Unreachable where it takes longer."""
        until, changes = time.monotonic() + patience_s, -1
        while changes:
            if changes > 0:
                time.sleep(_PAUSE_S)
            changes = self.turn()
            if changes and time.monotonic() > until:
                raise Unreachable(f"{self._store.root}: {changes} changes could not be sent in time.")

    def waiting(self) -> int:
        """Count the files here that have not been sent as they are."""
        known = self._ledger.entries
        return sum(name not in known or known[name].here != v for name, v in self._look().items())

    def close(self) -> None:
        """Close the ledger, and postpone nothing any more."""
        for name in self._postponed:
            later.forget(self.folder / name)
        self._ledger.close()

    def _look(self) -> dict[str, Version]:
        return dict(self._files(self.folder, ""))

    def _files(self, folder: Path | str, name: str) -> Iterator[tuple[str, Version]]:
        """The files of a folder that are mirrored, by their names in it, with their versions."""
        with records.reading(Path(folder)):
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:  # renamed meanwhile
                return
        for entry in entries:
            path = f"{name}{entry.name}"
            if not self._is_mirrored(path):
                continue
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir():
                    yield from self._files(entry.path, f"{path}/")
                elif entry.is_file():
                    yield path, version_here(entry.stat())

    def _is_mirrored(self, name: str) -> bool:
        return not self._kept_out.fullmatch(name) and all(name.split("/"))  # no folder's mark

    def _give_way(self, there: Iterable[str], here: Iterable[str], known: Iterable[str]) -> None:
        """Remove what an earlier start left of stages that another machine has finished since."""
        done = [name for name in there if Path(name).name == LAST[0] and name not in known]
        folders = tuple(name.removesuffix(LAST[0]) for name in done)
        for name in {*here} - {*there} - {*known}:
            if folders and name.startswith(folders):
                (self.folder / name).unlink()
                log.warning("%s: removed, its stage was done elsewhere.", self.folder / name)

    def _fetch(self, names: list[str], there: dict[str, Version], here: Iterable[str]) -> None:
        now = [name for name in names if not _LARGE.fullmatch(name) or name in here]
        for name in {*names} - {*now}:
            self._postponed.add(name)
            self._ledger.forget(name)  # what is not here was not removed here
            later.postpone(self.folder / name, there[name][0], lambda n=name: self._fetch_one(n, there[n]))
        total, got, told = sum(there[name][0] for name in now), 0, time.monotonic()
        lock, began = threading.Lock(), time.monotonic()

        def fetch(name: str) -> None:
            nonlocal got, told
            self._fetch_one(name, there[name])
            with lock:
                got += there[name][0]
                if time.monotonic() - told > _TOLD_EVERY_S:
                    told = time.monotonic()
                    rate = got / (told - began)
                    log.warning(
                        "%s: %.1f of %.1f MB fetched, %.1f MB/s, %.0f s left.",
                        *(self._store.root, got / 1e6, total / 1e6, rate / 1e6, (total - got) / rate),
                    )

        self._in_threads(fetch, now)

    def _fetch_one(self, name: str, version: Version) -> None:
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store.get(name, temporary)
            if temporary.stat().st_size != version[0]:
                raise UserError(
                    f"{self._store.root}/{name}: changed while it was read. Run the same command again."
                )
            os.replace(temporary, path)
        except OSError as error:
            raise records.writing_failed(path, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        self._ledger.set(name, version_here(path.stat()), version)
        self._come(name)

    def _send(self, name: str) -> None:
        path = self.folder / name
        # Replaced or removed meanwhile: the next turn's.
        with records.reading(path), contextlib.suppress(FileNotFoundError):
            before = version_here(path.stat())
            info = self._store.put(path, name)
            self._ledger.set(name, before, version_there(info))

    def _remove_there(self, name: str) -> None:
        self._store.remove(name)
        self._ledger.forget(name)

    def _remove_here(self, name: str) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # folders that are left empty: some are asked for by name alone
            os.removedirs(path.parent)
        self._come(name)
        self._ledger.forget(name)

    def _come(self, name: str) -> None:
        self._postponed.discard(name)
        later.forget(self.folder / name)

    def _in_threads(self, work: Callable[[str], None], names: list[str]) -> None:
        """Do all, also where some fail; raise what the first to fail raised."""
        pool = ThreadPoolExecutor(min(THREADS, len(names)) or 1)
        try:
            futures = [pool.submit(work, name) for name in names]
            errors = [error for future in futures if (error := future.exception()) is not None]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a signal does not wait for large files
        if errors:
            raise errors[0]


def _is_published(name: str, there: dict[str, Version]) -> bool:
    found = _CHECKPOINT.fullmatch(name)
    return not found or f"{found[1]}/{LAST[1]}" in there
