"""The comment at the top of what is written: what it is, what it costs, and how it is used."""

from __future__ import annotations

import shlex

from rstar_jax.pods.settings import LaunchSettings
from rstar_jax.topologies import Topology

_PLATFORMS = {
    "jobset": "JobSet and Kueue on GKE",
    "xpk": "xpk on GKE",
    "tpu_vm": "gcloud on TPU VMs",
    "slurm": "Slurm",
}


def header(settings: LaunchSettings) -> list[str]:
    """Return the lines of the comment, without the marks of one."""
    where = settings.where()
    slices = f"{where.slices} slices, " if where.slices > 1 else ""
    devices = f", {where.devices} JAX devices" if where.devices != where.chips else ""
    told = {name: value for name, value in settings.changed().items() if name not in ("of", "options")}
    words = [f"--config.job={settings.of}", *(f"--config.{name}={value}" for name, value in told.items())]
    words += [f"--config.{option}" for option in settings.options]
    return [
        f"{settings.of} of rstar_jax on {where} ({slices}{where.hosts} hosts, {where.chips} chips{devices}) "
        f"by {_PLATFORMS[settings.started_by()]}.",
        f"Written by: python -m rstar_jax.launch --config=launch {shlex.join(words)}",
        cost(where, settings.price, settings.spot),
        *_USES[settings.started_by()](settings, where),
    ]


def cost(where: Topology, price: float, spot: bool) -> str:
    """Return a sentence: US dollars an hour, of the table's prices or a given one."""
    chip = where.chip
    if price:
        return f"Cost: {_dollars(where.chips * price)} US dollars an hour, at {price:g} a chip, as given."
    if chip.usd_hour is None or chip.usd_spot is None:
        return "Cost: not known, as there is no public price of these chips; --config.price=DOLLARS says it."
    full = f"{_dollars(where.chips * chip.usd_hour)} on demand ({chip.usd_hour:g} a chip)"
    least = f"{_dollars(where.chips * chip.usd_spot)} as spot at the lowest ({chip.usd_spot:g} a chip)"
    both = f"{least}, {full}" if spot else f"{full}, {least}"
    return f"Cost: US dollars an hour {both}; US, {chip.priced}; --config.price=DOLLARS says another."


def _file(settings: LaunchSettings) -> str:
    return shlex.quote(settings.out or "FILE")


def _dollars(value: float) -> str:
    return f"{value:,.2f}"


def _jobset(settings: LaunchSettings, where: Topology) -> list[str]:
    assert where.gke
    shape, machine, hosts = where.gke.topology, where.gke.machine, where.hosts // where.slices
    pool = f"{settings.label()}-0"
    create = f"gcloud container node-pools create {pool} --cluster=CLUSTER --location=LOCATION"
    spot = " --spot" if settings.spot else ""
    placed = f" --tpu-topology={shape}" if hosts > 1 else ""
    lines = ["Node pools, one a slice:"]
    if where.chip.name == "tpu7x":
        lines = ["Needs GKE 1.34. Node pools, one a slice; a workload policy says their topology:"]
        if hosts > 1:
            policy = f"rstar-{where.chip.name}-{shape}"
            kind = f"--type=HIGH_THROUGHPUT --accelerator-topology={shape} --region=REGION"
            lines.append(f"  gcloud compute resource-policies create workload-policy {policy} {kind}")
            placed = f" --placement-policy={policy}"
    lines.append(f"  {create} --machine-type={machine}{placed} --num-nodes={hosts}{spot}")
    if where.slices > 1:
        lines.append(f"  and so on to {settings.label()}-{where.slices - 1}")
    return [
        *lines,
        f"Image: docker build --file=launch/Dockerfile --build-arg=TARGET=tpu --tag={settings.pulled()} . && "
        f"docker push {settings.pulled()}",
        f"Start: kubectl apply --filename={_file(settings)}",
    ]


def _xpk(settings: LaunchSettings, where: Topology) -> list[str]:
    file = _file(settings)
    return [
        f"Cluster, once: CLUSTER=... PROJECT=... ZONE=... bash {file} cluster",
        f"Start: CLUSTER=... PROJECT=... ZONE=... bash {file}",
        "xpk runs the container privileged, and counts preemptions as restarts; bad input ends the job.",
    ]


def _tpu_vm(settings: LaunchSettings, where: Topology) -> list[str]:
    return [f"Start, and stay until it has ended: PROJECT=... ZONE=... bash {_file(settings)}"]


def _slurm(settings: LaunchSettings, where: Topology) -> list[str]:
    return [f"Start, in the checkout's folder: sbatch {_file(settings)}"]


_USES = {"jobset": _jobset, "xpk": _xpk, "tpu_vm": _tpu_vm, "slurm": _slurm}
