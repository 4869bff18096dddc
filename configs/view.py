"""A run's trees in a browser: steps, what the interpreter showed, Q, visits, PPM, two rounds side by side.

    python -m rstar_jax.launch --config=view --workdir=RUN [--config.port=8000]

Prints an address of this machine's loopback; open it in a browser here, or elsewhere through
`ssh -L 8000:localhost:8000 HOST`. Works while the run goes on, reads one tree at a time, changes nothing but
RUN/cache. Needs no accelerator.
report.html holds the same page with as many trees as fit.
"""

from rstar_jax.settings import to_config_dict
from rstar_jax.view import ViewSettings


def get_config():
    return to_config_dict(ViewSettings())
