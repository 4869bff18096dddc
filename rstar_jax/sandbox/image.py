"""Facts, besides a program and its limits, that decide what the program prints."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from rstar_jax.sandbox.kinds import ENVIRONMENT, MODULES, packages


def image(layers: Mapping[str, str]) -> str:
    """Interpreter, packages, machine, this folder's sources and the layers of the self-test, as one text."""
    return json.dumps([*_installed(), ENVIRONMENT, MODULES, sorted(layers.items())])


@functools.cache
def _installed() -> tuple[str, ...]:
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    versions = sorted(packages().versions.items())
    return (sys.version, platform.machine(), sources.hexdigest(), json.dumps(versions))
