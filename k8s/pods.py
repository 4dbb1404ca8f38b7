"""What every pod of ours has in common: nothing privileged, nothing written but to folders that are named, requests, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

PART_OF = "citybrain"
# The account in our image (see Dockerfile).
USER = 10001
# Read by the group of the pod, and by nobody else.
SECRET_MODE = 0o440
# kubelet, and whoever balances, needs a moment to learn that a pod ends; until then it still gets calls.
BEFORE_STOP_S = 5
# The events' writer is closed, the last audit records and spans are written.
AFTER_DRAIN_S = 15
DATA = "/var/lib/city"
CONFIG = "/etc/city/config"


def labels(name: str, component: str) -> Object:
    """`component`: what a NetworkPolicy of another tells it by: service, gateway, collector, prepare, engine."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/component": component,
    }


def chosen(name: str) -> Object:
    """The labels by which a pod is chosen."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}


def meta(name: str, component: str, of: str = "") -> Object:
    """The metadata of an object; `of`: the component's name, if the object has another."""
    return {"name": name, "labels": labels(of or name, component)}


def container(name: str, image: str, *, requests: Mapping[str, str], limits: Mapping[str, str], **more: Any) -> Object:
    """A container that may do nothing but its work."""
    return {
        "name": name,
        "image": image,
        **more,
        "resources": {"requests": dict(requests), "limits": dict(limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(
    name: str,
    component: str,
    containers: Sequence[Object],
    volumes: Sequence[Object],
    *,
    grace_s: int,
    user: int = USER,
    **more: Any,
) -> Object:
    """The template of a pod. Its account may ask nothing of the cluster's API."""
    return {
        "metadata": {"labels": labels(name, component)},
        "spec": {
            "serviceAccountName": name,
            "automountServiceAccountToken": False,
            # Variables of other Services would be taken for values of the configuration (CITY_…).
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_s,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": user,
                "fsGroup": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **more,
            "containers": list(containers),
            "volumes": list(volumes),
        },
    }


def spread(name: str) -> list[Object]:
    """Pods of one name are spread over zones and nodes as far as there are some."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": chosen(name)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def account(name: str, component: str) -> Object:
    """A ServiceAccount, of which nothing is mounted."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(name, component),
        "automountServiceAccountToken": False,
    }


def deployment(name: str, component: str, template: Object) -> Object:
    """Without `replicas`: they are the autoscaler's, and applying this again must not set them back."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, component),
        "spec": {
            "selector": {"matchLabels": chosen(name)},
            "revisionHistoryLimit": 5,
            # A new pod is ready before an old one is asked to stop.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def autoscaler(name: str, component: str) -> Object:
    """By the processor: a call costs processor time, here and nowhere else, and needs no metrics that a cluster may not have.

    Environments say how many copies there may be.
    """
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta(name, component),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 2,
            "maxReplicas": 4,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
            ],
            # A pod that ends gives its partitions of the log to others, which costs seconds: not for every lull.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def budget(name: str, component: str) -> Object:
    """Nodes are emptied one pod of a name at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(name, component),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": chosen(name)}},
    }


def service(name: str, component: str, ports: Mapping[str, int], **more: Any) -> Object:
    """A Service without an address of its own: callers see every pod, and share their calls out themselves."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, component),
        "spec": {
            "clusterIP": "None",
            **more,
            "selector": chosen(name),
            "ports": [{"name": key, "port": port, "targetPort": key} for key, port in ports.items()],
        },
    }


def empty(name: str, size: str) -> Object:
    """A folder that ends with its pod."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def from_secret(name: str, secret: str, *keys: str) -> Object:
    """A Secret as a folder; `keys`: only these of it."""
    only = {"items": [{"key": key, "path": key} for key in keys]} if keys else {}
    return {"name": name, "secret": {"secretName": secret, "defaultMode": SECRET_MODE, **only}}


def mount(name: str, path: str, *, written: bool = False) -> Object:
    """Where a container has a volume."""
    return {"name": name, "mountPath": path} | ({} if written else {"readOnly": True})
