"""Watching the child that runs one snippet until it ends or must be ended.

Standard library only, and nothing of this project: it is loaded by the zygote, a bare interpreter.

    running --its end------------------------> ""
            --output is full-----------------> killed, "output_limit"
            --CPU time is spent--------------> killed, "timeout_cpu"
            --deadline, asleep---------------> killed, "timeout_wall"
            --deadline, kept from running----> running, `_PATIENCE` wall limits longer; then as above, starved

Labels must not depend on what else the host does. CPU time is therefore read from the kernel's exact clock of
the process, the one that rusage tells, and not left to RLIMIT_CPU: that counts ticks, which miss a process
that yields and are charged too many beside busy neighbours. And the watcher's own clock tells when the host
stood still (a paused container, a stopped process group): a look that comes far too late. That time does not
count.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Any, NamedTuple

_LOOK_S = 0.1  # the longest time between two looks
_STALL_S = 0.2  # a look that is later than this tells of a host that stood still
_SOONEST_S = 0.001  # between two looks at a CPU limit that is nearly reached
_TICK_S = 0.002  # how often a child is looked after where the kernel cannot announce its end (before 5.3)
_PATIENCE = 3.0  # wall limits that a snippet gets on top if at the first it was not asleep
_CPU_CLOCK = 2  # of a process, in nanoseconds (CPUCLOCK_SCHED in linux/posix-timers.h)


class Ended(Exception):
    """The supervisor has closed the commands."""


class Seen(NamedTuple):
    """End of a child.

    got: bytes of output. killed: why it was, "" if it ended by itself. starved: the host kept it from running
    until its wall limit. stalled_s: seconds that the host stood still.
    """

    got: int
    killed: str
    starved: bool
    stalled_s: float


def watch(
    pid: int, out: int, commands: int, output: memoryview, limits: dict[str, Any], start: float
) -> Seen:
    """Read the output of child `pid` from descriptor `out` into `output` until it ends or must be killed.

    limits: the fields of `Limits`. start: when it began, of time.monotonic. Raises Ended, the child killed,
    where `commands` is closed at its other end.
    """
    poll = select.poll()
    poll.register(out, select.POLLIN)
    poll.register(commands, 0)
    try:
        ending = os.pidfd_open(pid)
    except OSError:
        ending = -1
    else:
        poll.register(ending, select.POLLIN)
    got, stalled, patience = 0, 0.0, _PATIENCE * limits["wall_s"]
    deadline, expected = start + limits["wall_s"], start
    try:
        while True:
            now = time.monotonic()
            if now - expected > _STALL_S:
                stalled += now - expected
                deadline += now - expected
            spare = limits["cpu_s"] - cpu_seconds(pid)
            if spare <= 0:
                kill(pid)
                return Seen(got, "timeout_cpu", False, stalled)
            if now >= deadline:
                # A child that sleeps waits of its own will; one that wanted to run was kept from it by a busy
                # host, and is left to its CPU limit for a while.
                starved = _kept_from_running(pid, now - start - stalled)
                if not starved or not patience:
                    kill(pid)
                    return Seen(got, "timeout_wall", starved, stalled)
                deadline += patience
                patience = 0.0
            # On one core CPU time is not spent faster than time passes.
            wait = min(deadline - now, _LOOK_S if ending >= 0 else _TICK_S, max(spare, _SOONEST_S))
            expected = now + wait
            for fd, event in poll.poll(1000 * wait):
                if fd == commands:
                    kill(-pid)
                    kill(pid)
                    raise Ended
                if fd == ending:
                    return Seen(got, "", False, stalled)
                if event & select.POLLIN:
                    got += os.readv(out, [output[got:]])
                    if got == len(output):
                        kill(pid)
                        return Seen(got, "output_limit", False, stalled)
                else:
                    poll.unregister(out)  # the child closed it
            if ending < 0 and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return Seen(got, "", False, stalled)
    finally:
        if ending >= 0:
            os.close(ending)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process that is not reaped, threads included."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:  # a kernel in whose place another program stands
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill(pid: int) -> None:
    """Kill a process, or with -pid its group, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _kept_from_running(pid: int, seconds: float) -> bool:
    """Tell if a process that began `seconds` ago wants to run now and wanted to for most of that time, or was
    stopped from outside (nothing that a snippet may call stops it)."""
    with open(f"/proc/{pid}/stat") as stat:
        state = stat.read().rpartition(")")[2].split()[0]
    if state in "STt":
        return state != "S"
    try:
        with open(f"/proc/{pid}/schedstat") as schedstat:
            ran, waited, _ = map(int, schedstat.read().split())
    except (OSError, ValueError):
        return True  # a kernel that does not tell
    return (ran + waited) / 1e9 > seconds / 2
