"""Folders in a bucket as folders of this machine, so that whatever wants files has them.

A working directory is mirrored both ways in ~/.cache/rstar_jax/mirrors while a lock in the bucket is held
(`workdir.py`, `sync.py`, `lock.py`); problems and models are fetched into ~/.cache/rstar_jax/fetched
(`fetched.py`).

    places.py    where, and that one process has a place at a time
    ledger.py    which version of a file lies here, and which there
    later.py     large files, which are fetched when somebody opens them
"""

from rstar_jax.mirror.fetched import fetch
from rstar_jax.mirror.later import need, size_of
from rstar_jax.mirror.workdir import opened, pull, push

__all__ = ["fetch", "need", "opened", "pull", "push", "size_of"]
