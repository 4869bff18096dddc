"""The loader on real benchmarks, where a folder of them is named."""

import os
from pathlib import Path

import pytest

from rstar_jax.data.load import load_problems

FOLDER = os.environ.get("RSTAR_DATA_DIR", "")
NAMES = ("gsm8k_train", "gsm8k_test", "math500", "aime2024", "olympiadbench")


@pytest.mark.external
@pytest.mark.skipif(not FOLDER, reason="RSTAR_DATA_DIR is unset")
@pytest.mark.parametrize("name", NAMES)
def test_a_real_benchmark_loads_whole(name):
    path = Path(FOLDER) / f"{name}.jsonl"
    problems = load_problems(str(path), seed=0, split="train")
    with open(path, encoding="utf-8") as file:
        assert len(problems) == sum(1 for line in file if line.strip())
    assert all(p.question and p.answer for p in problems)
