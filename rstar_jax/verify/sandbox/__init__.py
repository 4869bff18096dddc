"""Runs Python that a model wrote, out of process, with limits, fast.

    with Sandbox(workers=2, limits=Limits(cpu_s=5, memory_mb=1024)) as sandbox:
        results = sandbox.run(["print(6 * 7)", "1 / 0"])

`supervisor.py` lives in the calling process and starts zygotes (`zygote.py`: fresh interpreters with a clean
environment and the usual modules imported), each of which forks one child per snippet (`child.py`: limits,
then the snippet). A snippet's state dies with its child. What a snippet reports about itself is only the
name of its exception; how it ended is read from the kernel.

It protects the caller against: endless loops and sleeps, memory and output floods, crashes of the
interpreter, core files, data written to files, leftovers of one snippet in the next, a snippet that ends or
kills its zygote, results forged for a neighbour (each child has pipes of its own).

It does not protect against: reading files that the caller may read, network access, signals to processes of
the same user, creation of empty files, and kernel bugs: there is no system call filter and no Landlock here.
As root, the limit on processes does not bind (the kernel exempts root), and a snippet may raise its own hard
limits; processes that it leaves behind are found and killed when it ends. A snippet can always claim its
own success: answers are therefore graded outside, and the reference answer never enters the sandbox.
"""

from rstar_jax.verify.sandbox.isolation import Isolation
from rstar_jax.verify.sandbox.result import ExecResult, Limits
from rstar_jax.verify.sandbox.supervisor import Sandbox

__all__ = ["ExecResult", "Isolation", "Limits", "Sandbox"]
