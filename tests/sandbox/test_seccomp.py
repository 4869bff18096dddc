"""The system call filter, run by an interpreter of BPF: what the kernel would say to each call."""

import re
import struct
from pathlib import Path

import pytest

from rstar_jax.sandbox import seccomp

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {  # where Debian and others keep the kernel's numbers
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
CALLS = {  # what must never pass, on x86-64 and aarch64
    **{"socket": (41, 198), "connect": (42, 203), "socketpair": (53, 199), "sendmsg": (46, 211)},
    **{"clone": (56, 220), "clone3": (435, 435), "fork": (57, None), "vfork": (58, None)},
    **{"execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130)},
    **{"tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "pidfd_send_signal": (424, 424)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "io_uring_setup": (425, 425)},
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219)},
    **{"mount": (165, 40), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51)},
    **{"openat2": (437, 437), "creat": (85, None), "unlinkat": (263, 35), "renameat2": (316, 276)},
    **{"symlinkat": (266, 36), "mkdirat": (258, 34), "mknodat": (259, 33), "fchmodat": (268, 53)},
    **{"truncate": (76, 45), "ftruncate": (77, 46), "setrlimit": (160, 164), "prctl": (157, 167)},
    **{"setsid": (112, 157), "setpgid": (109, 154), "setuid": (105, 146), "seccomp": (317, 277)},
    **{
        "sched_setaffinity": (203, 122),
        "setpriority": (141, 140),
        "shmget": (29, 194),
        "mq_open": (240, 180),
    },
    **{"open_by_handle_at": (304, 265), "sendfile": (40, 71), "splice": (275, 76), "personality": (135, 92)},
    **{"landlock_restrict_self": (446, 446), "pidfd_getfd": (438, 438), "kcmp": (312, 272)},
}


def verdict(program: str, arch: int, number: int, *arguments: int) -> int:
    """What a classic BPF program returns for a call: `struct seccomp_data` in, SECCOMP_RET_* out."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<iIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", bytes.fromhex(program)))
    at, word = 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            (word,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            return operand
        else:
            holds = {0x15: word == operand, 0x35: word >= operand, 0x45: bool(word & operand)}[operation]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["open", "closed"])
def test_what_is_listed_passes_and_nothing_else(machine, kind):
    program, column = seccomp.programs(machine)[kind], list(MACHINES).index(machine)
    free = {numbers[column] for numbers in seccomp._FREELY.values()}
    if kind == "open":
        links = {"x86_64": {89, 267}, "aarch64": {78}}[machine]
        assert not links & free
        free |= links
    # Arguments that no conditional rule takes.
    arch, odd = MACHINES[machine], [2**64 - 1] * 6
    passing = {n for n in range(1000) if verdict(program, arch, n, *odd) == seccomp.ALLOW}
    assert passing == free - {None}
    for name, numbers in CALLS.items():
        if numbers[column] is not None:
            for arguments in ((), (2**64 - 1,) * 6):
                assert verdict(program, MACHINES[machine], numbers[column], *arguments) == seccomp.FAIL, name


@pytest.mark.parametrize("machine", MACHINES)
def test_files_are_opened_only_for_reading(machine):
    programs, arch = seccomp.programs(machine), MACHINES[machine]
    calls = {"x86_64": [(2, (5,)), (257, (5, 5))], "aarch64": [(56, (5, 5))]}[machine]
    harmless = [0, 0o2000000, 0o2004000, 0o4000 | 0o400, 0o1000000]
    harmful = [1, 2, 3, 0o100, 0o1000, 0o2000, 0o20000, 0o10000000, 0o20200000, 0o20040000, 0o2000101]
    for number, before in calls:
        for flags in harmless:
            assert verdict(programs["open"], arch, number, *before, flags) == seccomp.ALLOW
            assert verdict(programs["closed"], arch, number, *before, flags) == seccomp.FAIL
        for flags in harmful:
            assert verdict(programs["open"], arch, number, *before, flags) == seccomp.FAIL


@pytest.mark.parametrize("machine", MACHINES)
def test_conditional_calls(machine):
    program, arch, column = (
        seccomp.programs(machine)["open"],
        MACHINES[machine],
        list(MACHINES).index(machine),
    )

    def passes(numbers: tuple[int, int], *arguments: int) -> bool:
        return verdict(program, arch, numbers[column], *arguments) == seccomp.ALLOW

    fcntl, ioctl, prlimit64 = (72, 25), (16, 29), (302, 261)
    assert passes(fcntl, 1, 3) and passes(fcntl, 1, 1030)
    assert not passes(fcntl, 1, 8) and not passes(fcntl, 1, 1031)  # F_SETOWN, F_SETPIPE_SZ
    assert passes(ioctl, 1, 0x5401) and not passes(ioctl, 1, 0x5412)  # TCGETS, TIOCSTI
    assert passes(prlimit64, 0, 7, 0, 0x7FFF00001000)
    assert not passes(prlimit64, 1, 7, 0, 0x7FFF00001000)
    assert not passes(prlimit64, 0, 7, 0x7FFF00001000, 0) and not passes(prlimit64, 0, 7, 1 << 32, 0)


@pytest.mark.parametrize("machine", MACHINES)
def test_another_instruction_set_ends_the_child(machine):
    program = seccomp.programs(machine)["open"]
    for arch in {0x40000003, 0x40000028, *MACHINES.values()} - {MACHINES[machine]}:  # i386, arm
        assert verdict(program, arch, 1) == seccomp.KILL
    # x32: the numbers of x86-64 with a bit set
    assert verdict(program, MACHINES[machine], 0x40000000 | 1) == seccomp.FAIL
    assert verdict(program, MACHINES[machine], -1) == seccomp.FAIL


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"no kernel headers here ({HEADERS[machine]})")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    kernel = {name: int(number) for name, number in defined}
    kernel.setdefault("newfstatat", kernel.get("fstatat", -1))  # the generic table names it by its older call
    rules = seccomp._CONDITIONALLY | seccomp._READING
    ours = seccomp._FREELY | {name: numbers for name, (numbers, _) in rules.items()} | CALLS
    column = list(MACHINES).index(machine)
    for name, numbers in ours.items():
        assert numbers[column] == kernel.get(name), name


def test_an_unknown_machine_has_no_filter():
    assert seccomp.programs("riscv64") == {}
