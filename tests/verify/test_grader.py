"""The processes behind grading: what they survive, what they refuse, and that nobody waits for ever."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rstar_jax.errors import UserError
from rstar_jax.verify import algebra
from rstar_jax.verify.algebra import Allowance, Inquiry, Pool, Worker
from rstar_jax.verify.answer import Grader

SQUARE_ROOT = (r"\sqrt{20}", r"2\sqrt{5}")
ENDLESS = r"\sum_{k=1}^{10^{12}} k^{k}"  # neither a closed form nor an end


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2, allowance=Allowance(cpu_s=1.0, wall_s=8.0, memory_mb=1024)) as opened:
        yield opened


def test_order_is_kept_and_a_pair_is_judged_once(grader, monkeypatch):
    asked = []
    pool = grader._pool
    ask = pool.ask
    monkeypatch.setattr(pool, "ask", lambda *pair: (asked.append(pair), ask(*pair))[1])
    pairs = [("x+3", "3+x"), ("5", "5.0"), ("x+3", "x+4"), ("x+3", "3+x"), *[("1", str(n)) for n in range(9)]]
    assert grader.grade(pairs) == ["right", "right", "wrong", "right", "wrong", "right", *["wrong"] * 7]
    assert len(asked) == 2
    assert grader.grade(pairs[:4]) == ["right", "right", "wrong", "right"]
    assert len(asked) == 2
    assert grader.grade([]) == []


def test_threads_may_share_a_grader(grader):
    found = {}

    def work(n):
        found[n] = grader.grade([(rf"\sqrt{{{n * n * 2}}}", rf"{k}\sqrt{{2}}") for k in (n, n + 1)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: ["right", "wrong"] for n in range(2, 14)}


def test_what_takes_too_long_is_ungraded_and_its_neighbours_are_graded(grader):
    start = time.monotonic()
    assert grader.grade([(ENDLESS, "5"), SQUARE_ROOT, ("7", ENDLESS)]) == ["ungraded", "right", "ungraded"]
    assert time.monotonic() - start < 60
    assert grader.grade([(r"\sqrt{45}", r"3\sqrt{5}")]) == ["right"]


def test_what_cost_too_much_is_not_paid_for_twice(grader, monkeypatch):
    pair = (ENDLESS, "8")
    assert grader.grade([pair]) == ["ungraded"]
    monkeypatch.setattr(grader._pool, "ask", None)
    assert grader.grade([pair]) == ["ungraded"]


def test_a_lost_process_is_no_verdict_to_be_remembered(monkeypatch):
    with Grader(workers=1) as grader:
        read = algebra._line
        monkeypatch.setattr(algebra, "_line", lambda process, _: (process.kill(), read(process, 30.0))[1])
        grader._pool._all[0]._start = lambda: pytest.fail("started once more")
        grader._pool._all[0]._process = subprocess.Popen(
            ["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert grader.grade([SQUARE_ROOT]) == ["ungraded"]
        monkeypatch.undo()
        del grader._pool._all[0]._start
        assert grader.grade([SQUARE_ROOT]) == ["right"]


def test_one_pair_may_cost_a_few_allowances():
    class FakePool:
        allowance = Allowance(cpu_s=1.0)
        asked = 0

        def ask(self, reference, prediction):
            self.asked += 1
            return "different", 0.9

    pool = FakePool()
    inquiry = Inquiry(pool)
    assert [inquiry.compare("x", "y") for _ in range(9)] == ["different"] * 4 + ["unknown"] * 5
    assert pool.asked == 4
    assert not inquiry.lost


def test_a_process_that_died_while_idle_costs_no_verdict():
    worker = Worker(Allowance())
    assert worker.compare(*SQUARE_ROOT) == "same"
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    assert worker.compare(*SQUARE_ROOT) == "same"
    worker.stop()


_FORKING = r"""
import os, signal
from rstar_jax.verify.answer import Grader

def verdicts(k):
    return [grader.grade([(rf"\sqrt{{{n * n * k}}}", rf"{n}\sqrt{{{k}}}")])[0] for n in range(2, 20)]

with Grader(workers=2) as grader:
    assert verdicts(3) == ["right"] * 18
    pair = [(r"\sqrt{2}+1", r"\sqrt{3}+1"), (r"\sqrt{2}+2", r"\sqrt{3}+2")]  # two: by its threads
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        try:
            found = [grader.grade(pair), *(grader.grade([(f"x+{n}", f"{n + 1}+x")]) for n in range(40))]
            os.write(writer, b"well" if found == [["wrong"] * 2, *[["wrong"]] * 40] else b"wrong labels")
        finally:
            os._exit(0)
    os.close(writer)
    assert verdicts(5) == ["right"] * 18
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"well"
    assert os.waitpid(pid, 0)[1] == 0
    assert verdicts(7) == ["right"] * 18
print("well")
"""


def test_a_fork_has_processes_of_its_own():
    """With algebra in both, at the same time: neither reads the other's replies.

    In a process of its own: this one may have JAX in it, whose threads do not survive a fork.
    """
    done = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, timeout=300)
    assert done.stdout == "well\n", done.stderr


def test_after_close_there_is_no_grading_and_no_process():
    grader = Grader(workers=2)
    assert grader.grade([SQUARE_ROOT]) == ["right"]
    grader.close()
    grader.close()
    for pairs in ([SQUARE_ROOT], [("x+1", "1+x")], [("x+1", "1+x"), ("x+2", "2+x")], []):
        with pytest.raises(RuntimeError, match="closed"):
            grader.grade(pairs)
    with pytest.raises(RuntimeError):
        grader._pool.ask("x", "y")
    assert not any(worker._process for worker in grader._pool._all)


def test_a_comparison_under_way_at_the_end_is_lost():
    worker = Worker(Allowance(cpu_s=60.0, wall_s=60.0))
    assert worker.compare(*SQUARE_ROOT) == "same"
    process = worker._process
    found = []
    thread = threading.Thread(target=lambda: found.append(worker.compare("5", ENDLESS)))
    thread.start()
    while not worker._busy.locked():
        time.sleep(0.01)
    worker.stop()
    thread.join(timeout=30)
    assert found == ["lost"]
    assert process.returncode is not None
    assert worker._process is None
    assert worker.compare(*SQUARE_ROOT) == "lost"
    assert worker._process is None


def test_a_stalled_host_is_asked_once_more(monkeypatch):
    worker = Worker(Allowance(cpu_s=2.0, wall_s=0.3))
    read, times = algebra._line, []

    def stalled(process, seconds):
        if seconds != 0.3:
            return read(process, seconds)  # the start
        times.append(process.pid)
        if len(times) == 1:
            os.kill(process.pid, signal.SIGSTOP)
            return read(process, seconds)
        return read(process, 30.0)

    monkeypatch.setattr(algebra, "_line", stalled)
    assert worker.compare(*SQUARE_ROOT) == "same"
    assert len(set(times)) == 2
    worker.stop()


def test_memory_is_limited():
    worker = Worker(Allowance(cpu_s=20.0, wall_s=60.0, memory_mb=400))
    assert worker.compare(*SQUARE_ROOT) == "same"
    status = Path(f"/proc/{worker._process.pid}/limits").read_text()
    rows = {line.split("  ")[0]: line.split() for line in status.splitlines()}
    assert str(400 << 20) in rows["Max address space"]
    assert rows["Max file size"][3:5] == ["0", "0"]
    assert rows["Max processes"][2:4] == ["0", "0"]
    worker.stop()


def test_no_memory_is_no_verdict():
    """math-verify takes an error for a difference, and without memory everything is an error."""
    worker = Worker(Allowance(cpu_s=20.0, wall_s=60.0, memory_mb=40))
    assert [worker.compare(*SQUARE_ROOT), worker.compare("y>x^2+1", "x^2+1<y")] == ["unknown"] * 2
    worker.stop()


@pytest.mark.parametrize("error", ["MemoryError", "SystemError"])
def test_no_want_of_memory_is_caught_on_the_way(error):
    script = f"""
import sys
sys.path.insert(0, {str(Path(algebra.__file__).parent)!r})
import passing
passing.install()
import expressions, math_verify.grader, sympy
def fail(*_):
    raise {error}
math_verify.grader.sympy_expr_eq = fail
x, y = sympy.symbols("x y")
try:
    print(expressions._asked(x < y, y > x + 1))
except {error}:
    print("let go")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "let go", done.stderr


def test_the_process_is_not_root():
    worker = Worker(Allowance())
    assert worker.compare(*SQUARE_ROOT) == "same"
    status = Path(f"/proc/{worker._process.pid}/status").read_text().splitlines()
    words = dict(line.split(":\t", 1) for line in status)
    assert "0" not in words["Uid"].split() + words["Gid"].split()
    assert int(words["CapEff"], 16) in (0, 1 << 2)  # to read, if anything
    assert int(words["CapPrm"], 16) == int(words["CapEff"], 16)
    # Loaded late, hence read: the process still sees its packages.
    assert worker.compare("2", r"\lim_{x \to 0} \frac{\sin 2x}{x}") == "same"
    worker.stop()


def test_the_process_reads_nothing_but_the_interpreter():
    """Landlock, where the kernel has it."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(algebra.__file__).parent)!r})
import symbolic
expressions = symbolic._load([])
symbolic._give_up_rights(2048)
if symbolic._beside("layers", folder="sandbox")[0]._landlock({{"without": ()}}) == 0:
    print("no Landlock")
for path in ("/etc/passwd", "/", "/proc/self/environ", {str(Path(__file__))!r}):
    try:
        os.open(path, os.O_RDONLY)
    except OSError as error:
        print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    if done.stdout.startswith("no Landlock"):
        pytest.skip("this kernel has no Landlock")
    assert done.stdout.split("\n")[:-1] == ["Permission denied"] * 4, done.stderr


def test_the_process_holds_nothing_of_its_callers(monkeypatch, tmp_path):
    monkeypatch.setenv("A_SECRET_OF_THE_CALLER", "yes")
    with open(tmp_path / "open", "w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        worker = Worker(Allowance())
        assert worker.compare(*SQUARE_ROOT) == "same"
        of = Path(f"/proc/{worker._process.pid}")
        assert len(os.listdir(of / "fd")) == 3
        assert os.readlink(of / "cwd") == "/"
        assert b"A_SECRET_OF_THE_CALLER" not in (of / "environ").read_bytes()
        words = dict(line.split(":\t", 1) for line in (of / "status").read_text().splitlines())
        assert words["NoNewPrivs"] == "1"
        worker.stop()


HOSTILE = [
    "__import__('os').system('touch {file}')",
    r"\text{{__import__('os').system('touch {file}')}}",
    r"\operatorname{{__import__('os').system('touch {file}')}}",
    "open('{file}', 'w')",
    r"\frac{{open('{file}','w')}}{{2}}",
    "(lambda: open('{file}', 'w'))() or x+1",
    r"x_{{open('{file}','w')}}",
    r"\sqrt{{exec(open('{file}','w'))}}",
    "eval(x+1)",
    "[].__class__.__base__.__subclasses__()",
    "5;import os",
    "x+1 if True else 0",
    "0x5",
    "5j",
    "5L",
]


def test_no_text_is_ever_run(grader, tmp_path):
    """Through the whole way, and through the processes alone, which also refuse by themselves."""
    tmp_path.chmod(0o777)
    file = tmp_path / "run"
    texts = [text.format(file=file) for text in HOSTILE]
    assert "right" not in grader.grade([(text, reference) for text in texts for reference in ("5", "x+1")])
    assert "right" not in grader.grade([("x+1", text) for text in texts])
    for text in texts:
        assert grader._pool.ask("x+1", text)[0] != "same"
    assert not file.exists()


def test_the_parser_compiles_no_text():
    """The hook sees all that is refused. Numbers, too: the library's own way is to eval() each of them."""
    here = Path(algebra.__file__).parent
    script = f"""
import json, sys
sys.path.insert(0, {str(here)!r})
import expressions, symbolic
expressions.compare("x<2", "(-\\\\infty,2)")
seen = []
class Refusal(Exception):
    def __init__(self, *event):
        seen.append(event)
symbolic.PermissionError = Refusal  # what the guard raises
sys.addaudithook(symbolic.guard)
for line in sys.stdin:
    try:
        expressions.compare("x+1", json.loads(line))
    except Exception:
        pass
print(json.dumps(seen))
try:
    eval("1+1")
except Refusal:
    print("refused")
"""
    texts = [text.format(file="/x") for text in HOSTILE] + [
        r"2x+\frac{17}{3}",
        "0.25",
        r"\int_0^1 x^2 dx",
        "x^2>4",
    ]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join(map(json.dumps, texts)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["[]", "refused"], done.stderr


MONSTERS = {
    "a tower": "9^{9^{9^{9}}}",
    "a python tower": "9**9**9**9",
    "a tower that cancels": "10**10**10 - 10**10**10 + 5",
    "a factorial": "(10^9)!",
    "a nested factorial": "((9!)!)!",
    "a binomial": r"\binom{10^9}{10^8}",
    "a product": r"\prod_{k=1}^{10^7} k",
    "a power": "2^{2^{40}}",
    "an endless sum": ENDLESS,
    "nested brackets": "(" * 100_000 + "5" + ")" * 100_000,
    "nested brackets that fit": "(" * 499 + "5" + ")" * 499,
    "nested roots": r"\sqrt{" * 120 + "5" + "}" * 120,
    "nested fractions": r"\frac{1}{" * 50 + "5" + "}" * 50,
    "a million characters": "5" * 10**6,
    "a million boxes": r"\boxed{" * 10**5 + "5",
    "a long sum": "x+" * 499 + "6",
    "a long product": "(x+1)" * 190,
    "a regex bomb": "1" + "a" * 900 + "!",
    "commas": "1," * 499 + "1",
    "NUL": "5\0",
    "a lone surrogate": "\ud800",
    "a surrogate behind a number": "5x\udfff",
    "right-to-left marks": "\u202e5x",
    "backslashes": "\\" * 999,
    "a hidden difference": r"x+1+10^{-100}",
    "a hidden difference of numbers": r"5+10^{-100}\pi",
    "another letter": "\u0445+1",  # Cyrillic x
}


@pytest.mark.parametrize("name", MONSTERS)
def test_no_monster_is_right_and_none_takes_long(grader, name):
    start = time.monotonic()
    text = MONSTERS[name]
    verdicts = grader.grade([(text, "5.5"), (text, "x+1"), ("x+1", text), ("5.5", text), SQUARE_ROOT])
    assert "right" not in verdicts[:4]
    assert verdicts[4] == "right"
    assert time.monotonic() - start < 60


def test_a_worker_that_cannot_start_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="math-verify"):
        Pool(1, Allowance()).ask("x", "y")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Grader(workers=0), "workers: 0"),
        (lambda: Grader(grading="strickt"), "strickt"),
        (lambda: Allowance(cpu_s=0), "cpu_s: 0"),
    ],
)
def test_nonsense_is_refused(make, word):
    with pytest.raises(UserError, match=word):
        make()
