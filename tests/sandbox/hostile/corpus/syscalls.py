"""System calls made directly, past every check that Python could do.

Each would work, or fail in another way, without the filter; none would harm the machine if the filter failed:
they name files that do not exist, send signal 0, or ask for what they already have.
"""

from tests.sandbox.hostile.corpus.cases import Case, case

_CODE = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
number = {{"x86_64": {x86}, "aarch64": {arm}}}[os.uname().machine]
libc.syscall.restype = ctypes.c_long
buffer = (ctypes.c_uint64 * 64)({words})
nowhere = b"/nonexistent/rstar"
print(libc.syscall(number, {arguments}), ctypes.get_errno())
"""
# EPERM, or ENOSYS: what libc takes as a reason to try something else.
_DENIED = ("-1 1\n", "-1 38\n")
_NONE = -1  # no such call on this architecture: ENOSYS

# name, x86-64, aarch64, arguments; words that `buffer` begins with.
_CALLS: tuple[tuple[str, int, int, str] | tuple[str, int, int, str, str], ...] = (
    # network and messages
    ("socket_inet", 41, 198, "2, 1, 0"),
    ("socket_unix", 41, 198, "1, 1, 0"),
    ("socket_netlink", 41, 198, "16, 3, 0"),
    ("socket_packet", 41, 198, "17, 3, 0"),
    ("socket_vsock", 41, 198, "40, 1, 0"),
    ("socketpair", 53, 199, "1, 1, 0, buffer"),
    ("mq_open", 240, 180, "b'rstar', 0, 0, 0"),
    ("shmget", 29, 194, "0x72737461, 0, 0"),
    ("msgget", 68, 186, "0x72737461, 0"),
    ("semget", 64, 190, "0x72737461, 0, 0"),
    # processes and programs
    ("fork", 57, _NONE, "0"),
    ("vfork", 58, _NONE, "0"),
    ("clone", 56, 220, "17, 0, 0, 0, 0"),
    ("clone_same_memory", 56, 220, "0x100, 0, 0, 0, 0"),
    ("clone_new_user", 56, 220, "0x10000000 | 17, 0, 0, 0, 0"),
    ("clone3", 435, 435, "buffer, 64", "0, 0, 0, 0, 17"),
    ("execve", 59, 221, "b'/bin/true', buffer, 0"),
    ("execveat", 322, 281, "-100, b'/bin/true', buffer, 0, 0"),
    ("unshare_user", 272, 97, "0x10000000"),
    ("unshare_files", 272, 97, "0x400"),
    ("setns", 308, 268, "-1, 0"),
    ("setpgid", 109, 154, "os.getppid(), 0"),
    # signals to others
    ("kill_parent", 62, 129, "os.getppid(), 0"),
    ("kill_everyone", 62, 129, "-1, 0"),
    ("kill_first", 62, 129, "1, 0"),
    ("kill_group", 62, 129, "0, 0"),
    ("tkill", 200, 130, "os.getppid(), 0"),
    ("tgkill", 234, 131, "os.getppid(), os.getppid(), 0"),
    ("rt_sigqueueinfo", 129, 138, "os.getppid(), 0, buffer"),
    ("rt_tgsigqueueinfo", 297, 240, "os.getppid(), os.getppid(), 0, buffer"),
    ("pidfd_open", 434, 434, "os.getppid(), 0"),
    ("pidfd_send_signal", 424, 424, "-1, 0, 0, 0"),
    ("pidfd_getfd", 438, 438, "-1, 0, 0"),
    # the memory and the state of others
    ("ptrace_traceme", 101, 117, "0, 0, 0, 0"),
    ("ptrace_seize", 101, 117, "0x4206, os.getppid(), 0, 0"),
    ("process_vm_readv", 310, 270, "os.getppid(), buffer, 0, buffer, 0, 0"),
    ("process_vm_writev", 311, 271, "os.getppid(), buffer, 0, buffer, 0, 0"),
    ("process_madvise", 440, 440, "-1, 0, 0, 4, 0"),
    ("process_mrelease", 448, 448, "-1, 0"),
    ("kcmp", 312, 272, "os.getpid(), os.getpid(), 0, 0, 0"),
    ("prlimit_parent_get", 302, 261, "os.getppid(), 7, 0, buffer"),
    ("prlimit_parent_set", 302, 261, "os.getppid(), 7, buffer, 0", "64, 64"),
    ("prlimit_own_processes", 302, 261, "0, 6, buffer, 0", "9, 9"),
    ("prlimit_own_file_size", 302, 261, "0, 1, buffer, 0", "2**20, 2**20"),
    ("setrlimit", 160, 164, "0, buffer", "9, 9"),
    ("sched_setaffinity_parent", 203, 122, "os.getppid(), 8, buffer", "2**64 - 1"),
    ("sched_setscheduler", 144, 119, "0, 0, buffer"),
    ("sched_setattr", 314, 274, "0, buffer, 0", "48"),
    ("setpriority_parent", 141, 140, "0, os.getppid(), 19"),
    ("ioprio_set_parent", 251, 30, "1, os.getppid(), 3 << 13"),
    ("move_pages_parent", 279, 239, "os.getppid(), 0, 0, 0, 0, 0"),
    # descriptors of other kinds
    ("memfd_create", 319, 279, "b'x', 0"),
    ("memfd_secret", 447, 447, "0"),
    ("userfaultfd", 323, 282, "1"),
    ("io_uring_setup", 425, 425, "1, buffer"),
    ("io_setup", 206, 0, "1, buffer"),
    ("perf_event_open", 298, 241, "buffer, 0, -1, -1, 0", "1 | (112 << 32), 1"),
    ("bpf", 321, 280, "0, buffer, 64", "2 | (4 << 32), 4 | (1 << 32)"),
    ("timerfd_create", 283, 85, "1, 0"),
    ("signalfd4", 289, 74, "-1, buffer, 8, 0"),
    ("eventfd2", 290, 19, "0, 0"),
    ("epoll_create1", 291, 20, "0"),
    ("inotify_init1", 294, 26, "0"),
    ("fanotify_init", 300, 262, "0, 0"),
    # data between descriptors that were open already
    ("sendfile", 40, 71, "1, 0, 0, 1"),
    ("splice", 275, 76, "0, 0, 1, 0, 1, 0"),
    ("tee", 276, 77, "1, 1, 1, 0"),
    ("vmsplice", 278, 75, "1, buffer, 0, 0"),
    ("copy_file_range", 326, 285, "0, 0, 1, 0, 1, 0"),
    ("fallocate", 285, 47, "1, 0, 0, 1"),
    ("fcntl_setown", 72, 25, "1, 8, os.getppid()"),
    ("fcntl_pipe_size", 72, 25, "1, 1031, 4096"),
    ("ioctl_tiocsti", 16, 29, "0, 0x5412, b'x'"),
    ("ioctl_tiocsti_high_half", 16, 29, "0, ctypes.c_ulong(0xdead00005412), b'x'"),
    ("ioctl_tioclinux", 16, 29, "0, 0x541c, b'x'"),
    # files
    ("open_write", 2, _NONE, "b'/dev/null', 1, 0"),
    ("openat_write", 257, 56, "-100, b'/dev/null', 1, 0"),
    ("openat_read_write", 257, 56, "-100, b'/dev/null', 2, 0"),
    ("openat_access_mode_3", 257, 56, "-100, b'/dev/null', 3, 0"),
    ("openat_truncate", 257, 56, "-100, nowhere, 0o1000, 0"),
    ("openat_create", 257, 56, "-100, nowhere, 0o100, 0o600"),
    ("openat_temporary", 257, 56, "-100, nowhere, 0o20200002, 0o600"),
    ("openat_path", 257, 56, "-100, b'/', 0o10000000, 0"),
    ("openat_high_half", 257, 56, "-100, b'/dev/null', ctypes.c_ulong(0xdead00000001), 0"),
    ("openat2_write", 437, 437, "-100, b'/dev/null', buffer, 24", "1"),
    ("openat2_read", 437, 437, "-100, b'/dev/null', buffer, 24"),
    ("creat", 85, _NONE, "nowhere, 0o600"),
    ("mknodat", 259, 33, "-100, nowhere, 0o10600, 0"),
    ("mkdirat", 258, 34, "-100, nowhere, 0o700"),
    ("linkat", 265, 37, "-100, nowhere, -100, nowhere, 0"),
    ("symlinkat", 266, 36, "b'x', -100, nowhere"),
    ("rename", 82, _NONE, "nowhere, nowhere"),
    ("renameat2", 316, 276, "-100, nowhere, -100, nowhere, 0"),
    ("unlink", 87, _NONE, "nowhere"),
    ("unlinkat", 263, 35, "-100, nowhere, 0"),
    ("rmdir", 84, _NONE, "nowhere"),
    ("truncate", 76, 45, "nowhere, 0"),
    ("chmod", 90, _NONE, "nowhere, 0o777"),
    ("fchmod_own_pipe", 91, 52, "1, 0o666"),
    ("fchmodat", 268, 53, "-100, nowhere, 0o777"),
    ("fchmodat2", 452, 452, "-100, nowhere, 0o777, 0"),
    ("fchownat", 260, 54, "-100, nowhere, 0, 0, 0"),
    ("utimensat", 280, 88, "-100, nowhere, 0, 0"),
    ("setxattr", 188, 5, "nowhere, b'user.x', b'x', 1, 0"),
    ("removexattr", 197, 14, "nowhere, b'user.x'"),
    ("open_by_handle_at", 304, 265, "-1, buffer, 0"),
    ("name_to_handle_at", 303, 264, "-100, b'/', buffer, buffer, 0"),
    ("sync", 162, 81, "0"),
    ("flock_own_pipe", 73, 32, "1, 2"),
    # mounts and roots
    ("mount", 165, 40, "b'none', nowhere, b'tmpfs', 0, 0"),
    ("umount2", 166, 39, "nowhere, 0"),
    ("pivot_root", 155, 41, "nowhere, nowhere"),
    ("chroot", 161, 51, "b'/'"),
    ("fsopen", 430, 430, "b'tmpfs', 0"),
    ("open_tree", 428, 428, "-100, b'/', 0"),
    ("mount_setattr", 442, 442, "-1, nowhere, 0, buffer, 32"),
    # rights and the filter itself
    ("setresuid", 117, 147, "os.getuid(), os.getuid(), os.getuid()"),
    ("setgroups", 116, 159, "0, 0"),
    ("capset", 126, 91, "buffer, 0", "0x20080522"),
    ("prctl_dumpable", 157, 167, "4, 1, 0, 0, 0"),
    ("prctl_death_signal", 157, 167, "1, 0, 0, 0, 0"),
    ("prctl_ptracer", 157, 167, "0x59616d61, -1, 0, 0, 0"),
    ("prctl_seccomp", 157, 167, "22, 9, 0, 0, 0"),
    ("prctl_subreaper", 157, 167, "36, 1, 0, 0, 0"),
    ("seccomp", 317, 277, "2, 0, buffer", "0x7fff0000"),
    ("landlock_restrict_self", 446, 446, "-1, 0"),
    ("personality", 135, 92, "0xffffffff"),
    ("add_key", 248, 217, "b'user', b'rstar', b'x', 1, -2"),
    ("request_key", 249, 218, "b'user', b'rstar', 0, 0"),
    ("keyctl", 250, 219, "0, -3, 0"),
    # the machine
    ("reboot", 169, 142, "0, 0, 0, 0"),
    ("init_module", 175, 105, "0, 0, 0"),
    ("finit_module", 313, 273, "-1, 0, 0"),
    ("kexec_load", 246, 104, "0, 0, 0, 0xffff"),
    ("swapon", 167, 224, "nowhere, 0"),
    ("acct", 163, 89, "nowhere"),
    ("sethostname", 170, 161, "0, 1"),
    ("settimeofday", 164, 170, "0, 0"),
    ("clock_settime", 227, 112, "0, 0"),
    ("adjtimex", 159, 171, "buffer"),
    ("syslog", 103, 116, "10, 0, 0"),
    ("quotactl", 179, 60, "0, nowhere, 0, 0"),
    ("iopl", 172, _NONE, "0"),
    ("modify_ldt", 154, _NONE, "0, buffer, 0"),
    # numbers that a careless comparison lets through
    ("x32_socket", 0x40000000 | 41, _NONE, "1, 1, 0"),
    ("x32_getpid", 0x40000000 | 39, _NONE, "0"),
    ("number_out_of_range", 99999, 99999, "0"),
)

CASES: list[Case] = [
    case(
        "escape",
        f"syscall_{name}",
        _CODE.format(x86=x86, arm=arm, arguments=arguments, words=words[0] if words else ""),
        "ok",
        stdout_any=list(_DENIED),
    )
    for name, x86, arm, arguments, *words in _CALLS
]
