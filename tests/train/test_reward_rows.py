"""Files of pairs and of values become the batches that a plain encoding of their rows makes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstar_jax import parquet, records
from rstar_jax.curate import StepValues
from rstar_jax.data import row_tokens
from rstar_jax.data.row_file import RowFile
from rstar_jax.models import DecoderConfig, RewardModel, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import Batch, PpmBatches, TrainConfig, ppm, pqm, train_ppm, train_pqm
from rstar_jax.train.host_rows import Rows
from rstar_jax.types import PreferencePair

CONFIG = TrainConfig(epochs=2, batch=6, seq_len=128, microbatch=2)
QUESTIONS = ("add 8 and 9", "what is left?", "how many boxes?")


def step(number: int) -> str:
    return CODE_STEPS.render([f"x = {number}", "print(x)"])[0]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["x = 0", "print(x)"], 300, CODE_STEPS)


@pytest.fixture
def model(tokenizer: Tokenizer) -> RewardModel:
    return from_policy(init_random(DecoderConfig(tokenizer.vocab_size, 16, 1, 2, 1, 8, 32), 0))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_tokens, "CHUNK", 5)


def pairs() -> list[PreferencePair]:
    """Those of three questions, one among the other, one of them longer than a row."""
    rng, found = np.random.default_rng(0), []
    for number in range(23):
        depth, question = int(rng.integers(0, 3)), QUESTIONS[int(rng.integers(3))]
        before, sides = [step(i) for i in range(depth)], [(step(i),) for i in rng.permutation(50)[:2]]
        weight = float(rng.choice([0.25, 0.5, 1.0]))
        pair = PreferencePair(question, question, tuple(before), *sides, 1.0, weight, False, 1)
        found.append(dataclasses.replace(pair, positive=pair.positive * 99) if number == 7 else pair)
    return found


def values() -> list[StepValues]:
    rng, found = np.random.default_rng(1), []
    for _ in range(17):
        depth, question = int(rng.integers(1, 4)), QUESTIONS[int(rng.integers(3))]
        q = tuple(rng.choice([-1.0, 0.5, 1.0], depth).tolist())
        weights = (*rng.integers(0, 2, depth - 1).astype(float).tolist(), 1.0)
        steps = tuple(step(int(rng.integers(3))) for _ in range(depth))
        found.append(StepValues(question, question, steps, q, weights, 1))
    return found


def rows_of_questions(rows: Sequence[Any]) -> list[np.ndarray]:
    known: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        known.setdefault(row.question, []).append(number)
    return [np.array(numbers) for numbers in known.values()]


def plain_pairs(rows: Sequence[PreferencePair], tokenizer: Tokenizer) -> PpmBatches:
    """Batches of texts that are encoded whenever they are asked for."""

    def ids(pair: PreferencePair, side: Sequence[str]) -> np.ndarray:
        every = tokenizer.encode_solution(pair.question.upper(), (*pair.prefix, *side))[0]
        return np.array(every, np.int32)

    weights = np.array([row.weight for row in rows], np.float32)
    return PpmBatches(
        lambda i: (ids(rows[i], rows[i].positive), ids(rows[i], rows[i].negative)),
        rows_of_questions(rows),
        weights,
        CONFIG,
        3,
    )


def plain_values(rows: Sequence[StepValues], tokenizer: Tokenizer) -> pqm.PqmBatches:
    def way(number: int) -> pqm.Way:
        row = rows[number]
        prompt = row.question.upper()
        ends = [
            len(tokenizer.encode_solution(prompt, row.steps[:k])[0]) - 1 for k in range(1, len(row.steps) + 1)
        ]
        ids = tokenizer.encode_solution(prompt, row.steps)[0]
        told = (np.array(some, np.float32) for some in (row.values, row.weights))
        return pqm.Way(np.array(ids, np.int32), np.array(ends), *told)

    sizes = functools.partial(Rows.sizes, None, CONFIG.microbatch)
    return pqm.PqmBatches(way, rows_of_questions(rows), CONFIG, 3, sizes)


class Learnt(Exception):
    """Data that a training was about to learn. batches, data, dropped: as `fit` was given them."""

    def __init__(self, batches: Callable[[int], Batch], given: dict[str, Any]) -> None:
        super().__init__()
        self.batches, self.given = batches, given


@pytest.mark.parametrize("kind", ["pairs", "values"])
def test_files_are_learnt_as_a_plain_encoding_of_their_rows_would_be(
    kind: str, tokenizer: Tokenizer, model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learnt(model: Any, batches: Any, loss: Any, config: Any, **given: Any) -> None:
        raise Learnt(batches, given)

    rows, made, module, train, plain = {
        "pairs": (pairs(), PreferencePair, ppm, train_ppm, plain_pairs),
        "values": (values(), StepValues, pqm, train_pqm, plain_values),
    }[kind]
    monkeypatch.setattr(module, "fit", learnt)
    parquet.write_rows(tmp_path / "rows.parquet", made, rows)
    expected, told, calls = plain(rows, tokenizer), [], []
    arrays = row_tokens.RowEncoder.__call__
    monkeypatch.setattr(
        row_tokens.RowEncoder, "__call__", lambda *args: calls.append(len(args[1])) or arrays(*args)
    )
    file = RowFile(tmp_path / "rows.parquet", made)
    for given, folder in ((file, tmp_path / "t"), (file, tmp_path / "t"), (file, None), (rows, None)):
        with pytest.raises(Learnt) as found:
            train(
                model,
                given,
                tokenizer,
                str.upper,
                CONFIG,
                seed=3,
                tokens=folder,
                on_row=lambda *at: told.append(at),
            )
        batches = found.value.batches
        asked = found.value.given
        assert (asked["dropped"], asked["data"]) == (expected.dropped, expected.digest())
        assert asked["total_steps"] == expected.total_steps > 4
        for number in range(expected.total_steps):
            one, other = batches(number), expected(number)
            assert (one.examples, one.tokens) == (other.examples, other.tokens)
            for mine, its in zip(one.microbatches, other.microbatches, strict=True):
                assert mine.keys() == its.keys()
                for name in mine:
                    assert mine[name].dtype == its[name].dtype
                    np.testing.assert_array_equal(mine[name], its[name], err_msg=name)
    pieces = -(-len(rows) // 5)
    assert len(calls) == 3 * pieces and max(calls) == 5  # those that are there are not made again
    assert told[pieces - 1] == (len(rows), len(rows))
    assert expected.dropped == (1 if kind == "pairs" else 0)


def test_values_that_are_none_are_refused_with_their_file(
    tokenizer: Tokenizer, model: RewardModel, tmp_path: Path
) -> None:
    rows = [*values(), dataclasses.replace(values()[0], values=(2.0,), weights=(1.0,), steps=("a",))]
    parquet.write_rows(tmp_path / "values.parquet", StepValues, rows)
    file = RowFile(tmp_path / "values.parquet", StepValues)
    with pytest.raises(records.Damaged, match=r"values\.parquet: damaged .*values \(2\.0,\), from -1 to 1"):
        train_pqm(model, file, tokenizer, str, CONFIG, tokens=tmp_path / "t")
    with pytest.raises(records.Damaged, match=r"values\.parquet: damaged .*from -1 to 1 expected"):
        list(file)
