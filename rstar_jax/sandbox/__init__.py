"""Runs Python that a model wrote, out of process, shut in, fast.

    with Sandbox(workers=2, limits=Limits(cpu_s=5, memory_mb=1024)) as sandbox:
        results = sandbox.run(["print(6 * 7)", "1 / 0"])

In the calling process: `supervisor.py` (programs in, results out), `memo.py` and `store.py` (the same
program is run once, also after a restart; `image.py` says what "the same" depends on), `event_loop.py` (the
thread that goes on while the caller does something else), `pool.py` (zygotes, and what is run again),
`worker.py` (one of them).

A zygote (`zygote.py`, perhaps inside bubblewrap) is a fresh interpreter with a clean environment and the
usual modules loaded (`kinds.py`). It forks one child per snippet (`child.py`), which takes its rights away
(`layers.py`, `seccomp.py`) and then runs it. A snippet's state dies with its child. How it ended is read
from the kernel; what it says of itself is only its output and the name and message of its exception.

It protects the caller against: reading and writing files beside the interpreter's, the network, further
processes, signals to others, endless loops and sleeps, floods of memory and output, crashes, leftovers of
one snippet in the next, results forged for a neighbour. Which of this holds here is tested at each start
from inside a child (`Sandbox.layers`); without a system call filter it refuses to start.

It does not protect against bugs of the kernel, nor against what can be learnt from shared caches and
clocks, nor against a snippet that claims its own success: answers are therefore graded outside, and the
reference answer never enters the sandbox. For users: docs/SECURITY.md.
"""

from rstar_jax.sandbox.isolation import Isolation
from rstar_jax.sandbox.result import ExecResult, Limits
from rstar_jax.sandbox.supervisor import Sandbox

__all__ = ["ExecResult", "Isolation", "Limits", "Sandbox"]
