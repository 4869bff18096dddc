"""The sandbox, attacked by what a policy may write."""

import time

import pytest

from rstar_jax.errors import UserError
from rstar_jax.sandbox import ExecResult, Isolation, Limits, Sandbox


def one(sandbox: Sandbox, code: str) -> ExecResult:
    return sandbox.run([code])[0]


def test_results_come_in_order(sandbox):
    results = sandbox.run([f"print({i} * 2)" for i in range(20)])
    assert [int(r.stdout) for r in results] == [2 * i for i in range(20)]
    assert all(r.status == "ok" and r.exception == "" for r in results)


def test_a_program_that_differs_in_comments_is_run_once(sandbox):
    sandbox.run(["a = 41\nprint(a + 1)"])
    before = sandbox.snippets_run
    results = sandbox.run(["# the thought\na = 41\n\nprint(a + 1)", "a = 41\n  # another\nprint(a + 1)"] * 2)
    assert sandbox.snippets_run == before
    assert {r.stdout for r in results} == {"42\n"}
    text = "x = '''\n# no comment\n'''\nprint(len(x))"
    assert one(sandbox, text).stdout == "14\n"


@pytest.mark.parametrize(
    ("code", "status", "exception"),
    [
        ("1 / 0", "exception", "ZeroDivisionError"),
        ("x =", "exception", "SyntaxError"),
        ("return 1", "exception", "SyntaxError"),
        ("def f(n): return f(n + 1)\nf(0)", "exception", "RecursionError"),
        ("import no_such_module", "exception", "ModuleNotFoundError"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        while True: pass\nraise Odd()",
            "timeout_cpu",
            "",
        ),
        ("import sys\nsys.exit(3)", "exit", ""),
        ("import os\nos._exit(0)", "exit", ""),
        ("import os\nos.abort()", "signal", ""),
        ("x = bytearray(10**9)", "memory", "MemoryError"),
        ("a = []\nwhile True: a.append(bytearray(10**7))", "memory", "MemoryError"),
        ("while True: pass", "timeout_cpu", ""),
        ("import time\ntime.sleep(100)", "timeout_wall", ""),
        ("while True: print('x' * 100)", "output_limit", ""),
        ("input()", "exception", "EOFError"),
        ("open('big', 'w').write('x' * 10**5)", "exception", "PermissionError"),
        ("import os\nfor _ in range(100): os.dup(1)", "exception", "OSError"),
        ("import atexit\natexit.register(lambda: [None for _ in iter(int, 1)])\nprint(1)", "ok", ""),
        ("import os\nos.closerange(0, 64)\nprint(1)", "exception", "Exception"),
    ],
)
def test_verdicts(sandbox, code, status, exception):
    start = time.monotonic()
    result = one(sandbox, code)
    assert (result.status, result.exception) == (status, exception)
    assert time.monotonic() - start < 15
    assert one(sandbox, f"print({id(code)})").stdout == f"{id(code)}\n"


def test_what_was_printed_before_an_error_is_kept(sandbox):
    assert one(sandbox, "print('before')\n1 / 0").stdout == "before\n"
    flood = one(sandbox, "while True: print('x' * 100)")
    assert len(flood.stdout) == 8 * 1024


def test_undecodable_output(sandbox):
    assert one(sandbox, "import os\n_ = os.write(1, b'\\xffok')").stdout == "\N{REPLACEMENT CHARACTER}ok"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1", "cp037"])
def test_output_in_another_encoding_is_no_exception(sandbox, encoding):
    code = f"import sys\nprint(1)\nsys.stdout.reconfigure(encoding={encoding!r})\nprint(2)"
    bare = Isolation(without=("landlock",))
    with Sandbox(workers=1, isolation=bare) as without_files:
        results = [one(sandbox, code), one(without_files, code)]
    assert [(r.status, r.message) for r in results] == [("ok", "")] * 2
    assert one(sandbox, "import sys\nprint(sys.stdout.seekable())").stdout == "False\n"  # it is a pipe


_CHANCE = (
    "import random\nprint(random.random(), {'a', 'b', 'c', 'd'})",
    "import random\nprint(random.Random().random())\nrandom.seed()\nprint(random.random())",
    "import numpy as np\nprint(np.random.rand(), np.random.default_rng().random())",
    "import numpy as np\nnp.random.seed()\nprint(np.random.rand(), np.random.RandomState().rand())",
    "from sympy.core.random import random\nimport sympy\nprint(random(), sympy.randprime(10**6, 10**9))",
)


def test_the_same_program_prints_the_same(sandbox):
    with Sandbox(workers=2) as other:
        first, *more = (
            [r.stdout for r in box.run([f"{code}\nx = {i}" for code in _CHANCE])]
            for i, box in enumerate((sandbox, sandbox, other))
        )
    assert all(first) and more == [first, first]
    drawn = one(sandbox, "import numpy as np\nprint(*{np.random.default_rng().random() for _ in range(9)})")
    assert len(drawn.stdout.split()) == 9  # each generator has a seed of its own
    secrets = "import random, secrets\nprint(random.SystemRandom().random(), secrets.token_hex())"
    assert one(sandbox, secrets).stdout != one(sandbox, f"{secrets}\nx = 1").stdout


def test_packages_are_there_and_nothing_survives_a_snippet(sandbox):
    results = sandbox.run(
        [
            "import sympy\nsympy.sqrt = lambda x: 7\nimport builtins\nbuiltins.leak = 1",
            "from sympy import *\nprint(sqrt(4), 'leak' in dir(__builtins__), 'leak' in globals())",
            "import numpy as np\nprint(np.arange(3).sum())",
            "__import__('sympy')\nprint('dynamic')",
        ]
    )
    assert [r.stdout for r in results] == ["", "2 False False\n", "3\n", "dynamic\n"]


def test_a_snippet_cannot_reach_its_zygote_or_its_neighbours(sandbox):
    codes = ["import os\nos.kill(os.getppid(), 9)", *(f"print({i}, 'neighbour')" for i in range(6))]
    results = sandbox.run(codes)
    assert results[0].exception == "PermissionError"
    assert [r.stdout for r in results[1:]] == [f"{i} neighbour\n" for i in range(6)]


def test_results_cannot_be_forged_for_a_neighbour(sandbox):
    forge = (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\0\\0\\0\\x09[\"ready\"]')\n"
        "    except OSError: pass"
    )
    results = sandbox.run(
        [forge + "\nos._exit(0)", "print('mine')", forge + "\nos.abort()", "print('mine too')"]
    )
    assert [r.status for r in results] == ["exit", "ok", "signal", "ok"]
    assert [r.stdout for r in results[1::2]] == ["mine\n", "mine too\n"]


def test_there_are_no_further_processes_and_threads(sandbox):
    assert one(sandbox, "import os\nos.fork()").exception == "PermissionError"
    result = one(sandbox, "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()")
    assert result.exception == "RuntimeError"


def test_the_message_of_an_exception_is_kept_short(sandbox):
    assert one(sandbox, "1 / 0").message == "division by zero"
    assert one(sandbox, "x =").message == "invalid syntax (<step>, line 1)"
    assert one(sandbox, "raise ValueError('x' * 1000)").message == "x" * 200
    assert one(sandbox, "print(1)").message == ""


def test_large_programs_pass_through_the_pipes(sandbox):
    codes = [f"x = {list(range(i, i + 40_000))}\nprint(len(x), {i})" for i in range(4)]
    assert [r.stdout for r in sandbox.run(codes)] == [f"40000 {i}\n" for i in range(4)]


def test_bad_limits_are_named():
    with pytest.raises(UserError, match="cpu_s"):
        Limits(cpu_s=0)
    with pytest.raises(UserError, match=r"cpu_s: '5' given, a number above 0"):
        Limits(cpu_s="5")
    for workers in (0, 10_000, "2", 1.5, True):
        with pytest.raises(UserError, match=f"workers: {workers!r} given"):
            Sandbox(workers=workers)


@pytest.mark.parametrize("codes", ["print(1)", b"print(1)", [1], [b"x"], None, 5, ("a", None)], ids=repr)
def test_what_is_no_list_of_programs_is_refused(sandbox, codes):
    for ask in (sandbox.run, sandbox.queue().submit):
        with pytest.raises(UserError, match="a list of texts expected, one a program"):
            ask(codes)


@pytest.mark.parametrize(
    "code",
    ["x = 1 + \\ \n2", "print(1)\u00a0", "\u00a0\nprint(2)", "\u3000# no comment to Python\nprint(3)"],
    ids=["space behind a backslash", "hard space", "line of a hard space", "wide space"],
)
def test_what_python_refuses_is_not_tidied_into_what_it_takes(sandbox, code):
    assert one(sandbox, code).exception == "SyntaxError"


def test_a_sleeper_that_wakes_at_its_deadline_is_a_timeout():
    code = "import time\ntime.sleep(0.35)\nend = time.monotonic() + 0.3\nwhile time.monotonic() < end: pass"
    with Sandbox(workers=1, limits=Limits(wall_s=0.5)) as sandbox:
        result = one(sandbox, code)
        assert (result.status, result.lost, sandbox.snippets_run) == ("timeout_wall", False, 1)


@pytest.mark.parametrize(
    "code", ["exec('import' + ' numpy')", "import pkgutil\npkgutil.resolve_name('numpy:pi')"]
)
def test_packages_are_found_however_they_are_imported(sandbox, code):
    assert one(sandbox, code).status == "ok"


def test_a_large_program_leaves_the_next_one_its_memory():
    with Sandbox(workers=1, limits=Limits(memory_mb=200)) as sandbox:
        one(sandbox, f"x = {'a' * 30_000_000!r}")
        assert one(sandbox, "print(len(bytearray(150 << 20)))").status == "ok"
