"""The project's own hostile snippets, by category."""

from tests.sandbox.hostile.corpus import (
    crashes,
    escape,
    exceptions,
    forging,
    hangs,
    persistence,
    resources,
    syscalls,
    texts,
)

CASES = [
    *(*escape.CASES, *syscalls.CASES, *resources.CASES, *hangs.CASES),
    *(*forging.CASES, *exceptions.CASES, *persistence.CASES, *crashes.CASES, *texts.CASES),
]
