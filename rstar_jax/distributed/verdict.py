"""The verdict whether the processes that answered a roll call are one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

CLOCKS_S = 30.0  # by which the hosts' clocks may differ


@dataclasses.dataclass(frozen=True)
class Answer:
    """A process's answer. clock: its time, when it sent this. heard: the leader's time then."""

    index: int
    count: int
    name: str
    facts: dict[str, str]
    clock: float
    heard: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.index, int) or not isinstance(self.facts, dict):
            raise TypeError("not an answer of a roll call")

    @property
    def host(self) -> str:
        """Its number and the name of its machine."""
        return f"host {self.index} ({machine(self.name)})"


def machine(name: str) -> str:
    """The machine in a process's unique name."""
    return name.rsplit("-", 2)[0]


def verdict(answers: Sequence[Answer], *, complete: bool) -> str | None:
    """Say why these processes cannot run together; "" where they can; None where some are still to come.

    answers: the leader's first. complete: all are there.
    """
    leader, seen = answers[0], dict[int, Answer]()
    for one in answers:
        if one.count != leader.count:
            return (
                f"{one.host} was started as one of {one.count} processes, {leader.host} as one of "
                f"{leader.count}. Start all of them with the same number of processes."
            )
        if not 0 <= one.index < leader.count:
            return f"{one.host}: a number from 0 to {leader.count - 1} expected."
        if one.index in seen:
            return (
                f"two processes say that they are number {one.index}: {seen[one.index].name} and {one.name}. "
                "Give each a number of its own."
            )
        seen[one.index] = one
    if not complete:
        return None
    keys = dict.fromkeys(key for one in answers for key in one.facts)
    ordered = [seen[index] for index in sorted(seen)]
    lines = [
        line
        for key in keys
        for line in differing(key, {one.host: one.facts.get(key, "none") for one in ordered})
    ]
    lines += _clocks(ordered)
    return told(lines) if lines else ""


def differing(key: str, values: Mapping[str, str]) -> list[str]:
    """Lines that say which hosts have which value of a thing; none where all have the same.

    values: by host. The value that most hosts have comes first.
    """
    hosts: dict[str, list[str]] = {}
    for host, value in values.items():
        hosts.setdefault(value, []).append(host)
    if len(hosts) == 1:
        return []
    ranked = sorted(hosts.items(), key=lambda item: -len(item[1]))
    return [f"{key}: " + "; ".join(f"{value} on {_few(those)}" for value, those in ranked)]


def told(lines: Sequence[str]) -> str:
    """The message for hosts that differ."""
    return (
        "the hosts of this run differ, and would not make one result:\n  "
        + "\n  ".join(lines)
        + "\nStart all of them with the same command, code, packages and files, and with clocks set."
    )


def _few(hosts: Sequence[str]) -> str:
    return ", ".join(hosts[:4]) + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")


def _clocks(answers: Sequence[Answer]) -> list[str]:
    offsets = {one.host: one.clock - one.heard if one.heard else 0.0 for one in answers}
    usual = sorted(offsets.values())[(len(offsets) - 1) // 2]  # the lower median
    return [
        f"clock: {host} is {abs(offset - usual):.0f} s {'ahead of' if offset > usual else 'behind'} others"
        for host, offset in offsets.items()
        if abs(offset - usual) > CLOCKS_S
    ]
