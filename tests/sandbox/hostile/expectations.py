"""What must become of a case, against what did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rstar_jax.sandbox import ExecResult
from tests.sandbox.hostile.corpus.cases import Case


def wrong(case: Case, result: ExecResult) -> Iterator[str]:
    """What of the result itself is not as expected."""
    expect, came = case["expect"], short(result)
    if result.status not in expect["status"]:
        yield f"status {' or '.join(expect['status'])} expected, came {came}"
    if result.status == "exception" and result.exception not in expect.get("exc", [result.exception]):
        yield f"exception {' or '.join(expect['exc'])} expected, came {came}"
    if result.status == "ok" or len(expect["status"]) == 1:
        allowed = [*expect.get("stdout_any", []), *([expect["stdout"]] if "stdout" in expect else [])]
        if allowed and result.stdout not in allowed:
            yield f"stdout {' or '.join(map(repr, allowed))} expected, came {came}"
    if result.exception and not result.exception.isidentifier():
        yield f"the name of an exception expected, came {result.exception!r}"
    if "not_stdout" in expect and expect["not_stdout"] in result.stdout:
        yield f"stdout must not hold {expect['not_stdout']!r}, came {came}"


def too_slow(case: Case, result: ExecResult) -> bool:
    """Whether it took longer than it may; a CPU limit that comes late on the clock is the host's doing."""
    return result.status != "timeout_cpu" and result.wall_s > case["expect"].get("max_wall", 1e9)


def followers(case: Case, number: int) -> dict[str, str]:
    """Snippets to run right after the case, and what each must print; `number` makes them new ones."""
    after = case["expect"].get("after", "")
    if after.startswith("probe:"):
        probe, _, out = after.removeprefix("probe:").rpartition("=>")
        return {f"{probe}\n_ = {number}": f"{out}\n"}
    mine = f"print({number}, 'mine')"
    # A snippet that imports packages is run in another zygote than one that does not.
    return {mine: f"{number} mine\n", f"import sympy\n{mine}": f"{number} mine\n"} if after else {}


def watched_file(case: Case) -> Path | None:
    """The file that the case must not make."""
    after = case["expect"].get("after", "")
    return Path(after.removeprefix("no_file:")) if after.startswith("no_file:") else None


def short(result: ExecResult) -> str:
    parts = [result.status, result.exception, result.message[:100], repr(result.stdout[:100])]
    return f"{' '.join(part for part in parts if part)} after {result.cpu_s:.2f} s CPU, {result.wall_s:.2f} s"


def descriptors() -> dict[str, str]:
    """The open descriptors of this process, and what they are."""
    folder, found = Path("/proc/self/fd"), {}
    for name in os.listdir(folder):
        try:
            found[name] = os.readlink(folder / name)
        except OSError:
            continue  # the one that listed them
    return found


def descendants() -> set[int]:
    """Ids of all processes below this one, dead ones that nobody has asked for among them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # has just ended
    below = [os.getpid()]
    for pid in below:
        below += [child for child, parent in parents.items() if parent == pid]
    return set(below[1:])
