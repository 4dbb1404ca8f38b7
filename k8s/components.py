"""The objects of each component but the engines: a service, the gateway, the collector, the job that prepares the engines."""

from __future__ import annotations

from collections.abc import Sequence

from citybrain.gateway.settings import Gateway
from citybrain.k8s import certificates, network
from citybrain.k8s.configurations import (
    AT_GATEWAY,
    ENVIRONMENT,
    GATEWAY_PORT,
    IDENTITY,
    MASTER_KEY,
    MESH,
    OF_SERVICES,
    PASSWORDS,
    PREPARER,
    PROBE_PORT,
    RING,
    USER,
    called,
    mounts,
    name_of,
    volumes,
)
from citybrain.k8s.pods import (
    AFTER_DRAIN_S,
    BEFORE_STOP_S,
    CONFIG,
    DATA,
    Object,
    account,
    autoscaler,
    budget,
    chosen,
    container,
    deployment,
    empty,
    from_secret,
    meta,
    mount,
    pod,
    service,
    spread,
)
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.values import Settings
from citybrain.observability import collector
from citybrain.observability.collector import HEALTH_PORT, MEMBERS_PORT

# Nothing but the end of its process makes it not well: an engine that is out is no reason to start anew.
ALIVE = "citybrain.mesh.v1.MeshService"
COLLECTOR_IMAGE = f"otel/opentelemetry-collector-contrib:{collector.VERSION}"
_WRITTEN = [mount("data", DATA, written=True), mount("tmp", "/tmp", written=True)]  # noqa: S108
_EMPTY = [empty("data", "1Gi"), empty("tmp", "64Mi")]
_PAUSE = {"preStop": {"sleep": {"seconds": BEFORE_STOP_S}}}


def image_of(name: str) -> str:
    """The image of a component as its base names it; an environment says which it is, and its tag."""
    return f"citybrain-{name}"


def configuration(name: str) -> str:
    """The name of the ConfigMap with a component's city.yaml."""
    return f"{name}-config"


def of_service(manifest: Manifest, everybody: Sequence[Manifest]) -> list[Object]:
    """Everything of one service; another service's objects change with it only if who calls whom does."""
    name, drain_s = name_of(manifest), int(Settings.model_fields["drain_s"].default)
    one = container(
        "service",
        image_of(name),
        requests={"cpu": "250m", "memory": "256Mi"},
        limits={"cpu": "1", "memory": "512Mi"},
        args=["serve", manifest.name, "--config", f"{CONFIG}/city.yaml"],
        envFrom=[{"configMapRef": {"name": ENVIRONMENT}}],
        ports=[{"name": "grpc", "containerPort": manifest.port}, {"name": "probe", "containerPort": PROBE_PORT}],
        # Read models may have much to read before a pod is ready: that is readiness, and no reason to start it anew.
        startupProbe=_probe(ALIVE, periodSeconds=2, failureThreshold=60),
        readinessProbe=_probe(manifest.grpc, periodSeconds=5, failureThreshold=2),
        livenessProbe=_probe(ALIVE, periodSeconds=10, failureThreshold=3, timeoutSeconds=5),
        lifecycle=_PAUSE,
        volumeMounts=[mount("config", CONFIG), mount("identity", IDENTITY), mount("mesh", MESH), *mounts(), *_WRITTEN],
    )
    kept = [
        _config(name),
        from_secret("identity", RING),
        from_secret("mesh", f"{name}-mesh-tls"),
        *volumes(USER, OF_SERVICES),
        *_EMPTY,
    ]
    grace_s = BEFORE_STOP_S + drain_s + AFTER_DRAIN_S
    template = pod(name, "service", [one], kept, grace_s=grace_s, topologySpreadConstraints=spread(name))
    callers = [name_of(caller) for caller in everybody if manifest.grpc in caller.calls]
    return [
        account(name, "service"),
        service(name, "service", {"grpc": manifest.port}),
        deployment(name, "service", template),
        autoscaler(name, "service"),
        budget(name, "service"),
        certificates.of_the_mesh(name, "service"),
        network.policy(
            name,
            "service",
            ingress=[network.opened("from", network.pods("gateway", *callers), manifest.port)],
            egress=[
                *network.to_services({name_of(other): other.port for other in called(manifest, everybody)}),
                *network.to_engines(),
                network.to_collector(),
            ],
        ),
    ]


def of_gateway(everybody: Sequence[Manifest]) -> list[Object]:
    """Envoy before all services, as `city gateway` runs it."""
    name = "gateway"
    # In plain text nobody gets an answer, so probes use TLS; kubelet does not look at the certificate.
    asked = {"httpGet": {"path": "/.well-known/jwks.json", "port": "https", "scheme": "HTTPS"}}
    one = container(
        "gateway",
        image_of(name),
        requests={"cpu": "500m", "memory": "768Mi"},
        limits={"cpu": "2", "memory": "1Gi"},
        args=["gateway", "--config", f"{CONFIG}/city.yaml"],
        ports=[{"name": "https", "containerPort": GATEWAY_PORT}],
        startupProbe={**asked, "periodSeconds": 2, "failureThreshold": 60},
        readinessProbe={**asked, "periodSeconds": 5, "failureThreshold": 2},
        livenessProbe={**asked, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 5},
        lifecycle=_PAUSE,
        volumeMounts=[
            mount("config", CONFIG),
            mount("identity", IDENTITY),
            mount("mesh", MESH),
            mount("certificate", AT_GATEWAY),
            *_WRITTEN,
        ],
    )
    kept = [
        _config(name),
        # The public keys alone: a gateway checks tokens and makes none.
        from_secret("identity", RING, "jwks.json"),
        from_secret("mesh", f"{name}-mesh-tls"),
        from_secret("certificate", "gateway-tls", "tls.crt", "tls.key"),
        *_EMPTY,
    ]
    grace_s = BEFORE_STOP_S + int(Gateway.model_fields["drain_s"].default) + AFTER_DRAIN_S
    template = pod(name, name, [one], kept, grace_s=grace_s, topologySpreadConstraints=spread(name))
    door = service(name, name, {"https": 443})
    del door["spec"]["clusterIP"]
    return [
        account(name, name),
        door,
        deployment(name, name, template),
        autoscaler(name, name),
        budget(name, name),
        certificates.of_the_mesh(name, name),
        certificates.of_the_gateway(),
        network.policy(
            name,
            name,
            ingress=[network.opened("from", [], GATEWAY_PORT)],
            egress=[*network.to_services({name_of(one): one.port for one in everybody}), network.to_collector()],
        ),
    ]


MEMBERS = "collector-members"
"""The name under which collectors find each other."""


def of_collector() -> list[Object]:
    """The collector. An environment says where it sends what it gets."""
    name = "collector"
    asked = {"httpGet": {"path": "/", "port": "health"}}
    one = container(
        name,
        COLLECTOR_IMAGE,
        requests={"cpu": "100m", "memory": "128Mi"},
        # Spans wait here until their trace is decided on.
        limits={"cpu": "1", "memory": "512Mi"},
        args=[f"--config={CONFIG}/collector.yaml"],
        envFrom=[{"configMapRef": {"name": "collector-environment"}}],
        ports=[
            {"name": "otlp", "containerPort": network.OTLP_PORT},
            {"name": "members", "containerPort": MEMBERS_PORT},
            {"name": "health", "containerPort": HEALTH_PORT},
        ],
        startupProbe={**asked, "periodSeconds": 2, "failureThreshold": 30},
        readinessProbe={**asked, "periodSeconds": 5},
        livenessProbe={**asked, "periodSeconds": 10},
        volumeMounts=[mount("config", CONFIG)],
    )
    template = pod(name, name, [one], [_config(name)], grace_s=30, topologySpreadConstraints=spread(name))
    door = service(name, name, {"otlp": network.OTLP_PORT})
    # Senders keep one connection each: an address of its own lets the cluster spread them.
    del door["spec"]["clusterIP"]
    # Without an address of its own: each collector sees all of them, and sends a trace to the one whose it is.
    members = service(MEMBERS, name, {"members": MEMBERS_PORT})
    members["spec"]["selector"] = chosen(name)
    return [
        account(name, name),
        door,
        members,
        deployment(name, name, template),
        autoscaler(name, name),
        budget(name, name),
        network.policy(
            name,
            name,
            ingress=[
                network.opened("from", network.of_kind("service", "gateway"), network.OTLP_PORT),
                network.opened("from", network.pods(name), MEMBERS_PORT),
            ],
            # The backend's port is added by the environment.
            egress=[network.opened("to", network.pods(name), MEMBERS_PORT)],
        ),
    ]


def of_preparation() -> list[Object]:
    """What the job needs besides itself: it is another one for each release, so an environment has it."""
    name = "prepare"
    return [
        account(name, name),
        network.policy(name, name, ingress=[], egress=network.to_engines()),
    ]


def preparation(tag: str) -> Object:
    """The job of one release: jobs cannot be changed, so its name has the tag."""
    name = "prepare"
    one = container(
        name,
        image_of(name),
        requests={"cpu": "250m", "memory": "256Mi"},
        limits={"cpu": "1", "memory": "512Mi"},
        args=["prepare", "--config", f"{CONFIG}/city.yaml"],
        envFrom=[{"configMapRef": {"name": ENVIRONMENT}}],
        volumeMounts=[mount("config", CONFIG), *mounts(), *_WRITTEN],
    )
    kept = [_config(name), *volumes(PREPARER, {MASTER_KEY: ("master.key",), PASSWORDS: ("prepare",)}), *_EMPTY]
    template = pod(name, name, [one], kept, grace_s=30, restartPolicy="OnFailure")
    short = "".join(letter if letter.isalnum() else "-" for letter in tag.lower()).strip("-")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta(f"{name}-{short}", name, name),
        "spec": {"backoffLimit": 20, "ttlSecondsAfterFinished": 86_400, "template": template},
    }


def collector_yaml() -> str:
    """The text of the collector's configuration."""
    return collector.text(collector.in_a_cluster(MEMBERS))


def _probe(asked: str, **more: int) -> Object:
    return {"grpc": {"port": PROBE_PORT, "service": asked}, **more}


def _config(name: str) -> Object:
    return {"name": "config", "configMap": {"name": configuration(name)}}
