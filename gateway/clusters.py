"""Where calls go: one cluster a service, always HTTP/2."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from citybrain.gateway.settings import GatewaySettings, split

# The cluster Envoy sends its own spans to.
OTLP = "otlp"
# A cluster without hosts, for routes that must lead nowhere.
NOWHERE = "nowhere"

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UNLIMITED = 1_000_000
# One connection would carry every call, to one process. The kernel spreads connections, not calls.
_SPREAD = {"max_concurrent_streams": 4}


def clusters(addresses: Mapping[str, str], checked: Mapping[str, str], settings: GatewaySettings) -> list[dict[str, Any]]:
    """One cluster for each address, by name, and the receiver of spans where there is one.

    `checked`: what each is asked for in health checks; one that is not named there is asked for the whole process.
    """
    asked = {name: checked.get(name, "") if settings.health_checks else None for name in addresses}
    found = [_cluster(name, address, settings, asked[name]) for name, address in addresses.items()]
    if settings.cors_origins:
        found.append({"name": NOWHERE, "type": "STATIC", "load_assignment": {"cluster_name": NOWHERE}})
    if settings.otlp_endpoint:
        found.append(_cluster(OTLP, settings.otlp_endpoint, settings, None))
    return found


def _cluster(name: str, address: str, settings: GatewaySettings, asked: str | None) -> dict[str, Any]:
    host, port = split(address)
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if _is_ip(host) else "STRICT_DNS",
        "connect_timeout": f"{settings.connect_timeout_s:g}s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": _SPREAD if settings.spread else {}},
            }
        },
        # The services say themselves when it is too much (RESOURCE_EXHAUSTED); streams that last count as calls here.
        "circuit_breakers": {
            "thresholds": [
                {"max_requests": _UNLIMITED, "max_pending_requests": _UNLIMITED, "max_retries": 1024},
            ]
        },
    }
    # No outlier detection: there is one host a cluster, and one that came back must be called at once. For the same reason the
    # panic threshold stays at its default: with the only host unhealthy, calls are still tried.
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


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
