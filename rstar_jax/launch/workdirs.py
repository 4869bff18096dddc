"""The folder that a job works in: as it is given, or what mirrors the bucket's that is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import distributed, mirror
from rstar_jax.errors import UserError
from rstar_jax.settings import home_expanded
from rstar_jax.stores import url_of

# Jobs that only look at a folder: what they need of a bucket's is fetched, and nothing is locked or sent.
_LOOK = frozenset({"view"})
# Jobs that write a file beside a run's, which may be going on: they lock nothing.
_ADD = frozenset({"report"})
_LOCKED = "the working directory is locked"


@contextlib.contextmanager
def opened(given: str, job: str) -> Iterator[Path]:
    """Yield the folder that `--workdir=given` means for a job. Raises UserError as `mirror.opened` and
    `settings.home_expanded`."""
    try:
        url = url_of(given)
    except UserError as error:
        raise UserError(f"--workdir: {error}") from error
    if url is None or job in _LOOK:
        yield home_expanded(Path(given), "--workdir")
        return
    host = distributed.here()
    if not host.leader:  # nor send what an earlier start left before the first one has the lock
        distributed.barrier(_LOCKED)
    with mirror.opened(url, index=host.index, count=host.count, reader=job if job in _ADD else "") as folder:
        if host.leader:
            distributed.barrier(_LOCKED)
        yield folder
