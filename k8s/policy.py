"""What every object that is applied must keep. Schemas say what an object may be; this says what ours must be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from citybrain.k8s.pods import Object

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")
# What always runs; a job ends.
_ALWAYS = ("Deployment", "StatefulSet", "DaemonSet")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_SECRET = re.compile(r"password|secret|token|private|credential", re.IGNORECASE)
# Folders of the node.
_OF_THE_NODE = ("hostNetwork", "hostPID", "hostIPC")


def violations(objects: Sequence[Object]) -> list[str]:
    """One line for each rule that an object breaks; `objects`: all of an environment."""
    found: list[str] = []
    for one in objects:
        where = f"{one['kind']} {one['metadata']['name']}"
        found += [f"{where}: {what}" for what in _broken(one, objects)]
    return found


def _broken(one: Object, objects: Sequence[Object]) -> Iterator[str]:
    if one["kind"] == "Secret":
        yield "holds a secret: the city gives it, and nobody commits it"
    if one["kind"] == "ConfigMap":
        yield from (f"{key} looks like a secret" for key in one.get("data", {}) if _SECRET.search(key))
    if one["kind"] == "ServiceAccount" and one.get("automountServiceAccountToken") is not False:
        yield "is mounted into pods: write automountServiceAccountToken: false"
    if one["kind"] in _WORKLOADS:
        template = one["spec"]["template"]
        yield from _of_pod(template["spec"])
        yield from _around(one["kind"], template["metadata"]["labels"], objects)
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            yield from (f"container {container['name']} {what}" for what in _of_container(container))
        if one["kind"] in _ALWAYS:
            for container in template["spec"]["containers"]:
                yield from (f"container {container['name']} has no {probe}" for probe in _PROBES if probe not in container)


def _of_pod(spec: Object) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True:
        yield "may run as root: write runAsNonRoot: true"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has another seccomp profile than RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False:
        yield "may ask the API of the cluster: write automountServiceAccountToken: false"
    if spec.get("enableServiceLinks") is not False:
        yield "gets variables of Services: write enableServiceLinks: false"
    yield from (f"has {key}" for key in _OF_THE_NODE if spec.get(key))
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a folder of the node"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no sizeLimit"


def _of_container(container: Object) -> Iterator[str]:
    _, _, tag = container["image"].rpartition("/")[2].partition(":")
    if not tag or tag == "latest":
        yield f"has the image {container['image']}: write a tag, and not latest"
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        yield from (f"has no {kind}.{what}" for what in ("cpu", "memory") if what not in resources.get(kind, {}))
    context = container.get("securityContext", {})
    if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
        yield "may get more rights than it began with"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    yield from (
        f"is given {variable['name']} in plain sight"
        for variable in container.get("env", [])
        if "value" in variable and _SECRET.search(variable["name"])
    )


def _around(kind: str, labels: Mapping[str, str], objects: Sequence[Object]) -> Iterator[str]:
    """What must be there beside a workload."""
    wanted = {"NetworkPolicy": "podSelector"} | ({"PodDisruptionBudget": "selector"} if kind in _ALWAYS else {})
    for other, selector in wanted.items():
        # A policy for all pods closes and opens nothing.
        chosen = [one["spec"][selector].get("matchLabels") for one in objects if one["kind"] == other]
        if not any(one and _holds(one, labels) for one in chosen):
            yield f"has no {other}"


def _holds(some: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return some.items() <= labels.items()
