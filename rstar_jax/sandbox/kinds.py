"""The two kinds of zygote: what each has loaded before its first snippet, what it may import, and the
environment they share."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path
from typing import Literal, NamedTuple

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
# What snippets may import beside the standard library, with what these need. Nothing else that is installed:
# this project's own modules would tell them the answers.
PACKAGES = ("numpy", "sympy", "mpmath")
_SITES = ("site-packages", "dist-packages")

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


class Packages(NamedTuple):
    """Packages that snippets may import.

    versions: of the distributions. modules: each top-level module's name and file. places: folders and files
    that these consist of.
    """

    versions: dict[str, str]
    modules: dict[str, str]
    places: tuple[str, ...]


@functools.cache
def packages() -> Packages:
    """Find `PACKAGES` and what they need, as far as they are installed."""
    versions: dict[str, str] = {}
    tops: dict[str, Path] = {}  # by what they are called in their folder
    pending = list(PACKAGES)
    for name in pending:
        if name in versions:
            continue
        versions[name] = ""
        spec = importlib.util.find_spec(name) if name in PACKAGES else None
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin)
            top = file.parent if file.stem == "__init__" else file
            tops[top.name] = top
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # or one without metadata
        versions[name] = found.version
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            tops[top] = Path(str(found.locate_file(top)))
        needs = (need for need in found.requires or () if "extra ==" not in need)
        pending += [match[0] for need in needs if (match := re.match(r"[\w.-]+", need))]
    places = {top: path.resolve() for top, path in tops.items() if path.exists()}
    modules = {_module(path): file for path in places.values() if (file := _file(path)) is not None}
    return Packages(versions, modules, tuple(sorted(map(str, places.values()))))


def _module(path: Path) -> str:
    return path.name.partition(".")[0]


def _file(path: Path) -> str | None:
    """The file that an import of a top-level name runs, None where it is no module."""
    if path.is_dir():
        path = path / "__init__.py"
        return str(path) if path.parent.name.isidentifier() and path.is_file() else None
    return str(path) if path.suffix in (".py", ".so") and _module(path).isidentifier() else None


@functools.cache
def hidden() -> tuple[str, ...]:
    """Folders that snippets may not read, but for what of `packages` lies in them: those that packages are
    installed into, and this project's."""
    project = Path(__file__).resolve().parents[2]
    parents = {*map(Path, sys.path), *(Path(place).parent for place in packages().places)}
    libraries = [Path(prefix) / "lib" for prefix in (sys.prefix, sys.base_prefix, "/usr", "/usr/local")]
    sites = [path for lib in libraries for name in _SITES for path in lib.glob(f"python*/{name}")]
    sites += [path for path in parents if path.name in _SITES]
    return tuple(sorted({str(path.resolve()) for path in (project, *sites) if path.is_dir()}))
