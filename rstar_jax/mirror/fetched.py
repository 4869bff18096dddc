"""Files and folders in a bucket that are only read: fetched once, and again where they have changed."""

from __future__ import annotations

import functools
from pathlib import Path

from rstar_jax import stores
from rstar_jax.errors import UserError
from rstar_jax.mirror.places import alone, place_of
from rstar_jax.mirror.sync import Mirror


@functools.cache
def fetch(url: str) -> Path:
    """The file or folder at a URL as one of this machine, by the last of its names; the weights of a folder
    come when they are read (`later`). A process looks for changes once.

    Raises UserError where there is nothing, or as stores do.
    """
    above, _, name = url.rpartition("/")
    place = place_of("fetched", url)
    with alone(place):
        found = Mirror(stores.BucketStore(url), place / name, place / ".ledger.jsonl")
        if not found.pull(start=True):
            found.close()
            file = stores.BucketStore(above) if not above.endswith("/") else None
            if file is None or not Mirror(file, place, place / ".ledger.jsonl").pull(start=True, only=name):
                raise UserError(f"{url}: nothing there. Correct the name, or put it there.")
    return place / name
