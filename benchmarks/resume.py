"""Kills a run in every stage, again and again, and shows that it ends with the figures of an unbroken one.

    python benchmarks/resume.py [--out runs/resume] [--rounds 4] [--config.problems.train=24 ...]

A small quickstart runs once in peace. A second one is sent SIGKILL some seconds into every stage, and
started again with the same command until it is done. Prints each kill, and whether both reports agree in
everything but times, memory and paths. The exit status tells.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from rstar_jax.evolve.settings import STAGE_NAMES
from rstar_jax.evolve.stages import MANIFEST
from rstar_jax.evolve.summary import figures
from rstar_jax.report import read_report

SMALL = ["--config.problems.train=24", "--config.problems.heldout=12", "--config.search.shard=8"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/resume"))
    parser.add_argument("--rounds", type=int, default=4)
    arguments, overrides = parser.parse_known_args()
    rounds = tuple(range(1, arguments.rounds + 1))
    flags = [*SMALL, f"--config.rounds={rounds}", *overrides]
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=quickstart", *flags]
    unbroken, broken = arguments.out / "unbroken", arguments.out / "broken"
    subprocess.run([*command, f"--workdir={unbroken}"], check=True, stdout=subprocess.DEVNULL)
    kills = kill_in_every_stage([*command, f"--workdir={broken}"], broken, len(rounds))
    reports = [read_report(folder / "report.json") for folder in (unbroken, broken)]
    first, second = (figures({**report, "config": None}) for report in reports)
    print(f"{kills} kills; the figures are {'the same' if first == second else 'DIFFERENT'}")
    return 0 if first == second else 1


def kill_in_every_stage(command: list[str], workdir: Path, rounds: int) -> int:
    """Runs `command` to its end, killing it once in each stage; returns how often it was killed."""
    rng, kills = random.Random(0), 0
    due = [workdir / "base" / "evaluate"]
    due += [workdir / f"round{r}" / stage for r in range(1, rounds + 1) for stage in STAGE_NAMES[1:]]
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            begun = [stage for stage in due if stage.exists() and not (stage / MANIFEST).exists()]
            if not begun:
                time.sleep(0.02)
                continue
            time.sleep(rng.uniform(0, 2.0))
            done = (begun[0] / MANIFEST).exists()  # it was over before the blow fell
            if not done and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                print(f"killed in {begun[0].relative_to(workdir)}", flush=True)
            due.remove(begun[0])
        if process.returncode == 0:
            return kills
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
