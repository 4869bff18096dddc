"""Bytes of memory that a step of a compiled loop moves, from the text of its program (HLO, for a TPU).

What an operation reads and writes counts, once each; of an array that a fusion only slices, or updates in
place, the slice or the update; of a kernel what it told the compiler. What lies in the chip's fast memory
(memory space 1) costs nothing. A loop within counts as often as it is said to run.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "u16": 2, "s16": 2, "f32": 4, "s32": 4, "u32": 4}
ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")
LINE = re.compile(r"^\s*(ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "iota", "opt-barrier"}


class Op(NamedTuple):
    """One operation. kind: its array type, or several. rest: the text behind its operands."""

    root: bool
    kind: str
    code: str
    operands: list[str]
    text: str
    rest: str


Computation = dict[str, Op]


def parse(hlo: str) -> dict[str, Computation]:
    """Computations by name, their operations by name."""
    found: dict[str, Computation] = {}
    at: Computation = {}
    for line in re.sub(r"/\*.*?\*/", "", hlo).splitlines():
        if head := re.match(r"^(?:ENTRY )?%([\w.\-]+) \(", line):
            at = found.setdefault(head.group(1), {})
        elif match := LINE.match(line):
            root, name, kind, code, text = match.groups()
            depth, end = 1, -1
            while depth:
                end += 1
                depth += (text[end] == "(") - (text[end] == ")")
            operands = re.findall(r"%([\w.\-]+)", text[:end])
            at[name] = Op(bool(root), kind, code, operands, text[:end], text[end:])
    return found


def arrays(kind: str) -> list[tuple[int, bool]]:
    """Bytes of each array of a type, and whether it lies in main memory."""
    return [
        (SIZES.get(dtype, 0) * math.prod(int(n) for n in dims.split(",") if n), "S(1)" not in layout)
        for dtype, dims, layout in ARRAY.findall(kind)
    ]


def outside(kind: str) -> int:
    """Bytes in main memory."""
    return sum(size for size, main in arrays(kind) if main)


class Program:
    """A compiled program's text. trips: how often its innermost loops run."""

    def __init__(self, hlo: str, trips: int) -> None:
        self.computations, self.trips = parse(hlo), trips

    def step(self) -> dict[str, int]:
        """Bytes that a step of its outer loop moves, by operation."""
        loops = {body for c in self.computations.values() for body in self._bodies(c)}
        inner = {body for loop in loops for body in self._bodies(self.computations[loop])}
        outer = max(loops - inner, key=lambda loop: self._size(self.computations[loop]))
        return self._moved(self.computations[outer])

    def _size(self, c: Computation) -> int:
        return len(c) + sum(self._size(self.computations[body]) for body in self._bodies(c))

    def _bodies(self, c: Computation) -> list[str]:
        return [_named("body", op) for op in c.values() if op.code == "while"]

    def _moved(self, c: Computation) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, op in c.items():
            if op.code == "while":
                within = self._moved(self.computations[_named("body", op)])
                found |= {f"{self.trips} x {n}": self.trips * size for n, size in within.items()}
            elif op.code not in FREE and not op.code.endswith("-done"):
                found[name] = self._one(c, op)
        return found

    def _one(self, c: Computation, op: Op) -> int:
        kinds = [c[name].kind if name in c else "" for name in op.operands]
        if op.code == "fusion":
            return self._fusion(op, kinds)
        told = re.search(r'bytes_accessed"?:"?(\d+)', op.rest) if op.code == "custom-call" else None
        if told:
            return int(told.group(1))
        if op.code == "copy-start":
            size, main = arrays(op.kind)[0]
            return outside(kinds[0]) + main * size
        if op.code == "slice-start":  # (what it is cut from, the slice, a number)
            return min(outside(kinds[0]), arrays(op.kind)[1][0])
        if op.code == "dynamic-slice":
            return 2 * outside(op.kind)
        if op.code == "dynamic-update-slice":
            return 2 * outside(kinds[1])
        return sum(map(outside, kinds)) + outside(op.kind)

    def _fusion(self, op: Op, kinds: list[str]) -> int:
        inside = self.computations[_named("calls", op)]
        total = 0
        for i, kind in enumerate(kinds):
            if whole := outside(kind):
                part = self._read(inside, _parameter(inside, i))
                total += whole if part is None else min(part, whole)
        root = next(name for name, each in inside.items() if each.root)
        parts = inside[root].operands if inside[root].code == "tuple" else [root]
        for part, (size, main) in zip(parts, arrays(op.kind), strict=False):
            total += main * _written(inside, part, size)
        return total

    def _read(self, c: Computation, name: str) -> int | None:
        """Bytes that are read of a fusion's operand; None: all of it."""
        if c[name].root:
            return None
        total = 0
        for user, op in c.items():
            if name not in op.operands:
                continue
            parts: list[int | None] = []
            if op.code == "bitcast":
                parts = [self._read(c, user)]
            elif op.code == "fusion":
                within = self.computations[_named("calls", op)]
                places = [i for i, each in enumerate(op.operands) if each == name]
                parts = [self._read(within, _parameter(within, i)) for i in places]
            elif op.code in ("dynamic-slice", "slice", "gather") and op.operands[0] == name:
                parts = [sum(size for size, _ in arrays(op.kind))]
            elif op.code not in ("dynamic-update-slice", "scatter") or op.operands[0] != name:
                return None
            for part in parts:
                if part is None:
                    return None
                total += part
        return total


def _named(what: str, op: Op) -> str:
    found = re.search(rf"{what}=%?([\w.\-]+)", op.rest)
    assert found, op
    return found.group(1)


def _parameter(c: Computation, index: int) -> str:
    return next(name for name, op in c.items() if op.code == "parameter" and op.text == str(index))


def _written(c: Computation, name: str, size: int) -> int:
    """Bytes that are written of a result of `size`: of one that is updated in place, the update."""
    op = c[name]
    if op.code == "bitcast":
        return _written(c, op.operands[0], size)
    update = {"dynamic-update-slice": 1, "scatter": 2}.get(op.code)
    return size if update is None else sum(n for n, _ in arrays(c[op.operands[update]].kind))
