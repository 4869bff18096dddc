"""Kubernetes objects that run a job on slices of TPUs: a JobSet, and Kueue's objects where asked for.

    JobSet                  restarts all jobs when one fails, if its rules say so
      replicated job        one Job a slice, alone on the slice's node pool (exclusive topology)
        pod                 one a host, one process

A pod that was preempted ends with status 143 or has the condition DisruptionTarget, and the others of a host
that is lost end with 75; their Job fails at once with the reason PodFailurePolicy, and the JobSet restarts
without counting. Any other failure counts, and status 2 (bad input) ends the JobSet.
"""

from __future__ import annotations

from typing import Any

from rstar_jax.distributed.watch import LOST, PREEMPTED
from rstar_jax.pods.settings import BAD_INPUT, VOLUME, LaunchSettings
from rstar_jax.topologies import Gke, Topology

CONTAINER = "rstar"
SLICES = "slice"  # the replicated job
_GRACE_S = 30  # a preempted node's; stages answer SIGTERM within 25
# libtpu's, jax.distributed's, and that of transfers between slices
_PORTS = {"tpu": 8471, "jax": 8482, "megascale": 8080}


def documents(settings: LaunchSettings) -> list[dict[str, Any]]:
    """Return the objects, in the order in which they are applied."""
    queues = kueue(settings) if settings.queue and settings.queues else []
    return [*queues, jobset(settings)]


def jobset(settings: LaunchSettings) -> dict[str, Any]:
    """Return the JobSet (v1alpha2)."""
    where = settings.where()
    labels = {"app.kubernetes.io/name": "rstar-jax"}
    if settings.queue:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    if settings.queue and settings.priority:
        labels["kueue.x-k8s.io/priority-class"] = settings.priority
    hosts = where.hosts // where.slices
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {"action": "FailJob", "onExitCodes": _exit(LOST, PREEMPTED)},
                {"action": "FailJob", "onExitCodes": _exit(BAD_INPUT)},
            ]
        },
        "template": {"metadata": {"labels": dict(labels)}, "spec": _pod(settings, where)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": settings.label(),
            "namespace": settings.namespace,
            "labels": labels,
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool",
            },
        },
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All"},
            "failurePolicy": _failure_policy(settings.restarts),
            "replicatedJobs": [{"name": SLICES, "replicas": where.slices, "template": {"spec": job}}],
        },
    }


def _exit(*statuses: int) -> dict[str, Any]:
    return {"containerName": CONTAINER, "operator": "In", "values": sorted(statuses)}


def _failure_policy(restarts: int) -> dict[str, Any]:
    """Return the rules, first match first. Messages are those of Kubernetes' Job controller; should it word
    them otherwise one day, all failures count."""
    of_policy = {"onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "maxRestarts": restarts,
        # No pod of an earlier incarnation is left that could answer one of the next.
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {
                "name": "badInput",
                "action": "FailJobSet",
                **of_policy,
                "onJobFailureMessagePatterns": [f"failed with exit code {BAD_INPUT} "],
            },
            {
                "name": "preempted",
                "action": "RestartJobSetAndIgnoreMaxRestarts",
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": [
                    f"failed with exit code ({LOST}|{PREEMPTED}) ",
                    "has condition DisruptionTarget ",
                ],
            },
        ],
    }


def _pod(settings: LaunchSettings, where: Topology) -> dict[str, Any]:
    names = where.gke
    assert names
    root = settings.user == 0
    on_volume = not settings.has_address()
    tolerations = [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}]
    if settings.spot:
        spot = {
            "key": "cloud.google.com/gke-spot",
            "operator": "Equal",
            "value": "true",
            "effect": "NoSchedule",
        }
        tolerations.append(spot)
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}]
    if on_volume:
        volumes.append({"name": "runs", "persistentVolumeClaim": {"claimName": settings.volume}})
    account = {"serviceAccountName": settings.service_account} if settings.service_account else {}
    # Slices talk over the nodes' own network, which the pods' would slow down.
    network = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if where.slices > 1 else {}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
        "automountServiceAccountToken": False,
        **account,
        **network,
        "nodeSelector": _nodes(names, settings.spot),
        "tolerations": tolerations,
        "securityContext": {
            "runAsNonRoot": not root,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings, where, on_volume)],
        "volumes": volumes,
    }


def _nodes(names: Gke, spot: bool) -> dict[str, str]:
    labels = {
        "cloud.google.com/gke-tpu-accelerator": names.accelerator,
        "cloud.google.com/gke-tpu-topology": names.topology,
    }
    return {**labels, "cloud.google.com/gke-spot": "true"} if spot else labels


def _container(settings: LaunchSettings, where: Topology, on_volume: bool) -> dict[str, Any]:
    ports = [
        {"name": n, "containerPort": p} for n, p in _PORTS.items() if n != "megascale" or where.slices > 1
    ]
    mounts = [{"name": "scratch", "mountPath": "/tmp"}]
    if on_volume:
        mounts.append({"name": "runs", "mountPath": VOLUME})
    words = settings.words()
    return {
        "name": CONTAINER,
        "image": settings.pulled(),
        "command": words[:3],
        "args": words[3:],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            # Without its TPUs a process stops, rather than to go on with the CPU.
            {"name": "JAX_PLATFORMS", "value": "tpu,cpu"},
        ],
        "ports": ports,
        "resources": {
            "requests": {"google.com/tpu": where.chips_per_host},
            "limits": {"google.com/tpu": where.chips_per_host},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            # The sandbox gives root up for its programs, which takes these two.
            "capabilities": {"drop": ["ALL"], **({} if settings.user else {"add": ["SETUID", "SETGID"]})},
        },
        "volumeMounts": mounts,
    }


def kueue(settings: LaunchSettings) -> list[dict[str, Any]]:
    """Return Kueue's objects (v1beta2): a flavor and a cluster queue with a quota of just these chips, the
    queue that the job names, and its priority class if it has one."""
    where = settings.where()
    assert where.gke
    flavor = f"{where.chip.name}-{where.gke.topology}{'-spot' if settings.spot else ''}"
    covered = "google.com/tpu"
    quota = {"name": flavor, "resources": [{"name": covered, "nominalQuota": where.chips}]}

    def made(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, **fields}

    queue = made("LocalQueue", settings.queue, spec={"clusterQueue": f"rstar-{flavor}"})
    queue["metadata"]["namespace"] = settings.namespace
    groups = [{"coveredResources": [covered], "flavors": [quota]}]
    found = [
        made("ResourceFlavor", flavor, spec={"nodeLabels": _nodes(where.gke, settings.spot)}),
        made("ClusterQueue", f"rstar-{flavor}", spec={"namespaceSelector": {}, "resourceGroups": groups}),
        queue,
    ]
    if settings.priority:
        about = {"value": 1000, "description": "Jobs of rstar_jax."}
        found.append(made("WorkloadPriorityClass", settings.priority, **about))
    return found
