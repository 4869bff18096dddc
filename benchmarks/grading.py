"""Pairs graded per CPU second, processes included, beside math-verify alone.

    python benchmarks/grading.py [--seconds 20] [--file pairs.jsonl]

easy: answers of the project's problems, right ones respelt and wrong ones; mixed: those and LaTeX of many
kinds; file: rows {"gold", "pred"}. No pair comes twice. Both graders run pinned to one core, after a warm-up,
on the same pairs until these or the seconds are used up. "alone" is math-verify's parse and verify with its
default settings in one persistent process, without its alarm clock; a pair that takes 10 CPU seconds or more
than 4 GB counts as not right.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from rstar_jax.grading.answer import Grader
from rstar_jax.problems.suite import generate

Pair = tuple[str, str]  # prediction, reference
CHUNK = 50

# Templates of right pairs; {a}, {b}, {c} are numbers, so that no two pairs are the same.
LATEX = (
    (r"\frac{{{a}}}{{{b}}}", r"{a}/{b}"),
    (r"\sqrt{{{q}}}", r"{a}\sqrt{{2}}"),
    (r"{a}\sqrt{{{b}}}+{c}", r"{c}+{a}\sqrt{{{b}}}"),
    (r"(x+{a})(x-{b})", r"x^2+({a}-{b})x-{a}\cdot {b}"),
    (r"\frac{{x+{a}}}{{{b}}}", r"\frac{{x}}{{{b}}}+\frac{{{a}}}{{{b}}}"),
    (r"({a}, {b})", r"\left({a},{b}\right)"),
    (r"[{a},\infty)", r"x \geq {a}"),
    (r"\{{{a}, {b}, {c}\}}", r"{c}, {a}, {b}"),
    (r"y = {a}x + {b}", r"{a}x - y + {b} = 0"),
    (r"\begin{{pmatrix}} {a} \\ {b} \end{{pmatrix}}", r"\begin{{bmatrix}}{a}\\{b}\end{{bmatrix}}"),
    (r"{a}\pm\sqrt{{{b}}}", r"{a}+\sqrt{{{b}}}, {a}-\sqrt{{{b}}}"),
    (r"{a}^\circ", r"{a}"),
    (r"{a}\text{{ cm}}", r"{a}"),
    (r"\text{{({letter})}}", r"{letter}"),
    (r"{a}+{b}i", r"{b}i+{a}"),
    (r"\log_2 {a}", r"\frac{{\ln {a}}}{{\ln 2}}"),
    (r"\sin {a}x", r"2\sin\frac{{{a}x}}{{2}}\cos\frac{{{a}x}}{{2}}"),
    (r"{a}\pi", r"{a} \cdot \pi"),
)


def easy(count: int) -> list[Pair]:
    """Numbers: half of them right, spelt otherwise; half of them another problem's."""
    answers = list(dict.fromkeys(p.answer for p in generate(4 * count, seed=5, split="train")))
    spelt = (r"\boxed{{{}}}", "${}$", "x = {}", "{}.", r"\text{{}} {}")
    right = [(s.format(a), a) for a, s in zip(answers, itertools.cycle(spelt), strict=False)]
    wrong = list(itertools.pairwise(answers))
    return _shuffled(right + wrong)[:count]


def mixed(count: int) -> list[Pair]:
    """A third of numbers, two thirds of LaTeX: half right, half with another number in it."""
    rng, pairs = random.Random(7), []
    for ours, theirs in itertools.islice(itertools.cycle(LATEX), 2 * count // 3):
        a, b, c = (rng.randrange(2, 1000) for _ in range(3))
        values = {"a": a, "b": b, "c": c, "q": 2 * a * a, "letter": rng.choice("ABCDE")}
        shifted = values | ({"a": a + 1, "q": 2 * a * a + 1} if rng.random() < 0.5 else {})
        pairs.append((ours.format(**shifted), theirs.format(**values)))
    return _shuffled(list(dict.fromkeys(pairs + easy(count // 3))))[:count]


def from_file(path: str) -> list[Pair]:
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return list(dict.fromkeys((row["pred"], row["gold"]) for row in rows))


def _shuffled(pairs: list[Pair]) -> list[Pair]:
    random.Random(1).shuffle(pairs)
    return pairs


def ours(chunks: Iterator[list[Pair]], within: Callable[[], bool]) -> list[bool]:
    right: list[bool] = []
    with Grader(workers=1) as grader:
        grader.grade([("x+1", "1+x")])
        _mark()
        while within() and (chunk := next(chunks, None)):
            right += [verdict == "right" for verdict in grader.grade(chunk)]
    return right


def alone(chunks: Iterator[list[Pair]], within: Callable[[], bool]) -> list[bool]:
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    def is_right(prediction: str, reference: str) -> bool:
        gold, target = (parse(f"${text}$", parsing_timeout=None) for text in (reference, prediction))  # type: ignore[arg-type]
        return verify(gold, target, timeout_seconds=None)

    is_right("x+1", "1+x")
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    signal.signal(signal.SIGPROF, _give_up)
    _mark()
    right: list[bool] = []
    while within() and (chunk := next(chunks, None)):
        for pair in chunk:
            signal.setitimer(signal.ITIMER_PROF, 10)
            try:
                right.append(is_right(*pair))
            except (TimeoutError, MemoryError):
                right.append(False)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    return right


def _give_up(*_: object) -> None:
    raise TimeoutError


GRADERS = {"rstar_jax": ours, "math-verify": alone}
_STARTED = [0.0, 0.0]


def _mark() -> None:
    _STARTED[:] = [time.perf_counter(), _cpu_s()]


def _cpu_s() -> float:
    """CPU seconds of this process and of its children, the living ones too."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + gone.ru_utime + gone.ru_stime
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as children:
            pids = children.read().split()
        for pid in pids:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(name: str, pairs: list[Pair], seconds: float) -> None:
    """Runs in a process of its own and prints its figures as JSON."""
    chunks = iter([pairs[i : i + CHUNK] for i in range(0, len(pairs), CHUNK)])
    last = [0.0]

    def within() -> bool:
        last[0] = _cpu_s() - _STARTED[1]
        return last[0] < seconds

    right = GRADERS[name](chunks, within)
    print(json.dumps({"pairs": len(right), "cpu_s": last[0], "right": sum(right)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds of each run at most")
    parser.add_argument("--file", help='a file of {"gold", "pred"} to grade, too')
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sets = {"easy": lambda: easy(2000), "mixed": lambda: mixed(2000)}
    if args.file:
        sets["file"] = lambda: from_file(args.file)
    if args.measure:
        name, chosen = args.measure
        return measure(name, sets[chosen](), args.seconds)
    core = min(os.sched_getaffinity(0))
    print("set    grader        pairs  right   pairs per CPU second")
    for chosen, name in itertools.product(sets, GRADERS):
        command = [sys.executable, __file__, "--measure", name, chosen, "--seconds", str(args.seconds)]
        command += ["--file", args.file] if args.file else []
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        found = json.loads(done.stdout.splitlines()[-1])
        share, rate = found["right"] / found["pairs"], found["pairs"] / found["cpu_s"]
        print(f"{chosen:6} {name:12} {found['pairs']:6,} {share:6.1%} {rate:12,.0f}", flush=True)


if __name__ == "__main__":
    main()
