"""Folders in a bucket as folders of this machine, so that whatever wants files has them.

--workdir=gs://…      ~/.cache/rstar_jax/mirrors/gs/BUCKET/…   both ways (`sync.py`), while a lock in the
                                                               bucket is held (`lock.py`)
problems, models      ~/.cache/rstar_jax/fetched/…             read (`fetched.py`)

ledger.py    which version of a file lies here, and which there
later.py     large files, which are fetched when somebody opens them
"""

from rstar_jax.mirror.fetched import fetch
from rstar_jax.mirror.later import need, size_of
from rstar_jax.mirror.opened import opened, pull, push

__all__ = ["fetch", "need", "opened", "pull", "push", "size_of"]
