"""Runs hostile snippets through a sandbox and says what was not as expected.

    python -m tests.sandbox.hostile.runner [--file CASES.jsonl] [--without landlock] [--only NAME] [--quick]

Without --file: the project's own corpus. Prints a JSON object: layers, count, failures (a line each). Exit
status: 1 if there are failures, 2 if nothing was run: without a system call filter the snippets do harm.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

from rstar_jax.errors import UserError
from rstar_jax.sandbox import Isolation, Limits, Sandbox
from tests.sandbox.hostile import corpus
from tests.sandbox.hostile.corpus.cases import Case
from tests.sandbox.hostile.expectations import (
    descendants,
    descriptors,
    followers,
    short,
    too_slow,
    watched_file,
    wrong,
)

OWN, PUBLISHED = Limits(cpu_s=1, wall_s=2, memory_mb=256), Limits(cpu_s=2, wall_s=5)
# A snippet that sleeps costs time alone; probes must come into the process that ran their snippet.
_CROWD, _SLEEPERS, _ALONE = 2, 8, 1


class Unprotected(Exception):
    """There is no system call filter here: nothing was run."""


@dataclasses.dataclass
class Report:
    """layers: those of the sandbox. count: cases run. failures: one line each."""

    layers: dict[str, str]
    count: int
    failures: list[str]


def load(path: Path) -> list[Case]:
    """The cases of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def quick(cases: list[Case]) -> list[Case]:
    """Without those that run until their limit is reached, which knows neither users nor files."""
    return [case for case in cases if not {"timeout_cpu", "timeout_wall"} <= set(case["expect"]["status"])]


def attack(cases: list[Case], limits: Limits, isolation: Isolation) -> Report:
    """Runs all cases, most of them beside each other. Raises Unprotected."""
    os.environ["RSTAR_HOSTILE_SECRET"] = "of the caller"
    groups: dict[int, list[Case]] = {_CROWD: [], _SLEEPERS: [], _ALONE: []}
    for case in cases:
        groups[_group(case)].append(case)
    files = {path for case in cases if (path := watched_file(case)) is not None}
    failures = [f"{path} is there before anything was run" for path in files if path.exists()]
    before = descriptors()
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor() as threads:
        sandboxes = {
            workers: stack.enter_context(Sandbox(workers, limits, isolation=isolation)) for workers in groups
        }
        layers = sandboxes[_ALONE].layers
        if layers["seccomp"].startswith("missing"):
            raise Unprotected(f"seccomp: {layers['seccomp']}")
        for workers, sandbox in sandboxes.items():
            _start_all(sandbox, workers)
        processes = descendants()
        runs = [threads.submit(_run, sandboxes[workers], group) for workers, group in groups.items()]
        slow = [case for run in runs for case in run.result()[1]]
        failures += [failure for run in runs for failure in run.result()[0]]
        if (now := descendants()) != processes:
            failures.append(f"zygotes killed: {processes - now}, processes left behind: {now - processes}")
        failures += _again(cases, slow, sandboxes[_ALONE], limits, isolation)
    failures += [f"{path} was made" for path in files if path.exists()]
    if (now := descriptors()) != before:
        failures.append(f"the caller's descriptors were {before}, are {now}")
    return Report(layers, len(cases), failures)


def _group(case: Case) -> int:
    if case["expect"].get("after", "").startswith("probe:"):
        return _ALONE
    return _SLEEPERS if case["expect"]["status"] == ["timeout_wall"] else _CROWD


def _start_all(sandbox: Sandbox, workers: int) -> None:
    """Starts every process that the sandbox may have, so that a later change of them means something."""
    for start in ("import time", "import time, sympy") if workers != _SLEEPERS else ("import time",):
        sandbox.run([f"{start}\ntime.sleep(0.2 + {i} / 1e6)" for i in range(4 * workers)])


def _run(sandbox: Sandbox, cases: list[Case]) -> tuple[list[str], list[Case]]:
    """The failures of a group, and what took too long."""
    follow = [followers(case, number) for number, case in enumerate(cases)]
    codes = [c for case, others in zip(cases, follow, strict=True) for c in (case["code"], *others)]
    results = iter(sandbox.run(codes))
    failures, slow = [], []
    for case, others in zip(cases, follow, strict=True):
        result = next(results)
        failures += [f"{case['name']}: {what}" for what in wrong(case, result)]
        if too_slow(case, result):
            slow.append(case)
        for out in others.values():
            if (other := next(results)).stdout != out:
                failures.append(f"{case['name']}: then {out!r} was expected, came {short(other)}")
    return failures, slow


def _again(
    cases: list[Case], slow: list[Case], first: Sandbox, limits: Limits, isolation: Isolation
) -> list[str]:
    """What must be the same in another sandbox; what was slow, once more, as a host may stall."""
    failures = []
    with Sandbox(1, limits, isolation=isolation) as other:
        for case in slow:
            result = other.run([case["code"]])[0]
            if too_slow(case, result):
                failures.append(
                    f"{case['name']}: at most {case['expect']['max_wall']} s expected, came {short(result)}"
                )
        for case in (c for c in cases if c["expect"].get("after") == "same_stdout_twice"):
            one, two = (sandbox.run([case["code"]])[0].stdout for sandbox in (first, other))
            if one != two:
                failures.append(f"{case['name']}: printed {one!r}, then {two!r}")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, help="published cases")
    parser.add_argument("--without", action="append", default=[], help="a layer to leave out")
    parser.add_argument("--only", help="the name of one case")
    parser.add_argument("--quick", action="store_true", help="without what runs until its CPU limit")
    arguments = parser.parse_args()
    cases = load(arguments.file) if arguments.file else corpus.CASES
    cases = [case for case in cases if arguments.only in (None, case["name"])]
    cases = quick(cases) if arguments.quick else cases
    limits = PUBLISHED if arguments.file else OWN
    try:
        report = attack(cases, limits, Isolation(without=tuple(arguments.without)))
    except (Unprotected, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(dataclasses.asdict(report), indent=1))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
