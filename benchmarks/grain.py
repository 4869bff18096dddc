"""The grain of the code: length, comments, functions and class names, read from the source itself.

    python benchmarks/grain.py [DIR ...]

A row for each folder (default: rstar_jax), as Markdown. It describes; no number here is a target. Docstrings
count as nonblank lines, not as comments. A function is every `def`, methods and nested ones included; its
length is its nonblank lines from `def` to its end, docstring included, decorators not. A class name counts
where classes of that name are defined in two or more modules.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import io
import statistics
import tokenize
from pathlib import Path

HEADER = (
    "| nonblank lines | comment lines and inline | functions per 100 lines | median function "
    "| functions of 5 lines or fewer | class names in several modules |"
)


@dataclasses.dataclass(frozen=True)
class Grain:
    """Counts of one folder. lengths: nonblank lines of each function. shared: class names of several
    modules."""

    nonblank: int
    comments: int
    inline: int
    lengths: list[int]
    shared: list[str]

    def row(self, name: str) -> str:
        def percent(part: float, whole: int) -> float:
            return 100 * part / max(1, whole)

        short = sum(length <= 5 for length in self.lengths)
        median = statistics.median(self.lengths) if self.lengths else 0
        return (
            f"| {name} {self.nonblank:,} | {percent(self.comments, self.nonblank):.1f} + "
            f"{percent(self.inline, self.nonblank):.1f} % | {percent(len(self.lengths), self.nonblank):.1f} "
            f"| {median:g} | {percent(short, len(self.lengths)):.0f} % | {len(self.shared)} |"
        )


def measure(root: Path) -> Grain:
    """Read every .py file below `root`, but for hidden folders and links (a wheel's configs)."""
    nonblank = comments = inline = 0
    lengths, modules = list[int](), collections.defaultdict[str, set[Path]](set)
    for path in sorted(root.rglob("*.py")):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        source = path.read_text()
        lines = source.splitlines()
        nonblank += sum(bool(line.strip()) for line in lines)
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                comments, inline = comments + alone, inline + (not alone)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = lines[node.lineno - 1 : node.end_lineno]
                lengths.append(sum(bool(line.strip()) for line in body))
            elif isinstance(node, ast.ClassDef):
                modules[node.name].add(path)
    shared = sorted(name for name, paths in modules.items() if len(paths) > 1)
    return Grain(nonblank, comments, inline, lengths, shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("roots", nargs="*", type=Path, metavar="DIR", help="folders of Python source")
    roots = parser.parse_args().roots or [Path(__file__).parents[1] / "rstar_jax"]
    grains = [(root, measure(root)) for root in roots]
    print(HEADER, "|---" * 6 + "|", *(grain.row(root.name) for root, grain in grains), sep="\n")
    for root, grain in grains:
        print(f"\n{root.name}, class names in several modules: {', '.join(grain.shared) or 'none'}")


if __name__ == "__main__":
    main()
