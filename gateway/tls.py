"""TLS on the gateway's port, beside plain text where that may be: the first bytes of a connection tell which it is.

And TLS from the gateway to the services, where it shows a certificate of the mesh.
"""

from __future__ import annotations

from typing import Any

from citybrain.gateway.settings import GatewaySettings
from citybrain.mesh.access.certificates import MESH_NAME
from citybrain.mesh.settings.values import Tls

CERTIFICATE = "gateway"
"""Name of the gateway's certificate among Envoy's secrets."""
MESH, MESH_AUTHORITIES = "mesh", "mesh-authorities"
"""The certificate that it shows to services, and the authorities of theirs."""

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


def to_services(tls: Tls) -> dict[str, Any]:
    """The part of a cluster that says how services are called: only those with a certificate of the mesh get a call."""
    own = {"certificate_chain": {"filename": str(tls.certificate)}, "private_key": {"filename": str(tls.certificate_key)}}
    trusted = {
        "trusted_ca": {"filename": str(tls.authorities)},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": MESH_NAME}}],
    }
    context = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": MESH_NAME,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificates": [own],
            "validation_context": trusted,
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
