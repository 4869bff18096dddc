"""Every stored step again from its provenance; what has changed since is noticed."""

import dataclasses
import shutil

import pytest

from rstar_jax import launch, models, parquet, records, weights
from rstar_jax import replay as replaying
from rstar_jax.evolve import stage_table
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.problems.suite import generate
from rstar_jax.report.progress import Progress
from rstar_jax.settings import from_config
from rstar_jax.types import Tree
from rstar_jax.weights import TINY_BASE

OPTIONS = (
    "--config.search.rollouts=2",
    "--config.search.escalation=((4,),)",
    "--config.search.candidates=3",
    "--config.search.escalation_candidates=((5,),)",
    "--config.search.trees=2",
    "--config.search.shard=3",
    "--config.decode.leaves=4",
    "--config.decode.rows=2",
    "--config.evaluate.strategy=mcts_repeated",
    "--config.evaluate.searches=2",
    "--config.evaluate.rollouts=2",
    "--config.evaluate.candidates=2",
)
SHARD = "round1/search/trees-0-00000.parquet"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run's folder whose three stages that search are done, with models that nobody trained."""
    folder = tmp_path_factory.mktemp("run")
    config = launch.override(launch.load("quickstart").get_config(), list(OPTIONS))
    settings = from_config(RunSettings, config.to_dict())
    train, heldout = (generate(4, seed=1, split=split) for split in ("train", "heldout"))
    with Workdir(folder, settings) as work, Progress(enabled=False) as progress:
        shutil.copytree(TINY_BASE, folder / "round1/policy/model")
        reward = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
        weights.save_reward_model(reward, folder / "round1/ppm/model", tokenizer_from=TINY_BASE)
        context = Context(settings, work, progress, TINY_BASE, TINY_BASE, train, heldout)
        for name in ("base", "search", "evaluate"):
            stage_table.run(context, name, 1)
    return folder


@pytest.fixture
def copy(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


def replay(capsys, folder, *flags):
    status = launch.main(["--config=replay", f"--workdir={folder}", *flags])
    return status, *capsys.readouterr()


def trees(folder, stage):
    return [t for path in sorted((folder / stage).glob("*.parquet")) for t in parquet.read_rows(path, Tree)]


def test_every_step_of_a_run_comes_out_the_same(searched, capsys):
    status, out, err = replay(capsys, searched, "--config.sample=0")
    assert status == 0, out + err
    stages = {"base/evaluate": 4, "round1/evaluate": 8, "round1/search": 4}
    for stage, least in stages.items():
        found = trees(searched, stage)
        assert len(found) >= least and all(tree.policy for tree in found)
        count = sum(len(tree.nodes) - 1 for tree in found)
        assert f"{stage}: {count:,} of {count:,} steps came out the same." in out
    steps = [node for tree in trees(searched, "round1/search") for node in tree.nodes[1:]]
    assert {node.origin.n for node in steps} == {3, 5}  # some problems had more candidates
    assert any(node.cpu_s > 0 for node in steps)
    merged = [tree for tree in trees(searched, "round1/evaluate") if tree.ppm and tree.finals]
    assert {node.origin.tree_index for tree in merged for node in tree.nodes[1:]} == {0, 1}


def test_a_sample_a_tree_or_a_step_alone(searched, capsys):
    (tree, *_), one = trees(searched, "round1/search"), "of 1 steps came out the same"
    for flags, told in (
        (("--config.tree=round1/search", "--config.sample=7"), "round1/search: 7 of 7 steps"),
        ((f"--config.tree={SHARD}:0",), f"round1/search: {len(tree.nodes) - 1} of {len(tree.nodes) - 1} "),
        ((f"--config.tree={SHARD}:0", f"--config.node={len(tree.nodes) - 1}"), f"round1/search: 1 {one}"),
    ):
        status, out, _ = replay(capsys, searched, *flags)
        assert status == 0 and told in out
        assert out.count("came out the same") == 1


@pytest.mark.parametrize(
    ("model", "stage"), [("policy", "round1/evaluate"), ("ppm", "round1/evaluate"), ("seed", "base/evaluate")]
)
def test_another_model_or_seed_is_refused_before_anything_is_sampled(copy, capsys, model, stage):
    if model == "seed":
        config = records.read_signed(copy / "config.json")
        records.write_signed(copy / "config.json", config | {"seed": 1})
    else:
        weights = copy / f"round1/{model}/model/model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, out, err = replay(capsys, copy, f"--config.tree={stage}")
    assert status == 2 and "came out" not in out
    name = {"policy": "policy", "ppm": "PPM", "seed": "seed"}[model]
    assert f"searched with another {name} than there is now" in err
    assert str(weights.parent if model != "seed" else copy / "config.json") in err


def test_a_step_that_was_edited_is_named(copy, capsys):
    rows = parquet.read_rows(copy / SHARD, Tree)
    nodes = list(rows[1].nodes)
    nodes[1] = dataclasses.replace(nodes[1], text=nodes[1].text[:-20] + "an edit" + nodes[1].text[-20:])
    shown = next(i for i, node in enumerate(nodes) if "<output>" in node.text)
    nodes[shown] = dataclasses.replace(nodes[shown], text=nodes[shown].text.replace("<output>", "<output>1"))
    rows[1] = dataclasses.replace(rows[1], nodes=tuple(nodes))
    parquet.write_rows(copy / SHARD, Tree, rows)
    status, out, err = replay(capsys, copy, f"--config.tree={SHARD}:1")
    assert status == 2 and "steps came out otherwise" in err
    assert f"{SHARD}:1, node 1: the policy wrote otherwise: after" in out and "'an edit" in out
    assert f"{SHARD}:1, node {shown}: the interpreter showed otherwise" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--config.tree=round9/search",), "no steps there to replay"),
        (("--config.tree=search",), "a stage in"),
        (("--config.tree=round1/search:3",), "a stage in"),
        ((f"--config.tree={SHARD}:x",), "FILE:ROW expected, the row counted from 0"),
        ((f"--config.tree={SHARD}:99",), "row 99 given, but"),
        ((f"--config.tree={SHARD}:0", "--config.node=999"), "node: 999 given, but"),
        ((f"--config.tree={SHARD}:0", "--config.node=0"), "nobody wrote the root"),
        (("--config.node=3",), "without its tree"),
        (("--config.sample=-1",), "0 (all) or more expected"),
        (("--config.tree=round1/search/nothing.parquet:0",), "no such file"),
        (("--config.tree=round1/search/DONE.json",), "damaged"),
    ],
)
def test_what_is_not_there_is_said(searched, capsys, flags, message):
    status, _, err = replay(capsys, searched, *flags)
    assert status == 2 and message in err and "Traceback" not in err


def under_way(folder, joining):
    """A search whose first three trees have just ended; joining: their shard is there beside them."""
    rows = parquet.read_rows(folder / SHARD, Tree)
    for i, tree in enumerate(rows):
        parquet.write_rows(folder / f"round1/search/trees-0-{i:06d}.tree", Tree, [tree])
    if not joining:
        (folder / SHARD).unlink()
    return rows


@pytest.mark.parametrize("sample", [0, 10_000])
@pytest.mark.parametrize("joining", [False, True])
def test_a_tree_that_is_joined_after_it_was_listed_is_read_from_its_shard(copy, sample, joining):
    rows = under_way(copy, joining)
    settings = replaying.ReplaySettings(tree="round1/search", sample=sample)
    ((_, files, row),) = replaying._stages(settings.tree, copy, 3)
    assert sum(file.suffix == ".tree" for file in files) == (0 if joining else 3)
    if not joining:
        parquet.write_rows(copy / SHARD, Tree, rows)
    for file in copy.glob("round1/search/*.tree"):
        file.unlink()
    found = [c for some in replaying._chosen(copy, files, row, 3, settings) for c in some]
    there = {c.where: c.tree for c in found if c.where.startswith(SHARD)}
    assert len(there) == 3 and all(tree == rows[int(where[-1])] for where, tree in there.items())
    assert len(found) == len({c.where for c in found}) == len(trees(copy, "round1/search"))
    named = replaying.ReplaySettings(tree="round1/search/trees-0-000002.tree:0")
    ((_, files, row),) = replaying._stages(named.tree, copy, 3)
    (((one,),)) = replaying._chosen(copy, files, row, 3, named)
    assert (one.where, one.tree) == (f"{SHARD}:2", rows[2])


def test_stages_come_in_the_order_of_numbers(tmp_path):
    stages = ["base/evaluate", *(f"round{n}/search" for n in (2, 10)), "round10/curate"]
    for stage in stages:
        (tmp_path / stage).mkdir(parents=True)
    assert [name for name, *_ in replaying._stages("", tmp_path, 3)] == stages[:3]


def test_a_folder_without_a_run_is_said(tmp_path, capsys):
    status, _, err = replay(capsys, tmp_path)
    assert status == 2 and "no run there" in err
    records.write_json(tmp_path / "config.json", {"job": "sft", "rows": "rows.jsonl"})
    status, _, err = replay(capsys, tmp_path)
    assert status == 2 and "config.json: made by a job 'sft'; the folder of a run of rounds expected" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (SHARD, b"PAR1", "trees as the search wrote them expected. It stays as it is"),
        ("round1/search/trees-0-000007.tree", b"", "name other trees by --config.tree"),
        ("config.json", b"{", "report.json beside it, once there is one, holds the same under 'config'"),
        ("config.json", b"[]", "damaged (a list, not an object); the options that its trees"),
    ],
)
def test_what_is_damaged_is_said_as_it_is_for_a_replay(copy, capsys, name, content, message):
    (copy / name).write_bytes(content)
    status, _, err = replay(capsys, copy, "--config.tree=round1/search")
    assert status == 2 and f"{copy / name}: damaged (" in err and message in err
    assert "to make it again" not in err and (copy / name).read_bytes() == content


def test_a_step_that_nobody_can_have_proposed_is_named(copy, capsys):
    rows = parquet.read_rows(copy / SHARD, Tree)
    top, step, *others = rows[0].nodes
    rows[0] = dataclasses.replace(rows[0], nodes=(top, dataclasses.replace(step, candidate=-1), *others))
    parquet.write_rows(copy / SHARD, Tree, rows)
    status, _, err = replay(capsys, copy, f"--config.tree={SHARD}:0")
    assert status == 2 and "row 0, node 1 does not say which candidate it was" in err
