"""Real processes: what they tell each other, and how one that stops takes the others along in order."""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rstar_jax import distributed, stopping
from rstar_jax.distributed import DistributedConfig, hosts, watch
from rstar_jax.errors import UserError
from tests import on_processes

FILE = __file__


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of two processes says of each of `_PARTS`, which they do one after the other, in a folder of
    which another run has the part `taken`."""
    from rstar_jax.evolve.stages import Workdir

    folder = tmp_path_factory.mktemp("hosts")
    with (
        Workdir(folder / "taken", Options()),
        on_processes.started(FILE, "parts", folder, processes=2, devices=2) as running,
    ):
        said = on_processes.ended(running, timeout=120)
    for process, (out, err) in zip(running, said, strict=True):
        assert process.returncode == 0, out + err
    return [json.loads(out) for out, _ in said]


def test_what_processes_tell_each_other(told):
    one, other = (each["tell"] for each in told)
    # Another host's wait goes on until all are there; the result is one for all.
    assert one["gathered"] == other["gathered"] == [{"index": 0}, {"index": 1}]
    assert one["shared"] == other["shared"] == "of 0"
    assert one["led"] == other["led"] == {"led": [1, 2]}
    assert one["large"] == other["large"] == [7] * 5000 and other["pieces"] > 1
    assert one["refused"] == other["refused"] == "of the leader alone"
    assert one["differ"] == other["differ"]
    assert "policy: abc on host 0" in one["differ"] and "abd on host 1" in one["differ"]
    assert "equal" not in one["differ"]
    assert one["name"] != other["name"] and (one["leader"], other["leader"]) == (True, False)


def test_stages_of_several_hosts(told):
    one, other = (each["stages"] for each in told)
    assert one["manifests"] == other["manifests"]
    leader, host = one["manifests"]
    assert leader["result"] == {"by": 0} and set(leader["outputs"]) == {"0.json"}
    assert host["result"] == {"by": 0} and set(host["outputs"]) == {"0.json", "1.json"}
    assert one["again"] == other["again"] == 0  # what is done is done by nobody once more
    assert one["looks"] > 0 == other["looks"]  # the others are told
    assert one["inputs"] == other["inputs"]
    assert "contents of config.data: 0 on host 0" in one["inputs"]
    assert one["damaged"] == other["damaged"] == 1  # the leader finds the damage, both run again
    assert not [name for name in one["left"] if ".met" in name]


def test_a_folder_of_one_host_alone_is_refused(told):
    assert all("what host 0 writes there is not seen by" in each["apart"] for each in told)


def test_a_second_run_in_a_folder_is_refused_on_all_hosts(told):
    assert all("another run is using this folder" in each["taken"] for each in told)


def test_a_signal_is_answered_while_others_are_waited_for(tmp_path):
    with on_processes.started(FILE, "wait", tmp_path, processes=2, devices=2) as (leader, other):
        assert other.stdout and leader.stdout
        assert other.stdout.readline() == "waits\n"
        other.send_signal(signal.SIGTERM)
        # The first to stop has the other one stop in order, too: by a signal of its own.
        for process in (other, leader):
            out, err = process.communicate(timeout=60)
            assert process.returncode == 143, err
            assert out.endswith("terminated\n")
    assert "has stopped (terminated), and with it this one;" in err


# What the processes do.


@dataclasses.dataclass(frozen=True)
class Options:
    seed: int = 0


class Ended(KeyboardInterrupt):
    pass


def _tell(_: Path) -> dict[str, object]:
    host = distributed.here()
    hosts._PIECE = 1000
    if host.index:
        time.sleep(0.3)
    found: dict[str, object] = {
        "gathered": distributed.gathered({"index": host.index}),
        "shared": distributed.shared(f"of {host.index}"),
        "led": distributed.led(lambda: {"led": [host.index + 1, 2]}),
        "large": distributed.shared([7] * 5000 if host.leader else None),
        "name": host.name,
        "leader": host.leader,
    }
    found["pieces"] = len(hosts._run.client.key_value_dir_get("rstar/pieces/"))
    distributed.barrier("here")
    distributed.agree({"policy": "abc"})
    for name, call in (
        ("refused", lambda: distributed.led(_refuse)),
        ("differ", lambda: distributed.agree({"policy": "abd" if host.index else "abc", "equal": "1"})),
    ):
        try:
            call()
        except UserError as error:
            found[name] = str(error)
    return found


def _refuse() -> None:
    raise UserError("of the leader alone")


def _stages(root: Path) -> dict[str, object]:
    from rstar_jax import records
    from rstar_jax.evolve.stages import Workdir

    host, calls, looks = distributed.here(), [], []

    class Watched(Workdir):
        def manifest_here(self, name: str) -> dict[str, Any] | None:
            looks.append(name)
            return super().manifest_here(name)

    def work(folder: Path) -> dict[str, int]:
        calls.append(1)
        records.write_json(folder / f"{host.index}.json", {"value": 7})
        return {"by": host.index}

    found: dict[str, object] = {}
    with Watched(root / "shared", Options()) as workdir:
        found["manifests"] = [
            workdir.stage("round1/curate", work),
            workdir.stage("round1/search", work, "host"),
        ]
        calls.clear()
        workdir.stage("round1/search", work, "host")
        found["again"] = len(calls)
        found["looks"] = len(looks)
        workdir.claim_inputs({"data": "0"})
        try:
            workdir.claim_inputs({"data": str(host.index)})
        except UserError as error:
            found["inputs"] = str(error)
        found["left"] = os.listdir(root / "shared")
        distributed.barrier("looked")
        if host.index:
            (root / "shared/round1/search/1.json").write_text("{}")
        distributed.barrier("damaged")
        calls.clear()
        workdir.stage("round1/search", work, "host")
        found["damaged"] = len(calls)
    return found


def _apart(root: Path) -> str:
    from rstar_jax.evolve import stages

    stages._SEEN_S = 0.2
    return _refused(root / str(distributed.here().index))


def _taken(root: Path) -> str:
    return _refused(root / "taken")


def _refused(folder: Path) -> str:
    from rstar_jax.evolve.stages import Workdir

    try:
        with Workdir(folder, Options()):
            return ""
    except UserError as error:
        return str(error)


def _wait() -> dict[str, object]:
    if distributed.here().index:
        print("waits", flush=True)
        distributed.barrier("never")
    else:
        while True:  # at work: it looks at nothing
            time.sleep(0.1)
    return {}


_PARTS = {"tell": _tell, "stages": _stages, "apart": _apart, "taken": _taken}


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Ended


def main(processes: str, index: str, port: str, what: str, folder: str) -> None:
    signal.signal(signal.SIGTERM, _end)
    watch.LOOK_S = watch.GRACE_S = 0.2
    distributed.start(DistributedConfig(f"localhost:{port}", int(processes), int(index), 60.0))
    try:
        root = Path(folder)
        said = _wait() if what == "wait" else {name: part(root) for name, part in _PARTS.items()}
    except Ended:
        distributed.stop("terminated", 143)
        if (reason := stopping.reason()) is not None:
            print(reason.text, file=sys.stderr)
        print("terminated", flush=True)
        os._exit(143)
    print(json.dumps(said), flush=True)
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
