"""Who may reach whom. Everything is closed, and what manifests say is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from citybrain.k8s.pods import Object, chosen, meta

KAFKA_PORT, CASSANDRA_PORT, OTLP_PORT = 9093, 9042, 4317
KAFKA = "city"
"""The name of the Kafka of Strimzi."""


def closed() -> Object:
    """Whatever no other policy opens is closed. Strimzi opens what its own pods need, and no more than that."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta("closed", "shared"),
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "strimzi.io/cluster", "operator": "DoesNotExist"}]},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def policy(name: str, component: str, *, ingress: Iterable[Object], egress: Iterable[Object]) -> Object:
    """What is open for the pods of one name, besides questions to DNS."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(name, component),
        "spec": {
            "podSelector": {"matchLabels": chosen(name)},
            "policyTypes": ["Ingress", "Egress"],
            # Without a rule the list is left out: the server drops an empty one, and each time it is applied would be a change.
            **({"ingress": rules} if (rules := list(ingress)) else {}),
            "egress": [_dns(), *egress],
        },
    }


def pods(*names: str) -> list[Object]:
    """Peers by name."""
    return [{"podSelector": {"matchLabels": chosen(name)}} for name in names]


def of_kind(*components: str) -> list[Object]:
    """Peers by component."""
    return [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": one}}} for one in components]


def opened(direction: str, peers: list[Object], *ports: int) -> Object:
    """One rule; `direction`: from or to. Without peers: anybody."""
    rule: Object = {direction: peers} if peers else {}
    return rule | {"ports": [{"protocol": "TCP", "port": port} for port in ports]}


def to_services(ports: Mapping[str, int]) -> list[Object]:
    """Calls to services, each at its port."""
    return [opened("to", pods(name), port) for name, port in ports.items()]


def to_engines() -> list[Object]:
    """Events are kept on Cassandra and read from Kafka: whoever publishes or subscribes needs nobody else."""
    kafka: list[Object] = [{"podSelector": {"matchLabels": {"strimzi.io/cluster": KAFKA}}}]
    return [opened("to", kafka, KAFKA_PORT), opened("to", pods("cassandra"), CASSANDRA_PORT)]


def to_collector() -> Object:
    """Spans and metrics."""
    return opened("to", pods("collector"), OTLP_PORT)


def _dns() -> dict[str, Any]:
    where = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {"to": [where], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
