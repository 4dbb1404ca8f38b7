"""The filters a call passes, in the one order that keeps the rules simple.

The transcoder comes before everything that decides: from there on gRPC, JSON and gRPC-Web have one path language,
`/package.Service/Method`, and a rule about a method holds in all three.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from citybrain.gateway.edge import GRPC_ADVICE, GRPC_CODES, IN_PIECES
from citybrain.gateway.methods import Route, open_services
from citybrain.gateway.request_checks import as_lua, request_checks
from citybrain.gateway.settings import GatewaySettings

FILTER_ORDER = (
    "cors",
    # Large bodies in a lane of their own; the code of an error of the gateway itself, for gRPC-Web.
    "outermost",
    "grpc_web",
    # Whole requests, up to a size.
    "buffer",
    # What a call must not say.
    "lua",
    "grpc_json_transcoder",
    # Errors that are not of our services, in the shape of those that are.
    "errors",
    # Who calls: tokens.
    "jwt_authn",
    # May they: scopes.
    "ext_authz",
    # How often.
    "local_ratelimit",
    "grpc_stats",
    # Delays and errors on purpose, for fault tests.
    "fault",
    "router",
)
"""Where every filter goes. One that is not configured leaves its place empty; none is ever put elsewhere."""

_LARGE_BYTES = 64 * 1024
# Of Envoy's memory, for large bodies that have not come whole yet. Each is held up to twice on its way.
_LANE = 0.3
_TYPES = "type.googleapis.com/envoy.extensions.filters.http"


def http_filters(routes: Sequence[Route], descriptors: bytes, settings: GatewaySettings) -> list[dict[str, Any]]:
    """The filters that have a job now, in `FILTER_ORDER`."""
    configured = {
        "cors": {"@type": f"{_TYPES}.cors.v3.Cors"},
        "outermost": _lua(_outermost(settings)),
        "grpc_web": {"@type": f"{_TYPES}.grpc_web.v3.GrpcWeb"},
        "buffer": {"@type": f"{_TYPES}.buffer.v3.Buffer", "max_request_bytes": settings.max_request_bytes},
        "lua": _lua(request_checks(routes, descriptors, settings.max_request_bytes)),
        "grpc_json_transcoder": _transcoder(routes, descriptors, settings),
        "errors": _lua(_with({"ADVICE": GRPC_ADVICE}, "errors")),
        "grpc_stats": _stats(routes),
        "router": {"@type": f"{_TYPES}.router.v3.Router"},
    }
    return [
        {"name": f"envoy.filters.http.{name}", "typed_config": configured[name]} for name in FILTER_ORDER if name in configured
    ]


def _lua(text: str) -> dict[str, Any]:
    return {"@type": f"{_TYPES}.lua.v3.Lua", "default_source_code": {"inline_string": text}}


def _outermost(settings: GatewaySettings) -> str:
    lane = settings.max_heap_bytes * _LANE
    known: dict[str, Any] = {
        "IN_PIECES": IN_PIECES,
        "CODES": {str(status): str(code) for status, code in GRPC_CODES.items()},
        "LARGE_BYTES": _LARGE_BYTES,
        "MOST_BODY_BYTES": settings.max_request_bytes,
        # Room for one at least.
        "LANE_BYTES": max(int(lane), settings.max_request_bytes),
        "PEER_BYTES": max(int(lane / 2), settings.max_request_bytes),
        "HELD_S": int(settings.arrival_s) + 1,
    }
    return _with(known, "outermost")


def _with(known: dict[str, Any], name: str) -> str:
    """A file of Lua, after what it is told."""
    told = [f"local {key} = {as_lua(value)}" for key, value in known.items()]
    return "\n".join([*told, "", Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")])


def unbuffered() -> dict[str, Any]:
    """What a route says whose callers send message after message."""
    return {"envoy.filters.http.buffer": {"@type": f"{_TYPES}.buffer.v3.BufferPerRoute", "disabled": True}}


def cors_policy(settings: GatewaySettings) -> dict[str, Any]:
    """Which pages may call: those of the given origins, and no other."""
    return {
        "@type": f"{_TYPES}.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in settings.cors_origins],
        "allow_methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "allow_headers": "authorization, content-type, grpc-timeout, traceparent, x-grpc-web, x-request-id, x-user-agent",
        "expose_headers": "grpc-message, grpc-status, grpc-status-details-bin, x-request-id",
        "max_age": "600",
    }


def _transcoder(routes: Sequence[Route], descriptors: bytes, settings: GatewaySettings) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(descriptors).decode("ascii"),
        "services": open_services(routes),
        "auto_mapping": False,
        # google.rpc.Status with its details becomes the JSON body of an error.
        "convert_grpc_status": True,
        # Zero is an answer too.
        "print_options": {"always_print_primitive_fields": True, "stream_sse_style_delimited": True},
        # Without these a misspelt parameter or path is a 404 without a reason.
        "request_validation_options": {"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        "query_param_unescape_plus": True,
        "max_request_body_size": settings.max_request_bytes,
        "max_response_body_size": settings.max_response_bytes,
    }


def _stats(routes: Sequence[Route]) -> dict[str, Any]:
    # Only methods that exist: a caller must not be able to fill the memory with names.
    methods = {
        grpc: [route.method for route in routes if route.grpc == grpc] for grpc in open_services(routes)
    }  # fmt: skip
    return {
        "@type": f"{_TYPES}.grpc_stats.v3.FilterConfig",
        "individual_method_stats_allowlist": {
            "services": [{"name": grpc, "method_names": names} for grpc, names in methods.items()]
        },
        "emit_filter_state": True,
    }
