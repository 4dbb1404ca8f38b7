"""What the gateway does at its edge: headers it does not believe, answers of its own, its log, its spans, its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from citybrain.gateway.settings import GatewaySettings
from citybrain.observability import names

# Who calls, to whose story a call belongs, and for which event it is made, is not for those outside to say.
UNTRUSTED_HEADERS = ("x-caller", "baggage", "x-causation-id")

_TOO_LARGE = 413
_UNKNOWN, _INVALID, _NOT_FOUND = 2, 3, 5
GRPC_CODES = {
    400: _INVALID,
    401: 16,
    403: 7,
    404: _NOT_FOUND,
    408: 4,
    413: 8,
    415: _INVALID,
    426: _INVALID,
    429: 8,
    431: 8,
    500: 13,
    503: 14,
    504: 4,
}
"""What Envoy's own errors are in gRPC's words (google.rpc.Code), by their HTTP status."""

_BODY = "%LOCAL_REPLY_BODY%"
_MESSAGES = {
    # Envoy has no words for a path that it does not normalize.
    _INVALID: f"The gateway refused this call (%RESPONSE_CODE_DETAILS%). {_BODY}",
    _NOT_FOUND: f"{_BODY} The paths are in the contracts (google.api.http); gRPC reflection here lists the services.",
}

# Where the filter that looks at calls in JSON puts what was wrong.
_REFUSED = "citybrain.gateway"
_FIELD = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [
        {"field": f"%DYNAMIC_METADATA({_REFUSED}:field)%", "description": f"%DYNAMIC_METADATA({_REFUSED}:problem)%"}
    ],
}

_EXTENSIONS = "type.googleapis.com/envoy.extensions"


def early_headers() -> dict[str, Any]:
    """Takes away headers that only the gateway may set, before any filter sees them."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                *({"remove": name} for name in UNTRUSTED_HEADERS),
                # Nobody reads any, and gRPC fails as a whole at one that is not base64.
                {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}},
            ],
        },
    }


def local_replies(settings: GatewaySettings) -> dict[str, Any]:
    """Envoy's own errors: for JSON callers in the shape of google.rpc.Status, for gRPC callers as a status of theirs."""
    # Once transcoded, a call has gRPC's content type, and its first path in a header.
    was_json = {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}}
    is_not_grpc = {
        "header_filter": {
            "header": {
                "name": "content-type",
                "string_match": {"prefix": "application/grpc"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            }
        }
    }
    is_json = {"or_filter": {"filters": [was_json, is_not_grpc]}}
    too_large = (
        f"The request is larger than {settings.max_request_bytes} bytes (gateway.max_request_bytes): send less at a time."
    )
    mappers: list[dict[str, Any]] = []
    for status, code in GRPC_CODES.items():
        told = {"body": {"inline_string": too_large}} if status == _TOO_LARGE else {}
        in_json = {"and_filter": {"filters": [_has_status(status), is_json]}}
        mappers.append(told | {"filter": in_json, "body_format_override": _error_body(code)})
        if code != _NOT_FOUND:
            # What has no route is UNIMPLEMENTED there, as Envoy says.
            mappers.append(told | {"filter": _has_status(status), "headers_to_add": [_grpc_status(code)]})
    # Said by the filter that looks at calls in JSON.
    named = {"filter": {"metadata_filter": _has_field()}, "body_format_override": _error_body(_INVALID, _BODY, _FIELD)}
    return {"mappers": [named, *mappers, {"filter": is_json, "body_format_override": _error_body(_UNKNOWN)}]}


def _has_status(status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "gateway.unused"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _grpc_status(code: int) -> dict[str, Any]:
    # Envoy takes 413 and others for UNKNOWN.
    return {"header": {"key": "grpc-status", "value": str(code)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _has_field() -> dict[str, Any]:
    return {
        "matcher": {"filter": _REFUSED, "path": [{"key": "field"}], "value": {"present_match": True}},
        "match_if_key_not_found": False,
    }


def _error_body(code: int, message: str = "", *details: dict[str, Any]) -> dict[str, Any]:
    return {
        "json_format": {
            "code": code,
            "message": message or _MESSAGES.get(code, _BODY),
            # Which rule of the gateway it was, e.g. path_normalization_failed.
            "reason": "%RESPONSE_CODE_DETAILS%",
            "details": list(details),
            "requestId": "%REQUEST_HEADER(X-REQUEST-ID)%",
        }
    }


def access_log(path: Path) -> dict[str, Any]:
    """One JSON object a call. Without query strings: they may hold personal data."""
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "trace_id": "%TRACE_ID%",
                    "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
                    "http_method": "%REQUEST_HEADER(:METHOD)%",
                    "path": "%PATH(NQ:PATH)%",
                    "original_path": "%PATH(NQ:ORIG)%",
                    "protocol": "%PROTOCOL%",
                    "status": "%RESPONSE_CODE%",
                    "grpc_status": "%GRPC_STATUS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "flags": "%RESPONSE_FLAGS%",
                    "duration_ms": "%DURATION%",
                    "bytes_received": "%BYTES_RECEIVED%",
                    "bytes_sent": "%BYTES_SENT%",
                    "upstream": "%UPSTREAM_CLUSTER%",
                    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
                    "caller_address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                }
            },
        },
    }


def tracing(cluster: str) -> dict[str, Any]:
    """Every call is a span of the caller's trace, and its way to the service another; both named by the method."""
    return {
        "client_sampling": {"value": 100},
        "random_sampling": {"value": 100},
        "overall_sampling": {"value": 100},
        "spawn_upstream_span": True,
        "operation": "%PATH(NQ:PATH)%",
        "upstream_operation": "%PATH(NQ:PATH)%",
        # In place of Envoy's own, which holds the query string.
        "custom_tags": [{"tag": "http.url", "value": "%PATH(NQ:ORIG_OR_PATH)%"}],
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": names.GATEWAY,
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster}, "timeout": "5s"},
                # A caller's traceparent continues, but cannot switch the record off.
                "sampler": {
                    "name": "envoy.tracers.opentelemetry.samplers.always_on",
                    "typed_config": {"@type": f"{_EXTENSIONS}.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"},
                },
            },
        },
    }


def overload(settings: GatewaySettings) -> dict[str, Any]:
    """Refuses before memory or connections run out."""
    monitors = f"{_EXTENSIONS}.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": {
                    "@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": settings.max_heap_bytes,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": settings.max_connections,
                },
            },
        ],
        "actions": [
            _when_heap("envoy.overload_actions.shrink_heap", 0.9),
            _when_heap("envoy.overload_actions.stop_accepting_requests", 0.95),
        ],
    }


def _when_heap(action: str, threshold: float) -> dict[str, Any]:
    return {
        "name": action,
        "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}],
    }
