"""What the stages that learn add to the trainings themselves."""

import contextlib
import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers

from rstar_jax import curate as curation
from rstar_jax import models, parquet, train, weights
from rstar_jax.curate import CurateConfig, StepValues
from rstar_jax.data.corrections import corrections
from rstar_jax.errors import UserError
from rstar_jax.evolve.curate_stage import curate, failures, ungradable
from rstar_jax.evolve.search_stages import unknown_steps
from rstar_jax.evolve.settings import RunSettings, TrainSettings
from rstar_jax.evolve.suspects import never_graded
from rstar_jax.evolve.train_stages import training_mesh
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.transforms.lora import LoraConfig
from rstar_jax.types import Node, PreferencePair, Problem, SftRow, Tree
from rstar_jax.weights import TINY_BASE


@pytest.fixture
def lacking() -> Tokenizer:
    """A tokenizer without the grammar's tokens."""
    content = json.loads((TINY_BASE / "tokenizer.json").read_text())
    content["added_tokens"] = content["added_tokens"][:1]
    for token in CODE_STEPS.delimiters:
        del content["model"]["vocab"][token]
    content["model"]["vocab"] = {token: i for i, token in enumerate(content["model"]["vocab"])}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), CODE_STEPS)


@pytest.mark.parametrize("unused", [0, 40])
def test_new_tokens_start_from_their_text_even_where_the_vocabulary_has_room(lacking, unused):
    """As that of Qwen2.5, which has 271 rows that no token of its tokenizer uses."""
    spelt = {token: lacking.encode(token) for token in CODE_STEPS.delimiters}
    first, base = lacking.vocab_size, weights.load_pretrained(TINY_BASE)
    trained = np.asarray(base.params()["embed"])[:first]
    grown = train.with_delimiters(models.resize_vocab(base, first + unused), lacking, "tokens")
    embed = np.asarray(grown.params()["embed"])
    assert len(embed) == first + max(unused, len(CODE_STEPS.delimiters))
    np.testing.assert_array_equal(embed[:first], trained)
    usual = np.linalg.norm(trained, axis=-1).mean()
    for token, pieces in spelt.items():
        (at,) = lacking.encode(token)
        mean = trained[pieces].mean(axis=0)
        np.testing.assert_allclose(embed[at], mean * usual / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        embed[lacking.vocab_size :],
        trained.mean(axis=0)[None].repeat(len(embed) - lacking.vocab_size, 0),
        atol=1e-6,
    )


def test_low_rank_training_teaches_tokens_that_the_base_lacks(lacking, tmp_path):
    """Their rows and no others change, in the folder, too; the PPM trains them on."""
    steps = (
        f"{CODE_STEPS.opening}\nt = 2 + 3\nprint(t)\n{CODE_STEPS.end_code}",
        f"{CODE_STEPS.answer}5{CODE_STEPS.end_answer}",
    )
    new = range(lacking.vocab_size, lacking.vocab_size + len(CODE_STEPS.delimiters))
    base = models.resize_vocab(weights.load_pretrained(TINY_BASE), new.start)
    model = train.with_delimiters(base, lacking, "tokens")
    before = np.asarray(model.params()["embed"])
    config = train.TrainConfig(
        epochs=3, batch=2, seq_len=128, microbatch=1, learning_rate=1e-2, lora=LoraConfig(rank=2)
    )
    rows = [SftRow(str(i), f"What is 2 plus {i}?", steps, 1.0, 1.0, 1) for i in range(2)]
    options = lacking, PROMPTS["finetuned"], config
    summary = train.train_policy(model, rows, *options, new_tokens=new)
    assert summary.last_loss < summary.first_loss
    weights.save_pretrained(model, tmp_path, tokenizer_from=lacking)
    policy, again = weights.load_pretrained(tmp_path), Tokenizer.load(tmp_path, CODE_STEPS)
    assert again.vocab_size == new.stop == policy.config.vocab_size and again.stop_ids
    embed = np.asarray(policy.params()["embed"])
    np.testing.assert_array_equal(embed[: new.start], before[: new.start])
    written = [
        again.encode(token)[0] for token in (CODE_STEPS.opening, CODE_STEPS.end_code, CODE_STEPS.end_answer)
    ]
    assert (np.abs(embed - before).max(axis=1)[written] > 1e-3).all()

    ppm = models.from_policy(policy)
    pairs = [PreferencePair("0", "What is 2 plus 0?", (), steps[:1], steps[1:], 1.0, 1.0, False, 1)]
    train.train_ppm(ppm, pairs, *options, new_tokens=new)
    taught = np.asarray(ppm.decoder.params()["embed"])
    np.testing.assert_array_equal(taught[: new.start], embed[: new.start])
    assert (np.abs(taught - embed).max(axis=1)[written] > 1e-3).all()


def test_a_mesh_that_the_devices_do_not_fit_is_named():
    train_settings = TrainSettings(mesh=MeshConfig(tensor=2))
    with pytest.raises(UserError, match=r"config\.train\.mesh: .*tensor=2.* 1 devices"):
        training_mesh(
            SimpleNamespace(settings=RunSettings(train=train_settings)),  # type: ignore[arg-type]
            train_settings.policy,
            weights.check_pretrained(TINY_BASE),
        )


def test_a_vocabulary_that_has_them_stays_as_it_is():
    base = weights.load_pretrained(TINY_BASE)
    assert train.with_delimiters(base, Tokenizer.load(TINY_BASE, CODE_STEPS), "tokens") is base


def tree(problem: str, *ends: str) -> Tree:
    """A tree of one step for each end: a grade, or the status of a step without one."""
    nodes = [Node(-1, "", "ok", 0, 0, 0.0)]
    for end in ends:
        graded = end in ("right", "wrong", "ungraded")
        nodes.append(Node(0, "", "answer" if graded else end, 1, 0, 0.0, grade=end if graded else None))
    return Tree(Problem(problem, "?", "!"), 1, 0, 1, tuple(nodes))


def test_ungradable_problems_had_answers_and_none_that_was_graded():
    trees = [
        tree("a", "ungraded", "exception"),
        tree("b", "ungraded"),
        tree("b", "ungraded", "wrong"),
        tree("c", "exception"),
        tree("d"),
        tree("e", "ungraded"),
        tree("e", "ungraded"),
    ]
    assert ungradable(trees) == ["a", "e"]


def test_the_note_names_the_first_of_them():
    assert never_graded(["p1"]) == "1 problem has a reference that no answer could be graded against: p1"
    assert never_graded([f"p{i}" for i in range(7)]).endswith(": p0, p1, p2, p3, p4, ...")


def test_a_step_nothing_is_known_of_did_not_die():
    trees = [tree("a", "exception", "unknown"), tree("b", "unknown", "timeout", "right")]
    assert unknown_steps(trees) == 2
    assert failures(trees) == {"exception": 1, "timeout": 1}


def told(folder, **options):
    """Facts of a run that the stage is told. folder: of a round's stage."""
    progress = SimpleNamespace(
        stage=lambda *_: contextlib.nullcontext(), update=lambda *_, **__: None, log=lambda _: None
    )
    settings = dataclasses.replace(RunSettings(), **options)
    task = VerifySettings().make_task()
    return SimpleNamespace(folder=folder, progress=progress, settings=settings, task=task)


def test_problem_by_problem_it_chooses_what_it_would_of_all_trees_at_once(tmp_path):
    """A problem is searched again; a round that finds nothing has the rows of the one before."""

    def searched(i, index):
        ends = [("right", 1.0, 2), ("wrong", -1.0, 1), ("right" if i % 3 else "wrong", 0.5 * index, 3)]
        nodes = [
            Node(0, f"{index} {grade} {q}", "answer", 1, visits, q * visits, answer="1", grade=grade)
            for grade, q, visits in ends[: 3 if i != 2 or index else 1]
        ]
        problem = Problem(f"p{i}", f"{i}?", "1", level=1 + i % 2)
        return Tree(problem, 1, index, 8, (Node(-1, "", "ok", 0, 6, 0.0), *nodes))

    def folder(round, stage):
        return tmp_path / f"{round}" / stage

    trees = [[searched(i, 0) for i in range(5)], [searched(i, 1) for i in (1, 2, 4)]]
    for index, some in enumerate(trees):
        parquet.write_rows(folder(1, "search") / f"trees-{index}-00000.parquet", Tree, some)
    dead = Tree(Problem("p", "?", "1"), 2, 0, 8, (Node(-1, "", "ok", 0, 0, 0.0),))
    parquet.write_rows(folder(2, "search") / "trees-0-00000.parquet", Tree, [dead])
    context = told(folder, train=TrainSettings(reward="pqm"))
    found, later = (curate(context, round, folder(round, "curate")) for round in (1, 2))
    expected = curation.curate([tree for some in trees for tree in some], CurateConfig(), 1, "pqm")
    for file, kind, rows in (
        ("sft.parquet", SftRow, expected.sft),
        ("pairs.parquet", PreferencePair, expected.pairs),
        ("values.parquet", StepValues, expected.values),
    ):
        assert parquet.read_rows(folder(1, "curate") / file, kind) == rows and rows
        if kind is not StepValues:
            assert parquet.read_rows(folder(2, "curate") / file, kind) == rows
    assert (found.sft_rows, found.pairs) == (len(expected.sft), len(expected.pairs))
    assert (found.trajectories, found.steps) == (22, 22) and found.coverage["level2"] == 1.0
    assert found.difficulty == Counter(expected.difficulty.values()) and found.dropped == expected.dropped
    assert (later.sft_rows, later.pairs) == (found.sft_rows, found.pairs)
    assert f"no problem solved; {found.sft_rows} solutions of earlier rounds are used" in later.note


def test_labels_that_may_be_wrong_are_listed_beside_the_rows(tmp_path):
    """In a file that is one of corrections as it is."""
    problem = Problem("p", "How many?", "3", source="own")
    wrong = [Node(0, str(i), "answer", 1, 1, -1.0, answer="4", grade="wrong") for i in range(4)]
    tree = Tree(problem, 1, 0, 8, (Node(-1, "", "ok", 0, 4, 0.0), *wrong))
    parquet.write_rows(tmp_path / "trees-0-00000.parquet", Tree, [tree])
    found = curate(told(lambda round, stage: tmp_path), 1, tmp_path)
    assert found.suspects == ["p: 3, where 4 of 4 trajectories found 4"]
    assert "1 label to look at" in found.note and "curate/suspects.jsonl lists them" in found.note
    mended = corrections(str(tmp_path / "suspects.jsonl"), "config.problems.corrections")
    assert mended(problem).answer == "4"
