"""Several processes as one run: who they are, what they agree on, and how they wait for each other.

    environment.py   how many processes there are, and who this one is: GKE, TPU VM, Slurm or options
    roll_call.py     all of them come together before JAX starts, or learn what is in the way (`verdict.py`)
    hosts.py         start; then agree, barrier, shared, gathered, led, all_end; finish, or heed and stop
    watch.py         none waits for one that has stopped or is lost

Nothing here imports JAX before `start` has found that there are several processes.
"""

from rstar_jax.distributed.config import DistributedConfig
from rstar_jax.distributed.hosts import (
    Host,
    agree,
    all_end,
    barrier,
    finish,
    gathered,
    heed,
    here,
    led,
    shared,
    start,
    stop,
)

__all__ = [
    "DistributedConfig",
    "Host",
    "agree",
    "all_end",
    "barrier",
    "finish",
    "gathered",
    "heed",
    "here",
    "led",
    "shared",
    "start",
    "stop",
]
