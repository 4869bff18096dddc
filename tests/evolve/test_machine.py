"""Estimates count the groups of devices that decode, each with pages of its own."""

import dataclasses
import json
from pathlib import Path

from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve import rounds
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report.progress import Progress
from rstar_jax.types import Problem
from rstar_jax.weights import TINY_BASE
from tests.on_devices import printed


def main():
    """Prints groups and bytes of a pool, by devices and tensor axis."""
    problems, found = [Problem("1", "What is 1 + 1?", "2")], []
    for devices, tensor in ((1, 1), (4, 1), (4, 2)):
        decode = DecodeConfig(devices=devices, tensor=tensor)
        settings = dataclasses.replace(RunSettings(), decode=decode)
        work = Workdir(Path("unused"), settings)
        context = Context(settings, work, Progress(False), TINY_BASE, TINY_BASE, problems, problems)
        machine = rounds.machine(context)
        found.append([machine.groups, machine.pool])
    print(json.dumps(found))


def test_a_pool_is_that_of_a_group():
    (one, alone), (four, shared), (two, halved) = json.loads(printed(__file__))
    assert (one, four, two) == (1, 4, 2)
    assert alone / 4 <= shared < alone * 0.3 and alone / 2 <= halved < alone * 0.55


if __name__ == "__main__":
    main()
