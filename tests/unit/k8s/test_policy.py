"""The rules for what is applied find what breaks them, and nothing that is committed does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from citybrain.k8s.policy import violations
from tests.unit.k8s.conftest import ENVIRONMENTS, Object, named, overlay


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_that_is_committed_breaks_a_rule(environment: str) -> None:
    assert violations(overlay(environment)) == []


def pod(objects: list[Object]) -> Object:
    spec: Object = named(objects, "Deployment", "traffic")["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object]) -> Object:
    one: Object = pod(objects)["containers"][0]
    return one


def without(kind: str) -> Callable[[list[Object]], object]:
    return lambda objects: objects.remove(named(objects, kind, "traffic"))


MOUNTED = "automountServiceAccountToken"
BREAKING: dict[str, tuple[Callable[[list[Object]], object], str]] = {
    "latest": (lambda objects: container(objects).update(image="registry.example:5000/citybrain:latest"), "not latest"),
    "no tag": (lambda objects: container(objects).update(image="registry.example:5000/citybrain"), "write a tag"),
    "no limit": (lambda objects: container(objects)["resources"]["limits"].pop("memory"), "has no limits.memory"),
    "no request": (lambda objects: container(objects)["resources"]["requests"].pop("cpu"), "has no requests.cpu"),
    "no probe": (lambda objects: container(objects).pop("livenessProbe"), "has no livenessProbe"),
    "privileged": (lambda objects: container(objects)["securityContext"].update(privileged=True), "more rights"),
    "escalation": (lambda objects: container(objects)["securityContext"].pop("allowPrivilegeEscalation"), "more rights"),
    "writable root": (lambda objects: container(objects)["securityContext"].pop("readOnlyRootFilesystem"), "write to its root"),
    "capabilities": (lambda objects: container(objects)["securityContext"].pop("capabilities"), "has capabilities"),
    "plain secret": (lambda objects: container(objects).update(env=[{"name": "A_PASSWORD", "value": "x"}]), "in plain sight"),
    "root": (lambda objects: pod(objects)["securityContext"].pop("runAsNonRoot"), "may run as root"),
    "seccomp": (lambda objects: pod(objects)["securityContext"].pop("seccompProfile"), "seccomp"),
    "host": (lambda objects: pod(objects).update(hostNetwork=True), "has hostNetwork"),
    "folder of the node": (lambda objects: pod(objects)["volumes"].append({"name": "a", "hostPath": {"path": "/"}}), "node"),
    "endless folder": (lambda objects: pod(objects)["volumes"].append({"name": "a", "emptyDir": {}}), "has no sizeLimit"),
    "token": (lambda objects: pod(objects).pop(MOUNTED), "API of the cluster"),
    "links": (lambda objects: pod(objects).pop("enableServiceLinks"), "variables of Services"),
    "account": (lambda objects: named(objects, "ServiceAccount", "traffic").pop(MOUNTED), "is mounted"),
    "secret": (lambda objects: objects.append({"kind": "Secret", "metadata": {"name": "traffic"}}), "holds a secret"),
    "secret in a map": (
        lambda objects: objects.append({"kind": "ConfigMap", "metadata": {"name": "traffic"}, "data": {"PASSWORD": "x"}}),
        "looks like a secret",
    ),
    "no policy": (without("NetworkPolicy"), "has no NetworkPolicy"),
    "no budget": (without("PodDisruptionBudget"), "has no PodDisruptionBudget"),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_rule_that_is_broken_is_told_of_what_breaks_it_and_of_nothing_else(name: str) -> None:
    change, said = BREAKING[name]
    objects = copy.deepcopy(list(overlay("production")))
    change(objects)
    (line,) = violations(objects)
    assert " traffic: " in line and said in line
