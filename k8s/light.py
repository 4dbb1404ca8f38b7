"""The overlay `light`: a city for a laptop's cluster, on one plain Kafka and one plain Cassandra, which forget. No operators.

It is made from the objects of the base, without what needs cert-manager, Strimzi or passwords, and without what is there so
that a city does not stand still. Code and calls are the same. `Tiltfile` uses it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from citybrain.k8s import components, engines
from citybrain.k8s.configurations import DATA_CENTRE, ENVIRONMENT, PASSWORDS, name_of, of_gateway, of_preparation, of_service
from citybrain.k8s.network import CASSANDRA_PORT
from citybrain.k8s.pods import Object, account, container, deployment, empty, meta, mount, pod, service
from citybrain.mesh.manifest import Manifest

LIGHT = "light"
NAMESPACE = "citybrain-light"
KAFKA_IMAGE = "apache/kafka:4.1.1"
_KAFKA, _KAFKA_PORT, _CONTROLLER_PORT = "kafka", 9092, 9093
# The account of that image.
_KAFKA_USER = 1000
_LEFT_OUT = ("Certificate", "Issuer", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy")
# Folders of certificates: processes speak plain text.
_OF_CERTIFICATES = ("mesh", "certificate", "kafka-user", "kafka-authority")

Component = tuple[list[Object], str, Object | str]
"""Objects, and the name and the content of the file of its configuration; no name: it has none."""


def made(services: Sequence[Manifest]) -> dict[str, Component]:
    """Every component of the overlay by its name, `shared` first."""
    preparation = [*components.of_preparation(), components.preparation(LIGHT)]
    return {
        "shared": (_shared(), "", {}),
        _KAFKA: (_kafka(), "", {}),
        "cassandra": (_cassandra(), "cassandra.yaml", engines.cassandra_yaml(open_to_all=True)),
        "prepare": (_objects(preparation), "city.yaml", _plain(of_preparation())),
        **{
            name_of(one): (_objects(components.of_service(one, services)), "city.yaml", _plain(of_service(one, services)))
            for one in services
        },
        "gateway": (_objects(components.of_gateway(services)), "city.yaml", _plain(of_gateway(services))),
    }


def _shared() -> list[Object]:
    variables = {
        "CITY_KAFKA_PARTITIONS": "4",
        "CITY_KAFKA_REPLICATION": "1",
        "CITY_CASSANDRA_REPLICATION": f"{{{DATA_CENTRE}: 1}}",
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(ENVIRONMENT, "shared"), "data": variables},
    ]


def _plain(values: Object) -> Object:
    """A configuration without certificates and passwords. Spans stay in the data folder of each process, metrics go nowhere."""
    kept = {key: value for key, value in values.items() if key not in ("tls", "traces", "metrics")} | {"profile": "laptop"}
    if "kafka" in kept:
        kept["kafka"] = {"addresses": f"{_KAFKA}:{_KAFKA_PORT}"}
        kept["cassandra"] = {"addresses": f"cassandra:{CASSANDRA_PORT}", "data_centre": DATA_CENTRE}
    if "gateway" in kept:
        shown = {key: value for key, value in kept["gateway"].items() if not key.startswith("certificate")}
        # It makes a certificate of its own.
        kept["gateway"] = shown | {"plain": True}
    return kept


def _objects(objects: Sequence[Object]) -> list[Object]:
    kept = [copy.deepcopy(one) for one in objects if one["kind"] not in _LEFT_OUT]
    for one in kept:
        if one["kind"] in ("Deployment", "Job"):
            spec = one["spec"]["template"]["spec"]
            spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in _OF_CERTIFICATES]
            for volume in spec["volumes"]:
                if "projected" in volume:
                    sources = volume["projected"]["sources"]
                    volume["projected"]["sources"] = [one for one in sources if one["secret"]["name"] != PASSWORDS]
            for each in spec["containers"]:
                each["volumeMounts"] = [place for place in each["volumeMounts"] if place["name"] not in _OF_CERTIFICATES]
    return kept


def _kafka() -> list[Object]:
    variables = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{_KAFKA_PORT},CONTROLLER://:{_CONTROLLER_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{_KAFKA}:{_KAFKA_PORT}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{_CONTROLLER_PORT}",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    one = container(
        _KAFKA,
        KAFKA_IMAGE,
        requests={"cpu": "250m", "memory": "768Mi"},
        limits={"cpu": "2", "memory": "1Gi"},
        env=[{"name": name, "value": value} for name, value in variables.items()],
        ports=[{"name": "kafka", "containerPort": _KAFKA_PORT}],
        readinessProbe={"tcpSocket": {"port": "kafka"}, "periodSeconds": 5},
        volumeMounts=[mount("tmp", "/tmp", written=True)],  # noqa: S108
    )
    # Its start script writes beside its programs.
    one["securityContext"]["readOnlyRootFilesystem"] = False
    template = pod(_KAFKA, "engine", [one], [empty("tmp", "4Gi")], grace_s=30, user=_KAFKA_USER)
    return [
        account(_KAFKA, "engine"),
        service(_KAFKA, "engine", {"kafka": _KAFKA_PORT}),
        deployment(_KAFKA, "engine", template),
    ]


def _cassandra() -> list[Object]:
    """One node of the base, with a folder that ends with its pod."""
    kept = _objects(engines.cassandra())
    (node,) = [one["spec"] for one in kept if one["kind"] == "StatefulSet"]
    del node["volumeClaimTemplates"]
    node["replicas"] = 1
    spec = node["template"]["spec"]
    spec["volumes"].append(empty("kept", "8Gi"))
    (one,) = spec["containers"]
    one["resources"] = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    smaller = {"MAX_HEAP_SIZE": "768M", "HEAP_NEWSIZE": "200M"}
    for variable in one["env"]:
        variable["value"] = smaller.get(variable["name"], variable["value"])
    return kept
