"""Runs the quickstart over several seeds and prints what self-evolution brought, with the spread.

    python benchmarks/quickstart.py --seeds 3 [--jobs 3] [--out DIR] [--config.problems.train=80 ...]

Prints, mean and range over the seeds: coverage by round and level, held-out pass@1 of the policy alone,
accuracy with search, seconds and peak memory of each stage, shares of the time, CPU seconds of the whole (on
a machine that others use, wall time says little); and whether what must be true was true of each seed. The
exit status tells whether it was true of the means.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rstar_jax.report import read_report

PARTS = ("decode", "execution", "ppm", "training", "host")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmark"), help="one working directory a seed"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    arguments, overrides = parser.parse_known_args()
    reports = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(run, arguments.out / f"seed{seed}", seed, overrides)
            for seed in range(arguments.seeds)
        ]
    for seed, done in enumerate(runs):
        reports.append(report := done.result())
        coverage = [percent(r["coverage"]["all"]) for r in report["rounds"]]
        alone = [
            percent(p)
            for p in (report["base"]["policy_pass1"], *(r["policy_pass1"] for r in report["rounds"]))
        ]
        search = [percent(r["search_accuracy"]) for r in report["rounds"]]
        print(
            f"seed {seed}: coverage {coverage}  policy (base first) {alone}  search {search}  "
            f"{report['wall']:.0f} s wall  {report['cpu']:.0f} CPU s  {report['tree_peak_mb']} MiB",
            flush=True,
        )
    return summarise(reports)


def run(workdir: Path, seed: int, overrides: list[str]) -> dict[str, Any]:
    """One quickstart in a process of its own; its report, with wall seconds and peak memory of the tree."""
    command = [
        sys.executable,
        "-m",
        "rstar_jax.launch",
        "--config=quickstart",
        f"--workdir={workdir}",
        f"--config.seed={seed}",
        *overrides,
    ]
    if workdir.exists():
        raise SystemExit(f"{workdir}: there already; its times would not be of this run. Give a new --out.")
    began = time.monotonic()
    with open(os.devnull, "w") as quiet, subprocess.Popen(command, stdout=quiet) as process:
        peak = Peak(process.pid)
        _, code, used = os.wait4(process.pid, 0)  # with all children that it has waited for
        process.returncode = status = os.waitstatus_to_exitcode(code)
        peak.stop()
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    report = read_report(workdir / "report.json")
    cpu = used.ru_utime + used.ru_stime
    return {**report, "wall": time.monotonic() - began, "cpu": cpu, "tree_peak_mb": peak.mb}


class Peak:
    """Samples the proportional memory (PSS) of a process and all its descendants, twice a second."""

    def __init__(self, pid: int):
        self.mb, self._pid, self._ended = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the sampling."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.mb = max(self.mb, sum(map(pss_kb, descendants(self._pid))) // 1024)


def descendants(pid: int) -> list[int]:
    """A process and everything below it, from /proc."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def pss_kb(pid: int) -> int:
    """Proportional set size in KiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def summarise(reports: list[dict[str, Any]]) -> int:
    """Prints means and ranges, then the claims; 0 if each is true of the means."""
    rounds = range(len(reports[0]["rounds"]))
    print("\nmean (lowest to highest) over", len(reports), "seeds, percent")
    print(f"{'base policy alone':34}", spread([r["base"]["policy_pass1"] for r in reports]))
    for i in rounds:
        of = [r["rounds"][i] for r in reports]
        for level in ("all", "level1", "level2", "level3"):
            print(f"round {i + 1} coverage {level:17}", spread([r["coverage"][level] for r in of]))
        print(f"{f'round {i + 1} policy alone':34}", spread([r["policy_pass1"] for r in of]))
        print(f"{f'round {i + 1} with search':34}", spread([r["search_accuracy"] for r in of]))
    print("\nstage: mean seconds, share by work, highest peak MiB of the main process")
    for i, stage in enumerate(reports[0]["stages"]):
        of = [r["stages"][i] for r in reports]
        seconds = statistics.mean(s["seconds"] for s in of)
        parts = "  ".join(f"{p} {statistics.mean(s[p] for s in of):.1f}" for p in PARTS)
        print(f"{stage['name']:20} {seconds:7.1f}  {parts}  {max(s['peak_mb'] or 0 for s in of)}")
    total = statistics.mean(sum(s["seconds"] for s in r["stages"]) for r in reports)
    shares = {p: statistics.mean(sum(s[p] for s in r["stages"]) for r in reports) / total for p in PARTS}
    print("share of the time:", "  ".join(f"{p} {share:.0%}" for p, share in shares.items()))
    print(
        f"seconds, wall: {[round(r['wall']) for r in reports]}   CPU: {[round(r['cpu']) for r in reports]}   "
        f"peak MiB of all processes: {[r['tree_peak_mb'] for r in reports]}"
    )
    print("\nmust be true: of the means / of each seed")
    true = True
    for claim, of in claims(reports).items():
        print(f"  {claim:62} {of(mean_report(reports))!s:6} {[of(r) for r in reports]}")
        true = true and of(mean_report(reports))
    return 0 if true else 1


def claims(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What a good quickstart shows, as predicates of a report."""

    def rises(r: dict[str, Any]) -> bool:
        values = [x["coverage"]["all"] for x in r["rounds"]]
        return all(a < b for a, b in itertools.pairwise(values))

    def gains(r: dict[str, Any]) -> bool:
        return r["rounds"][-1]["policy_pass1"] >= r["base"]["policy_pass1"] + 0.25

    def beats(r: dict[str, Any]) -> bool:
        return all(x["search_accuracy"] > x["policy_pass1"] for x in r["rounds"][1:])

    return {
        "coverage rises with every round": rises,
        "the last policy is at least 25 points above the base": gains,
        "search with the PPM beats the policy alone from round 2 on": beats,
        "at most 10 minutes of CPU time": lambda r: r["cpu"] <= 600,
        "under 4 GiB of memory": lambda r: r["tree_peak_mb"] < 4096,
    }


def mean_report(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The means of what the claims read."""
    mean = statistics.mean
    return {
        "base": {"policy_pass1": mean(r["base"]["policy_pass1"] for r in reports)},
        "rounds": [
            {
                "coverage": {"all": mean(r["rounds"][i]["coverage"]["all"] for r in reports)},
                "policy_pass1": mean(r["rounds"][i]["policy_pass1"] for r in reports),
                "search_accuracy": mean(r["rounds"][i]["search_accuracy"] for r in reports),
            }
            for i in range(len(reports[0]["rounds"]))
        ],
        "cpu": mean(r["cpu"] for r in reports),
        "tree_peak_mb": max(r["tree_peak_mb"] for r in reports),
    }


def spread(values: list[float]) -> str:
    """Mean and range in percent."""
    return f"{percent(statistics.mean(values))} ({percent(min(values))} to {percent(max(values))})"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
