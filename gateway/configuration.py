"""Envoy's configuration, made from the manifests and contracts. Nothing here reads or writes a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from citybrain.gateway.access import FROM_TOKEN, JWKS_PATH, jwks_clusters, public_keys
from citybrain.gateway.clusters import NOWHERE, OTLP, clusters
from citybrain.gateway.consumers import STREAM, kind_of, told
from citybrain.gateway.edge import access_log, early_headers, local_replies, tracing
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.filters import cors_policy, http_filters, unbuffered, untranscoded
from citybrain.gateway.methods import HEALTH, READING, REFLECTION, Route, routes
from citybrain.gateway.overload import overload
from citybrain.gateway.pages import most_bytes, page_routes
from citybrain.gateway.settings import GatewaySettings
from citybrain.gateway.tls import connections
from citybrain.mesh.manifest import Manifest

LISTENER = "gateway"
# The cluster of gRPC health and reflection.
SYSTEM = "system"

_HEALTH_METHODS = {"Check": False, "List": False, "Watch": True}
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_UNKNOWN = (
    "no method open to callers from outside has this path. gRPC reflection at this address lists the services; "
    "a method opens when its contract gives it a scope (citybrain.options.v1.scope)"
)


def bootstrap(
    manifests: Sequence[Manifest], descriptors: bytes, settings: GatewaySettings, keys: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The whole configuration. GatewayError: a service has no upstream, or a contract is missing.

    `keys`: the text of the JWKS of each issuer that has a file, by its name.
    """
    for manifest in manifests:
        if manifest.name not in settings.upstreams:
            raise GatewayError(f"service {manifest.name} has no upstream: give its host:port in `upstreams`")
    if not manifests:
        raise GatewayError("there is no service to give access to: give at least one manifest")
    open_methods = routes(manifests, descriptors, driven=settings.driven)
    addresses = {manifest.name: settings.upstreams[manifest.name] for manifest in manifests}
    system = settings.system_upstream or addresses[manifests[0].name]
    addresses[SYSTEM] = system
    if settings.driven:
        addresses["clock"] = system
    return {
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": _address("127.0.0.1", settings.admin_port), "ignore_global_conn_limit": True},
        "static_resources": {
            "listeners": [
                _listener(open_methods, descriptors, settings, keys or {}, page_routes(manifests, descriptors, settings))
            ],
            "clusters": [
                *clusters(addresses, {manifest.name: manifest.grpc for manifest in manifests}, settings),
                *jwks_clusters(settings),
            ],
        },
        "overload_manager": overload(settings),
        "layered_runtime": {
            "layers": [
                {
                    "name": "gateway",
                    "static_layer": {
                        # Short, so that a trace is complete when somebody asks for it right after an incident.
                        "tracing.opentelemetry.flush_interval_ms": 200,
                        "tracing.opentelemetry.min_flush_spans": 512,
                    },
                }
            ]
        },
    }


def as_yaml(configuration: dict[str, Any]) -> str:
    """The configuration as Envoy reads it from a file."""
    # A copy in which nothing stands twice as the same object: people read it, and no value should be a reference.
    return yaml.safe_dump(json.loads(json.dumps(configuration)), sort_keys=False, allow_unicode=True, width=1_000_000_000)


def route_entries(open_methods: Iterable[Route], settings: GatewaySettings, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """Envoy's routes: one exact path for each open method and for each page, then the answer for everything else."""
    entries = [_method(route, settings) for route in open_methods]
    entries += [_route(f"/{HEALTH}/{method}", SYSTEM, stream, settings) for method, stream in _HEALTH_METHODS.items()]
    if settings.reflection:
        asked = [_route(f"/{service}/ServerReflectionInfo", SYSTEM, True, settings) for service in REFLECTION]
        entries += [route | {"metadata": told(STREAM), "typed_per_filter_config": unbuffered()} for route in asked]
    if settings.identity is not None and not settings.identity.remote:
        entries.append(_page(JWKS_PATH, "application/json", public_keys(settings.identity, keys)))
    if settings.cors_origins:
        entries.append(_browsers())
    entries.append(
        {
            "name": "unknown",
            "match": {"prefix": "/"},
            # UNIMPLEMENTED for gRPC callers.
            "direct_response": {"status": 404, "body": {"inline_string": _UNKNOWN}},
        }
    )
    return entries


def answered(entries: Iterable[dict[str, Any]]) -> list[str]:
    """The paths that the gateway itself answers. Nobody needs a token for them, as no service gets such a call."""
    own = [entry for entry in entries if "direct_response" in entry or "redirect" in entry]
    return [entry["match"]["path"] for entry in own if "path" in entry["match"]]


def _page(path: str, kind: str, text: str) -> dict[str, Any]:
    return {
        "name": path.removeprefix("/"),
        "match": {"path": path},
        "direct_response": {"status": 200, "body": {"inline_string": text}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": said}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, said in (("content-type", kind), ("cache-control", "public, max-age=60"))
        ],
        "typed_per_filter_config": untranscoded(),
    }


def _browsers() -> dict[str, Any]:
    # The CORS filter looks only at calls that have a route. A page's call in JSON has none before it is transcoded.
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    not_grpc = is_grpc | {"invert_match": True, "treat_missing_header_as_empty": True}
    match = {"prefix": "/", "headers": [{"name": "origin", "present_match": True}, not_grpc]}
    return {"name": "pages", "match": match, "route": {"cluster": NOWHERE}}


def _method(route: Route, settings: GatewaySettings) -> dict[str, Any]:
    made = _route(route.path, route.service, route.streaming, settings, reads=route.scope.endswith(READING))
    made["metadata"] = told(kind_of(route))
    if route.repeatable:
        made["route"]["retry_policy"] = retries(repeatable=True)
    return made


def _route(path: str, cluster: str, streaming: bool, settings: GatewaySettings, *, reads: bool = False) -> dict[str, Any]:
    # Only gRPC and gRPC-Web; a call in JSON has become gRPC by then.
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    match = {"path": path, "headers": [is_grpc]}
    action: dict[str, Any] = {"cluster": cluster, "timeout": "0s", "priority": "DEFAULT" if streaming else "HIGH"}
    if streaming:
        # No limit, also without messages; a caller's own deadline reaches the service unchanged.
        action |= {"idle_timeout": "0s", "max_stream_duration": {"max_stream_duration": "0s"}}
    else:
        # Unlike `timeout`, this limit is also sent to the service, as grpc-timeout.
        limit = f"{min(settings.read_deadline_s, settings.deadline_s) if reads else settings.deadline_s:g}s"
        action["max_stream_duration"] = {"max_stream_duration": limit, "grpc_timeout_header_max": limit}
    return {"name": path.removeprefix("/"), "match": match, "route": action}


def _listener(
    open_methods: Sequence[Route],
    descriptors: bytes,
    settings: GatewaySettings,
    keys: Mapping[str, str],
    pages: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    entries = [*pages, *route_entries(open_methods, settings, keys)]
    manager: dict[str, Any] = {
        "@type": _HCM,
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        # At the edge the address is that of the connection; headers of a caller are not believed.
        "use_remote_address": True,
        "internal_address_config": {},
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": "3600s",
            # Above these limits HTTP/2 ends without an error message. A filter refuses far smaller sizes, with a message.
            "max_headers_count": 1000,
        },
        "max_request_headers_kb": 128,
        "http2_protocol_options": {
            "max_concurrent_streams": settings.max_streams_per_connection,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1024 * 1024,
        },
        "request_headers_timeout": f"{settings.headers_s:g}s",
        "request_timeout": f"{settings.arrival_s:g}s",
        "early_header_mutation_extensions": [early_headers(settings)],
        # The caller chooses the request id, and it must reach the service unchanged.
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
                "use_request_id_for_trace_sampling": False,
            }
        },
        "local_reply_config": local_replies(settings),
        "http_filters": http_filters(open_methods, descriptors, settings, keys, answered(entries)),
        "route_config": {
            "name": "gateway",
            "max_direct_response_body_size_bytes": most_bytes(entries),
            "virtual_hosts": [
                {
                    "name": "gateway",
                    "domains": ["*"],
                    "typed_per_filter_config": {"envoy.filters.http.cors": cors_policy(settings)}
                    if settings.cors_origins
                    else {},
                    "retry_policy": retries(repeatable=False),
                    # For filters of the gateway alone.
                    "request_headers_to_remove": list(FROM_TOKEN),
                    "routes": entries,
                }
            ],
        },
    }
    if settings.otlp_endpoint:
        manager["tracing"] = tracing(OTLP)
    if settings.access_log:
        manager["access_log"] = [access_log(settings.access_log)]
    return {
        "name": LISTENER,
        "address": _address(settings.host, settings.port),
        # A second gateway on the same port must fail, not share it.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 32768,
        **connections(manager, settings),
    }


def retries(*, repeatable: bool) -> dict[str, Any]:
    """Which calls are tried again. A cluster limits how many at once."""
    # Calls that were not carried out, for as long as a process needs to take its port again. `cancelled`: a server that stops
    # cancels calls that reach it before we know that it stops; if the caller itself cancelled, nobody waits. Each try has the
    # same request id, so even a call that was begun has its effect once.
    when = "connect-failure,refused-stream,reset-before-request,cancelled"
    return {
        # What changes nothing is tried again also where a service may have begun it.
        "retry_on": f"{when},unavailable,reset" if repeatable else when,
        "num_retries": 6,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
