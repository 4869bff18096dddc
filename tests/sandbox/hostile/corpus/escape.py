"""Ways out that Python itself offers: other programs, files, the network, memory, the zygote's own frames."""

from tests.sandbox.hostile.corpus.cases import Case, case

# ModuleNotFoundError: where no file can be opened a module that is not loaded cannot be.
_DENIED = ["PermissionError", "OSError", "ModuleNotFoundError"]
_UNREADABLE = ["PermissionError", "FileNotFoundError", "ModuleNotFoundError"]


def _raises(name: str, code: str, *exceptions: str, **expect: object) -> Case:
    """A case that must end with one of these exceptions."""
    return case("escape", name, code, "exception", exc=list(exceptions) or _DENIED, **expect)


CASES: list[Case] = [
    # other programs
    _raises("os_posix_spawn", "import os\nprint(os.posix_spawn('/bin/true', ['true'], {}))"),
    _raises("os_fork", "import os\nprint('forked', os.fork())", "PermissionError", "BlockingIOError"),
    _raises("os_popen", "import os\nprint(os.popen('id').read())", not_stdout="uid="),
    case(
        "escape",
        "libc_system",
        "import ctypes\nprint(ctypes.CDLL(None).system(b'id'))",
        "ok",
        not_stdout="uid=",
        stdout_any=["-1\n", "256\n", "32512\n"],
    ),
    # libc's own start of a program does not go through os.fork
    case(
        "escape",
        "libc_posix_spawn",
        "import ctypes\nlibc = ctypes.CDLL(None)\npid = ctypes.c_int(0)\n"
        "argv = (ctypes.c_char_p * 2)(b'true', None)\n"
        "print(libc.posix_spawn(ctypes.byref(pid), b'/bin/true', None, None, argv, None) != 0, pid.value)",
        "ok",
        stdout="True 0\n",
    ),
    _raises(
        "multiprocessing_process",
        "import multiprocessing as m\nm.Process(target=print).start()\nprint('ran')",
        "PermissionError",
        "BlockingIOError",
        "OSError",
        "RuntimeError",
        not_stdout="ran",
        max_wall=3,
    ),
    _raises(
        "pty_fork",
        "import pty\nprint(pty.fork())",
        "ModuleNotFoundError",
        "PermissionError",
        "OSError",
        "BlockingIOError",
    ),
    # reading what is not the interpreter's
    *(
        _raises(
            f"read_{name}", f"print('got', open({path!r}, 'rb').read(64))", *_UNREADABLE, not_stdout="got"
        )
        for name, path in {
            "shadow": "/etc/shadow",
            "hostname": "/etc/hostname",
            "machine_id": "/etc/machine-id",
            "proc_environ": "/proc/self/environ",
            "proc_maps": "/proc/self/maps",
            "proc_mem": "/proc/self/mem",
            "proc_cmdline_of_first": "/proc/1/cmdline",
            "proc_self_root": "/".join(("/proc/self/root", "etc", "passwd")),
            "proc_thread_self": "/proc/thread-self/status",
            "proc_keys": "/proc/keys",
            "dev_mem": "/dev/mem",
            "dev_kmsg": "/dev/kmsg",
            "dev_shm": "/dev/shm",
            "dev_vsock": "/dev/vsock",
            "sys_kernel": "/sys/kernel/uevent_seqnum",
            "service_account_token": "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "docker_socket": "/var/run/docker.sock",
        }.items()
    ),
    _raises(
        "read_parent_environ",
        "import os\nprint('got', open(f'/proc/{os.getppid()}/environ').read())",
        *_UNREADABLE,
        not_stdout="got",
    ),
    _raises(
        "read_parent_stdin",
        "import os\nprint('got', os.open(f'/proc/{os.getppid()}/fd/0', os.O_RDONLY | os.O_NONBLOCK))",
        *_UNREADABLE,
        not_stdout="got",
    ),
    _raises(
        "reopen_own_output",
        "import os\nprint('got', os.open('/proc/self/fd/1', os.O_RDWR))",
        *_UNREADABLE,
        not_stdout="got",
    ),
    _raises(
        "read_home",
        "import os, pwd\nhome = pwd.getpwuid(os.getuid()).pw_dir\nprint('got', os.listdir(home))",
        *_UNREADABLE,
        "KeyError",
        not_stdout="got",
    ),
    _raises("list_root", "import os\nprint('got', os.listdir('/'))", not_stdout="got"),
    _raises("list_tmp", "import os\nprint('got', list(os.scandir('/tmp')))", not_stdout="got"),
    _raises(
        "walk_up_from_here", "import os\nprint('got', os.listdir('../../../../../..'))", not_stdout="got"
    ),
    _raises(
        "io_open_code",
        "import io\nprint('got', io.open_code('/etc/passwd').read(9))",
        *_UNREADABLE,
        not_stdout="got",
    ),
    _raises(
        "numpy_reads_a_file",
        "import numpy as np\nprint('got', np.fromfile('/etc/passwd', 'u1', 4))",
        *_UNREADABLE,
        not_stdout="got",
    ),
    _raises(
        "numpy_memmap_writes",
        "import numpy as np\nnp.memmap('/tmp/rstar-hostile', 'u1', 'w+', shape=9)",
        *_DENIED,
        after="no_file:/tmp/rstar-hostile",
    ),
    case(
        "escape",
        "libc_fopen",
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.fopen.restype = ctypes.c_void_p\n"
        "print(libc.fopen(b'/etc/passwd', b'r'))",
        "ok",
        stdout="None\n",
    ),
    # secrets of the caller
    case(
        "escape",
        "environment_of_python",
        "import os\nprint(dict(os.environ))",
        "ok",
        not_stdout="RSTAR_HOSTILE_SECRET",
    ),
    case(
        "escape",
        "environment_of_libc",
        "import ctypes\nenviron = (ctypes.c_char_p * 999).in_dll(ctypes.CDLL(None), 'environ')\n"
        "block = ctypes.cast(ctypes.c_void_p.in_dll(ctypes.CDLL(None), 'environ'),"
        " ctypes.POINTER(ctypes.c_char_p))\n"
        "i = 0\nwhile block[i]:\n    print(block[i])\n    i += 1",
        "ok",
        not_stdout="RSTAR_HOSTILE_SECRET",
    ),
    # the stack above the first environment string still holds what execve was given
    case(
        "escape",
        "environment_left_on_the_stack",
        "import ctypes\nblock = ctypes.cast(ctypes.c_void_p.in_dll(ctypes.CDLL(None), 'environ'),"
        " ctypes.POINTER(ctypes.c_void_p))\nprint(ctypes.string_at(block[0], 200))",
        "ok",
        "signal",
        not_stdout="RSTAR_HOSTILE_SECRET",
    ),
    # the network
    _raises(
        "dns",
        "import socket\nprint('got', socket.getaddrinfo('localhost', 80))",
        *_DENIED,
        "gaierror",
        not_stdout="got",
        max_wall=3,
    ),
    _raises(
        "tcp_loopback",
        "import socket\nprint('got', socket.create_connection(('127.0.0.1', 22), 1))",
        *_DENIED,
        not_stdout="got",
    ),
    _raises(
        "socket_from_descriptor",
        "import socket\nprint('got', socket.socket(fileno=0).recv(9))",
        *_DENIED,
        not_stdout="got",
    ),
    _raises(
        "asyncio_loop",
        "import asyncio\nasyncio.run(asyncio.sleep(0))\nprint('ran')",
        *_DENIED,
        not_stdout="ran",
    ),
    # Python's own walls are none: what lies behind them must hold
    case(
        "escape",
        "frames_up_to_the_zygote",
        """\
import os, sys
frame, found = sys._getframe(), []
while frame:
    found += [v for v in frame.f_locals.values() if hasattr(v, "commands")]
    frame = frame.f_back
for zygote in found:
    for name in ("commands", "results"):
        try: os.write(getattr(zygote, name), b"\\0\\0\\0\\x02[]")
        except OSError: pass
1 / 0
""",
        "exception",
        after="next_result_intact",
    ),
    case(
        "escape",
        "objects_of_the_zygote",
        """\
import gc, os
for thing in gc.get_objects():
    if type(thing).__name__ == "Zygote":
        for value in list(vars(thing).values()):
            if isinstance(value, int) and 2 < value < 64:
                try:
                    print("wrote", os.write(value, b"\\0\\0\\0\\x02[]"))
                except OSError:
                    pass
print("done")
""",
        "ok",
        stdout="done\n",
        after="next_result_intact",
    ),
    case(
        "escape",
        "audit_hook",
        "import sys\nsys.addaudithook(lambda *a: None)\nprint(1)",
        "ok",
        stdout="1\n",
        after="worker_alive",
    ),
    # 32-bit calls have other numbers: 359 is socket there
    case(
        "escape",
        "int_0x80",
        """\
import ctypes, mmap, os
if os.uname().machine == "x86_64":
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\\x53\\xb8\\x67\\x01\\0\\0\\xbb\\1\\0\\0\\0\\xb9\\1\\0\\0\\0\\x31\\xd2\\xcd\\x80\\x5b\\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    print("socket" if result >= 0 else "denied")
""",
        "ok",
        "exception",
        "signal",
        not_stdout="socket",
        after="worker_alive",
    ),
    case(
        "escape",
        "syscall_instruction_of_its_own",
        """\
import ctypes, mmap, os
code = {"x86_64": b"\\xb8\\x29\\0\\0\\0\\xbf\\1\\0\\0\\0\\xbe\\1\\0\\0\\0\\x31\\xd2\\x0f\\x05\\xc3",
        "aarch64": bytes.fromhex("c81880d2200080d2210080d2020080d2010000d4c0035fd6")}
page = mmap.mmap(-1, 4096, prot=7)
page.write(code[os.uname().machine])
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print("socket" if ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0 else "denied")
""",
        "ok",
        "exception",
        "signal",
        not_stdout="socket",
    ),
    # limits
    *(
        _raises(
            f"raise_limit_{name.lower()}",
            f"import resource as r\n"
            f"r.setrlimit(r.RLIMIT_{name}, (r.RLIM_INFINITY, r.RLIM_INFINITY))\nprint('raised')",
            "ValueError",
            *_DENIED,
            not_stdout="raised",
        )
        for name in ("AS", "NPROC", "FSIZE", "NOFILE", "CORE")
    ),
    _raises(
        "lower_priority_of_parent",
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)\nprint('set')",
        *_DENIED,
        not_stdout="set",
    ),
    _raises(
        "signal_0_to_everyone",
        "import os\nos.kill(-1, 0)\nprint('allowed')",
        "PermissionError",
        not_stdout="allowed",
    ),
    _raises(
        "change_root", "import os\nos.chroot('/')\nprint('changed')", "PermissionError", not_stdout="changed"
    ),
    # Of an ordinary user's caller the kernel would tell this one of the same user.
    case(
        "escape",
        "what_the_caller_has_open",
        """\
import os
found = []
for pid in range(max(1, os.getppid() - 5000), os.getppid() + 1):
    for name in ("cwd", "exe", "fd/0", "fd/1", "fd/2"):
        try:
            found.append(os.readlink(f"/proc/{pid}/{name}"))
        except OSError:
            pass
print(found)
""",
        "ok",
        stdout="[]\n",
    ),
    _raises("become_root", "import os\nos.setuid(0)\nprint('root')", "PermissionError", not_stdout="root"),
    case(
        "escape",
        # At most the right to read, which Landlock confines.
        "has_no_rights_of_root",
        """\
import ctypes
libc = ctypes.CDLL(None)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
number = {"x86_64": 125, "aarch64": 90}[__import__("os").uname().machine]
libc.syscall(number, header, data)
print("rights" if any((data[0] & ~4, data[1] & ~4, data[3], data[4])) else "none")
""",
        "ok",
        stdout="none\n",
    ),
]
