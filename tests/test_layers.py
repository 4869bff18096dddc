"""The house: which room may import which, read from the imports themselves.

The rooms stand on floors and an arrow may only point down, or to a neighbour in the same row. Host-side
rooms never reach jax, device-side rooms never reach text.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rstar_jax"

# Rows of one floor do not import each other, rooms of one row may.
FLOORS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (6, ("launch", "__main__")),
    (5, ("evolve", "solve", "compare", "sweep", "replay", "pretrain", "view", "pods")),
    (4, ("evaluate", "report")),
    (4, ("inference",)),
    (4, ("plan",)),
    (3, ("search",)),
    (3, ("train",)),
    (2, ("engine",)),
    (2, ("served",)),
    (2, ("weights",)),
    (2, ("curate",)),
    (
        1,
        (
            "models",
            "kernels",
            "transforms",
            "losses",
            "sharding",
            "compilations",
            "kept_programs",
            "distributed",
        ),
    ),
    (1, ("text", "grading", "sandbox", "tasks", "problems", "data")),
    (
        0,
        (
            *("types", "queues", "records", "parquet", "columns", "manifests", "settings", "errors"),
            "scalars",
            "topologies",
            "stores",
            "stopping",
            "mirror",
        ),
    ),
)
ROW = {room: row for row, (_, rooms) in enumerate(FLOORS) for room in rooms}
FLOOR = {room: floor for floor, rooms in FLOORS for room in rooms}

DEVICE_SIDE = {
    "models",
    "kernels",
    "transforms",
    "losses",
    "sharding",
    "compilations",
    "kept_programs",
    "distributed",
}
TEXT = {"text", "grading", "sandbox", "tasks", "problems", "data"}
NEVER = {
    **{room: TEXT for room in DEVICE_SIDE},
    "search": {*DEVICE_SIDE, *TEXT, "weights", "engine", "train"},
    "train": {"search"},
}
# Rooms, and single modules, that must come up without jax: a host without devices uses them.
HOST_SIDE = (
    *sorted(TEXT),
    "types",
    "records",
    "parquet",
    "settings",
    "errors",
    "scalars",
    "topologies",
    "stores",
    "mirror",
    "report",
    "search",
    "plan.estimate",
    "data.clean",
    "evolve.shards",
    "evaluate.judge",
    "served",
    "served.policy",
    "compare",
    "compare.job",
)
JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex", "qwix"}

Sources = Mapping[str, str]  # dotted module name without the package -> its source


def read_package() -> dict[str, str]:
    """Every module of the package; a room's __init__ goes by the room's name, the package's own by ""."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def imports(name: str, sources: Sources) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it, functions and TYPE_CHECKING included."""
    is_package = any(other.startswith(f"{name}.") for other in sources) or not name
    for node in ast.walk(ast.parse(sources[name], filename=name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: from the package this module lies in
                here = ["rstar_jax", *filter(None, name.split("."))]
                keep = len(here) - node.level + is_package
                base = ".".join([*here[:keep], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own(target: str, sources: Sources) -> str | None:
    """The package's module that an imported name lies in, None for other packages."""
    if target.split(".")[0] != "rstar_jax":
        return None
    inner = target.removeprefix("rstar_jax").removeprefix(".")
    while inner and inner not in sources:
        inner = inner.rpartition(".")[0]
    return inner


def room(name: str) -> str:
    return name.split(".")[0]


def violations(sources: Sources) -> list[str]:
    """Every broken rule, in words."""
    broken = []
    for name in sources:
        here = room(name)
        if "utils" in name.split("."):
            broken.append(f"{name}: a module named utils; name it by what it holds")
        if here and here not in FLOOR:
            broken.append(f"{name}: a room that has no floor; add it to FLOORS and to WORKSPACE.md")
            continue
        for target in imports(name, sources):
            if target.split(".")[0] in ("configs", "launch"):
                broken.append(f"{name} imports {target}: nobody imports configs")
            inner = own(target, sources)
            there = room(inner or "")
            if not there or there == here or there not in FLOOR:
                continue
            if not here:
                broken.append(
                    f"rstar_jax/__init__.py imports {there}: every import of the package would pay for it"
                )
            elif there in NEVER.get(here, ()):
                broken.append(f"{name} imports {target}: {here} never imports {there}")
            elif FLOOR[there] >= FLOOR[here] and ROW[there] != ROW[here]:
                broken.append(
                    f"{name} imports {target}: an arrow from floor {FLOOR[here]} to floor {FLOOR[there]}"
                )
    return broken + reaches_jax(sources) + circles(sources)


def reaches_jax(sources: Sources) -> list[str]:
    """Host-side modules that import jax, themselves or through modules of ours, with the way there."""
    broken, loaded = [], functools.cache(lambda name: list(imports_at_load(name, sources, every=False)))
    for start in sources:
        if not any(start == host or start.startswith(f"{host}.") for host in HOST_SIDE):
            continue
        parts = start.split(".")
        parents = [".".join(parts[: i + 1]) for i in range(len(parts))]  # importing a.b runs a, too
        queue = [module for module in parents if module in sources]
        ways = {module: start for module in queue}
        while queue:
            name = queue.pop()
            for target in imports_at_load(name, sources, every=True) if name == start else loaded(name):
                if target.split(".")[0] in JAX:
                    broken.append(f"{ways[name]} -> {target}: host-side modules never reach jax")
                inner = own(target, sources)
                parts = inner.split(".") if inner else []
                for module in (".".join(parts[: i + 1]) for i in range(len(parts))):
                    if module in sources and module not in ways:
                        ways[module] = f"{ways[name]} -> {module}"
                        queue.append(module)
    return broken


def imports_at_load(name: str, sources: Sources, *, every: bool) -> Iterator[str]:
    """What importing a module imports; with `every` also jax itself inside its functions."""
    tree = ast.parse(sources[name], filename=name)
    late = set()
    for node in ast.walk(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if is_typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late.update(ast.unparse(n) for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom))
    early = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)} - late
    loaded = dict(sources) | {name: "\n".join(sorted(early))}
    yield from imports(name, loaded)
    if every:
        yield from (t for t in imports(name, sources) if t.split(".")[0] in JAX)


def circles(sources: Sources) -> list[str]:
    """Rooms that import each other, directly or round about."""
    arrows: dict[str, set[str]] = {}
    for name in sources:
        targets = (room(own(target, sources) or "") for target in imports(name, sources))
        arrows.setdefault(room(name), set()).update(t for t in targets if t and t != room(name))

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            new = arrows.get(queue.pop(), set()) - seen
            seen |= new
            queue += new
        return seen

    return [
        f"{start}: imports itself round about"
        for start in sorted(arrows)
        if start and start in reached(start)
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_package()


def test_arrows_point_down(sources):
    assert violations(sources) == []


def test_rooms_of_the_plan_are_there(sources):
    assert {room(name) for name in sources} - {""} == set(FLOOR)


def test_host_side_comes_up_without_jax():
    """As the imports say, but including what other packages bring along."""
    hosts = ", ".join(f"rstar_jax.{host}" for host in HOST_SIDE)
    code = f"import sys, {hosts}; print(*sorted({JAX!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_only_the_configuration_knows_tasks_by_name(sources):
    """The pretraining of the bundled model is of mathematics; all else asks TASKS for what is configured."""
    names = {"MathTask", "CodeTask", "math_task", "code_task"}
    for name, source in sources.items():
        used = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
        used |= {part for target in imports(name, sources) for part in target.split(".")}
        assert room(name) == "tasks" or name == "pretrain" or not used & names, name


def test_only_tasks_and_what_they_stand_on_know_delimiters_by_name(sources):
    """All else is handed a grammar; the suite's worked solutions are those of the bundled base's task."""
    for name, source in sources.items():
        names = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
        imported = {part for target in imports(name, sources) for part in target.split(".")}
        knows = "CODE_STEPS" in names | imported or "<end_of_" in ast.unparse(code(source))
        assert room(name) in ("tasks", "text") or name == "problems.worked" or not knows, name


def code(source: str) -> ast.Module:
    """A module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return tree


HOUSE = {
    "": "",
    "types": "import dataclasses",
    "models": "import jax\nfrom rstar_jax.types import Finish",
    "models.decoder": "import jax.numpy as jnp\nfrom rstar_jax import sharding",
    "sharding": "import jax",
    "text": "from rstar_jax.types import Problem",
    "text.grammar": "import re",
    "grading": "from rstar_jax.text.grammar import boxed",
    "engine": "from rstar_jax.models import decoder",
    "search": "import rstar_jax.types",
    "train": "from rstar_jax.models.decoder import Decoder",
    "evolve": "",
    "plan": "",
    "plan.estimate": "import json",
}


def test_a_sound_house_passes():
    assert violations(HOUSE) == []


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("types", "from rstar_jax import text", "floor 0 to floor 1"),
        ("engine", "def f():\n    from rstar_jax.search import mcts", "floor 2 to floor 3"),
        ("models.decoder", "from rstar_jax.engine import x", "floor 1 to floor 2"),
        ("models.decoder", "from ..text import grammar", "models never imports text"),
        (
            "models.decoder",
            "from rstar_jax.types import X\nimport rstar_jax.grading as v",
            "never imports grading",
        ),
        ("search", "import rstar_jax.engine", "search never imports engine"),
        ("search", "from rstar_jax import models", "search never imports models"),
        ("train", "from rstar_jax.search import Leaf", "train never imports search"),
        (
            "train",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rstar_jax.search",
            "never",
        ),
        ("evolve", "from rstar_jax import launch", "floor 5 to floor 6"),
        ("evolve", "from configs import quickstart", "nobody imports configs"),
        ("text.grammar", "import jax.numpy as jnp", "never reach jax"),
        ("text.grammar", "def f():\n    import flax", "never reach jax"),
        ("grading", "from rstar_jax import sharding", "never reach jax"),
        ("text", "from rstar_jax.grading import x", "imports itself round about"),
        ("plan", "import optax", "never reach jax"),
        ("text.utils", "", "named utils"),
        ("", "from rstar_jax.models import decoder", "every import of the package"),
        ("attic", "", "no floor"),
    ],
)
def test_a_planted_violation_is_found(module, source, why):
    house = {"launch": "", **HOUSE, module: source}
    assert any(why in broken for broken in violations(house)), violations(house)
