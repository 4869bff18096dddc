"""One small round on several processes that share eight virtual CPU devices, as hosts share a pod's.

    python benchmarks/hosts.py [--out runs/hosts] [--shapes 1x8 2x4 4x2] [--config.problems.train=24 ...]
    python benchmarks/hosts.py --stop KILL [--at search] [--processes 4 2] [--host 3]

The first runs the round with each number of processes, and compares trees (all but times) and losses (to
1e-5) with those of one process. The second sends SIGKILL or SIGTERM (--stop TERM) to one of four processes in
the middle of a stage, waits until the others have ended (--jobset: sends them SIGTERM, as a JobSet does),
starts the same command with two, and says when these wrote their first tree, result or checkpoint, that no
tree was searched twice, and whether all ends as in one process. Prints each figure; the exit status tells.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rstar_jax import parquet
from rstar_jax.evolve.shards import tree_files
from rstar_jax.types import Tree

DEVICES = 8
SHARD = 4
SMALL = [
    "--config=quickstart",
    "--config.rounds=(1,)",
    "--config.problems.train=24",
    "--config.problems.heldout=12",
    f"--config.search.shard={SHARD}",
    "--config.search.batch=4",
    "--config.decode.leaves=4",
    "--config.train.policy.batch=4",
    "--config.train.policy.microbatch=8",
    "--config.train.ppm.microbatch=8",
    "--config.train.policy.checkpoint_every_steps=1",
    "--config.train.ppm.checkpoint_every_steps=1",
]
STAGES = ("base/evaluate", "round1/search", "round1/evaluate")
TRAININGS = ("round1/policy", "round1/ppm")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/hosts"))
    parser.add_argument("--shapes", nargs="+", default=["1x8", "2x4", "4x2"])
    parser.add_argument("--stop", choices=("KILL", "TERM"), default="")
    parser.add_argument("--host", type=int, default=-1)
    parser.add_argument("--jobset", action="store_true")
    parser.add_argument("--at", choices=("search", "policy"), default="search")
    parser.add_argument("--processes", nargs=2, type=int, default=[4, 2])
    arguments, overrides = parser.parse_known_args()
    out: Path = arguments.out
    shapes = ["1x8"] if arguments.stop else arguments.shapes
    for shape in shapes:
        if not (out / shape / "report.json").exists():
            whole(out, shape, overrides)
    if arguments.stop:
        return stop(out, arguments, overrides)
    return max(differences(out / shapes[0], out / shape) for shape in shapes)


def whole(out: Path, shape: str, overrides: list[str]) -> None:
    """A round from beginning to end."""
    processes = int(shape.partition("x")[0])
    began = time.monotonic()
    with started(out / shape, processes, overrides) as running:
        statuses = [process.wait() for process in running]
    if any(statuses):
        raise SystemExit(f"{shape}: exit statuses {statuses}; see {out}/{shape}-*.log")
    print(f"{shape}: a round in {time.monotonic() - began:.0f} s", flush=True)


@contextlib.contextmanager
def started(workdir: Path, processes: int, overrides: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of a command; those that are left at the end are killed."""
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        f"--xla_force_host_platform_device_count={DEVICES // processes}"
    )
    running = []
    try:
        for index in range(processes):
            place = {"coordinator": f"localhost:{port}", "processes": processes, "process": index}
            words = [f"--config.distributed.{name}={value}" for name, value in place.items()]
            command = [*SMALL, *overrides, *(words if processes > 1 else []), f"--workdir={workdir}"]
            with open(f"{workdir}-{index}.log", "ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "rstar_jax.launch", *command],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
                )
            running.append(process)
        yield running
    finally:
        for process in running:
            process.kill()


def trees(stage: Path) -> dict[tuple[str, int, str], Tree]:
    """What a stage has of trees, by file, tree and problem."""
    found = {}
    for path in tree_files(stage, SHARD):
        kind = path.name.partition("-")[0]
        for tree in parquet.read_rows(path, Tree):
            found[kind, tree.tree_index, tree.problem.id] = tree
    return found


def told(tree: Tree | None, exact: bool) -> Any:
    """A tree without its CPU seconds; not exact: nor which models made it."""
    if tree is None:
        return None
    data = dataclasses.asdict(tree)
    for node in data["nodes"]:
        del node["cpu_s"]
    if not exact:
        del data["policy"], data["ppm"]
    return data


def equal(one: Any, other: Any, within: float) -> bool:
    """Whether two values are the same, numbers to within so much."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k], within) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other, [within] * len(one)))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= within
    return one == other


def losses(stage: Path) -> list[float]:
    """The loss of each step of a training."""
    lines = (stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def differences(one: Path, other: Path) -> int:
    """Print how a round differs from another one; 0 where it does not."""
    if one == other:
        return 0
    status = 0

    def done(stage: str) -> bool:
        return (one / stage).exists() or (other / stage).exists()

    for stage in filter(done, STAGES):
        exact = stage != "round1/evaluate"  # whose models are equal to within the last bits alone
        a, b = trees(one / stage), trees(other / stage)
        unequal = sum(
            not equal(told(a.get(key), exact), told(b.get(key), exact), 0.0 if exact else 1e-4)
            for key in a.keys() | b.keys()
        )
        print(f"{other.name} {stage}: {len(b)} trees, {unequal} differ", flush=True)
        status |= unequal > 0
    for stage in filter(done, TRAININGS):
        a, b = losses(one / stage), losses(other / stage)
        most = max((abs(x - y) for x, y in zip(a, b, strict=False)), default=0.0)
        print(f"{other.name} {stage}: {len(b)} of {len(a)} steps, losses differ by {most:.1e}", flush=True)
        status |= len(a) != len(b) or most > 1e-5
    return status


def stop(out: Path, arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Stop one process by a signal, restart with others; print what comes of it."""
    at, (before, after), victim = arguments.at, arguments.processes, arguments.host
    workdir = out / f"{arguments.stop}-{at}"
    stage = workdir / "round1" / at
    with started(workdir, before, overrides) as running:
        while not reached(stage, at) and all(process.poll() is None for process in running):
            time.sleep(0.2)
        running[victim].send_signal(getattr(signal, f"SIG{arguments.stop}"))
        killed = time.monotonic()
        print(f"SIG{arguments.stop} to process {victim % before} of {before} in {at}", flush=True)
        left = dict(enumerate(running))
        while left:
            for index, process in list(left.items()):
                if process.poll() is not None:
                    seconds = time.monotonic() - killed
                    print(f"process {index}: status {process.returncode} after {seconds:.1f} s", flush=True)
                    del left[index]
            if arguments.jobset and len(left) == before - 1:
                for process in left.values():
                    process.send_signal(signal.SIGTERM)
                arguments.jobset = False
            time.sleep(0.1)
    there = {key: tree for name in STAGES for key, tree in of(workdir / name).items()}
    done = files(workdir)
    began = time.monotonic()
    with started(workdir, after, overrides) as running:
        while not (new := files(workdir) - done) and all(process.poll() is None for process in running):
            time.sleep(0.1)
        seconds = time.monotonic() - began
        print(f"{after} processes: back at work after {seconds:.1f} s: {min(new)}", flush=True)
        statuses = [process.wait() for process in running]
    now = {key: tree for name in STAGES for key, tree in of(workdir / name).items()}
    again = sum(now.get(key) != tree for key, tree in there.items())
    print(f"statuses {statuses}; of {len(there)} stored trees {again} were searched again", flush=True)
    return max(differences(out / "1x8", workdir), any(statuses), again > 0)


def of(stage: Path) -> dict[Any, Tree]:
    """A stage's trees, by the stage's name, too."""
    return {(str(stage), *key): tree for key, tree in trees(stage).items()} if stage.exists() else {}


def files(workdir: Path) -> set[str]:
    """The trees, results and checkpoints of a run."""
    names = (str(path.relative_to(workdir)) for path in workdir.glob("*/**/*"))
    wanted = (".tree", ".parquet", "DONE.json", "_CHECKPOINT_METADATA")
    return {name for name in names if name.endswith(wanted) and "/." not in name and "claims" not in name}


def progress(stage: Path, at: str) -> int:
    """How far a stage is: trees, or steps."""
    if not stage.exists():
        return 0
    if at == "policy":
        return len(losses(stage))
    files = [path.name for path in tree_files(stage, SHARD)]
    return sum(SHARD if name.endswith(".parquet") else 1 for name in files)


def reached(stage: Path, at: str) -> bool:
    """Whether enough is done to be lost."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return progress(stage, at) >= (8 if at == "search" else 3)
    return False


if __name__ == "__main__":
    sys.exit(main())
