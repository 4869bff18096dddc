"""The fields of Kubernetes' objects that `jobset.py` writes, as a strict schema, and what no schema can say.

Kubernetes' own schemas let misspelt fields pass (a server prunes them without a word). Here a field that is
not listed is an error, nearly every listed one must be there, and values are held to their types, names and
alternatives. Written by hand from the definitions of JobSet v1alpha2, Kueue v1beta2 and core v1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from rstar_jax.errors import UserError
from rstar_jax.topologies import CHIPS

Schema = dict[str, Any]

_NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 63}
_COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_TEXT: Schema = {"type": "string", "minLength": 1, "pattern": "^\\S+$"}
_YES: Schema = {"type": "boolean"}


def _fields(_optional: Mapping[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """An object of just these fields."""
    return _object(required, _optional or {})


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    properties = {**required, **optional}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def _list(items: Schema, least: int = 1) -> Schema:
    return {"type": "array", "minItems": least, "items": items}


def _one_of(*values: Any) -> Schema:
    """One of these values, of their type: 1 is not True."""
    kinds = {bool: "boolean", int: "integer", str: "string"}
    return {"type": kinds[type(values[0])], "enum": list(values)}


_LABELS = _object(
    {"app.kubernetes.io/name": _one_of("rstar-jax")},
    {"kueue.x-k8s.io/queue-name": _NAME, "kueue.x-k8s.io/priority-class": _NAME},
)
_NODES = _object(
    {
        "cloud.google.com/gke-tpu-accelerator": _one_of(*(c.accelerator for c in CHIPS.values() if c.is_tpu)),
        "cloud.google.com/gke-tpu-topology": {"type": "string", "pattern": "^[0-9]+x[0-9]+(x[0-9]+)?$"},
    },
    {"cloud.google.com/gke-spot": _one_of("true")},
)
_EXCLUSIVE = _object(
    {"alpha.jobset.sigs.k8s.io/exclusive-topology": _one_of("cloud.google.com/gke-nodepool")}, {}
)
_CHIPS = _object({"google.com/tpu": _one_of(1, 4, 8)}, {})
# An argument that swallowed the next one, as lines out of place do, has " - " before its dashes.
_ARGUMENT: Schema = {"type": "string", "pattern": "^--config\\.[a-z_.]+=", "not": {"pattern": " - --"}}
_CONTAINER = _fields(
    name=_NAME,
    image=_TEXT,
    command={"type": "array", "const": ["python", "-m", "rstar_jax.launch"]},
    args={
        "type": "array",
        "minItems": 3,
        "prefixItems": [
            {"type": "string", "pattern": f"^--{flag}=[^\\s]+$"} for flag in ("config", "workdir", "compiled")
        ],
        "items": _ARGUMENT,
    },
    env=_list(_fields(name=_one_of("HOME", "JAX_PLATFORMS"), value=_one_of("/tmp", "tpu,cpu")), least=2),
    ports=_list(_fields(name=_one_of("tpu", "jax", "megascale"), containerPort=_COUNT), least=2),
    resources=_fields(requests=_CHIPS, limits=_CHIPS),
    securityContext=_fields(
        allowPrivilegeEscalation=_one_of(False),
        readOnlyRootFilesystem=_one_of(True),
        capabilities=_fields(
            {"add": {"type": "array", "const": ["SETUID", "SETGID"]}},
            drop={"type": "array", "const": ["ALL"]},
        ),
    ),
    volumeMounts=_list(_fields(name=_NAME, mountPath=_one_of("/tmp", "/runs"))),
)
_TOLERATION: Schema = {
    "oneOf": [
        _fields(key=_one_of("google.com/tpu"), operator=_one_of("Exists"), effect=_one_of("NoSchedule")),
        _fields(
            key=_one_of("cloud.google.com/gke-spot"),
            operator=_one_of("Equal"),
            value=_one_of("true"),
            effect=_one_of("NoSchedule"),
        ),
    ]
}
_VOLUME: Schema = {
    "oneOf": [
        _fields(name=_one_of("scratch"), emptyDir=_object({}, {})),
        _fields(name=_one_of("runs"), persistentVolumeClaim=_fields(claimName=_NAME)),
    ]
}
_USER: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_POD = _fields(
    {
        "serviceAccountName": _NAME,
        "hostNetwork": _one_of(True),
        "dnsPolicy": _one_of("ClusterFirstWithHostNet"),
    },
    restartPolicy=_one_of("Never"),
    terminationGracePeriodSeconds=_COUNT,
    automountServiceAccountToken=_one_of(False),
    nodeSelector=_NODES,
    tolerations=_list(_TOLERATION),
    securityContext=_fields(
        runAsNonRoot=_YES,
        runAsUser=_USER,
        runAsGroup=_USER,
        fsGroup=_USER,
        seccompProfile=_fields(type=_one_of("RuntimeDefault")),
    ),
    containers={**_list(_CONTAINER), "maxItems": 1},
    volumes=_list(_VOLUME),
)
_FAILED_POD: Schema = {
    "oneOf": [
        _fields(
            action=_one_of("FailJob"),
            onPodConditions=_list(_fields(type=_one_of("DisruptionTarget"), status=_one_of("True"))),
        ),
        _fields(
            action=_one_of("FailJob"),
            onExitCodes=_fields(
                containerName=_NAME,
                operator=_one_of("In"),
                values=_list({"type": "integer", "minimum": 1, "maximum": 255}),
            ),
        ),
    ]
}
_JOB = _fields(
    parallelism=_COUNT,
    completions=_COUNT,
    completionMode=_one_of("Indexed"),
    backoffLimit=_one_of(0),
    podFailurePolicy=_fields(rules={**_list(_FAILED_POD), "maxItems": 20}),
    template=_fields(metadata=_fields(labels=_LABELS), spec=_POD),
)


def _failed_job(name: str, action: str) -> Schema:
    message = "^(failed with exit code [0-9()|]+|has condition [A-Za-z]+) $"
    return _fields(
        name=_one_of(name),
        action=_one_of(action),
        onJobFailureReasons={"type": "array", "const": ["PodFailurePolicy"]},
        onJobFailureMessagePatterns=_list({"type": "string", "pattern": message}),
    )


_FAILED_JOBS: Schema = {
    "type": "array",
    "minItems": 2,
    "prefixItems": [
        _failed_job("badInput", "FailJobSet"),
        _failed_job("preempted", "RestartJobSetAndIgnoreMaxRestarts"),
    ],
    "items": False,
}
_JOBSET = _fields(
    apiVersion=_one_of("jobset.x-k8s.io/v1alpha2"),
    kind=_one_of("JobSet"),
    metadata=_fields(name=_NAME, namespace=_NAME, labels=_LABELS, annotations=_EXCLUSIVE),
    spec=_fields(
        network=_fields(enableDNSHostnames=_one_of(True), publishNotReadyAddresses=_one_of(True)),
        successPolicy=_fields(operator=_one_of("All")),
        failurePolicy=_fields(
            maxRestarts={"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            restartStrategy=_one_of("BlockingRecreate"),
            rules=_FAILED_JOBS,
        ),
        replicatedJobs=_list(_fields(name=_NAME, replicas=_COUNT, template=_fields(spec=_JOB))),
    ),
)


def _kueue(kind: str, metadata: Schema, **fields: Schema) -> Schema:
    version = _one_of("kueue.x-k8s.io/v1beta2")
    return _fields(apiVersion=version, kind=_one_of(kind), metadata=metadata, **fields)


_NAMED = _fields(name=_NAME)
_QUOTA = _fields(name=_one_of("google.com/tpu"), nominalQuota=_COUNT)
_GROUP = _fields(
    coveredResources={"type": "array", "const": ["google.com/tpu"]},
    flavors=_list(_fields(name=_NAME, resources=_list(_QUOTA))),
)
SCHEMAS: dict[str, Schema] = {
    "JobSet": _JOBSET,
    "ResourceFlavor": _kueue("ResourceFlavor", _NAMED, spec=_fields(nodeLabels=_NODES)),
    "ClusterQueue": _kueue(
        "ClusterQueue", _NAMED, spec=_fields(namespaceSelector=_object({}, {}), resourceGroups=_list(_GROUP))
    ),
    "LocalQueue": _kueue(
        "LocalQueue", _fields(name=_NAME, namespace=_NAME), spec=_fields(clusterQueue=_NAME)
    ),
    "WorkloadPriorityClass": _kueue(
        "WorkloadPriorityClass",
        _NAMED,
        value=_COUNT,
        description={"type": "string", "minLength": 1},
    ),
}


@functools.cache
def _validator(kind: str) -> Any:
    return jsonschema.Draft202012Validator(SCHEMAS[kind])


def require_valid(documents: Sequence[Any]) -> None:
    """Raise UserError naming the first field that is not as it must be."""
    for document in documents:
        for fault in faults(document):
            raise UserError(
                f"the manifest would not be valid: {fault}. Change the option that this comes from."
            )


def faults(document: Any) -> Iterator[str]:
    """Yield what is wrong with an object: against its schema, and of fields that must agree."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in SCHEMAS:
        yield f"kind {kind!r}: one of {', '.join(SCHEMAS)} expected"
        return
    found = [*_validator(kind).iter_errors(document)]
    for error in found:
        yield f"{kind} at {error.json_path}: {error.message[:200]}"
    if not found and kind == "JobSet":
        yield from _disagreeing(document)


def _disagreeing(jobset: Any) -> Iterator[str]:
    """Yield fields of a JobSet that do not agree with each other, among them Kubernetes' own rules."""
    names = [job["name"] for job in jobset["spec"]["replicatedJobs"]]
    if len({*names}) < len(names):
        yield f"replicatedJobs {names}: names that differ expected"
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = replicated["template"]["spec"]
        pod = job["template"]["spec"]
        (container,) = pod["containers"]
        shape = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
        chips, given = (
            math.prod(map(int, shape.split("x"))),
            container["resources"]["limits"]["google.com/tpu"],
        )
        if job["parallelism"] * given != chips or job["completions"] != job["parallelism"]:
            yield f"parallelism {job['parallelism']} of {given} chips each: {chips} chips of {shape} expected"
        if container["resources"]["requests"] != container["resources"]["limits"]:
            yield "resources: requests that are the limits expected"
        volumes, mounts = _names(pod["volumes"]), _names(container["volumeMounts"])
        if sorted(volumes) != sorted(mounts) or len({*volumes}) < len(volumes):
            yield f"volumes {volumes} and volumeMounts {mounts}: the same names, each once, expected"
        for rule in job["podFailurePolicy"]["rules"]:
            of = rule.get("onExitCodes", {"containerName": container["name"]})["containerName"]
            if of != container["name"]:
                yield f"podFailurePolicy: container {of!r} given, {container['name']!r} expected"
        if pod.get("hostNetwork", False) != ("dnsPolicy" in pod):
            yield "hostNetwork and dnsPolicy: both or none expected"
        user = pod["securityContext"]["runAsUser"]
        if pod["securityContext"]["runAsNonRoot"] != (user != 0):
            yield f"runAsNonRoot: {user != 0} for user {user} expected"
        if (user == 0) != ("add" in container["securityContext"]["capabilities"]):
            yield f"capabilities: SETUID and SETGID for root alone expected, not for user {user}"
        if job["template"]["metadata"]["labels"] != jobset["metadata"]["labels"]:
            yield "labels: the pods' to be the JobSet's expected"
        if sorted(_names(container["env"])) != ["HOME", "JAX_PLATFORMS"]:
            yield f"env {_names(container['env'])}: HOME and JAX_PLATFORMS expected"


def _names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]
