"""The examples in the comments above regular expressions: `takes` these, `not` those."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from rstar_jax import grading

_COMPILED = re.compile(r"((?:^#.*\n)*)^(\w+) = re\.compile\(", re.MULTILINE)
# reading.py is for a process of its own, and imports its neighbours as scripts do; passing.py reads bytes.
_FILES = [
    path
    for path in sorted(Path(grading.__file__).parent.glob("*.py"))
    if path.stem not in ("reading", "passing") and _COMPILED.search(path.read_text())
]


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_patterns_take_the_examples_above_them(path):
    module, source = importlib.import_module(f"rstar_jax.grading.{path.stem}"), path.read_text()
    for comment, name in _COMPILED.findall(source):
        pattern = getattr(module, name)
        match = pattern.fullmatch if f"{name}.fullmatch" in source else pattern.search
        _, takes, examples = comment.replace("\n# ", " ").partition("# takes ")
        assert takes, f"{name} has no example"
        taken, _, others = (re.findall("`(.+?)`", part) for part in examples.partition(", not "))
        assert taken and [text for text in taken if not match(text)] == [], name
        assert [text for text in others if match(text)] == [], name
