"""TLS on the gateway's port, beside plain text where that may be: the first bytes of a connection tell which it is."""

from __future__ import annotations

from typing import Any

from citybrain.gateway.settings import GatewaySettings

CERTIFICATE = "gateway"
"""Name of the gateway's certificate among Envoy's secrets."""

_TYPES = "type.googleapis.com/envoy.extensions"


def connections(manager: dict[str, Any], settings: GatewaySettings) -> dict[str, Any]:
    """The part of a listener that says how connections are taken."""
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    if settings.certificate is None:
        return {"filter_chains": [{"filters": filters}]}
    begun = f"{settings.headers_s:g}s"
    chains = [
        {
            "name": "tls",
            "filter_chain_match": {"transport_protocol": "tls"},
            # A handshake that never ends.
            "transport_socket_connect_timeout": begun,
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _context(settings)},
            "filters": filters,
        }
    ]
    if settings.takes_plain:
        plain = {"name": "plain", "filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": filters}
        chains.append(plain)
    inspector = {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}],
        # A connection that says nothing.
        "listener_filters_timeout": begun,
        "filter_chains": chains,
    }


def _context(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [certificate(settings)],
        },
    }


def certificate(settings: GatewaySettings) -> dict[str, Any]:
    """The files of the certificate and its key."""
    return {
        "certificate_chain": {"filename": str(settings.certificate)},
        "private_key": {"filename": str(settings.certificate_key or settings.certificate)},
    }
