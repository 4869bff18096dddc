"""A real language model, where RSTAR_REAL_MODEL names the folder of one that was never trained on steps."""

import os
from pathlib import Path

import pytest

from rstar_jax.engine import DecodeConfig
from rstar_jax.inference import Reasoner
from rstar_jax.queues import call
from rstar_jax.sandbox import Sandbox
from rstar_jax.search import Leaf
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Problem

pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif("RSTAR_REAL_MODEL" not in os.environ, reason="RSTAR_REAL_MODEL names no folder"),
]
QUESTIONS = ("Tom has 3 bags of 14 apples and 2 more. How many apples has he?", "What is 17 times 4 minus 9?")


def test_its_steps_open_code_behind_the_bootstrap_prompt():
    """As the examples in the prompt do: no token reaches across its end, no end of text comes first."""
    folder = Path(os.environ["RSTAR_REAL_MODEL"])
    decode = DecodeConfig(leaves=2, rows=8, max_step_tokens=8, context=1280, chunk=8)
    leaves = [
        Leaf(Problem(str(i), question, ""), (), tree_index=0, node=0, n=8, temperature=0.7)
        for i, question in enumerate(QUESTIONS)
    ]
    with Sandbox(workers=1) as sandbox:
        task = Checker(MathTask(), sandbox)
        made = Reasoner(folder, None, task, role="bootstrap", decode=decode, dtype="float32", seed=0)
        found = [candidate for each in call(made.queues(1).propose, leaves) for candidate in each]
    assert sum(candidate.text.startswith(CODE_STEPS.opening) for candidate in found) >= len(found) - 1
    never = Tokenizer.load(folder, CODE_STEPS).control_ids
    assert never and not any(never & set(candidate.tokens) for candidate in found)
