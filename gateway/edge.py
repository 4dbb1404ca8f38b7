"""The edge of the gateway: headers that it does not believe, its own error answers, its log, its spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from citybrain.gateway.access import FROM_TOKEN
from citybrain.gateway.settings import GatewaySettings
from citybrain.observability import names
from citybrain.observability.incoming import CALLERS_TRACE, NO_TRACE

# Callers outside must not say who calls, to which incident a call belongs, or for which event it is made.
UNTRUSTED_HEADERS = ("x-caller", "baggage", "x-causation-id", *FROM_TOKEN)
# Callers do not answer, and a service's gRPC ends a call that brings these with something that is no number.
OF_ANSWERS = ("grpc-status", "grpc-message", "grpc-previous-rpc-attempts")
REASON = "x-gateway-reason"
"""In an answer, for the filter that gives errors in gRPC their form, which removes it."""
IN_PIECES = "x-body-in-pieces"
"""The gateway sets this for its own filters: a body of unknown length follows."""

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
"""The gRPC codes (google.rpc.Code) of Envoy's own errors, by their HTTP status."""

_BODY = "%LOCAL_REPLY_BODY%"
_AGAIN = "under the same x-request-id: what was done is not done twice"
_REACHED = f"The service cannot be reached now, or the gateway has too much to do. Try again {_AGAIN}."
_LATE = f"The call took longer than it may, and what it began may go on. Ask again {_AGAIN}."
# In place of Envoy's own texts, which are for people who know Envoy.
_MESSAGES = {
    # Envoy has no text for a path that it does not normalize.
    400: f"The gateway refused this call (%RESPONSE_CODE_DETAILS%). {_BODY}",
    404: f"{_BODY} The paths are in the contracts (google.api.http); gRPC reflection here lists the services.",
    408: "The request did not come in time: send it again, without a pause.",
    429: "You call too often: wait as long as `retry-after` says, and call more slowly.",
    503: f"{_REACHED} ({_BODY})",
    504: f"{_LATE} ({_BODY})",
}
_REASONS = {
    400: "BAD_REQUEST",
    404: "NO_SUCH_METHOD",
    408: "REQUEST_TOO_SLOW",
    413: "REQUEST_TOO_LARGE",
    429: "TOO_MANY_CALLS",
    431: "HEADERS_TOO_LARGE",
    503: "UNAVAILABLE",
    504: "DEADLINE_PASSED",
}
_ANOTHER = "`city token` prints one, for the header `authorization: Bearer TOKEN`"
# Where a header of the call decides what is said: the status, whether the header `authorization` is there, message, and reason.
_TOKENS = (
    (401, False, f"This call needs a token, and has none: {_ANOTHER}.", "NO_TOKEN"),
    (401, True, f"The token is not taken ({_BODY}): {_ANOTHER}.", "BAD_TOKEN"),
    # Envoy's status for a wrong audience.
    (403, True, f"The token is not taken ({_BODY}): {_ANOTHER}.", "BAD_TOKEN"),
)
# After how many seconds to try again, by HTTP status.
_RETRY_AFTER = {429: 1, 503: 1}

GRPC_ADVICE: dict[int, dict[str, Any]] = {
    _INVALID: {"reason": "BAD_REQUEST", "words": "", "wait_s": 0},
    4: {"reason": "DEADLINE_PASSED", "words": _LATE, "wait_s": 0},
    8: {"reason": "TOO_MUCH", "words": "", "wait_s": 0},
    12: {"reason": "NO_SUCH_METHOD", "words": "", "wait_s": 0},
    14: {"reason": "UNAVAILABLE", "words": _REACHED, "wait_s": 1},
    16: {"reason": "BAD_TOKEN", "words": "", "wait_s": 0},
}
"""What gRPC callers are told about an error that no service made, by its code (google.rpc.Code)."""

_RPC = "type.googleapis.com/google.rpc"
# The metadata in which the filter that checks calls in JSON says what is wrong.
_REFUSED = "citybrain.gateway"
_FIELD = {
    "@type": f"{_RPC}.BadRequest",
    "fieldViolations": [
        {"field": f"%DYNAMIC_METADATA({_REFUSED}:field)%", "description": f"%DYNAMIC_METADATA({_REFUSED}:problem)%"}
    ],
}

_EXTENSIONS = "type.googleapis.com/envoy.extensions"


# A well-formed traceparent, as CEL reads it. Two patterns, since Envoy takes only short ones. Where there are several
# headers, Envoy joins their values, and this is none of them. Of zeros alone it would be no trace.
_TOLD = "request.headers['traceparent']"
_IS_TRACE = " && ".join((
    "'traceparent' in request.headers",
    f"{_TOLD}.matches('^00-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$')",
    f"{_TOLD}.matches('^00-[0-f]{{32}}-[0-f]{{16}}-[0-f]{{2}}$')",
    *(f"!{_TOLD}.contains('-{'0' * length}-')" for length in (32, 16)),
))  # fmt: skip


def _traces(settings: GatewaySettings) -> list[dict[str, Any]]:
    """What callers say of their trace: Envoy sees it where it is to be continued, services see it in a header of the gateway.

    Envoy writes no span at all for a call with a traceparent that it cannot read.
    """
    brought = f"request.headers['{CALLERS_TRACE}']"
    kept = f"{brought} == '{NO_TRACE}' ? '' : {brought}"
    continued = [{"append": _header("traceparent", f"%CEL({kept})%")}] if settings.continues else []
    return [
        {"append": _header(CALLERS_TRACE, f"%CEL({_IS_TRACE} ? {_TOLD} : '{NO_TRACE}')%")},
        *({"remove": name} for name in ("traceparent", "tracestate")),
        *continued,
    ]


def early_headers(settings: GatewaySettings) -> dict[str, Any]:
    """Removes headers that only the gateway may set, before any filter sees them."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                *({"remove": name} for name in (*UNTRUSTED_HEADERS, *OF_ANSWERS)),
                # No service reads binary headers, and gRPC fails the whole call if one is not base64.
                {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}},
                # Envoy later drops TRANSFER-ENCODING; `outermost.lua` reads this copy, and removes it.
                {"append": _header(IN_PIECES, "%REQ(TRANSFER-ENCODING)%")},
                *_traces(settings),
            ],
        },
    }


def local_replies(settings: GatewaySettings) -> dict[str, Any]:
    """Envoy's own errors: for JSON callers in the form of google.rpc.Status, for gRPC callers as a gRPC status."""
    # After transcoding, a call in JSON has gRPC's content type, and its original path in a header.
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
    most = f"{settings.max_request_bytes} bytes (gateway.max_request_bytes)"
    messages = _MESSAGES | {_TOO_LARGE: f"The request is larger than {most}: send less at a time."}
    # For errors of the filter that checks calls in JSON.
    named = _error_body(_INVALID, _BODY, "BAD_REQUEST", [_FIELD])
    has_field = {"and_filter": {"filters": [{"metadata_filter": _has_field()}, is_json]}}
    mappers: list[dict[str, Any]] = [{"filter": has_field, "body_format_override": named}]
    for status, given, message, reason in _TOKENS:
        asked = {"and_filter": {"filters": [_has_status(status), _has_token(given)]}}
        mappers += [{**one, "status_code": 401} for one in _mapped(asked, is_json, 16, message, reason, 0)]
    for status, code in GRPC_CODES.items():
        message, reason = messages.get(status, _BODY), _REASONS.get(status, "REFUSED")
        mappers += _mapped(_has_status(status), is_json, code, message, reason, _RETRY_AFTER.get(status, 0))
    # Not pages, which are answers of the gateway too.
    others = {"and_filter": {"filters": [_has_status(400, "GE"), is_json]}}
    return {"mappers": [*mappers, {"filter": others, "body_format_override": _error_body(_UNKNOWN, _BODY, "REFUSED", [])}]}


def _mapped(
    which: dict[str, Any], is_json: dict[str, Any], code: int, message: str, reason: str, wait_s: int
) -> list[dict[str, Any]]:
    """How some of Envoy's own errors are told: as JSON, and in gRPC."""
    again = [{"@type": f"{_RPC}.RetryInfo", "retryDelay": f"{wait_s}s"}] if wait_s else []
    headers = [_header("retry-after", str(wait_s))] if wait_s else []
    # Envoy would say UNKNOWN for most. For a call without a route it says UNIMPLEMENTED, which is right.
    known = [] if code == _NOT_FOUND else [_header("grpc-status", str(code))]
    return [
        {
            "filter": {"and_filter": {"filters": [which, is_json]}},
            "headers_to_add": headers,
            "body_format_override": _error_body(code, message, reason, again),
        },
        {
            "filter": which,
            "headers_to_add": [*headers, *known, _header(REASON, reason)],
            "body_format_override": {"text_format_source": {"inline_string": message}},
        },
    ]


def _has_token(given: bool) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": "authorization", "present_match": given}}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _has_field() -> dict[str, Any]:
    return {
        "matcher": {"filter": _REFUSED, "path": [{"key": "field"}], "value": {"present_match": True}},
        "match_if_key_not_found": False,
    }


def _has_status(status: int, op: str = "EQ") -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "gateway.unused"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}


def _error_body(code: int, message: str, reason: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    """In the same form as errors of the services."""
    # The rule of Envoy that failed, e.g. path_normalization_failed.
    rule = {"rule": "%RESPONSE_CODE_DETAILS%"}
    why = {"@type": f"{_RPC}.ErrorInfo", "reason": reason, "domain": "citybrain.gateway", "metadata": rule}
    asked = {"@type": f"{_RPC}.RequestInfo", "requestId": "%REQUEST_HEADER(X-REQUEST-ID)%"}
    return {"json_format": {"code": code, "message": message, "details": [*details, why, asked]}}


def access_log(path: Path) -> dict[str, Any]:
    """One JSON object for each call, without query strings, which may hold personal data."""
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
    """Every call is a span in the caller's trace, and its way to the service is another. Both are named by the method."""
    return {
        "client_sampling": {"value": 100},
        "random_sampling": {"value": 100},
        "overall_sampling": {"value": 100},
        "spawn_upstream_span": True,
        "operation": "%PATH(NQ:PATH)%",
        "upstream_operation": "%PATH(NQ:PATH)%",
        # In place of Envoy's own tag, which holds the query string.
        "custom_tags": [{"tag": "http.url", "value": "%PATH(NQ:ORIG_OR_PATH)%"}],
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": names.GATEWAY,
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster}, "timeout": "5s"},
                # A caller's trace is continued, but a caller cannot switch recording off.
                "sampler": {
                    "name": "envoy.tracers.opentelemetry.samplers.always_on",
                    "typed_config": {"@type": f"{_EXTENSIONS}.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"},
                },
            },
        },
    }
