"""The number of a run's processes, and which of them this one is.

    options                    whatever is given of coordinator, processes and process
    Slurm, a step of srun      SLURM_STEP_NODELIST, SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID
    GKE, a pod with TPUs       TPU_WORKER_HOSTNAMES, TPU_WORKER_ID
    TPU VM                     the metadata server's worker-network-endpoints, agent-worker-number
    several slices (both)      MEGASCALE_COORDINATOR_ADDRESS, MEGASCALE_NUM_SLICES, MEGASCALE_SLICE_ID

The same sources, in the same order of processes and with the same ports, as `jax.distributed.initialize` has
(jax/_src/clusters); read here, so that what is wrong with them is told before anything waits.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from rstar_jax.distributed.config import DistributedConfig
from rstar_jax.errors import UserError

SLURM = "Slurm"
_TPU_PORT = 8482
_SLICES = ("MEGASCALE_COORDINATOR_ADDRESS", "MEGASCALE_NUM_SLICES", "MEGASCALE_SLICE_ID")
_GOOGLE = "0x1ae0"  # vendor of TPUs on the PCI bus


@dataclasses.dataclass(frozen=True)
class Place:
    """A process among those of a run.

    coordinator: HOST:PORT of process 0. how: where all this is known from. devices: which of the host's
    devices are its own; None: all.
    """

    coordinator: str
    count: int
    index: int
    how: str
    devices: tuple[int, ...] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The coordinator's host and port."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def find(config: DistributedConfig, environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place; None where it is alone.

    Raises UserError for options that do not suffice, and for variables of several slices that are not of this
    start.
    """
    if config.processes == 1:
        return None
    found = _slurm(environment) or _gke(environment) or _tpu_vm(environment)
    coordinator = config.coordinator or (found.coordinator if found else "")
    count = config.processes or (found.count if found else 0)
    index = config.process if config.process >= 0 else (found.index if found else -1)
    if not coordinator and count <= 1 and index <= 0:
        return None
    missing = [
        f"--config.distributed.{name}"
        for name, there in (("coordinator", coordinator), ("processes", count), ("process", index >= 0))
        if not there
    ]
    if missing:
        raise UserError(
            "config.distributed: several processes asked for, but neither GKE, a TPU VM nor Slurm tells the "
            f"rest. Give {' and '.join(missing)}, too."
        )
    if index >= count:
        raise UserError(f"config.distributed.process: {index} given, a number below {count} expected.")
    if count == 1:
        return None
    how = found.how if found else "options"
    return Place(coordinator, count, index, how, found.devices if found else None)


def _slurm(environment: Mapping[str, str]) -> Place | None:
    """A step's task. A batch script by itself is no step: it is alone."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if not all(environment.get(name) for name in names):
        return None
    nodes = environment["SLURM_STEP_NODELIST"]
    job, count, index, local = (_number(environment, name) for name in names if name != "SLURM_STEP_NODELIST")
    port = _port(environment, job % 2**12 + (2**16 - 2**12))
    # Slurm may have hidden the other tasks' GPUs already, and then the only one is the first.
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    tasks = re.findall(r"(?:^|,)(\d+)", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))  # "4(x2),1"
    shares = any(int(number) > 1 for number in tasks)
    own = (local,) if shares and ("," in visible or not visible) else None
    return Place(f"{first_node(nodes)}:{port}", count, index, SLURM, own)


def first_node(nodes: str) -> str:
    """First host of a Slurm list: "gpu[003-007,9],x1" -> "gpu003", "a1,b2" -> "a1"."""
    found = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", nodes)
    assert found
    return "".join(filter(None, found.groups()))


def _gke(environment: Mapping[str, str]) -> Place | None:
    names = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    if not names or not environment.get("TPU_WORKER_ID"):
        return None
    worker = _number(environment, "TPU_WORKER_ID")
    return _of_slices([_host(name) for name in names.split(",")], worker, environment, "GKE")


def _tpu_vm(environment: Mapping[str, str]) -> Place | None:
    if environment.get("TPU_SKIP_MDS_QUERY") is not None or not _has_tpus():
        return None
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    worker = _metadata(server, "agent-worker-number")
    if worker is None:
        return None
    # Names, or triples name:id:address in older images.
    ends = (_metadata(server, "worker-network-endpoints") or "").split(",")
    workers = [end.split(":")[-1] for end in ends]
    text = _metadata(server, "tpu-env") or ""  # lines such as MEGASCALE_NUM_SLICES: '2'
    told = dict(re.findall(r"^\s*(\w+)\s*:\s*'?([^'\n]*?)'?\s*$", text, re.MULTILINE))
    slices = {name: told[name] for name in _SLICES if name in told}
    for name in _SLICES:
        given = environment.get(name)
        if given is not None and given != told.get(name):
            raise UserError(
                f"{name}: '{given}' in the environment, {told.get(name, 'nothing')} in this VM's metadata: "
                f"left from an earlier start. Remove it (unset {' '.join(_SLICES)})."
            )
    return _of_slices(workers, int(worker), {**environment, **slices}, "TPU VM")


def _of_slices(workers: list[str], worker: int, environment: Mapping[str, str], how: str) -> Place:
    """The place of a worker of a slice. Refuses variables of several slices that contradict each other, or
    this slice's workers: left from an earlier start, they have all hosts wait for one that is gone."""
    stale = (
        f"left from an earlier start? Remove them (unset {' '.join(_SLICES)}), or set all as they are now."
    )
    if not 0 <= worker < len(workers):
        raise UserError(f"TPU_WORKER_ID: {worker} given, but there are {len(workers)} workers: {workers}.")
    port = _port(environment, _TPU_PORT)
    values = {name: environment.get(name, "") for name in _SLICES}
    if not any(values.values()):
        return Place(f"{workers[0]}:{port}", len(workers), worker, how)
    if missing := [name for name, value in values.items() if not value]:
        there = ", ".join(f"{name}={value}" for name, value in values.items() if value)
        raise UserError(f"{there} without {' and '.join(missing)}: {stale}")
    address, number, own = values.values()
    coordinator = _host(address)
    if not (number.isdecimal() and own.isdecimal() and int(own) < int(number)):
        raise UserError(f"MEGASCALE_NUM_SLICES={number}, MEGASCALE_SLICE_ID={own}: {stale}")
    is_first = _are_one(coordinator, workers[0])
    if int(own) == 0 and is_first is False:
        raise UserError(
            f"MEGASCALE_COORDINATOR_ADDRESS={address}: not {workers[0]}, the first worker of this slice, "
            f"which is the first: {stale}"
        )
    if int(own) > 0 and coordinator in workers:
        raise UserError(
            f"MEGASCALE_COORDINATOR_ADDRESS={address}: a worker of this slice, but MEGASCALE_SLICE_ID={own} "
            f"is not the first one: {stale}"
        )
    count = int(number) * len(workers)
    return Place(f"{coordinator}:{port}", count, int(own) * len(workers) + worker, how)


def _are_one(name: str, other: str) -> bool | None:
    """Tell whether two names are of one host; None where that cannot be known (yet)."""
    if name == other:
        return True
    try:
        found = [{entry[4][0] for entry in socket.getaddrinfo(host, None)} for host in (name, other)]
    except OSError:
        return None
    return bool(found[0] & found[1])


def _host(address: str) -> str:
    """ "name:123" -> "name", "[::1]:123" -> "::1"."""
    found = re.fullmatch(r"\[([^\]]*)\](?::\d*)?|([^:]*)(?::\d*)?", address.strip())
    return (found[1] or found[2] or "") if found else address.strip()


def _number(environment: Mapping[str, str], name: str, below: int = 2**31) -> int:
    given = environment[name]
    if not (given.isdecimal() and int(given) < below):
        raise UserError(f"{name}: '{given}' in the environment, a number below {below:,} expected.")
    return int(given)


def _port(environment: Mapping[str, str], usual: int) -> int:
    """The coordinator's port."""
    name = "JAX_COORDINATOR_PORT"
    return _number(environment, name, 2**16) if environment.get(name) else usual


def _has_tpus() -> bool:
    return any(path.read_text().strip() == _GOOGLE for path in Path("/sys/bus/pci/devices").glob("*/vendor"))


def _metadata(server: str, key: str) -> str | None:
    """A value of the metadata server; None where there is none."""
    import urllib.request  # takes a while, and no other machine needs it

    url = f"http://{server}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.read().decode()
    except OSError:
        return None
