"""A decoder small enough to train within a test, and examples for it."""

import jax
import numpy as np
import pytest

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, PpmBatches
from rstar_jax.train.solution_trees import MARKS, solution_tree
from rstar_jax.train.tree_packing import fill
from rstar_jax.train.tree_rows import write

VOCAB = 32


@pytest.fixture
def tiny():
    """Makes equal models: all tests of a session share what is compiled for them."""
    config = DecoderConfig(vocab_size=VOCAB, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    return lambda seed=0: init_random(config, seed)


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return [Example(rng.integers(0, VOCAB, n).astype(np.int32), np.arange(n) >= 3) for n in range(6, 14)]


@pytest.fixture(scope="session")
def _compiled():
    names = []  # JAX has no public way to stop listening
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **about: names.append(about["fun_name"]) if "backend_compile" in event else None
    )
    return names


@pytest.fixture
def heard(_compiled):
    """The names of what this test has compiled so far."""
    _compiled.clear()
    return _compiled


def pack(examples, rows, seq_len):
    """A microbatch of this shape, of examples each of a question of its own."""
    trees = [solution_tree([example]) for example in examples]
    kinds = dict.fromkeys(("tokens", "positions", "segment_ids", "ends"), np.int32) | MARKS
    made = {name: np.zeros((rows, seq_len), kind) for name, kind in kinds.items()}
    made["ends"][:] = np.arange(1, seq_len + 1)
    for part in fill([tree.outline() for tree in trees], rows, seq_len):
        write(made, part, trees[part.number])
    return made


def ppm_batches(tokens, nodes, config, seed=0, rows=None):
    """Batches of pairs of sequences: nodes are lists of (preferred, other, weight), each a question's."""
    pairs = [pair for node in nodes for pair in node]
    questions = np.split(np.arange(len(pairs)), np.cumsum([len(node) for node in nodes])[:-1])
    weights = np.array([weight for _, _, weight in pairs], np.float32)
    return PpmBatches(
        lambda i: (tokens[pairs[i][0]], tokens[pairs[i][1]]), questions, weights, config, seed, rows
    )
