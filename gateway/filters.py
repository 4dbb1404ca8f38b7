"""The filters that a call passes, in their order.

The transcoder comes before every filter that decides. After it, calls in gRPC, JSON and gRPC-Web all have the path
`/package.Service/Method`, so one rule about a method holds for all three.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from citybrain.gateway.access import jwt_authn
from citybrain.gateway.comments import without_comments
from citybrain.gateway.consumers import local_ratelimit
from citybrain.gateway.edge import GRPC_ADVICE, GRPC_CODES, IN_PIECES, REASON
from citybrain.gateway.methods import Route, open_services
from citybrain.gateway.request_checks import as_lua, request_checks
from citybrain.gateway.settings import GatewaySettings

FILTER_ORDER = (
    "cors",
    # A lane for large bodies; the codes of the gateway's own errors, for gRPC-Web.
    "outermost",
    "grpc_web",
    # Holds a request until it is whole, up to a size.
    "buffer",
    # Checks headers and calls in JSON.
    "lua",
    "grpc_json_transcoder",
    # Gives errors that no service made the same form as errors of services.
    "errors",
    # Checks who calls: tokens.
    "jwt_authn",
    # Checks what they may call: scopes.
    "ext_authz",
    # Limits how often they may call.
    "local_ratelimit",
    "grpc_stats",
    # Delays and errors on purpose, for fault tests.
    "fault",
    "router",
)
"""The place of every filter, also of those that are not configured yet."""

_LARGE_BYTES = 64 * 1024
# The part of Envoy's memory for large bodies that are not whole yet. Each may be held twice on its way.
_LANE = 0.3
_EXPOSED = (
    "grpc-message", "grpc-status", "grpc-status-details-bin", "retry-after", "www-authenticate", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id",
)  # fmt: skip
_TYPES = "type.googleapis.com/envoy.extensions.filters.http"


def http_filters(
    routes: Sequence[Route],
    descriptors: bytes,
    settings: GatewaySettings,
    keys: Mapping[str, str],
    answered: Sequence[str],
) -> list[dict[str, Any]]:
    """The configured filters, in `FILTER_ORDER`. `keys`: of issuers. `answered`: paths that the gateway itself answers."""
    configured = {
        "cors": {"@type": f"{_TYPES}.cors.v3.Cors"},
        "outermost": _lua(_outermost(settings)),
        "grpc_web": {"@type": f"{_TYPES}.grpc_web.v3.GrpcWeb"},
        "buffer": {"@type": f"{_TYPES}.buffer.v3.Buffer", "max_request_bytes": settings.max_request_bytes},
        "lua": _lua(request_checks(routes, descriptors, settings.max_request_bytes)),
        "grpc_json_transcoder": _transcoder(routes, descriptors, settings),
        "errors": _lua(_with({"ADVICE": GRPC_ADVICE, "REASON": REASON}, "error_form", "errors")),
        "jwt_authn": jwt_authn(settings, keys, answered),
        "local_ratelimit": local_ratelimit(settings),
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
        # A path that nobody has is a method that nobody has.
        "CODES": {str(status): str(code) for status, code in {**GRPC_CODES, 404: 12}.items()},
        "LARGE_BYTES": _LARGE_BYTES,
        "MOST_BODY_BYTES": settings.max_request_bytes,
        # At least room for one body.
        "LANE_BYTES": max(int(lane), settings.max_request_bytes),
        "PEER_BYTES": max(int(lane / 2), settings.max_request_bytes),
        "HELD_S": int(settings.arrival_s) + 1,
        "ADVICE": GRPC_ADVICE,
        "REASON": REASON,
    }
    return _with(known, "error_form", "outermost")


def _with(known: dict[str, Any], *names: str) -> str:
    """The text of Lua files, with these values as local variables before it."""
    told = [f"local {key} = {as_lua(value)}" for key, value in known.items()]
    return "\n".join([*told, "", *(Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8") for name in names)])


def unbuffered() -> dict[str, Any]:
    """For routes whose callers stream messages: their requests are not held until they are whole."""
    return {"envoy.filters.http.buffer": {"@type": f"{_TYPES}.buffer.v3.BufferPerRoute", "disabled": True}}


def untranscoded() -> dict[str, Any]:
    """For paths that the gateway itself answers: the transcoder refuses paths that no contract has."""
    none = {"@type": f"{_TYPES}.grpc_json_transcoder.v3.GrpcJsonTranscoder", "proto_descriptor_bin": "", "services": []}
    return {"envoy.filters.http.grpc_json_transcoder": none}


def cors_policy(settings: GatewaySettings) -> dict[str, Any]:
    """Which pages may call: only those of the configured origins."""
    return {
        "@type": f"{_TYPES}.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in settings.cors_origins],
        "allow_methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "allow_headers": "authorization, content-type, grpc-timeout, traceparent, x-exercise, x-grpc-web, x-request-id, "
        "x-user-agent",
        "expose_headers": ", ".join(_EXPOSED),
        "max_age": "600",
    }


def _transcoder(routes: Sequence[Route], descriptors: bytes, settings: GatewaySettings) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(without_comments(descriptors)).decode("ascii"),
        "services": open_services(routes),
        "auto_mapping": False,
        # google.rpc.Status with its details becomes the JSON body of an error.
        "convert_grpc_status": True,
        # Fields with the value zero are written too.
        "print_options": {"always_print_primitive_fields": True, "stream_sse_style_delimited": True},
        # Without these a misspelt parameter or path would be a 404 without a reason.
        "request_validation_options": {"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        "query_param_unescape_plus": True,
        "max_request_body_size": settings.max_request_bytes,
        "max_response_body_size": settings.max_response_bytes,
    }


def _stats(routes: Sequence[Route]) -> dict[str, Any]:
    # Only existing methods: else a caller could fill the memory with invented names.
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
