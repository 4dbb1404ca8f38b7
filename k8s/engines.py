"""Kafka, as resources of Strimzi, and Cassandra, as a plain StatefulSet: no operator of it can be had everywhere."""

from __future__ import annotations

from typing import Any

import yaml

from citybrain.k8s import network
from citybrain.k8s.configurations import DATA_CENTRE, PREPARER, USER
from citybrain.k8s.environments import Engines
from citybrain.k8s.network import CASSANDRA_PORT, KAFKA, KAFKA_PORT
from citybrain.k8s.pods import Object, account, budget, chosen, container, empty, labels, meta, mount, pod, service
from citybrain.mesh.settings.values import Kafka

CASSANDRA_IMAGE = "cassandra:5.0.6"
# The account of that image.
_CASSANDRA_USER = 999
_INNER_PORT = 7000
_NODES = "cassandra-nodes"
_SEED = f"cassandra-0.{_NODES}"
_CONFIG = "/etc/cassandra"

CASSANDRA: dict[str, Any] = {
    "cluster_name": "city",
    "num_tokens": 16,
    "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
    "endpoint_snitch": "GossipingPropertyFileSnitch",
    "seed_provider": [
        {
            "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
            "parameters": [{"seeds": _SEED}],
        }
    ],
    "storage_port": _INNER_PORT,
    "native_transport_port": CASSANDRA_PORT,
    "data_file_directories": ["/var/lib/cassandra/data"],
    "commitlog_directory": "/var/lib/cassandra/commitlog",
    "saved_caches_directory": "/var/lib/cassandra/saved_caches",
    "hints_directory": "/var/lib/cassandra/hints",
    "cdc_raw_directory": "/var/lib/cassandra/cdc_raw",
    # An append that was acknowledged is on the disk.
    "commitlog_sync": "batch",
    "disk_failure_policy": "die",
    "commit_failure_policy": "die",
    "auto_snapshot": False,
    "paxos_variant": "v2",
    "authenticator": "PasswordAuthenticator",
    "authorizer": "CassandraAuthorizer",
    "role_manager": "CassandraRoleManager",
}
"""What local/cassandra.py runs with, for several nodes, with names and passwords."""
_NAMES_AND_PASSWORDS = ("authenticator", "authorizer", "role_manager")

# The image's own files, with our cassandra.yaml in place of its. Its start script writes the addresses of the node into it.
_LAY_OUT = f"cp -R {_CONFIG}/. /laid-out/ && cp /given/cassandra.yaml /laid-out/cassandra.yaml"


def kafka() -> list[Object]:
    """One pool of nodes that are broker and controller, and the two users of the city."""
    label = {"strimzi.io/cluster": KAFKA}
    inside = network.of_kind("service", "prepare")
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaNodePool",
            "metadata": {"name": "nodes", "labels": {**labels(KAFKA, "engine"), **label}},
            "spec": {
                "replicas": 3,
                "roles": ["controller", "broker"],
                "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
                "storage": {"type": "jbod", "volumes": [_volume("100Gi")]},
            },
        },
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "Kafka",
            "metadata": meta(KAFKA, "engine"),
            "spec": {
                "kafka": {
                    "listeners": [
                        {
                            "name": "tls",
                            "port": KAFKA_PORT,
                            "type": "internal",
                            "tls": True,
                            "authentication": {"type": "tls"},
                            "networkPolicyPeers": inside,
                        }
                    ],
                    "authorization": {"type": "simple"},
                    "config": {"auto.create.topics.enable": False, "group.min.session.timeout.ms": 1000},
                },
                "entityOperator": {"userOperator": {}},
            },
        },
        _kafka_user(USER),
        _kafka_user(PREPARER),
    ]


def kafka_here(engines: Engines) -> list[Object]:
    """What an environment changes of it, as patches that are merged."""
    most = engines.copies // 2 + 1
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaNodePool",
            "metadata": {"name": "nodes"},
            "spec": {"replicas": engines.nodes, "storage": {"type": "jbod", "volumes": [_volume(engines.kafka_disk)]}},
        },
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "Kafka",
            "metadata": {"name": KAFKA},
            "spec": {
                "kafka": {
                    "config": {
                        "default.replication.factor": engines.copies,
                        "offsets.topic.replication.factor": engines.copies,
                        "transaction.state.log.replication.factor": engines.copies,
                        "transaction.state.log.min.isr": most,
                        "min.insync.replicas": most,
                    }
                }
            },
        },
    ]


def cassandra() -> list[Object]:
    """One data centre. Services speak plain text to it, inside the namespace: see docs/deploying.md."""
    name = "cassandra"
    one = container(
        name,
        CASSANDRA_IMAGE,
        requests={"cpu": "1", "memory": "4Gi"},
        limits={"cpu": "4", "memory": "4Gi"},
        env=[
            # Not said, each node would be the seed of a city of its own.
            {"name": "CASSANDRA_SEEDS", "value": _SEED},
            {"name": "CASSANDRA_DC", "value": DATA_CENTRE},
            {"name": "CASSANDRA_RACK", "value": "rack1"},
            {"name": "MAX_HEAP_SIZE", "value": "2G"},
            {"name": "HEAP_NEWSIZE", "value": "400M"},
        ],
        ports=[{"name": "cql", "containerPort": CASSANDRA_PORT}, {"name": "inner", "containerPort": _INNER_PORT}],
        # It takes clients when it has joined, and read its commit log.
        startupProbe={"tcpSocket": {"port": "cql"}, "periodSeconds": 10, "failureThreshold": 90},
        readinessProbe={"tcpSocket": {"port": "cql"}, "periodSeconds": 10},
        livenessProbe={"tcpSocket": {"port": "inner"}, "periodSeconds": 20, "failureThreshold": 6},
        lifecycle={"preStop": {"exec": {"command": ["nodetool", "drain"]}}},
        volumeMounts=[
            mount("laid-out", _CONFIG, written=True),
            mount("kept", "/var/lib/cassandra", written=True),
            mount("log", "/var/log/cassandra", written=True),
            mount("tmp", "/tmp", written=True),  # noqa: S108
        ],
    )
    first = container(
        "lay-out",
        CASSANDRA_IMAGE,
        requests={"cpu": "100m", "memory": "64Mi"},
        limits={"cpu": "1", "memory": "128Mi"},
        command=["sh", "-c", _LAY_OUT],
        volumeMounts=[mount("given", "/given"), mount("laid-out", "/laid-out", written=True)],
    )
    given: Object = {"name": "given", "configMap": {"name": "cassandra-config"}}
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": chosen(name)},
    }
    template = pod(
        name,
        "engine",
        [one],
        [given, empty("laid-out", "16Mi"), empty("log", "256Mi"), empty("tmp", "256Mi")],
        grace_s=300,
        user=_CASSANDRA_USER,
        initContainers=[first],
        topologySpreadConstraints=[apart],
    )
    between = service(name, "engine", {"inner": _INNER_PORT}, publishNotReadyAddresses=True)
    between["metadata"]["name"] = _NODES
    clients = network.of_kind("service", "prepare")
    return [
        account(name, "engine"),
        service(name, "engine", {"cql": CASSANDRA_PORT}),
        # Nodes find each other before they are ready.
        between,
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": meta(name, "engine"),
            "spec": {
                "serviceName": _NODES,
                "replicas": 3,
                "selector": {"matchLabels": chosen(name)},
                "template": template,
                "volumeClaimTemplates": [_claim("100Gi")],
            },
        },
        budget(name, "engine"),
        network.policy(
            name,
            "engine",
            ingress=[
                network.opened("from", clients, CASSANDRA_PORT),
                network.opened("from", network.pods(name), _INNER_PORT),
            ],
            egress=[network.opened("to", network.pods(name), _INNER_PORT)],
        ),
    ]


def cassandra_here(engines: Engines) -> list[Object]:
    """What an environment changes of it."""
    spec = {"replicas": engines.nodes, "volumeClaimTemplates": [_claim(engines.cassandra_disk)]}
    return [{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "cassandra"}, "spec": spec}]


def cassandra_yaml(*, open_to_all: bool = False) -> str:
    """The text of cassandra.yaml. The image's start script adds the lines it would change, so they stand in it, empty.

    `open_to_all`: without names and passwords.
    """
    said = {key: value for key, value in CASSANDRA.items() if not (open_to_all and key in _NAMES_AND_PASSWORDS)}
    addresses = "".join(
        f"{name}:\n" for name in ("listen_address", "broadcast_address", "rpc_address", "broadcast_rpc_address")
    )
    return yaml.safe_dump(said, sort_keys=False) + addresses


def _volume(size: str) -> Object:
    return {"id": 0, "type": "persistent-claim", "size": size, "deleteClaim": False, "kraftMetadata": "shared"}


def _claim(size: str) -> Object:
    return {
        "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }


def _kafka_user(name: str) -> Object:
    """Both may make topics: that of readings of a kind is made when the first come."""
    prefix = Kafka.model_fields["prefix"].default + "."
    topic = ["Create", "Describe", "DescribeConfigs", "Read", "Write"]
    acls = [("topic", topic)] if name == PREPARER else [("topic", topic), ("group", ["Describe", "Read"])]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {**labels(name, "engine"), "strimzi.io/cluster": KAFKA}},
        "spec": {
            "authentication": {"type": "tls"},
            "authorization": {
                "type": "simple",
                "acls": [
                    {"resource": {"type": kind, "name": prefix, "patternType": "prefix"}, "operations": operations}
                    for kind, operations in acls
                ],
            },
        },
    }
