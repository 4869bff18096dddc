"""The base's evaluation is made once: which options it depends on, found out by what its stage reads, and a
copy that is what another run would have made."""

import dataclasses
import json
import shutil

import pytest

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evolve import rounds, stage_table
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.launch import configs, signals
from rstar_jax.settings import from_config
from rstar_jax.sweep import base, job
from rstar_jax.sweep.settings import SweepSettings
from rstar_jax.types import Tree

_FEW = ("problems.train=4", "problems.heldout=3", "rounds=(1,)", "verify.workers=1")
# Read with the base's options, and nothing to it: how a PPM that it has not values; what its trees name, by
# which a greedy solution is the same; and the problems that are trained on.
_NOTHING_TO_IT = {"train.ppm.ppm_value", "seed", "problems.train"}


def resolve(name, options) -> RunSettings:
    config = configs.override(configs.config_of(name), [f"--config.{option}" for option in options])
    return from_config(RunSettings, config.to_dict())


def settings(*options) -> RunSettings:
    return resolve("quickstart", (*_FEW, *options))


class Reads:
    """Names of the options that are read while it is `on`."""

    def __init__(self):
        self.on, self.names = False, set[str]()

    def watched(self, value, where=""):
        """The same options, whose reading is noted."""
        if not dataclasses.is_dataclass(value):
            return value
        names, reads = {field.name for field in dataclasses.fields(value)}, self

        class Watched(type(value)):
            def __getattribute__(self, name):
                found = object.__getattribute__(self, name)
                if reads.on and name in names and not dataclasses.is_dataclass(found):
                    reads.names.add(f"{where}{name}")
                return found

        made = object.__new__(Watched)
        for name in names:
            object.__setattr__(made, name, self.watched(getattr(value, name), f"{where}{name}."))
        return made

    def during(self, function):
        def read(*args):
            if hasattr(args[0], "demand"):
                _ = args[0].demand  # the size of a cache, on which no result depends, is found before
            self.on = True
            try:
                return function(*args)
            finally:
                self.on = False

        return read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run that has evaluated its base, and which options that has read."""
    folder, reads = tmp_path_factory.mktemp("base") / "a", Reads()
    stage = stage_table.STAGES["base"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stage_table.STAGES, "base", dataclasses.replace(stage, run=reads.during(stage.run)))
        patch.setattr(rounds, "_problems", reads.during(rounds._problems))
        rounds.run(reads.watched(settings("stages=base")), folder)
    return folder, reads.names


def test_the_base_reads_no_option_but_those_that_its_key_has(made):
    _, read = made
    assert "search.max_depth" in read and "decode.weights" in read and "problems.heldout" in read
    known = (*base.OPTIONS, *_NOTHING_TO_IT)
    assert not {name for name in read if not any(f"{name}.".startswith(f"{group}.") for group in known)}


def test_what_decides_which_problems_have_room_is_of_the_key():
    """`with_room` leaves out problems by the prompts of the run's rounds, base and first policy."""
    assert {"rounds", "search.prompt", "policy.init", "policy.bootstrap", "decode"} <= set(base.OPTIONS)


@pytest.mark.parametrize(
    ("option", "same"),
    [
        ("search.c=1", True),
        ("search.rollouts=3", True),
        ("train.policy.epochs=2", True),
        ("seed=7", True),
        ("problems.train=5", True),
        ("evaluate.rollouts=2", True),
        ("problems.heldout=4", False),
        ("problems.columns.answer=a", False),
        ("policy.dtype=bfloat16", False),
        ("decode.max_step_tokens=32", False),
        ("verify.cpu_s=1", False),
        ("search.max_depth=2", False),
    ],
)
def test_points_share_it_whose_swept_options_it_does_not_depend_on(option, same):
    assert (base.key(settings(option)) == base.key(settings())) is same


def test_a_run_without_it_has_none_to_share():
    assert base.key(settings("stages=search")) is None
    assert base.key(settings("rounds=(2,)")) is None
    assert base.key(settings("stages=base,search")) is not None


def test_a_copy_is_what_another_run_would_have_made(made, tmp_path):
    other = settings("stages=base", "seed=7", "search.c=0.5", "search.rollouts=9", "evaluate.rollouts=3")
    assert base.share(made[0], tmp_path / "copy", other)
    rounds.run(other, tmp_path / "own")
    for folder in ("copy", "own"):
        (file,) = (tmp_path / folder / "base" / "evaluate").glob("*.parquet")
        trees = parquet.read_rows(file, Tree)
        assert len(trees) == 3 and {tree.seed for tree in trees} == {7}
        found = [[_untimed(node) for node in tree.nodes] for tree in trees]
        if folder == "copy":
            copied = found
    assert copied == found and any(len(nodes) > 1 for nodes in found)
    results = [Workdir(tmp_path / of, other).manifest("base/evaluate")["result"] for of in ("copy", "own")]
    assert results[0]["policy_pass1"] == results[1]["policy_pass1"]


def _untimed(node):
    return dataclasses.replace(node, cpu_s=0, logprob=round(node.logprob, 3))


def test_a_run_goes_on_from_a_copy_and_holds_it_to_its_problems(made, tmp_path):
    assert base.share(made[0], tmp_path / "w", settings("seed=7"))
    with Workdir(tmp_path / "w", settings("seed=7")) as work:
        assert work.manifest("base/evaluate") is not None
        claimed = records.read_signed(made[0] / "inputs.json")
        others = {**claimed, "problems.train": "others"}
        with pytest.raises(UserError, match=r"other contents of config\.problems\.heldout"):
            work.claim_inputs({**others, "problems.heldout": "others"})
        work.claim_inputs(others)


def test_what_is_damaged_is_not_shared(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "a")
    (file,) = (tmp_path / "a" / "base" / "evaluate").glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert not base.share(tmp_path / "a", tmp_path / "w", settings())
    assert not (tmp_path / "w").exists()


def test_one_point_makes_it_while_the_others_wait(made, tmp_path):
    """Three points at once: the second and third find it in their folders when they start."""
    log = tmp_path / "log"

    def command(_, folder, options):
        there = base.is_made(folder)
        with Workdir(folder, resolve("quickstart", options)):
            pass
        made_base = "" if there else f"sleep 0.3; cp -r {made[0]}/base {made[0]}/inputs.json {folder}; "
        return ["/bin/sh", "-c", f"echo {json.dumps(there)} >> {log}; {made_base}sleep 0.3"]

    over = ("search.c=1,2", "decode.chunk=16,8")
    swept = SweepSettings(over=over, options=_FEW, at_once=4, do="run")
    launcher = job.Launcher(resolve, command, lambda *_: None, signals.number)
    assert job.run(swept, launcher, tmp_path / "w") == 0
    # Of each chunk one makes it.
    assert sorted(log.read_text().split()) == ["false", "false", "true", "true"]
