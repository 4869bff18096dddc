"""The system call filter of a snippet: an allowlist, as a classic BPF program.

Pure arithmetic, nothing is installed here: the caller's side makes the programs, `layers.py` hands one to the
kernel in every child. What is not listed fails with EPERM, so that a snippet meets PermissionError and not
its end. A call made in another instruction set than the interpreter's (int 0x80 on x86-64) ends the child.

Numbers are those of the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl, and
include/uapi/asm-generic/unistd.h for aarch64.
"""

from __future__ import annotations

import dataclasses
import platform
import struct

# name -> (x86-64, aarch64); None where an architecture has no such call.
_FREELY: dict[str, tuple[int, int | None]] = {
    # descriptors that are already open: the output pipe and what the snippet itself makes
    **{"read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "preadv": (295, 69)},
    **{"write": (1, 64), "writev": (20, 66), "pwrite64": (18, 68), "lseek": (8, 62), "close": (3, 57)},
    **{"close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24)},
    **{"pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73)},
    **{"select": (23, None), "pselect6": (270, 72), "getdents64": (217, 61), "fadvise64": (221, 223)},
    # names and sizes of files, which imports ask for
    **{"stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291)},
    **{"access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getcwd": (79, 17)},
    # memory, within the limit on address space
    **{"mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "brk": (12, 214)},
    **{"madvise": (28, 233)},
    # time, and signals to nobody but oneself
    **{
        "clock_gettime": (228, 113),
        "clock_getres": (229, 114),
        "gettimeofday": (96, 169),
        "time": (201, None),
    },
    **{"times": (100, 153), "nanosleep": (35, 101), "clock_nanosleep": (230, 115)},
    **{"alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102), "restart_syscall": (219, 128)},
    **{
        "pause": (34, None),
        "rt_sigaction": (13, 134),
        "rt_sigprocmask": (14, 135),
        "rt_sigreturn": (15, 139),
    },
    **{"rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137)},
    **{"sigaltstack": (131, 132), "futex": (202, 98), "sched_yield": (24, 124)},
    # what a process may know of itself and the machine
    **{"getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174)},
    **{"geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getpgrp": (111, None)},
    **{"getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "getrusage": (98, 165)},
    **{"getrlimit": (97, 163), "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278)},
    **{"sched_getaffinity": (204, 123), "getcpu": (309, 168)},
    **{"exit": (60, 93), "exit_group": (231, 94)},
}


@dataclasses.dataclass(frozen=True)
class _Test:
    """A condition on one 32-bit half of a call's arguments (`word`: argument 0 low, 0 high, 1 low, ...).

    Either it must be one of `values`, or it may have no bit of `never`.
    """

    word: int
    values: tuple[int, ...] = ()
    never: int = 0


# Whatever writes, creates, truncates or sends signals; and O_PATH, which Landlock does not look at. These
# bits are the same on both architectures; openat2 hides its flags behind a pointer and is not listed.
_O_NEVER = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000 | 0o10000000 | 0o20000000
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_TCGETS, _FIONCLEX, _FIOCLEX = 0x5401, 0x5450, 0x5451
# name -> numbers, and what must hold of the arguments
_Rules = dict[str, tuple[tuple[int | None, int | None], tuple[_Test, ...]]]
_CONDITIONALLY: _Rules = {
    "fcntl": ((72, 25), (_Test(2, (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC)),)),
    "ioctl": ((16, 29), (_Test(2, (_TCGETS, _FIONCLEX, _FIOCLEX)),)),
    # reading its own limits (pid 0), not setting any: the pointer to new ones is null
    "prlimit64": ((302, 261), (_Test(0, (0,)), _Test(4, (0,)), _Test(5, (0,)))),
}
# Below /proc links name what the caller, where it is the same user, has open: Landlock hides that.
_READING: _Rules = {
    "readlink": ((89, None), ()),
    "readlinkat": ((267, 78), ()),
    "open": ((2, None), (_Test(2, never=_O_NEVER),)),
    "openat": ((257, 56), (_Test(4, never=_O_NEVER),)),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH

# BPF: load a word of the call's data, jump if equal / at least / if any bit is set, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
KILL, FAIL, ALLOW = 0x80000000, 0x00050000 | 1, 0x7FFF0000  # FAIL: errno 1, EPERM
_Code = list[tuple[int, int, int, int]]  # operation, steps to skip if true, if false, operand


def programs(machine: str | None = None) -> dict[str, str]:
    """The filters for a machine (default: this one) as hexadecimal `struct sock_filter[]`, little endian.

    "open" allows opening files for reading and reading links, "closed" neither. Empty for a machine that is
    not known.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES or struct.calcsize("P") != 8:
        return {}
    closed, opened = _CONDITIONALLY, _CONDITIONALLY | _READING
    return {"open": _program(machine, opened).hex(), "closed": _program(machine, closed).hex()}


def _program(machine: str, rules: _Rules) -> bytes:
    """Look for the call's number by bisection: a child pays for every step of the filter when it installs
    it, as the kernel tries every number once (a tree costs 0.1 ms, a list 0.3)."""
    column, arch = _MACHINES[machine]
    verdicts: dict[int, _Code] = {
        number: [(_RETURN, 0, 0, ALLOW)]
        for numbers in _FREELY.values()
        if (number := numbers[column]) is not None
    }
    for numbers, tests in rules.values():
        if (number := numbers[column]) is not None:
            verdicts[number] = [step for test in tests for step in _tested(test)] + [(_RETURN, 0, 0, ALLOW)]
    fail: _Code = [(_RETURN, 0, 0, FAIL)]
    spans: list[tuple[int, _Code]] = [(0, verdicts.get(0, fail))]  # from this number on: this verdict
    for number in sorted({n + i for n in verdicts for i in (0, 1)} - {0}):
        verdict = verdicts.get(number, fail)
        if verdict != spans[-1][1]:
            spans.append((number, verdict))
    code = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *_bisected(spans),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in code)


def _bisected(spans: list[tuple[int, _Code]]) -> _Code:
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    below, above = _bisected(spans[:middle]), _bisected(spans[middle:])
    return [(_AT_LEAST, len(below), 0, spans[middle][0]), *below, *above]


def _tested(test: _Test) -> _Code:
    """Goes on past its own end if the test holds, else fails the call."""
    steps: _Code = [(_LOAD, 0, 0, _ARGUMENTS_AT + 4 * test.word)]
    if test.never:
        steps.append((_ANY_BIT, 0, 1, test.never))
    for i, value in enumerate(test.values):
        steps.append((_EQUAL, len(test.values) - i, 0, value))
    return [*steps, (_RETURN, 0, 0, FAIL)]
