"""Collectives of a compiled program, from its text (HLO): kinds, calls, and bytes that a device sends.

A loop's body counts as often as the loop runs, which its condition says: the compiler's own cost analysis
counts it once.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "u16": 2, "s16": 2, "f32": 4, "s32": 4, "u32": 4}
# Takes "f32[2,2048]{1,0:T(8,128)}" within a type; takes no "token[]".
_ARRAY = re.compile(r"\b(pred|[subf]+\d+)\[([\d,]*)\]")
# Takes "%while_body.1 (arg: (s32[], f32[2])) -> (s32[], f32[2]) {" and "ENTRY %main (...".
_HEAD = re.compile(r"^(ENTRY )?%([\w.\-]+) \(")
# Takes "  ROOT %x.1 = (f32[2]{0}, u32[]) all-gather-start(%y), channel_id=1".
_LINE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
# Takes "body=%region.3" and "calls=%fused.1"; what `to_apply` adds up with is no computation of its own.
_CALLED = re.compile(r"\b(calls|body|condition|branch_computations)=\{?%?([\w.\-]+)")
# Takes "replica_groups={{0,1},{2,3}}" and "replica_groups=[4,2]<=[8]".
_GROUPS = re.compile(r"replica_groups=(?:\{\{([\d,]+)\}|\[\d+,(\d+)\])")
_SCATTERS = "all-reduce-scatter"  # how a TPU's compiler calls a fusion that is one


class _Op(NamedTuple):
    name: str
    kind: str
    code: str
    rest: str


class Collective(NamedTuple):
    """One kind of them in a program. calls: of a device, loops counted. sent: bytes that it sends, at most a
    ring's."""

    calls: int
    sent: int


def collectives(hlo: str) -> dict[str, Collective]:
    """Collectives by kind: all-gather, all-reduce, reduce-scatter, all-to-all, collective-permute."""
    entry, computations = _parsed(hlo)
    calls, sent = collections.Counter[str](), collections.Counter[str]()
    for times, op, inside in _run(entry, computations, 1, ""):
        kind = op.code.removesuffix("-start")
        if kind not in _SENT:
            continue
        size = sum(_bytes(op.kind))
        if op.code.endswith("-start"):  # what it reads, and what comes of it
            size = max(_bytes(op.kind), default=0)
        if kind == "all-reduce" and inside.startswith(_SCATTERS):
            kind = "reduce-scatter"
            size //= _members(op)
        calls[kind] += times
        sent[kind] += times * round(_SENT[kind](size, _members(op)))
    return {kind: Collective(calls[kind], sent[kind]) for kind in sorted(calls)}


# By kind: what a device sends of a result of so many bytes, among so many.
_SENT = {
    "all-gather": lambda size, members: size * (members - 1) / members,
    "all-reduce": lambda size, members: 2 * size * (members - 1) / members,
    "reduce-scatter": lambda size, members: size * (members - 1),
    "all-to-all": lambda size, members: size * (members - 1) / members,
    "collective-permute": lambda size, members: size,
}


def _parsed(hlo: str) -> tuple[str, dict[str, list[_Op]]]:
    """The entry's name, and the operations of every computation."""
    entry, at = "", list[_Op]()
    computations: dict[str, list[_Op]] = {}
    for line in re.sub(r"/\*.*?\*/", "", hlo).splitlines():
        if head := _HEAD.match(line):
            at = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif found := _LINE.match(line):
            at.append(_Op(*found.groups()))
    return entry, computations


def _run(
    name: str, computations: dict[str, list[_Op]], times: int, inside: str
) -> Iterator[tuple[int, _Op, str]]:
    """Every operation below a computation, how often it runs, and the fused computation that it stands in."""
    for op in computations.get(name, ()):
        yield times, op, inside
        called = dict(_CALLED.findall(op.rest))
        if op.code == "while":
            loops = _trips(computations.get(called["condition"], []), computations)
            yield from _run(called["body"], computations, times * loops, inside)
        elif "-done" not in op.name:  # a fusion that waits repeats what its start does
            for computation in called.values():
                within = computation if op.code == "fusion" else inside
                yield from _run(computation, computations, times, within)


def _trips(condition: list[_Op], computations: dict[str, list[_Op]]) -> int:
    """Count how often a loop runs: the number that its counter is compared with."""
    numbers = [1]
    for op in condition:
        if op.code == "constant" and (number := re.match(r"(\d+)\)", op.rest)):
            numbers.append(int(number[1]))
        for _, computation in _CALLED.findall(op.rest):
            numbers.append(_trips(computations.get(computation, []), computations))
    return max(numbers)


def _bytes(kind: str) -> list[int]:
    """Bytes of each array of a type."""
    return [
        SIZES.get(dtype, 8) * math.prod(int(n) for n in dims.split(",") if n)
        for dtype, dims in _ARRAY.findall(kind)
    ]


def _members(op: _Op) -> int:
    """Devices that a collective joins."""
    found = _GROUPS.search(op.rest)
    if not found:
        return 2
    return found[1].count(",") + 1 if found[1] else int(found[2])
