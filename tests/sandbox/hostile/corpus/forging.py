"""Claiming what is not so: results of its own, of neighbours, of the zygote."""

from tests.sandbox.hostile.corpus.cases import Case, case

_WRITE_ALL = """\
import os
for fd in range(0, 256):
    try: os.write(fd, {frame})
    except OSError: pass
"""
# What the zygote says to the supervisor, and what the supervisor says to the zygote.
_FRAMES = {
    "result": 'b"\\0\\0\\0\\x27" + b\'[0,"ok","forged","","",0.0,0.0,false,  ]\'',
    "ready": 'b"\\0\\0\\0\\x0a" + b\'["ready",{}]\'',
    "refused": 'b"\\0\\0\\0\\x13" + b\'["refused","forged"]\'',
    "command": 'b"\\0\\0\\0\\x14" + b\'[0,"print(1234567)"]\'',
    "endless_length": 'b"\\xff\\xff\\xff\\xff"',
    "exception_name": 'b"ValueError"',
    "json_report": 'b\'["KeyError", "forged message"]\'',
}

CASES: list[Case] = [
    *(
        case(
            "forge",
            f"frame_{name}_{end}",
            _WRITE_ALL.format(frame=frame) + code,
            *status,
            after="next_result_intact",
        )
        for name, frame in _FRAMES.items()
        for end, code, status in (
            ("then_exit", "os._exit(0)", ("exit",)),
            ("then_raise", "1 / 0", ("exception",)),
        )
    ),
    # The one thing that cannot be kept from a snippet: its own success.
    *(
        case(
            "forge",
            f"exit_status_{status}",
            f"import os\nos._exit({status})",
            "ok",
            "exit",
            "exception",
            "memory",
            stdout="",
            after="next_result_intact",
        )
        for status in (0, 1, 70, 113, 114, 115, 116, 117, 255)
    ),
    *(
        case(
            "forge",
            f"sys_exit_{name}",
            f"import sys\nprint('before')\nsys.exit({value})",
            "exit",
            stdout="before\n",
            max_wall=2,
        )
        for name, value in {
            "none": "",
            "text": "'113'",
            "finished": "113",
            "negative": "-1",
            "huge": "10**30",
            "object": "object()",
            "tuple": "(1, 2)",
        }.items()
    ),
    # the functions by which the child would end and report, replaced
    case(
        "forge",
        "end_functions_replaced",
        """\
import builtins, os, sys
def lie(*_, **__): return 0
os._exit = os.write = os.close = sys.exit = builtins.exec = builtins.compile = lie
sys.stdout.flush = lie
1 / 0
""",
        "exception",
        exc=["ZeroDivisionError", "AttributeError"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "functions_of_the_runner_replaced",
        """\
import sys
frame = sys._getframe(1)
while frame:
    for name in ("_exit", "_write", "RAISED", "OUT_OF_MEMORY"):
        if name in frame.f_globals:
            frame.f_globals[name] = lambda *a: None
    frame = frame.f_back
1 / 0
""",
        "ok",
        "exception",
        "exit",
        "signal",
        "timeout_cpu",
        "timeout_wall",
        after="next_result_intact",
    ),
    case(
        "forge",
        "return_into_the_zygote",
        """\
import ctypes, sys
frame = sys._getframe(1)
while frame:
    if "_exit" in frame.f_globals:
        frame.f_globals["_exit"] = lambda status: (_ for _ in ()).throw(SystemExit(0))
    frame = frame.f_back
""",
        "ok",
        "exception",
        "exit",
        "signal",
        "timeout_cpu",
        "timeout_wall",
        after="next_result_intact",
    ),
    # Out of its own function the child would be a second zygote: it must find no commands, no way to answer.
    case(
        "forge",
        "become_a_zygote",
        """\
import os, sys
frame, serve = sys._getframe(1), None
while frame:
    for value in list(frame.f_locals.values()):
        serve = serve or getattr(value, "serve", None)
    frame = frame.f_back
if serve: serve()
os._exit(0)
""",
        "exit",
        "exception",
        exc=["OSError", "_Ended", "error", "NameError"],
        after="next_result_intact",
        max_wall=6,
    ),
    case(
        "forge",
        "output_after_close",
        "import os\nprint('x')\nos.close(1)\nos.dup2(0, 1)",
        "ok",
        "exception",
        "exit",
        after="next_result_intact",
    ),
    case(
        "forge",
        "output_swapped_with_report",
        """\
import os
for fd in range(3, 64):
    try: os.dup2(fd, 1)
    except OSError: pass
print("ValueError")
""",
        "ok",
        "exception",
        "exit",
        after="next_result_intact",
    ),
    case(
        "forge",
        "stdout_deleted",
        "import sys\ndel sys.stdout",
        "ok",
        "exception",
        "exit",
        after="worker_alive",
    ),
    case(
        "forge",
        "stdout_closed",
        "import sys\nprint('kept')\nsys.stdout.close()",
        "ok",
        "exception",
        "exit",
        stdout="kept\n",
        after="worker_alive",
    ),
    case(
        "forge",
        "stdout_detached",
        "import sys\nprint('kept')\nsys.stdout.detach()",
        "ok",
        "exception",
        "exit",
        after="worker_alive",
    ),
]
