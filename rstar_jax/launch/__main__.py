"""`python -m rstar_jax.launch`."""

import os
import signal
import sys

from rstar_jax.launch import main, terminate

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signal.signal(signal.SIGTERM, terminate)
sys.exit(main())
