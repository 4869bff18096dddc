"""Manifests are held to a strict schema: every sound one passes, and damaged ones do not."""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from rstar_jax.pods.job import made
from rstar_jax.pods.schema import faults
from tests.pods.manifests import EVERY

REAL = os.environ.get("RSTAR_SCHEMA_DIR", "")
MOST = 120  # damaged manifests of each kind
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(text: str) -> list:
    return list(yaml.load_all(text, LOADER))


def is_missed(text: str, before: str) -> bool | None:
    """Whether a manifest passes that means something else than before; None if it means the same."""
    try:
        found = read(text)
    except yaml.YAMLError:
        return False
    if repr(found) == before:
        return None
    return not any(fault for document in found for fault in faults(document))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_written_is_sound(name):
    documents = read(made(EVERY[name]))
    assert [[*faults(document)] for document in documents] == [[]] * len(documents)
    assert documents[-1]["kind"] == "JobSet"


def keys_changed(text: str, chance: random.Random) -> Iterator[str]:
    """A key misspelt, or in another case."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if found := re.match(r"(\s*(?:- )*)([\w./-]+)(:.*)", line):
            start, key, rest = found.groups()
            at = chance.randrange(len(key))
            swapped = key[:at] + key[at].swapcase() + key[at + 1 :]
            for other in (key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], swapped, key + "s"):
                if other and other != key:
                    yield "\n".join([*lines[:i], f"{start}{other}{rest}", *lines[i + 1 :]])


def indents_changed(text: str, chance: random.Random) -> Iterator[str]:
    lines = text.splitlines()
    for i, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        for other in {depth - 2, depth - 1, depth + 1, depth + 2} - {depth}:
            if other >= 0 and line.strip():
                yield "\n".join([*lines[:i], " " * other + line.lstrip(), *lines[i + 1 :]])


def types_changed(text: str, chance: random.Random) -> Iterator[str]:
    """A value of another type: a number as text, text as a number, truth as text, a list as its item."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if not (found := re.match(r"(\s*(?:- )*(?:[\w./-]+:)?)(?: (.+))?$", line)):
            continue
        start, value = found.groups()
        if value is None:
            others = ["", "3", "text", "[]", "null"]
        else:
            others = ["null", "[]", "{}", f"[{value}]"]
            is_number = isinstance(yaml.safe_load(value), int | float)
            others += [f"'{value}'", f"{value}.5"] if is_number else ["3", "true"]
        for other in others:
            yield "\n".join([*lines[:i], f"{start} {other}".rstrip(), *lines[i + 1 :]])


@pytest.mark.parametrize("mutate", [keys_changed, indents_changed, types_changed])
def test_damage_is_caught(mutate):
    """Of manifests with one key, indent or type changed 99 in 100; those that mean the same are none."""
    chance, tried, missed = random.Random(0), 0, []
    for name in ("one host", "v5p, queues", "tpu7x, spot"):
        text = made(EVERY[name])
        body = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))
        before = repr(read(body))
        mutants = [*mutate(body, chance)]
        for mutant in chance.sample(mutants, min(MOST, len(mutants))):
            if (is_one := is_missed(mutant, before)) is not None:
                tried += 1
            if is_one:
                missed.append({*mutant.splitlines()} - {*body.splitlines()})
    assert tried > 200
    assert len(missed) <= tried // 100, (tried, missed)


def jobset(change) -> list[str]:
    document = read(made(EVERY["v6e, slices"]))[-1]
    change(document)
    return list(faults(document))


def job_of(document) -> dict:
    return document["spec"]["replicatedJobs"][0]["template"]["spec"]


def pod_of(document) -> dict:
    return job_of(document)["template"]["spec"]


def chips_asked(document) -> dict:
    return pod_of(document)["containers"][0]["resources"]["requests"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: job_of(d).update(completions=15), "parallelism"),
        (lambda d: pod_of(d)["nodeSelector"].update({"cloud.google.com/gke-tpu-topology": "4x4"}), "chips"),
        (lambda d: chips_asked(d).update({"google.com/tpu": 1}), "limits"),
        (lambda d: pod_of(d)["volumes"].append(pod_of(d)["volumes"][0]), "volumes"),
        (lambda d: pod_of(d).pop("dnsPolicy"), "dnsPolicy"),
        (lambda d: pod_of(d)["securityContext"].update(runAsUser=0), "runAsNonRoot"),
        (lambda d: d["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name"), "labels"),
        (lambda d: d["spec"]["replicatedJobs"].extend(copy.deepcopy(d["spec"]["replicatedJobs"])), "differ"),
        (lambda d: d["spec"]["failurePolicy"]["rules"].reverse(), "badInput"),
        (lambda d: d["spec"].update(startupPolicy={"startupPolicyOrder": "InOrder"}), "startupPolicy"),
        (lambda d: d.update(kind="Jobset"), "kind"),
    ],
)
def test_fields_that_must_agree(change, why):
    assert jobset(lambda _: None) == []
    assert any(why in fault for fault in jobset(change))


def strict(schema):
    """A schema in which no field passes that it does not name."""
    if isinstance(schema, list):
        return [*map(strict, schema)]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not is_open:
        closed["additionalProperties"] = False
    return closed


def real_schemas() -> dict:
    found = {}
    for path in Path(REAL).glob("*.yaml"):
        crd = yaml.load(path.read_text(encoding="utf-8"), LOADER)
        for version in crd["spec"]["versions"]:
            name = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
            found[name] = jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))
    return found


@pytest.mark.external
@pytest.mark.skipif(not REAL, reason="RSTAR_SCHEMA_DIR is unset")
def test_the_real_schemas_take_what_is_written():
    """Also made strict; a misspelt field shows that they are."""
    schemas = real_schemas()
    for settings in EVERY.values():
        for document in read(made(settings)):
            schema = schemas[document["apiVersion"], document["kind"]]
            assert [*schema.iter_errors(document)] == []
            if document["kind"] == "JobSet":
                pod_of(document)["restartPolcy"] = "Never"
                assert not schema.is_valid(document)
