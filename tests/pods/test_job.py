"""`--config=launch`: what is written, what it costs, and what is refused before anything is."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import launch
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.pods.fit import require_fit
from rstar_jax.pods.header import cost
from rstar_jax.pods.job import made, run
from rstar_jax.pods.settings import LaunchSettings
from rstar_jax.sharding import MeshConfig
from rstar_jax.topologies import parse

EXAMPLES = Path(__file__).parent.parent.parent / "launch"


@dataclasses.dataclass(frozen=True)
class Trained:
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


@dataclasses.dataclass(frozen=True)
class Options:
    """Those of a job that runs on several hosts."""

    train: Trained = Trained()
    decode: DecodeConfig = DecodeConfig()
    distributed: DistributedConfig = DistributedConfig()


@dataclasses.dataclass(frozen=True)
class OneHost:
    seed: int = 0


def called(capsys, *flags):
    status = launch.main(["--config=launch", *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_manifest_is_written_once(capsys, tmp_path):
    out = tmp_path / "pod.yaml"
    flags = ("--config.topology=v5p:4x4x4", "--config.job=round3", f"--config.out={out}", "--config.seed=7")
    status, told, _ = called(capsys, *flags, "--config.search.rollouts=(8,16)")
    assert status == 0
    assert "268.80" in told and str(out) in told
    text = out.read_text()
    job = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == 16
    args = job["template"]["spec"]["containers"][0]["args"]
    assert args[0] == "--config=round3"
    assert args[-2:] == ["--config.seed=7", "--config.search.rollouts=(8,16)"]
    # the command that made it makes it again
    assert called(capsys, *flags, "--config.search.rollouts=(8,16)")[0] == 0
    status, _, error = called(capsys, *flags, "--config.search.rollouts=8")
    assert (status, out.read_text()) == (2, text)
    assert f"{out} exists" in error


def test_without_a_file_it_is_printed(capsys):
    status, told, _ = called(capsys, "--config.topology=h200:8", "--config.job=quickstart")
    assert status == 0
    assert told.startswith("#!/usr/bin/env bash\n")


def test_the_command_in_the_header_makes_the_same(capsys):
    flags = ["--config.job=round1", "--config.topology=v5e:4x4*2", "--config.spot=True", "--config.seed=3"]
    _, told, _ = called(capsys, *flags, "--config.problems.train=a b.jsonl")
    (line,) = [line for line in told.splitlines() if line.startswith("# Written by: ")]
    words = shlex.split(line.removeprefix("# Written by: "))
    assert words[:3] == ["python", "-m", "rstar_jax.launch"]
    assert launch.main(words[3:]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("round*")), ids=lambda path: path.name)
def test_the_examples_are_what_is_written_today(path, tmp_path, monkeypatch):
    """Should one differ on purpose: remove it, and run the command in its second line again."""
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("# Written by: ")]
    (tmp_path / "launch").mkdir()
    monkeypatch.chdir(tmp_path)
    assert launch.main(shlex.split(line.removeprefix("# Written by: "))[3:]) == 0
    assert (tmp_path / "launch" / path.name).read_text() == path.read_text()


POD = "--config.topology=v5p:4x4x4"
JOB = "--config.job=round3"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((JOB,), "config.topology: '' given"),
        ((POD,), "--config.job=: a config to run there expected"),
        ((POD, "--config.job=rond3"), "--config.job=rond3: no such config. Did you mean 'round3'?"),
        ((POD, "--config.job=launch"), "--config.job=launch: a config to run there"),
        ((JOB, "--config.topology=v5p:4x4x5"), "Did you mean 'v5p:4x4x4'?"),
        ((JOB, "--config.topology=v5pp:4x4x4"), "Did you mean 'v5p'?"),
        (
            (POD, JOB, "--config.searh.rollouts=3"),
            "neither launch nor round3 has such an option. Did you mean",
        ),
        ((POD, JOB, "--config.search.rolouts=3"), "Did you mean 'rollouts'"),
        ((POD, JOB, "--config.topologi=x"), "Did you mean 'topology'?"),
        ((POD, JOB, "--config.seed=-1"), "config.seed: -1"),
        ((POD, JOB, "--config.train.mesh.fsdp=48"), "multiply to its 64 devices"),
        ((POD, JOB, "--config.decode.tensor=3"), "config.decode.tensor=3 of round3: a divisor of the 4"),
        (
            (POD, "--config.job=view"),
            "runs on one host, v5p:4x4x4 has 16. Did you mean --config.topology=v5p:2x2x1",
        ),
        (
            (POD, JOB, "--config.platform=slurm"),
            "'slurm' given for v5p:4x4x4, jobset, xpk or tpu_vm expected",
        ),
        ((JOB, "--config.topology=h200:8", "--config.platform=jobset"), "for h200:8, slurm expected"),
        ((JOB, "--config.topology=tpu7x:4x4x4", "--config.platform=tpu_vm"), "in GKE only"),
        ((POD, JOB, "--config.platform=tpu_vm"), "config.workdir: '' given, gs://BUCKET/FOLDER expected"),
        ((POD, JOB, "--config.platform=xpk", "--config.workdir=/runs/a"), "which all 16 hosts reach"),
        (
            ("--config.topology=v5e:2x4", JOB, "--config.platform=xpk", "--config.workdir=gs://b/r"),
            "'xpk' given for v5e:2x4, jobset or tpu_vm, as xpk has no such slice of one host, expected",
        ),
        ((POD, JOB, "--config.restarts=2147483648"), "the manifest would not be valid"),
        ((POD, JOB, "--config.user=4294967296"), "the manifest would not be valid"),
        ((POD, JOB, "--workdir=gs://b/r"), "The run's folder there is --config.workdir=gs://b/r."),
        (
            (POD, JOB, "--config.workdir=gs://b"),
            "config.workdir: 'gs://b' given, gs://BUCKET/FOLDER expected",
        ),
        ((POD, JOB, "--config.workdir=ftp://b/c"), "config.workdir: 'ftp://b/c' given, gs://BUCKET/FOLDER"),
        ((POD, JOB, "--config.workdir=/runs/../etc"), "or a path below /runs expected"),
        ((POD, JOB, "--config.workdir=/runs/"), "or a path below /runs expected"),
        ((POD, JOB, "--config.workdir=/home/me/a"), "or a path below /runs expected"),
        (
            (POD, JOB, "--config.platform=xpk", "--config.workdir=gs://b/r", "--config.priority=urgent"),
            "config.priority: 'urgent' given, one of xpk's, very-low",
        ),
        ((POD, JOB, "--config.name=Round_3"), "config.name: 'Round_3' given, at most"),
        ((POD, JOB, f"--config.name={'a' * 60}"), "at most"),
        ((POD, JOB, "--config.queue=My Queue"), "config.queue: 'My Queue' given"),
        ((POD, JOB, "--config.namespace="), "config.namespace: ''"),
        ((POD, JOB, "--config.image=two words"), "config.image: 'two words'"),
        ((POD, JOB, "--config.problems.train=a\nb"), "text of one line"),
        ((POD, JOB, "--config.workdir=gs://b/a b"), "text without spaces"),
        ((POD, JOB, "--config.restarts=-1"), "config.restarts: -1"),
        ((POD, JOB, "--config.price=-1"), "config.price: -1"),
        ((POD, JOB, "--config.out=/proc/none/x"), "/proc/none"),
        ((POD, JOB, "--config.out=gs://b/x.yaml"), "config.out: 'gs://b/x.yaml' given"),
    ],
)
def test_bad_input_is_told(capsys, flags, message):
    status, _, error = called(capsys, *flags)
    assert status == 2
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("mesh", "topology", "fits"),
    [
        ({}, "v5p:4x4x4", True),
        ({"fsdp": 64}, "v5p:4x4x4", True),
        ({"fsdp": 16, "tensor": 4}, "v5p:4x4x4", True),
        ({"fsdp": 64}, "tpu7x:4x4x4", False),  # two devices a chip
        ({"fsdp": 128}, "tpu7x:4x4x4", True),
        ({"fsdp": 64, "data": 2}, "v5p:4x4x4*2", True),
        ({"fsdp": 64}, "v5p:4x4x4*2", True),  # data is that of slices
        ({"fsdp": 128}, "v5p:4x4x4*2", True),  # as a model that is too large for one takes it
        ({"data": 1, "fsdp": 1, "tensor": 128}, "v5p:4x4x4*2", False),  # not across slices
        ({"data": 1, "tensor": 64}, "v5p:4x4x4*2", True),
        ({"tensor": 0}, "v5p:4x4x4*2", True),
        ({"tensor": 0, "expert": 3}, "v5p:4x4x4*2", False),
        ({"expert": 0}, "v5p:4x4x4", False),
        ({"tensor": 16}, "h200:16", False),  # not across hosts of GPUs
        ({"fsdp": -1, "tensor": 3}, "v5p:4x4x4", False),
        ({"fsdp": -1, "data": -1}, "v5p:4x4x4", False),
        ({"fsdp": 0}, "v5p:4x4x4", False),
        ({"fsdp": 32}, "v5p:4x4x4", False),
        ({"tensor": 8}, "h200:8", True),
        ({"tensor": 8}, "h200:4", False),
    ],
)
def test_a_mesh_multiplies_to_the_devices(mesh, topology, fits):
    options = Options(train=Trained(MeshConfig(**mesh)))
    if fits:
        require_fit("x", options, parse(topology))
        return
    with pytest.raises(UserError, match=r"config\.train\.mesh: data="):
        require_fit("x", options, parse(topology))


@pytest.mark.parametrize(
    ("decode", "topology", "fits"),
    [
        ({"tensor": 4}, "v5p:4x4x4", True),
        ({"tensor": 8}, "v5p:4x4x4", False),  # four a host
        ({"tensor": 8}, "tpu7x:4x4x4", True),
        ({"tensor": 2, "devices": 2}, "v5p:4x4x4", True),
        ({"tensor": 4, "devices": 2}, "v5p:4x4x4", False),
        ({"devices": 5}, "v5p:4x4x4", False),
    ],
)
def test_what_decodes_divides_a_hosts_devices(decode, topology, fits):
    options = Options(decode=DecodeConfig(**decode))
    if fits:
        require_fit("x", options, parse(topology))
        return
    with pytest.raises(UserError, match=r"config\.decode\."):
        require_fit("x", options, parse(topology))


def test_a_job_of_one_host_runs_on_one():
    for topology in ("v5e:2x4", "v6e:1x1", "h200:8"):
        require_fit("x", OneHost(), parse(topology))
    for topology, one in (("v5e:4x4", "v5e:2x4"), ("tpu7x:4x4x4*2", "tpu7x:2x2x1"), ("a100:16", "a100:8")):
        with pytest.raises(UserError, match=f"topology={one}"):
            require_fit("x", OneHost(), parse(topology))
        assert parse(one).hosts == 1


@pytest.mark.parametrize(
    ("topology", "price", "spot", "told"),
    [
        ("v5p:4x4x4", 0, False, "268.80 on demand (4.2 a chip), 53.50 as spot"),
        ("v5e:16x16*2", 0, True, "125.44 as spot at the lowest (0.245 a chip), 614.40 on demand"),
        ("tpu7x:4x4x4", 0, False, "not known"),
        ("tpu7x:4x4x4", 10.5, False, "672.00 US dollars an hour, at 10.5 a chip"),
        ("v5p:4x4x4", 1, False, "64.00 US dollars"),
    ],
)
def test_the_cost_is_of_all_chips(topology, price, spot, told):
    assert told in cost(parse(topology), price, spot)


def test_a_preemption_does_not_count_and_bad_input_ends():
    """Whatever Kubernetes says of a pod's end meets the rule that is meant for it, the first that matches."""
    jobset = yaml.safe_load(made(LaunchSettings(of="round3", topology="v5p:4x4x4")))
    rules = jobset["spec"]["failurePolicy"]["rules"]

    def action(message: str, reason: str = "PodFailurePolicy") -> str:
        for rule in rules:
            patterns = rule["onJobFailureMessagePatterns"]
            if reason in rule["onJobFailureReasons"] and any(re.search(p, message) for p in patterns):
                return rule["action"]
        return "RestartJobSet"

    ended = "Container rstar for pod default/x-0 failed with exit code {} matching FailJob rule at index 1"
    again = "RestartJobSetAndIgnoreMaxRestarts"
    assert action(ended.format(143)) == again
    gone = "Pod default/x-0 has condition DisruptionTarget matching FailJob rule at index 0"
    assert action(gone) == again
    assert action(ended.format(75)) == again
    assert action(ended.format(2)) == "FailJobSet"
    assert action(ended.format(22)) == "RestartJobSet"
    assert action("Job has reached the specified backoff limit", "BackoffLimitExceeded") == "RestartJobSet"
    # and these are the pods' ends that make a Job fail for that reason
    pods = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["onExitCodes"]["values"] for rule in pods[1:]] == [[75, 143], [2]]


TEXTS = (
    "name",
    "workdir",
    "compiled",
    "volume",
    "image",
    "service_account",
    "namespace",
    "queue",
    "priority",
)
WORDS = st.sampled_from(
    [
        "",
        "a",
        "gs://b/r",
        "/runs/a",
        "no",
        "1",
        "on",
        "null",
        "a: b",
        "'",
        '"$x"',
        "# a",
        "~",
        "x" * 60,
        "é",
        "A",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    topology=st.sampled_from(["v5e:2x4", "v6e:8x8*2", "tpu7x:4x4x4", "h200:16"]),
    platform=st.sampled_from(["", "jobset", "xpk", "tpu_vm", "slurm"]),
    words=st.fixed_dictionaries({}, optional={n: WORDS for n in TEXTS}),
    option=WORDS | st.text(max_size=20),
    queues=st.booleans(),
)
def test_any_options_are_told_of_or_make_what_holds_them(topology, platform, words, option, queues):
    try:
        asked = LaunchSettings(
            of="round3",
            topology=topology,
            platform=platform,
            options=(f"a={option}",),
            queues=queues,
            **words,
        )
        text = made(asked)
    except UserError as error:
        assert "config." in str(error)
        return
    if asked.started_by() == "jobset":
        *_, jobset = yaml.safe_load_all(text)
        job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
        args = job["template"]["spec"]["containers"][0]["args"]
        assert args == asked.words()[3:]
        assert jobset["metadata"]["namespace"] == asked.namespace
    else:
        parsed = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert (parsed.returncode, parsed.stderr) == (0, "")
        assert shlex.join(asked.words()[3:])[:30] in text.replace("'\"'\"'", "'")


def test_nothing_is_written_over_a_link_or_a_folder(tmp_path):
    settings = LaunchSettings(of="round3", topology="v5p:4x4x4")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match="exists"):
            run(dataclasses.replace(settings, out=str(out)), Options())
    assert not (tmp_path / "nowhere").exists()
