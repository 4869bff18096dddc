"""What the processes behind grading may not do: run text, see the machine, take memory or time for ever."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax.grading import algebra
from rstar_jax.grading.algebra import Allowance, Worker
from tests.grading.graders import ENDLESS, SQUARE_ROOT


def test_memory_is_limited(started):
    worker = Worker(Allowance(cpu_s=20.0, wall_s=60.0, memory_mb=400))
    assert worker.compare(*SQUARE_ROOT) == "same"
    (pid,) = started()
    status = Path(f"/proc/{pid}/limits").read_text()
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


def test_the_process_is_not_root(started):
    worker = Worker(Allowance())
    assert worker.compare(*SQUARE_ROOT) == "same"
    (pid,) = started()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
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


def test_the_process_holds_nothing_of_its_callers(started, monkeypatch, tmp_path):
    monkeypatch.setenv("A_SECRET_OF_THE_CALLER", "yes")
    with open(tmp_path / "open", "w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        worker = Worker(Allowance())
        assert worker.compare(*SQUARE_ROOT) == "same"
        (pid,) = started()
        of = Path(f"/proc/{pid}")
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
    worker = Worker(Allowance(cpu_s=1.0, wall_s=8.0))
    for text in texts:
        assert worker.compare("x+1", text) != "same"
    worker.stop()
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
