"""A test's file as a script in several processes, which share virtual CPU devices as hosts share a pod's."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests import on_devices


@contextlib.contextmanager
def started(
    file: str, *arguments: object, processes: int, devices: int = 8
) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts the file once for each process, with the arguments `processes`, index and port before its own.

    devices: of all of them together. The port is that of the first one's coordinator. Whatever is still
    running at the end is killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        running = []
        for index in range(processes):
            own = (processes, index, port, *arguments)
            running.append(stack.enter_context(on_devices.start(file, *own, devices=devices // processes)))
        try:
            yield running
        finally:
            for process in running:
                process.kill()


def ended(running: Sequence[subprocess.Popen[str]], timeout: float) -> list[tuple[str, str]]:
    """The outputs and errors of each, once all have ended. They are read at once: one that fills a pipe that
    nobody reads stops there, and the others wait for it."""
    with ThreadPoolExecutor(len(running)) as readers:
        return list(readers.map(lambda process: process.communicate(timeout=timeout), running))
