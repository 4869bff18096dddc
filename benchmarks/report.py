"""The tree viewer in a headless browser: first paint, frames while panning, large trees, a large workdir.

    python benchmarks/report.py [--megabytes=127 --nodes=10000,100000 --runs=3 --folder=DIR --chromium=PATH]

Makes what it looks at: a run of four rounds whose trees are random, of about 40 steps each, and trees of so
many nodes in a run of their own; `--folder` keeps them. Times are the page's own clock, from the click (or
the navigation, for the workdir) to the frame in which the tree is drawn; the median and the worst of the
runs. A frame while panning is the time between two, while the drawing moves in each. On a busy machine the
CPU times beside them say more: of the page's main thread, and of the server from its start until then.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rstar_jax import columns, parquet
from rstar_jax.types import Node, Origin, Problem, Tree

WORDS = ("total", "price", "each", "side", "length", "sum", "of the two", "parts", "remain", "share", "taken")
SHARD = 256


def step(rng: random.Random, depth: int) -> str:
    """A step as policies write them, some 150 characters."""
    name = rng.choice(WORDS)
    lines = [
        f"{rng.choice(WORDS)}_{depth} = {rng.randrange(999)} * {rng.randrange(99)} + {name}" for _ in range(3)
    ]
    return f"\n# Step {depth}: {' '.join(rng.sample(WORDS, 6))}\n" + "\n".join(lines) + "\n<end_of_step>"


def tree(rng: random.Random, problem: Problem, round: int, nodes: int) -> Tree:
    """A tree of so many nodes, of depth 12 at most, some of whose steps failed."""
    made = [Node(-1, "", "ok", 0, 16, 3.0)]
    alive = [0]
    while len(made) < nodes:
        parent = rng.choice(alive[-max(8, len(alive) // 2) :])
        depth = made[parent].depth + 1
        for candidate in range(rng.randint(2, 8)):
            failed, answer = rng.random() < 0.1, depth == 12 or (depth > 4 and rng.random() < 0.2)
            status = "exception" if failed else "answer" if answer else "ok"
            if status == "ok":
                alive.append(len(made))
            made.append(
                Node(
                    parent=parent,
                    text=step(rng, depth),
                    status=status,
                    depth=depth,
                    visits=rng.randrange(5),
                    value_sum=rng.uniform(-1, 1),
                    ppm=rng.uniform(-1, 1),
                    answer=str(rng.randrange(99)) if status == "answer" else None,
                    grade=rng.choice(("right", "wrong")) if status == "answer" else None,
                    logprob=-rng.random(),
                    tokens=40,
                    detail=rng.choice(("NameError", "ValueError")) if failed else "",
                    origin=Origin(0, parent, 8, 1.0),
                    candidate=candidate,
                    observation="NameError: name 'x' is not defined" if failed else "",
                    token_ids=tuple(rng.randrange(150_000) for _ in range(40)),
                )
            )
    return Tree(problem, round, 0, 16, tuple(made[:nodes]))


def large_run(folder: Path, megabytes: float) -> int:
    """Makes a run of so many MB of trees, one block of them again and again by other names. Returns how many
    trees."""
    import pyarrow as pa

    rng = random.Random(0)
    block = [
        tree(rng, Problem(f"p/{i}", step(rng, 0)[:120], "7", i % 3 + 1), 1, rng.randint(20, 60))
        for i in range(SHARD)
    ]
    table = pa.Table.from_pylist([columns.plain(one) for one in block], schema=columns.schema(Tree))
    written, shards = 0, 0
    while written < megabytes * 1e6:
        for round in range(1, 5):
            problems = [dataclasses.replace(one.problem, id=f"{one.problem.id}/{shards}") for one in block]
            named = table.set_column(
                0,
                table.schema.field(0),
                pa.array([columns.plain(one) for one in problems], table.schema.field(0).type),
            )
            path = folder / f"round{round}" / "search" / f"trees-0-{shards:05d}.parquet"
            parquet.write_tables(path, named.schema, [named])
            written += path.stat().st_size
        shards += 1
    return shards * 4 * SHARD


def run_of(folder: Path, nodes: int) -> None:
    """Makes a run that holds one tree of so many nodes."""
    rng = random.Random(1)
    one = tree(rng, Problem("large", "A problem whose tree is large.", "7", 3), 1, nodes)
    parquet.write_rows(folder / "round1" / "search" / "trees-0-00000.parquet", Tree, [one])


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Runs `--config=view` on a folder; yields its address, and what tells its CPU milliseconds so far."""
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=view", f"--workdir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().split(": ")[1].split()[0]
            stat = Path(f"/proc/{process.pid}/stat")
            yield url, lambda: sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13])) * 10.0
        finally:
            process.terminate()


def until(page: Any, condition: str, seconds: float = 300) -> None:
    """Waits for a condition in the page; its policy lets no string be run there, as playwright's own does."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def thread_ms(session: Any) -> float:
    """CPU milliseconds of a page's main thread since it was opened."""
    found = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] * 1000 for one in found if one["name"] == "TaskDuration")


def shown(page: Any, session: Any, url: str, server_ms: Callable[[], float]) -> dict[str, float]:
    """Opens a page; milliseconds from the navigation, and from the choice of the tree, to its drawing."""
    page.goto("about:blank")
    before = thread_ms(session)
    page.goto(url, wait_until="commit")
    until(page, "performance.getEntriesByName('walk-shown').length > 0")
    used = {"thread": thread_ms(session) - before, "server": server_ms()}
    return used | page.evaluate(
        """() => { const [m] = performance.getEntriesByName('walk-shown');
        return { page: m.startTime + m.duration, tree: m.duration }; }"""
    )


PAN = """async (zoom) => {
  const canvas = document.querySelector('.walk-stage canvas');
  for (let i = 0; i < zoom; i++) document.querySelector('.walk-zoom button').click();
  const frames = [];
  let last = null;
  for (let i = 0; i < 150; i++) {
    const by = { deltaX: Math.sin(i / 9) * 9, deltaY: Math.cos(i / 20) * 45, cancelable: true };
    canvas.dispatchEvent(new WheelEvent('wheel', by));
    const now = await new Promise(requestAnimationFrame);
    if (last !== null) frames.push(now - last);
    last = now;
  }
  return frames.sort((a, b) => a - b);
}"""


def panned(page: Any, session: Any, zoom: int) -> str:
    """Frames while panning."""
    before = thread_ms(session)
    frames = page.evaluate(PAN, zoom)
    used = (thread_ms(session) - before) / len(frames)
    median, p95 = frames[len(frames) // 2], frames[int(len(frames) * 0.95)]
    return f"median {median:.1f}, p95 {p95:.1f}, longest {frames[-1]:.1f} ms; CPU {used:.1f} ms each"


def middle(found: list[dict[str, float]], name: str) -> str:
    """Median and worst."""
    values = sorted(one[name] for one in found)
    return f"{values[len(values) // 2]:,.0f} ({values[-1]:,.0f})"


def workdir(page: Any, session: Any, run: Path, megabytes: float, runs: int) -> None:
    """A large folder, without an index of before and with it."""
    if not run.exists():
        print(f"{large_run(run, megabytes):,} trees made", flush=True)
    for cache in (False, True):
        found = []
        for _ in range(runs):
            if not cache:
                shutil.rmtree(run / "cache", ignore_errors=True)
            began = time.perf_counter()
            with served(run) as (url, used):
                up = (time.perf_counter() - began) * 1000
                found.append({**shown(page, session, url, used), "up": up})
                until(page, "!document.querySelector('.walk-count').textContent.includes('so far')")
                found[-1]["all"] = (time.perf_counter() - began) * 1000
        print(
            f"{megabytes:g} MB, {'with' if cache else 'no'} index of before: server up after "
            f"{middle(found, 'up')} ms, first view after {middle(found, 'page')} ms more, all counted after "
            f"{middle(found, 'all')} ms; CPU of the page {middle(found, 'thread')} ms, of the server until "
            f"the first view {middle(found, 'server')} ms",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=127)
    parser.add_argument("--nodes", default="10000,100000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=asked.chromium)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        for nodes in map(int, filter(None, asked.nodes.split(","))):
            run = folder / f"tree-{nodes}"
            if not run.exists():
                run_of(run, nodes)
            with served(run) as (url, used):
                found = [shown(page, session, url, used) for _ in range(asked.runs)]
                print(
                    f"{nodes:,} nodes: drawn after {middle(found, 'tree')} ms; CPU of the page "
                    f"{middle(found, 'thread')} ms, of the server {found[0]['server']:,.0f} ms",
                    flush=True,
                )
                for zoom, name in ((0, "whole"), (6, "middle"), (8, "cards")):
                    print(f"  panning, {name}: {panned(page, session, zoom)}", flush=True)
        if asked.megabytes:
            workdir(page, session, folder / "large", asked.megabytes, asked.runs)
        browser.close()


if __name__ == "__main__":
    main()
