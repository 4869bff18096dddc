"""The two kinds of zygote: what each has loaded before its first snippet, and the environment they share."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Literal

Kind = Literal["light", "heavy"]
# Light zygotes serve code that imports the standard library alone: a fork of a small process is cheap, and
# each module's mappings make it dearer, so only the usual ones are loaded ahead.
# The heavy ones' list names what the packages would otherwise load lazily, in every child again.
MODULES: dict[Kind, tuple[str, ...]] = {
    "light": (
        *("math", "fractions", "random", "itertools", "functools", "collections", "heapq", "bisect"),
        *("string", "re", "datetime"),
    ),
    "heavy": (
        *("math", "cmath", "fractions", "decimal", "statistics", "itertools", "functools", "collections"),
        *("datetime", "calendar", "typing", "dataclasses", "numpy", "numpy.random", "numpy.linalg"),
        *("numpy.polynomial", "numpy.fft", "sympy", "sympy.ntheory", "sympy.geometry", "sympy.abc"),
        *("sympy.combinatorics", "sympy.stats", "sympy.solvers.diophantine", "sympy.matrices", "mpmath"),
        # loaded late by solve, integrate, dsolve, summation: 0.5 ms for every child, 90 for those that do
        *("sympy.physics.units", "sympy.codegen.ast", "sympy.concrete.delta", "sympy.integrals.heurisch"),
        *("sympy.integrals.manualintegrate", "sympy.integrals.risch", "sympy.sets.handlers.functions"),
        *("sympy.sets.handlers.issubset", "sympy.polys.domains.old_fractionfield"),
        "sympy.polys.domains.old_polynomialring",
    ),
}
PACKAGES = ("numpy", "sympy", "mpmath")

# There is nothing to write and nothing to find: a folder of the zygotes' own would outlive a killed caller.
NOWHERE = "/nonexistent"
# A fixed hash seed makes set order, and so output, the same in every zygote; -I would ignore it.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HOME": NOWHERE,
    "TMPDIR": NOWHERE,
}


@functools.cache
def package_paths() -> tuple[str, ...]:
    """Where the scientific packages are installed."""
    found = (importlib.util.find_spec(name) for name in PACKAGES)
    places = (str(Path(spec.origin).parent.parent) for spec in found if spec is not None and spec.origin)
    return tuple(dict.fromkeys(places))
