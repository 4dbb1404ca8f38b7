"""Where calls go: one cluster for each service, always HTTP/2."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from citybrain.gateway.settings import GatewaySettings, addresses_of
from citybrain.gateway.tls import to_services

# The cluster Envoy sends its own spans to.
OTLP = "otlp"
# A cluster without hosts, for routes that must lead nowhere.
NOWHERE = "nowhere"

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Few calls on a connection, since the kernel spreads connections, not calls: one connection would bring all to one process.
_SPREAD = {"max_concurrent_streams": 4}

# A host that cannot be called, or says that it cannot serve, is left out for a while if there are others. At most half of them
# are, so an only host never is: it must be called as soon as it is back (decision 63 has the figures).
_OUTLIERS = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 5,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    # An error of a service's own code says nothing of the host.
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "interval": "1s",
    "base_ejection_time": "2s",
    "max_ejection_time": "30s",
    "max_ejection_percent": 50,
}


def clusters(addresses: Mapping[str, str], checked: Mapping[str, str], settings: GatewaySettings) -> list[dict[str, Any]]:
    """One cluster for each address, by name, and one for the receiver of spans, if there is one.

    `checked`: the service name to ask for in health checks; a cluster that is not in it is asked for the whole process.
    """
    asked = {name: checked.get(name, "") if settings.health_checks else None for name in addresses}
    found = [_cluster(name, address, settings, asked[name]) for name, address in addresses.items()]
    if settings.cors_origins:
        found.append({"name": NOWHERE, "type": "STATIC", "load_assignment": {"cluster_name": NOWHERE}})
    if settings.otlp_endpoint:
        found.append(_cluster(OTLP, settings.otlp_endpoint, settings, None))
    if settings.mesh_tls.given:
        for one in found:
            if one["name"] in addresses:
                one["transport_socket"] = to_services(settings.mesh_tls)
    return found


def _cluster(name: str, address: str, settings: GatewaySettings, asked: str | None) -> dict[str, Any]:
    hosts = addresses_of(address)
    endpoints = [{"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host, port in hosts]
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if all(_is_ip(host) for host, _ in hosts) else "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": f"{settings.connect_timeout_s:g}s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": _SPREAD if settings.spread else {}},
            }
        },
        "circuit_breakers": {
            "thresholds": [
                _most("DEFAULT", settings.streams_per_service, settings),
                _most("HIGH", settings.calls_per_service, settings),
            ]
        },
        "outlier_detection": _OUTLIERS,
    }
    # The panic threshold stays at its default: calls are tried even if health checks of the only host fail.
    if asked is not None:
        cluster["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "no_traffic_healthy_interval": "1s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": asked} if asked else {},
            }
        ]
    return cluster


def _most(priority: str, calls: int, settings: GatewaySettings) -> dict[str, Any]:
    """What may be under way at once. Streams have one priority, other calls the other: neither keeps the other out."""
    return {
        "priority": priority,
        "max_requests": calls,
        "max_pending_requests": calls,
        # At worst each call has a connection of its own.
        "max_connections": calls,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": settings.retries},
        # Tells how many calls are under way.
        "track_remaining": True,
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
