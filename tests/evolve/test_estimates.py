"""Estimates by what is known: solutions of the suite, rows that are curated, the pace of earlier rounds."""

import collections
import dataclasses
import json
import types

import numpy as np
import pytest

from rstar_jax import compilations, models, parquet, records, weights
from rstar_jax.curate import StepValues
from rstar_jax.data.load import load_problems
from rstar_jax.data.solution_tokens import SolutionEncoder
from rstar_jax.evolve import known_sizes, learnt_sizes
from rstar_jax.evolve.announce import by_stage
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.kept import by_own_pace, estimated, keep_estimates, keep_later
from rstar_jax.evolve.rounds import shape_of
from rstar_jax.evolve.settings import RunSettings, TrainSettings
from rstar_jax.manifests import MANIFEST
from rstar_jax.plan import needs
from rstar_jax.plan.needs import Machine
from rstar_jax.plan.texts import Prompts, Solutions
from rstar_jax.report.sections import StageTimes
from rstar_jax.train import PolicyBatches, TrainConfig
from rstar_jax.train.policy import example_of
from rstar_jax.train.ppm import pair_batches
from rstar_jax.train.tree_rows import by_question
from rstar_jax.types import PreferencePair, SftRow
from rstar_jax.weights import TINY_BASE
from tests.data.sum_trees import solution

ONE = TrainConfig(seq_len=512)


def context(root, reward="ppm", train=()):
    settings = RunSettings(train=TrainSettings(reward=reward))
    work = types.SimpleNamespace(root=root)
    return Context(
        settings=settings,
        work=work,
        progress=None,
        base=TINY_BASE,
        bootstrap=TINY_BASE,
        train=train,
        heldout=[],
    )


def pairs(questions: int) -> list[PreferencePair]:
    """One to three pairs a question, which share what stands before."""
    found = []
    for n in range(questions):
        right = solution(n, 3, "+")
        for k in range(1 + n % 3):
            wrong = solution(n, 3 + k, "-")
            question = f"What is {n} plus 3?" + " Say it." * (n % 7)
            found.append(
                PreferencePair(f"p{n}", question, (right[0],), (right[1],), (wrong[1],), 2, 1, False, 1)
            )
    return found


def read_by_a_training(of: Context, rows) -> int:
    """Tokens of the trees that an epoch of a training reads."""
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    batches = pair_batches(model, rows, of.tokenizer(TINY_BASE), of.prompt("ppm"), ONE)
    return sum(len(batches.rows.tree(group).tokens) for group in range(len(batches.groups)))


@pytest.mark.parametrize(("questions", "within"), [(40, 1.0), (900, 1.1)])
def test_pairs_are_counted_as_trees_of_questions(tmp_path, questions, within):
    rows = pairs(questions)
    parquet.write_rows(tmp_path / "pairs.parquet", PreferencePair, rows)
    found = learnt_sizes.of_reward_rows(context(tmp_path), tmp_path / "pairs.parquet", ONE)
    actual = read_by_a_training(context(tmp_path), rows)
    assert found.rows == len(rows) and found.long == 0
    assert actual / within <= found.tokens <= actual * within


def solutions(questions: int) -> list[SftRow]:
    """One to three solutions a question, which share the prompt and some the first step."""
    return [
        SftRow(
            f"p{n}", f"What is {n} plus 3?" + " Say it." * (n % 7), tuple(solution(n, 3, "+", name)), 1, 1, 1
        )
        for n in range(questions)
        for name in ("x", "total", "x")[: 1 + n % 3]
    ]


@pytest.mark.parametrize(("questions", "within"), [(40, 1.0), (300, 1.1)])
def test_solutions_are_counted_as_trees_of_questions(tmp_path, questions, within):
    rows, of, path = solutions(questions), context(tmp_path), tmp_path / "sft.parquet"
    parquet.write_rows(path, SftRow, rows)
    found = learnt_sizes.of_solutions(of, path, ONE)
    encoder = SolutionEncoder(of.tokenizer(TINY_BASE), of.prompt("finetuned"))
    encoded = [encoder.arrays(row, collections.Counter()) for row in rows]
    numbers = by_question(np.array([row.question for row in rows]))
    examples = [example_of(**arrays) for arrays in encoded]
    groups = PolicyBatches(examples, ONE, 0, questions=numbers).groups
    actual = sum(groups.outline(group).total for group in range(len(groups)))
    assert found.rows == len(rows) and found.long == 0
    assert actual / within <= found.tokens <= actual * within
    assert actual < 0.9 * sum(len(example.tokens) for example in examples)


def test_long_solutions_are_left_out_or_cut(tmp_path):
    path = tmp_path / "sft.parquet"
    parquet.write_rows(path, SftRow, solutions(3))
    out, cut = (
        learnt_sizes.of_solutions(context(tmp_path), path, TrainConfig(seq_len=8, long=long))
        for long in ("drop", "truncate")
    )
    assert out.long == cut.long == out.looked_at == 6
    assert out.tokens == 0 < cut.tokens <= 6 * 8
    parquet.write_rows(path, SftRow, [])
    assert learnt_sizes.of_solutions(context(tmp_path), path, ONE).tokens == 0


@pytest.mark.parametrize(("rows", "shapes"), [(100, 2), (499 * 16, 2), (500 * 16, 3), (10**6, 8)])
def test_compiling_counts_the_shapes_that_a_training_pays_for(tmp_path, rows, shapes):
    """As many as `tree_rows.shapes` has for its steps, however many rows a call has."""
    made = context(tmp_path)
    settings = dataclasses.replace(made.settings, train=TrainSettings(policy=TrainConfig(batch=16, epochs=1)))
    shape, prompts = shape_of(TINY_BASE), {("finetuned", "train"): Prompts(30, 40, 50)}
    asked = settings, (shape, shape), prompts, Machine("cpu"), 100, 10, None
    parts = by_stage(*asked, {"round1/policy": (float(rows), 1e6)})["round1/policy"]["parts"]
    by_hand = shape.layers * (needs.UNROLLED_LAYER + (shapes - 1) * needs.UNROLLED_SIZE)
    assert parts["compiling"] == round(by_hand / 2**20)


def test_long_pairs_are_counted_and_no_file_is_too_empty(tmp_path):
    path = tmp_path / "pairs.parquet"
    parquet.write_rows(path, PreferencePair, pairs(3))
    found = learnt_sizes.of_reward_rows(context(tmp_path), path, TrainConfig(seq_len=8))
    assert (found.long, found.tokens) == (found.looked_at, 0) != (0, 0)
    for kind, reward in ((PreferencePair, "ppm"), (StepValues, "pqm")):
        parquet.write_rows(path, kind, [])
        assert learnt_sizes.of_reward_rows(context(tmp_path, reward), path, ONE).tokens == 0


def test_solutions_are_known_of_the_suite_alone(tmp_path):
    suite = load_problems("30", seed=0, split="train")
    known = known_sizes.known(context(tmp_path, train=suite))
    assert known is not None and 2 < known.steps < 9 and 5 < known.step < 30
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"question": "What is 2 plus 3?", "answer": "5"}))
    mine = load_problems(str(file), seed=0, split="train")
    assert known_sizes.known(context(tmp_path, train=mine)) is None


def done(root, name, result, seconds=36.0):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    records.write_signed(
        folder / MANIFEST, {"name": name, "result": result, "seconds": seconds, "outputs": {}}
    )


def test_what_a_round_found_is_what_later_ones_go_by(tmp_path):
    rows = [SftRow(f"p{n}", f"{n}?", tuple(solution(n, 1, "+")), 1, 1, 1) for n in range(8)]
    done(tmp_path, "round1/curate", {"coverage": {"all": 0.5}, "tokens": 600, "steps": 50})
    candidates = RunSettings().search.candidates[0]
    done(tmp_path, "round1/search", {"problems": 10, "tokens": 12 * candidates * 10 * 2})
    parquet.write_rows(tmp_path / "round1/curate/sft.parquet", SftRow, rows)
    found = known_sizes.known(context(tmp_path))
    assert found == Solutions(step=12, steps=3, rows=8 / 5, most=2.0, solved=0.5)


def test_estimates_go_by_known_sizes_and_by_rows_that_are_there(tmp_path):
    made = context(tmp_path)
    prompts = {(kind, "train"): Prompts(30, 40, 50) for kind in ("bootstrap", "finetuned")}
    asked = made.settings, (shape_of(TINY_BASE),) * 2, prompts
    few = Solutions(step=10, steps=4, rows=1, most=9)
    plain, known = (by_stage(*asked, Machine(), 100, 10, sizes) for sizes in (None, few))
    for stage in ("search", "policy", "ppm"):
        assert known[f"round1/{stage}"]["tokens"] < plain[f"round1/{stage}"]["tokens"] / 4
    at_hand = by_stage(*asked, Machine(), 100, 10, few, {"round2/ppm": (20.0, 5000.0)})
    assert at_hand["round2/ppm"]["tokens"] == 5000 != known["round2/ppm"]["tokens"]
    assert at_hand["round1/ppm"] == known["round1/ppm"]


def test_what_earlier_stages_leave_in_a_process_is_counted_on_a_cpu(tmp_path):
    made = context(tmp_path)
    prompts = {(kind, "train"): Prompts(30, 40, 50) for kind in ("bootstrap", "finetuned")}
    asked = made.settings, (shape_of(TINY_BASE),) * 2, prompts

    def left(kind: str) -> list[int | None]:
        found = by_stage(*asked, Machine(kind=kind), 100, 10)
        return [stage["parts"].get("earlier stages") for stage in found.values()]

    first, *others = left("cpu")
    assert first is None and min(map(int, filter(None, others))) >= needs.LEFT / 2**20
    assert len(set(others)) > 1 and None not in others
    assert max(map(int, filter(None, others))) <= needs.LEFT_AT_MOST / 2**20 < compilations.MOST_HELD / 2**20
    assert not any(left("NVIDIA H200"))


def test_later_estimates_stand_beside_the_first_with_the_runs_own_pace(tmp_path):
    first = {name: {"tokens": 100, "hours": 1.0} for name in ("round1/ppm", "round2/ppm", "round3/search")}
    keep_estimates(tmp_path, {"stages": first})
    done(tmp_path, "round1/ppm", {"tokens": 1000}, seconds=3600.0)
    done(tmp_path, "round2/search", {"tokens": 1000}, seconds=3600.0)
    later = {name: {"tokens": 500, "hours": 0.1} for name in ("round2/ppm", "round3/search")}
    keep_later(tmp_path, by_own_pace(tmp_path, later, lambda number: number > 2))
    stages, _ = estimated(tmp_path, [StageTimes(name=name) for name in first])
    one, two, three = (stage.estimate for stage in stages)
    assert one.later is None and (two.tokens, two.hours) == (100, 1.0)
    assert (two.later.tokens, two.later.hours) == (500, 0.5)
    assert three.later.hours == 0.1  # the one before was searched without a PPM
