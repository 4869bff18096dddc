"""Scripts that start jobs: shellcheck reads them, and they run with stand-ins for what they call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax.pods.job import made
from rstar_jax.pods.settings import LaunchSettings

BUCKET = "gs://bucket/run"
ODD = ('problems.train=it\'s $HOME, "x" `y` * ;|',)
SCRIPTS = {
    "xpk": LaunchSettings(of="round3", topology="v5p:4x4x4", platform="xpk", workdir=BUCKET, options=ODD),
    "xpk, tpu7x": LaunchSettings(of="round3", topology="tpu7x:4x4x4*2", platform="xpk", workdir=BUCKET),
    "vm": LaunchSettings(of="round3", topology="v6e:8x8", platform="tpu_vm", workdir=BUCKET, options=ODD),
    "vm, slices": LaunchSettings(
        of="round3", topology="v5p:4x4x4*2", platform="tpu_vm", workdir=BUCKET, spot=True
    ),
    "slurm": LaunchSettings(of="round3", topology="h200:16", restarts=2, options=ODD),
    "slurm, image": LaunchSettings(of="round3", topology="a100:64", image="me/rstar:1"),
}
LAUNCH = Path(__file__).parent.parent.parent / "launch"


def program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.mark.shellcheck
@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name):
    checker = program("shellcheck")
    assert checker
    done = subprocess.run([checker, "-"], input=made(SCRIPTS[name]), text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.shellcheck
def test_shellcheck_finds_nothing_in_the_commands_of_headers():
    """Those that make node pools and start a manifest."""
    checker = program("shellcheck")
    assert checker
    for topology in ("v5e:16x16*2", "tpu7x:4x4x4", "v6e:2x2"):
        text = made(LaunchSettings(of="round3", topology=topology, options=ODD))
        lines = [re.sub(r"^# +(\w[^:]*: )?", "", line) for line in text.splitlines() if line.startswith("#")]
        commands = [line for line in lines if re.match("gcloud|docker|kubectl|python", line)]
        assert len(commands) >= 4
        script = "#!/bin/sh\n# shellcheck disable=SC2016\n" + "\n".join(commands)
        done = subprocess.run([checker, "-"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.hadolint
def test_hadolint_finds_nothing():
    checker = program("hadolint")
    assert checker
    done = subprocess.run([checker, str(LAUNCH / "Dockerfile")], text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_let_in():
    """Of the checkout only what .dockerignore names reaches the build."""
    copied = re.findall(r"^COPY (.+) \S+$", (LAUNCH / "Dockerfile").read_text(), re.MULTILINE)
    let_in = set(re.findall(r"^!(.+)$", (LAUNCH / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert {name for names in copied for name in names.split()} == let_in
    assert all((LAUNCH.parent / name).exists() for name in let_in)


@pytest.fixture
def machine(tmp_path):
    """Run a script where the programs that it calls are stand-ins that note their arguments in a file."""

    class Machine:
        def __init__(self) -> None:
            self.bin, self.calls = tmp_path / "bin", tmp_path / "calls"
            self.bin.mkdir()
            self.has("sleep", "exit 0")

        def has(self, name: str, body: str) -> None:
            path = self.bin / name
            path.write_text(f'#!/bin/bash\n{{ echo {name}; printf "%s\\n" "$@"; }} >> "$CALLS"\n{body}\n')
            path.chmod(0o755)

        def start(self, settings: LaunchSettings, *arguments: str) -> subprocess.Popen:
            script = tmp_path / "script.sh"
            script.write_text(made(settings))
            given = {
                "CLUSTER": "c",
                "PROJECT": "p",
                "ZONE": "z",
                "SLURM_JOB_ID": "7",
                "CALLS": str(self.calls),
            }
            path = f"{self.bin}:/usr/bin:/bin"
            return subprocess.Popen(
                ["bash", str(script), *arguments],
                cwd=tmp_path,
                env={"PATH": path, **given},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )

        def run(self, settings: LaunchSettings, *arguments: str) -> tuple[int, str]:
            process = self.start(settings, *arguments)
            _, errors = process.communicate(timeout=60)
            return process.returncode, errors

        def called(self, name: str) -> int:
            return self.calls.read_text().splitlines().count(name) if self.calls.exists() else 0

        def words(self) -> list[str]:
            return self.calls.read_text().splitlines()

    return Machine()


# What `xpk workload create` takes of what we say (src/xpk/parser/workload.py and common.py, 2026-06): it
# refuses anything else.
XPK = {
    *("--cluster", "--project", "--zone", "--workload", "--tpu-type", "--num-slices", "--priority"),
    *("--max-restarts", "--restart-on-exit-codes", "--docker-image", "--command"),
}


def test_xpk_is_asked_for_the_slices_and_the_command(machine):
    machine.has("xpk", "exit 0")
    assert machine.run(SCRIPTS["xpk"])[0] == 0
    words = machine.words()
    assert words[:3] == ["xpk", "workload", "create"]
    assert {"--tpu-type=v5p-4x4x4", "--num-slices=1", "--max-restarts=10", "--cluster=c"} <= {*words}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= XPK
    command = next(word for word in words if word.startswith("--command=")).removeprefix("--command=")
    assert unquoted(command)[-1] == f"--config.{ODD[0]}"
    assert machine.run(SCRIPTS["xpk"], "cluster")[0] == 0
    assert machine.words()[len(words) : len(words) + 3] == ["xpk", "cluster", "create"]


def unquoted(command: str) -> list[str]:
    """The words that a shell makes of a command."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True)
    return done.stdout.splitlines()


# A stand-in for gcloud: the TPU is there once it is created; a run takes its hosts' statuses from the next
# line of a file, joined by commas, and a status "gone" takes the TPU away, too; of "mute" ones none answers.
GCLOUD = """
case " $* " in
  *" describe "*) if [ -e there ]; then echo %s; fi ;;
  *" create "*) touch there ;;
  *" delete "*) rm -f there ;;
  *" ssh "*inspect*) if [ -e there ]; then tr , "\\n" < last; else exit 1; fi ;;
  *" ssh "*)
    read -r status < statuses; sed -i 1d statuses
    if [ "$status" = gone ]; then rm there; exit 1; fi
    if [ "$status" = mute ]; then : > last; exit 255; fi
    echo "$status" > last; [ "$status" = 0 ] ;;
esac
"""


@pytest.mark.parametrize("name", ["vm", "vm, slices"])
@pytest.mark.parametrize(
    ("statuses", "status", "created"),
    [
        ("0", 0, 1),
        ("1 137 0", 0, 1),  # crashes
        ("143 gone 143 gone gone 0", 0, 4),  # preempted, with the machine or without
        ("2", 2, 1),  # bad input
        ("1 " * 11, 1, 1),
        ("143 " * 12 + "0", 0, 1),
        ("143,143 " * 12 + "0", 0, 1),
        ("137,75,75 " * 11, 1, 1),  # one was killed, the others lost it
        ("75,75 " * 12 + "0", 0, 1),
        ("143,1,143 " * 11, 1, 1),  # one crashed, the others followed
        ("143,2,143", 2, 1),
        ("mute " * 11, 1, 1),
    ],
)
def test_tpu_vms_are_made_again_and_crashes_counted(machine, tmp_path, name, statuses, status, created):
    machine.has("gcloud", GCLOUD % ("ACTIVE" if name == "vm, slices" else "READY"))
    (tmp_path / "statuses").write_text("\n".join(statuses.split()) + "\n")
    assert machine.run(SCRIPTS[name])[0] == status
    assert (tmp_path / "statuses").read_text() == ""
    assert machine.called("create") == created


def test_a_tpu_vm_gets_the_command_word_for_word(machine, tmp_path):
    machine.has("gcloud", GCLOUD % "READY")
    (tmp_path / "statuses").write_text("0\n")
    assert machine.run(SCRIPTS["vm"])[0] == 0
    command = next(word for word in machine.words() if word.startswith("--command=sudo docker rm"))
    assert unquoted(command.partition("; ")[2])[-1] == f"--config.{ODD[0]}"
    assert {"--worker=all", "--type=v6e", "--topology=8x8"} <= {*machine.words()}


def test_tpus_that_could_not_be_made_are_made_again(machine, tmp_path):
    """A queued resource that failed, and one that is gone before it was there."""
    made_as = """
case " $* " in
  *" describe "*) cat state 2>/dev/null ;;
  *" create "*) read -r next < states; sed -i 1d states; echo "$next" > state ;;
  *" delete "*) rm -f state ;;
esac
"""
    machine.has("gcloud", made_as)
    (tmp_path / "states").write_text("FAILED\n\nACTIVE\n")
    assert machine.run(SCRIPTS["vm, slices"])[0] == 0
    assert (machine.called("create"), (tmp_path / "state").read_text()) == (3, "ACTIVE\n")


def test_tpu_vms_of_several_slices_are_asked_for_by_cores_and_all_reached(machine, tmp_path):
    machine.has("gcloud", GCLOUD % "ACTIVE")
    (tmp_path / "statuses").write_text("0\n")
    assert machine.run(SCRIPTS["vm, slices"])[0] == 0
    made_by = {"queued-resources", "--node-count=2", "--accelerator-type=v5p-128", "--spot"}
    assert made_by | {"--node=all", "--worker=all"} <= {*machine.words()}


@pytest.mark.parametrize(
    ("statuses", "status", "steps"),
    [("0", 0, 1), ("2", 2, 1), ("1 134 0", 0, 3), ("1 1 1", 1, 3), ("143 143 143", 143, 3)],
)
def test_a_batch_script_starts_again_after_crashes(machine, tmp_path, statuses, status, steps):
    machine.has("srun", 'read -r status < statuses; sed -i 1d statuses; exit "$status"')
    machine.has("scontrol", "exit 0")
    (tmp_path / "statuses").write_text("\n".join(statuses.split()) + "\n")
    assert machine.run(SCRIPTS["slurm"])[0] == status
    assert (machine.called("srun"), machine.called("scontrol")) == (steps, 0)
    assert f"--config.{ODD[0]}" in machine.words()


def test_a_batch_script_that_is_to_end_is_queued_again_once_its_step_has_ended(machine, tmp_path):
    task = "trap 'echo ended > ended; exit 143' TERM; touch up; for _ in {1..600}; do /bin/sleep 0.1; done"
    # As Slurm's own: srun that is told to end kills its tasks (src/srun/libsrun, "forcing job termination").
    step = "echo $! > task; trap 'kill -9 $(cat task)' TERM; until wait $!; do kill -0 $! || break; done"
    machine.has("srun", f"({task}) & {step}; [ -e ended ] && exit 143; exit 137")
    machine.has("scancel", 'kill -TERM "$(cat task)"')
    machine.has("scontrol", "cat ended > queued")
    process = machine.start(SCRIPTS["slurm"])
    for _ in range(600):
        if (tmp_path / "up").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert (tmp_path / "queued").read_text() == "ended\n"
    assert machine.words()[-6:] == ["scancel", "--signal=TERM", "7", "scontrol", "requeue", "7"]
    assert machine.called("srun") == 1
