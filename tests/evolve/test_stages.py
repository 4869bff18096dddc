"""A working directory knows what is done, and refuses what it was not made for."""

import dataclasses
import errno
import logging

import pytest

from rstar_jax import records
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.prepare import PrepareSettings
from rstar_jax.evolve.settings import EvaluateSettings, RunSettings, SearchSettings
from rstar_jax.evolve.stages import MANIFEST, Workdir
from rstar_jax.sandbox import Isolation
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings


@dataclasses.dataclass(frozen=True)
class Options:
    seed: int = 0
    rounds: tuple[int, ...] = (1,)


class Work:
    """Counts how often it was run; writes one file."""

    def __init__(self):
        self.runs = 0

    def __call__(self, folder):
        self.runs += 1
        records.write_json(folder / "out.json", {"value": 7})
        return {"value": 7}


def test_a_done_stage_is_not_run_again(tmp_path):
    work = Work()
    for _ in range(2):
        with Workdir(tmp_path, Options()) as workdir:
            manifest = workdir.stage("round1/search", work)
    assert work.runs == 1
    assert manifest["result"] == {"value": 7}
    assert set(manifest["outputs"]) == {"out.json"}


def test_a_stage_that_died_is_run_again(tmp_path):
    def dies(folder):
        raise RuntimeError("killed")

    work = Work()
    with Workdir(tmp_path, Options()) as workdir:
        with pytest.raises(RuntimeError):
            workdir.stage("round1/search", dies)
        workdir.stage("round1/search", work)
    assert work.runs == 1


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_damage_is_named_moved_aside_and_made_again(tmp_path, caplog, damage):
    work = Work()
    with Workdir(tmp_path, Options()) as workdir:
        workdir.stage("round1/search", work)
        folder = tmp_path / "round1" / "search"
        if damage == "changed":
            (folder / "out.json").write_text("{}")
        elif damage == "missing":
            (folder / "out.json").unlink()
        else:
            (folder / MANIFEST).write_text("{")
        with caplog.at_level(logging.WARNING):
            workdir.stage("round1/search", work)
    assert work.runs == 2
    assert records.read_json(folder / "out.json") == {"value": 7}
    assert str(folder) in caplog.text
    assert any(".damaged-1" in p.name for p in folder.iterdir()) == (damage != "missing")


def test_other_options_are_refused_with_the_difference(tmp_path):
    with Workdir(tmp_path, Options()) as workdir:
        workdir.stage("round1/search", Work())
    with pytest.raises(UserError, match=r"config\.seed: there 0, now 1"), Workdir(tmp_path, Options(seed=1)):
        pass


def test_the_folder_of_another_job_is_refused_in_a_sentence(tmp_path):
    with Workdir(tmp_path, RunSettings()) as workdir:
        workdir.stage("round1/search", Work())
    with pytest.raises(UserError) as refused, Workdir(tmp_path, PrepareSettings(sources="3")):
        pass
    assert "by a job 'evolve'" in str(refused.value) and "config." not in str(refused.value)


def test_options_may_be_mended_until_a_stage_has_begun(tmp_path):
    with Workdir(tmp_path, Options(seed=1)):
        pass
    with Workdir(tmp_path, Options(seed=2)):
        pass
    assert records.read_json(tmp_path / "config.json")["seed"] == 2


def test_any_number_of_hosts_may_go_on(tmp_path):
    with Workdir(tmp_path, RunSettings()) as workdir:
        workdir.stage("round1/search", Work())
    with Workdir(tmp_path, RunSettings(distributed=DistributedConfig("a:1", 8, 3, 60.0))):
        pass


def test_what_a_killed_process_was_writing_is_swept_away(tmp_path):
    with Workdir(tmp_path, Options()):
        pass
    folder = tmp_path / "round1" / "policy"
    (folder / ".model.new-77").mkdir(parents=True)
    (folder / ".model.new-77" / "model.safetensors").write_text("half")
    (folder / ".sft.parquet.77.part").write_text("half")
    with Workdir(tmp_path, Options()) as workdir:
        manifest = workdir.stage("round1/policy", Work())
    assert set(manifest["outputs"]) == {"out.json"}
    assert {p.name for p in folder.iterdir()} == {"out.json", MANIFEST}


def test_a_disk_that_fills_up_in_a_stage_is_said(tmp_path):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Workdir(tmp_path, Options()) as workdir, pytest.raises(UserError, match="the disk is full"):
        workdir.stage("round1/search", full)


def test_other_rounds_are_welcome(tmp_path):
    with Workdir(tmp_path, Options()):
        pass
    with Workdir(tmp_path, Options(rounds=(2,))):
        pass


def test_two_runs_do_not_share_a_folder(tmp_path):
    refused = pytest.raises(UserError, match="another run is using this folder")
    with Workdir(tmp_path, Options()), refused, Workdir(tmp_path, Options()):
        pass


@pytest.mark.parametrize(
    "manifest", ["[]", "{}", '{"outputs": []}', '{"name": "x", "result": [], "seconds": 1, "outputs": {}}']
)
def test_a_manifest_that_is_none_is_made_again(tmp_path, manifest):
    work = Work()
    with Workdir(tmp_path, Options()) as workdir:
        workdir.stage("round1/search", work)
        (tmp_path / "round1/search" / MANIFEST).write_text(manifest)
        workdir.stage("round1/search", work)
    assert work.runs == 2


@pytest.mark.parametrize("damage", ["{", "[]", None])
def test_files_of_unknown_options_are_never_taken_over(tmp_path, damage):
    with Workdir(tmp_path, Options()) as workdir:
        workdir.stage("round1/search", Work())
    if damage is None:
        (tmp_path / "config.json").unlink()
    else:
        (tmp_path / "config.json").write_text(damage)
    for _ in range(2):  # the second time too, when a damaged one has been moved aside
        with pytest.raises(UserError, match=r"config\.json: .*hoose a new --workdir"):
            Workdir(tmp_path, Options()).__enter__()


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, a folder expected"):
        Workdir(tmp_path / "file", Options()).__enter__()


def test_changed_inputs_are_refused_once_a_stage_has_run(tmp_path):
    with Workdir(tmp_path, Options()) as workdir:
        workdir.claim_inputs({"problems.train": "a"})
        workdir.claim_inputs({"problems.train": "b"})  # nothing has been made of them yet
        workdir.stage("round1/search", Work())
        workdir.claim_inputs({"problems.train": "b"})
        with pytest.raises(UserError, match=r"other contents of config\.problems\.train"):
            workdir.claim_inputs({"problems.train": "c"})


def test_changed_inputs_are_refused_under_the_name_of_the_last_release_too(tmp_path):
    with Workdir(tmp_path, Options()) as workdir:
        workdir.claim_inputs({"pairs": "a"})  # which are called rows now
        workdir.stage("ppm", Work())
        with pytest.raises(UserError, match=r"other contents of config\.rows"):
            workdir.claim_inputs({"rows": "b"})
        workdir.claim_inputs({"rows": "a"})


def test_trees_that_shared_a_budget_of_seconds_are_not_gone_on_with_in_other_batches(tmp_path):
    timed = RunSettings(evaluate=EvaluateSettings(max_seconds=60.0))
    with Workdir(tmp_path, timed) as workdir:
        workdir.stage("round1/search", Work())
    other = dataclasses.replace(timed, search=SearchSettings(batch=7))
    with pytest.raises(UserError, match=r"config\.search\.batch: there 256, now 7"), Workdir(tmp_path, other):
        pass


def test_what_no_result_depends_on_may_change_and_how_answers_are_graded_may_not(tmp_path):
    begun = RunSettings()
    with Workdir(tmp_path, begun) as workdir:
        workdir.stage("round1/search", Work())
    free = VerifySettings(workers=7, memo=False, sandbox=Isolation(True, True, ("landlock",)))
    # A training goes on on other devices, with other rows a call.
    saved = {"checkpoint_every_s": 7.0, "checkpoint_every_steps": 9}
    train = dataclasses.replace(
        begun.train,
        mesh=MeshConfig(1, 4, 2, 3, 5),
        policy=dataclasses.replace(begun.train.policy, microbatch=3, **saved),
        ppm=dataclasses.replace(begun.train.ppm, **saved),
    )
    others = {"verify": free, "search": SearchSettings(batch=7), "train": train}
    with Workdir(tmp_path, dataclasses.replace(begun, **others)):
        pass
    with Workdir(tmp_path, dataclasses.replace(begun, decode=DecodeConfig(cache_mb=9))):
        pass  # what a run that re-reads its texts, or takes too much memory, is told to change
    with pytest.raises(UserError, match=r"config\.search\.shard: there 256, now 7"):
        Workdir(tmp_path, dataclasses.replace(begun, search=SearchSettings(shard=7))).__enter__()
    for fixed in (VerifySettings(grading="released"), VerifySettings(cpu_s=4.0), VerifySettings(task="code")):
        with pytest.raises(UserError, match=r"config\.verify\.(grading|cpu_s|task): there"):
            Workdir(tmp_path, dataclasses.replace(begun, verify=fixed)).__enter__()


def test_a_folder_of_the_last_release_is_gone_on_with_and_another_difference_still_refused(tmp_path, caplog):
    settings = RunSettings(rounds=(1,))
    with Workdir(tmp_path, settings) as workdir:
        workdir.stage("round1/search", Work())
    old = records.read_signed(tmp_path / "config.json")
    search = old["search"]
    search["released_code"], search["released_rules"] = (
        search.pop("reference_code"),
        search.pop("reference_rules"),
    )
    del old["stages"]  # it had no such option yet
    records.write_signed(tmp_path / "config.json", old)
    work = Work()
    with Workdir(tmp_path, settings) as workdir:
        workdir.stage("round1/search", work)
    assert work.runs == 0 and "released_code is called reference_code now" in caplog.text
    with pytest.raises(UserError, match=r"config.seed: there 0, now 1\n"):
        Workdir(tmp_path, dataclasses.replace(settings, seed=1)).__enter__()
