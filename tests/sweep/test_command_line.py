"""Sweeps from the command line: which options are whose, and two points of a real job."""

import json

import pytest
import yaml

from rstar_jax import launch
from rstar_jax.launch.configs import known


def called(capsys, *flags):
    status = launch.main(["--config=sweep", *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--config.over.search.cc=1,2",),
            "--config.over.search.cc: config.search has no option 'cc'. Did you",
        ),
        (("--config.over.search.c=1,x",), "--config.over.search.c=x: 'x' given, a number expected"),
        (("--config.over.search.rollouts=1,0",), "config.over.search.rollouts: 0 given, 1 or more expected"),
        (
            ("--config.seds=3",),
            "--config.seds: neither a sweep nor the job of quickstart has such an option. Did",
        ),
        (("--config.seeds=2", "--config.search.c=x"), "--config.search.c=x: 'x' given, a number expected"),
        (
            ("--config.seeds=2", "--config.job=quickstrat"),
            "--config.job=quickstrat: no such config. Did you mean",
        ),
        (("--config.seeds=2", "--config.job=view"), "--config.job=view: its job is 'view'; one of evolve"),
        (("--config.seeds=2", "--config.job=compare"), "its job is 'compare'"),
        (("--config.seeds=0",), "config.seeds: 0 given, 1 or more expected"),
        (("--config.over=search.c",), "config.over: 'search.c' given, OPTION=VALUE expected"),
        ((), "nothing to sweep"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(capsys, tmp_path, flags, message):
    status, _, err = called(capsys, f"--workdir={tmp_path / 'w'}", *flags)
    assert status == 2 and message in err
    assert not (tmp_path / "w").exists()


def test_commands_have_the_job_s_options_and_this_command_s_flags(capsys, tmp_path):
    flags = ("--config.over.search.c=1,2", "--config.problems.train=6", "--config.do=commands")
    status, out, _ = called(capsys, f"--workdir={tmp_path}", "--compiled=none", *flags)
    assert status == 0
    assert (
        f" -m rstar_jax.launch --config=quickstart '--workdir={tmp_path}/points/search.c=2,seed=0' "
        "--compiled=none --config.problems.train=6 --config.search.c=2 --config.seed=0\n"
    ).replace("'", "") in out.replace("'", "")


@pytest.mark.parametrize("name", [name for name in known() if name.startswith("ablations/")])
def test_ablations_are_sweeps_that_can_be_done(capsys, tmp_path, name):
    flags = (f"--config={name}", f"--workdir={tmp_path}", "--config.do=commands", "--config.problems.train=6")
    assert launch.main(list(flags)) == 0
    lines = (tmp_path / "commands.sh").read_text().splitlines()
    assert len(lines) >= 6 and all("--config.problems.train=6" in line for line in lines)


def test_manifests_are_those_of_launch(capsys, tmp_path):
    flags = ("--config.over.k=1,2", "--config.job=evaluate", "--config.launch.workdir=gs://b/s")
    flags = (*flags, "--config.do=manifests", f"--workdir={tmp_path}")
    status, _, err = called(capsys, *flags, "--config.launch.topolgy=v5e:2x2")
    assert status == 2 and "topology: '' given" in err
    status, _, err = called(capsys, *flags, "--config.launch.topology=v5e:2x2")
    assert status == 0, err
    text = (tmp_path / "manifests" / "k=2,seed=0.yaml").read_text()
    job = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert {"--config=evaluate", "--workdir=gs://b/s/points/k=2,seed=0", "--config.k=2"} <= set(
        job["containers"][0]["args"]
    )


def test_a_real_point_is_measured_and_another_fails_as_its_job_says(capsys, tmp_path):
    flags = ("--config.job=evaluate", f"--config.over.policy=tiny,{tmp_path}/none", "--config.limit=4")
    flags = (*flags, "--config.benchmarks=suite-level1", "--config.shapes=", f"--workdir={tmp_path / 'w'}")
    status, out, _ = called(capsys, *flags)
    assert status == 1, out
    found = json.loads((tmp_path / "w" / "sweep.json").read_text())
    assert [point["status"] for point in found["points"]] == ["done", "failed"]
    assert found["points"][1]["why"].startswith(f"error: config.policy: {tmp_path}/none: ")
    assert {(cell["swept"]["policy"], cell["figure"]["problems"]) for cell in found["cells"]} == {("tiny", 4)}
