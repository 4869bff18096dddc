"""Command lines of several processes: one run, or a sentence that says why not."""

import socket
import subprocess
import sys

import pytest

from rstar_jax import launch
from rstar_jax.launch import processes
from tests.distributed.test_environment import GKE, SLURM


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (("--config=quickstart", "--config.distributed.process=1"), {}, "--config.distributed.coordinator"),
        (("--config=solve", "--config.distributed.processes=2"), {}, "a job 'solve' is one process's"),
        (("--config=export", "--config.source=x"), SLURM, "number 5 of 8 (as Slurm tells)"),
        (("--config=solve", "--config.question=1+1"), GKE, "number 1 of 2 (as GKE tells)"),
        # It uses no device: the others of the pod are not asked.
        (("--config=export", "--config.source=x"), GKE, "config.source"),
    ],
)
def test_jobs_of_one_process_are_no_others(capsys, tmp_path, monkeypatch, flags, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_hosts_with_other_options_are_one_run_for_nobody(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "rstar_jax.launch", "--config=quickstart", "--config.seed=3"),
                *(f"--config.distributed.process={index}", "--config.distributed.processes=2"),
                *(f"--config.distributed.coordinator=localhost:{port}", f"--workdir={tmp_path / 'run'}"),
                f"--config.search.c={index + 1}.0",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in started:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (2, "")
        assert "config.search.c: 1.0 on host 0" in err and "2.0 on host 1" in err
        assert "Traceback" not in err and "config.distributed" not in err and "seed" not in err
    assert not (tmp_path / "run").exists()


def test_facts_tell_packages_and_options_apart(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_one")
    facts = processes.facts({"search": {"c": 2.0}, "seed": 1})
    assert facts["config.search.c"] == "2.0" and facts["config.seed"] == "1"
    assert facts["$XLA_FLAGS"] == "--xla_one" and facts["jax"] and facts["code"]
