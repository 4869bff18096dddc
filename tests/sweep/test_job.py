"""A sweep from its options to its table: what runs, what does not run again, and what stops it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax import records
from rstar_jax.compare import job as compare
from rstar_jax.errors import UserError
from rstar_jax.evolve.stages import Workdir
from rstar_jax.sweep import job
from rstar_jax.sweep.settings import SweepSettings
from tests.sweep.fakes import evaluation, launcher, resolve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path):
    """Sweeps by lines of shell that copy what has been evaluated; `calls` is what was started."""
    for c, right in ((1, [1] * 10 + [0] * 30), (2, [1] * 30 + [0] * 10), (3, [1] * 40)):
        evaluation(tmp_path / f"made-{c}", right)
    calls = tmp_path / "calls"
    calls.touch()

    def run(script="cp -r {made}/. {folder}", **given) -> tuple[int, list[str]]:
        def line(folder, options):
            c = dict(option.split("=") for option in options)["c"]
            made = tmp_path / f"made-{c}"
            return f"echo {folder.name} >> {calls}; " + script.format(made=made, folder=folder, c=c)

        calls.write_text("")
        found = job.run(SweepSettings(**{"over": ("c=1,2",), **given}), launcher(line), tmp_path / "w")
        return found, calls.read_text().split()

    return run


def test_a_sweep_ends_in_one_table(sweep, tmp_path, capsys):
    status, calls = sweep(over=("c=1,2,3",), seeds=2)
    assert status == 0 and len(calls) == 6
    found = json.loads((tmp_path / "w" / "sweep.json").read_text())
    assert [point["status"] for point in found["points"]] == ["done"] * 6
    assert [cell["swept"]["c"] for cell in found["cells"]] == ["1", "2", "3"]
    assert [cell["verdict"] for cell in found["cells"]] == ["", "better", "better"]
    rows = list(csv.DictReader((tmp_path / "w" / "sweep.csv").open()))
    assert [(row["c"], row["seeds"], row["value"]) for row in rows] == [
        ("1", "2", "0.25"),
        ("2", "2", "0.75"),
        ("3", "2", "1.0"),
    ]
    assert rows[2]["values"] == "0:1 1:1" and float(rows[1]["difference_low"]) > 0
    text = (tmp_path / "w" / "sweep.md").read_text()
    assert "| math500 | pass@1 | 2 | 2 | 75.0 (" in text and text in capsys.readouterr().out
    compare.run(compare.CompareSettings(runs=str(tmp_path / "w")), tmp_path / "out")
    assert "c=3,seed=1" in (tmp_path / "out" / "comparison.md").read_text()


def test_what_is_done_is_not_run_again_and_more_values_add_to_it(sweep):
    assert sweep() == (0, ["c=1,seed=0", "c=2,seed=0"])
    assert sweep() == (0, [])
    assert sweep(over=("c=1,2,3",)) == (0, ["c=3,seed=0"])


def test_a_point_whose_folder_is_gone_is_run_again(sweep, tmp_path):
    sweep()
    shutil.rmtree(tmp_path / "w" / "points" / "c=1,seed=0")
    assert sweep() == (0, ["c=1,seed=0"])


def test_a_failed_point_is_told_and_alone_is_run_again(sweep, tmp_path, capsys):
    script = "echo error: no luck >&2; test {c} = 2 && cp -r {made}/. {folder}"
    assert sweep(script) == (1, ["c=1,seed=0", "c=2,seed=0"])
    assert "c=1,seed=0: failed: error: no luck (exit status 1)" in capsys.readouterr().out
    text = (tmp_path / "w" / "sweep.md").read_text()
    assert "1 of 2 points done" in text and "| c=1,seed=0 | failed |" in text and "| 75.0 (" in text
    assert sweep() == (0, ["c=1,seed=0"])


def test_a_point_that_another_kills_is_run_once_more_after_the_others(sweep, tmp_path):
    script = "mkdir {folder}.once 2>&- && test {c} = 1 && kill -9 $$; cp -r {made}/. {folder}"
    assert sweep(script) == (0, ["c=1,seed=0", "c=2,seed=0", "c=1,seed=0"])
    assert sweep("kill -9 $$", over=("c=3",))[1] == ["c=3,seed=0"] * 2
    assert sweep("echo error: no luck; exit 1", over=("c=4",))[0] == 1
    assert sweep("kill -9 $$", over=("c=4",))[0] == 1  # says nothing, and not what the one before it said
    assert records.read_json(tmp_path / "w/points/c=4,seed=0.json")["why"].startswith(
        "it said nothing (killed"
    )
    assert "killed by signal 9" in records.read_json(tmp_path / "w/points/c=3,seed=0.json")["why"]


def test_several_points_at_once(sweep):
    # Neither ends before both have begun.
    script = (
        "touch {folder}.there; while [ $(ls -d {folder}/../*.there | wc -l) -lt 2 ]; do sleep 0.05; done; "
    )
    assert sweep(script + "cp -r {made}/. {folder}", at_once=2)[0] == 0


def test_commands_for_other_machines_and_the_table_of_what_they_did(sweep, tmp_path, capsys):
    assert sweep(do="commands") == (0, [])
    lines = (tmp_path / "w" / "commands.sh").read_text().splitlines()
    assert len(lines) == 2 and lines[0] in capsys.readouterr().out
    assert sweep(do="table", over=("c=1,2,3",)) == (0, [])
    assert "| c=3,seed=0 | not done |" in capsys.readouterr().out
    subprocess.run(["sh", "-e", str(tmp_path / "w" / "commands.sh")], check=True)
    assert sweep(do="table") == (0, [])
    with Workdir(tmp_path / "w/points/c=1,seed=0", resolve("", ("c=1", "seed=0"))):  # one is still at work
        assert sweep(do="table") == (0, [])
        with pytest.raises(UserError, match="c=1,seed=0: another run is using this folder"):
            sweep()
    told = capsys.readouterr().out
    assert "| math500 | pass@1 | 2 | 75.0 (" in told and "| c=1,seed=0 | begun |" in told
    assert "0 of 2 points done; 2 begun" in told
    with pytest.raises(UserError, match="made with other options"):
        sweep(do="table", options=("name=b",))


def manifests(tmp_path, *options, given="", over=("c=1,2",)) -> list[dict[str, str]]:
    written = list[tuple]()
    swept = SweepSettings(over=over, do="manifests", launch=options)
    made = launcher(lambda *_: "", manifest=lambda *of: written.append(of), given=given)
    assert job.run(swept, made, tmp_path / "w") == 0
    assert {of for of, *_ in written} == {"quickstart"}
    return [dict(option.split("=", 1) for option in launch) for _, _, launch in written]


def test_a_manifest_for_each_point_has_a_name_and_a_folder_of_its_own(tmp_path):
    one, two = manifests(tmp_path, "topology=v5e:2x2", "workdir=gs://b/s", "spot=True")
    assert one["workdir"] == "gs://b/s/points/c=1,seed=0" and one["compiled"] == "gs://b/s/compiled"
    assert one["out"] == str(tmp_path / "w" / "manifests" / "c=1,seed=0.yaml") and one["spot"] == "True"
    assert one["name"] != two["name"] and one["name"].startswith("rstar-quickstart-")
    named = manifests(tmp_path, "topology=h200:8", f"name={'x' * 40}", "compiled=/c", over=("c=1,2,3",))
    assert {len(of["name"]) for of in named} == {37} and len({of["name"] for of in named}) == 3
    assert named[0]["out"].endswith(".sh") and named[0]["compiled"] == "/c"
    assert named[0]["workdir"] == f"runs/{'x' * 40}/points/c=1,seed=0"


def test_points_elsewhere_lie_in_the_bucket_that_the_sweep_is_given(sweep, tmp_path):
    assert manifests(tmp_path, "topology=v5e:2x2", given="gs://b/s")[0]["workdir"].startswith(
        "gs://b/s/points/"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--config.launch: config.topology: '' given"),
        (("topology=v5e:3x2",), "--config.launch: config.topology.* Did you mean"),
        (("topology=v5e:2x2", "out=a"), "--config.launch.out: given"),
        (("topology=v5e:2x2", "workdir=/elsewhere"), "--config.launch: config.workdir"),
    ],
)
def test_options_of_manifests_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        manifests(tmp_path, *options)
    assert not (tmp_path / "w" / "manifests").exists()


def test_points_of_other_options_are_refused_before_any_is_run(sweep):
    sweep(over=("c=1,2",), options=("name=a",))
    with pytest.raises(UserError, match=r"made with other options:\n  config.name: there 'a', now 'b'"):
        sweep(over=("c=1,2",), options=("name=b",))


def test_a_metric_that_there_is_none_of_is_told_at_once(sweep):
    with pytest.raises(UserError, match="'serch': no such metric"):
        sweep(metrics="serch")


def test_a_damaged_status_is_moved_aside_and_its_point_run_again(sweep, tmp_path):
    sweep()
    path = tmp_path / "w" / "points" / "c=2,seed=0.json"
    path.write_text(path.read_text().replace('"done"', '"dine"'))
    assert sweep() == (0, ["c=2,seed=0"])
    assert path.with_name(f"{path.name}.damaged-1").exists()


def started(tmp_path, script) -> subprocess.Popen[str]:
    """A sweep of two points at once, both at work: each has written its process id."""
    command = [sys.executable, "-m", "tests.sweep.fakes", str(tmp_path / "w"), f"cd {tmp_path}; {script}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    return process


def _wait(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def _is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGTERM, "TERM", 143), (signal.SIGINT, "INT", 130)]
)
def test_a_signal_is_handed_on_and_points_end_in_order(tmp_path, number, name, status):
    script = f"trap 'sleep 0.3; touch told-$$; exit {status}' {name}; touch pid-$$; "
    script += "while true; do sleep 0.05; done"
    process = started(tmp_path, script)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert len(list(tmp_path.glob("told-*"))) == 2
    assert not list((tmp_path / "w" / "points").glob("*.json"))  # none has failed: they go on


def test_a_sweep_that_is_killed_leaves_no_point_at_work(tmp_path):
    process = started(tmp_path, "touch pid-$$; exec sleep 600")
    pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    assert all(map(_is_alive, pids))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    _wait(lambda: not any(map(_is_alive, pids)))
