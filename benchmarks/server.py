"""Print what the client of served policies costs and how full it keeps its slots.

    python -m benchmarks.server [--seconds 1] [--runs 1]

The server is that of the tests, in another process: give both a core of their own, or the load decides.
Occupancy: a reply takes --seconds, 1 in 20 of them ten times that; the share of slots with a request, as the
server saw it until the last one came. Cost: replies at once; requests a second of this process's CPU time,
each of 5 texts of 80 tokens, a token an event, with log-probabilities and the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from pathlib import Path

from rstar_jax.queues import call
from rstar_jax.served import CompletionRequest, ServedConfig, parse
from rstar_jax.served.policy import ServedPolicy
from tests.served.server import Server
from tests.served.test_policy import share_busy

STEP = "x = 1 # " * 19 + "<end_of_step>"


def serve(pipe, seconds: float, slots: int) -> None:
    """Tell the address, and when asked the share of slots that were busy, and requests a CPU second of this
    process. seconds: of a reply."""
    made = Server(lambda body, k: STEP)
    made.pieces = 2 if not seconds else 1000

    async def behave(body):
        if seconds:
            number = int(body["prompt"].split()[1])
            await asyncio.sleep(10 * seconds if number % 20 == 7 else seconds)

    made.behave = behave
    with made.running():
        pipe.send(made.address)
        cpu = time.process_time()
        pipe.recv()
        cpu = time.process_time() - cpu
        pipe.send((share_busy(made.met, slots), len(made.met) / cpu))


def measure(slots: int, count: int, seconds: float) -> dict[str, float]:
    """Ask `count` requests; return the share of slots busy, and requests a second of clock, of the client's
    and of the server's CPU."""
    told, tell = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(tell, seconds, slots), daemon=True)
    server.start()
    address = parse(told.recv(), "address")
    requests = [
        CompletionRequest(f"prompt {i} " + "words " * 300, 5, 0.7, 256, ("<end_of_step>",), (i,))
        for i in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        queue = ServedPolicy(address, ServedConfig(slots=slots), journal=Path(folder) / "answers")
        began, cpu = time.perf_counter(), time.process_time()
        call(queue, requests)
        clock, cpu = time.perf_counter() - began, time.process_time() - cpu
        told.send("done")
        busy, served = told.recv()
        queue.close()
    server.join()
    found = {"a_second": count / clock, "a_cpu_second": count / cpu, "of_the_server": served}
    return {"busy": busy, **found} if seconds else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    for slots in (64, 256):
        for name, seconds, count in (
            ("1 in 20 slow", options.seconds, 10 * slots),
            ("at once", 0.0, options.requests),
        ):
            runs = [measure(slots, count, seconds) for _ in range(options.runs)]
            shown = ", ".join(
                f"{key} {min(r[key] for r in runs):.3g} to {max(r[key] for r in runs):.3g}" for key in runs[0]
            )
            print(f"{slots} slots, {name}, {count} requests, {options.runs} runs: {shown}", flush=True)


if __name__ == "__main__":
    main()
