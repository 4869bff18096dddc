"""`python -m rstar_jax.launch`."""

import os

from rstar_jax.launch import signals

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signals.install()
try:
    try:
        from rstar_jax.launch.entry import main
    except KeyboardInterrupt as early:
        status = signals.say(early)
    else:
        status = main()
except KeyboardInterrupt as late:  # a first signal that came when all was said
    status = signals.status(late)
signals.leave(status)
