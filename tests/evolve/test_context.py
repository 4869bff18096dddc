"""What a stage is given: a reasoner that is compiled before it is searched with, if the run says so."""

import dataclasses
from pathlib import Path

import pytest

from rstar_jax.assemble import Reasoner
from rstar_jax.decode import DecodeConfig
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.rounds import TINY_BASE
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report.progress import Progress
from rstar_jax.search import Leaf
from rstar_jax.types import Problem


@pytest.mark.parametrize("precompile", [False, True])
def test_a_reasoner_is_compiled_ahead_where_the_run_says_so(tmp_path: Path, precompile: bool) -> None:
    # A shape of its own, which nothing before has compiled.
    decode = DecodeConfig(leaves=3, rows=1, max_step_tokens=16, context=128, precompile=precompile)
    settings = dataclasses.replace(RunSettings(), decode=decode)
    with Workdir(tmp_path, settings) as work, Progress(enabled=False) as progress:
        context = Context(settings, work, progress, TINY_BASE, TINY_BASE, [], [])
        made = context.reasoner(Models(TINY_BASE, None, "finetuned"), context.sandbox())
    assert isinstance(made, Reasoner)
    before = compiled(made)
    assert (before > 0) == precompile
    leaf = Leaf(Problem("p", "What is 2 plus 3?", "5"), (), tree=0, node=0, n=1, temperature=1.0)
    assert len(made.functions(1).propose([leaf])[0]) == 1
    assert (compiled(made) == before) == precompile


def compiled(made: Reasoner) -> float:
    engine = made.result()["engine"]
    assert isinstance(engine, dict)
    return engine["compile_seconds"]
