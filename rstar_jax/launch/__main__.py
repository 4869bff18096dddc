"""`python -m rstar_jax.launch`."""

import os

from rstar_jax.launch import main, signals

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signals.install()
try:
    status = main()
except KeyboardInterrupt as late:  # a first signal that came when all was said
    status = 143 if isinstance(late, signals.Terminated) else 130
signals.leave(status)
