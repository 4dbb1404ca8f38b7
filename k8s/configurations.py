"""The city.yaml of each pod: secrets are files that it names, and what differs between environments comes from variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from citybrain.k8s.environments import Environment
from citybrain.k8s.network import CASSANDRA_PORT, KAFKA, KAFKA_PORT, OTLP_PORT
from citybrain.k8s.pods import DATA, SECRET_MODE, Object, from_secret, mount
from citybrain.mesh.manifest import Manifest

PROBE_PORT = 7190
GATEWAY_PORT = 8443
DATA_CENTRE = "hangzhou"
ENVIRONMENT = "citybrain-environment"
"""The ConfigMap with the variables of an environment."""
MESH, IDENTITY, SECRETS = "/etc/city/mesh", "/etc/city/identity", "/etc/city/secrets"
AT_GATEWAY, KAFKA_USER, KAFKA_AUTHORITY = "/etc/city/gateway", "/etc/city/kafka-user", "/etc/city/kafka-authority"

# Secrets that the city gives (docs/deploying.md), and their keys.
TOKEN_KEY, MASTER_KEY, RING = "citybrain-token-key", "citybrain-master-key", "citybrain-identity"
PASSWORDS = "citybrain-cassandra"
GIVEN = {
    TOKEN_KEY: ("token.key",),
    MASTER_KEY: ("master.key",),
    RING: ("ring.json", "jwks.json"),
    PASSWORDS: ("city", "keeper", "prepare"),
}
OF_SERVICES = {TOKEN_KEY: ("token.key",), MASTER_KEY: ("master.key",), PASSWORDS: ("city", "keeper")}
"""What processes that keep events are shown of them, besides the ring of keys."""

# KafkaUsers, whose certificates Strimzi makes.
USER, PREPARER = "citybrain", "citybrain-prepare"


def name_of(manifest: Manifest) -> str:
    """A service's name in Kubernetes, where no name has a `_`."""
    return manifest.name.replace("_", "-")


def address_of(manifest: Manifest) -> str:
    """Where a service answers, for pods of its namespace."""
    return f"{name_of(manifest)}:{manifest.port}"


def called(manifest: Manifest, everybody: Sequence[Manifest]) -> list[Manifest]:
    """The services that a manifest says it calls. KeyError: there is none of a name."""
    by_grpc = {one.grpc: one for one in everybody}
    return [by_grpc[name] for name in manifest.calls]


def of_service(manifest: Manifest, everybody: Sequence[Manifest]) -> Object:
    """The values of a service's process."""
    peers = {one.name: address_of(one) for one in called(manifest, everybody)}
    identity: Object = {"keys": IDENTITY}
    if manifest.name == "identity":
        # Its keys are a Secret, which no process can change: who gives the Secret rotates them.
        identity["rotate_days"] = 36_500
    return {
        **_common(),
        **_tls(),
        "host": "0.0.0.0",  # noqa: S104
        "probe_port": PROBE_PORT,
        **({"peers": peers} if peers else {}),
        "token_key": f"{SECRETS}/token.key",
        "personal": {"master_key": f"{SECRETS}/master.key"},
        "identity": identity,
        **_engines("city", "keeper"),
    }


def of_preparation() -> Object:
    """The values of the job that makes keyspaces, tables and topics, under a name of its own that may."""
    return {
        **_common(),
        # Production wants it said. Nobody asks this process for a token, so its pod has no such file.
        "token_key": f"{SECRETS}/token.key",
        "personal": {"master_key": f"{SECRETS}/master.key"},
        **_engines("prepare", "prepare"),
    }


def of_gateway(everybody: Sequence[Manifest]) -> Object:
    """The values of the gateway: every service is behind it."""
    return {
        **_common(),
        **_tls(),
        "peers": {one.name: address_of(one) for one in everybody},
        "identity": {"keys": IDENTITY},
        "gateway": {
            "host": "0.0.0.0",  # noqa: S104
            "port": GATEWAY_PORT,
            "plain": False,
            "certificate": f"{AT_GATEWAY}/tls.crt",
            "certificate_key": f"{AT_GATEWAY}/tls.key",
            "health_checks": True,
            # One process would answer for all, and it knows its own contracts only; /docs/openapi.json has all of them.
            "reflection": False,
        },
    }


def variables(environment: Environment) -> Mapping[str, str]:
    """What differs between environments, as variables of every process that keeps events."""
    copies = environment.engines.copies
    return {
        "CITY_KAFKA_PARTITIONS": str(environment.engines.partitions),
        "CITY_KAFKA_REPLICATION": str(copies),
        "CITY_CASSANDRA_REPLICATION": f"{{{DATA_CENTRE}: {copies}}}",
    }


def volumes(kafka_user: str, secrets: Mapping[str, Sequence[str]]) -> list[Object]:
    """What lets a process in at Kafka and Cassandra, and the keys it needs, as the folders that such a configuration names."""
    return [
        from_secret("kafka-user", kafka_user, "user.crt", "user.key"),
        from_secret("kafka-authority", f"{KAFKA}-cluster-ca-cert", "ca.crt"),
        {
            "name": "secrets",
            "projected": {
                "defaultMode": SECRET_MODE,
                "sources": [
                    {"secret": {"name": secret, "items": [{"key": key, "path": key} for key in keys]}}
                    for secret, keys in secrets.items()
                ],
            },
        },
    ]


def mounts() -> list[Object]:
    """Where they are."""
    places = {"kafka-user": KAFKA_USER, "kafka-authority": KAFKA_AUTHORITY, "secrets": SECRETS}
    return [mount(name, path) for name, path in places.items()]


def _common() -> Object:
    return {
        "profile": "production",
        "data": DATA,
        "log": {"format": "json"},
        "traces": {"endpoint": f"http://collector:{OTLP_PORT}"},
        "metrics": {"endpoint": f"http://collector:{OTLP_PORT}"},
    }


def _tls() -> Object:
    return {
        "tls": {
            "authorities": f"{MESH}/ca.crt",
            "certificate": f"{MESH}/tls.crt",
            "certificate_key": f"{MESH}/tls.key",
        }
    }


def _engines(user: str, keeper: str) -> Object:
    return {
        "store": "distributed",
        "kafka": {
            "addresses": f"{KAFKA}-kafka-bootstrap:{KAFKA_PORT}",
            "tls": True,
            "authorities": f"{KAFKA_AUTHORITY}/ca.crt",
            "certificate": f"{KAFKA_USER}/user.crt",
            "certificate_key": f"{KAFKA_USER}/user.key",
        },
        "cassandra": {
            "addresses": f"cassandra:{CASSANDRA_PORT}",
            "data_centre": DATA_CENTRE,
            "user": user,
            "password_file": f"{SECRETS}/{user}",
            "keys_user": keeper,
            "keys_password_file": f"{SECRETS}/{keeper}",
        },
    }
