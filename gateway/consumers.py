"""How often each caller may call: a bucket for each subject of a token and each kind of method, inside Envoy.

Services of the mesh have no limits here: they are told by the city's own issuer and by their subject.
"""

from __future__ import annotations

from typing import Any

from citybrain.gateway.access import ACTOR, ISSUER, SUBJECT
from citybrain.gateway.methods import READING, Route
from citybrain.gateway.settings import GatewaySettings
from citybrain.mesh.access.principal import SERVICE

READ, COMMAND, STREAM = "read", "command", "stream"
KINDS = (READ, COMMAND, STREAM)
"""The kinds of methods: what only reads, what commands, and what opens a stream."""

_METADATA = "citybrain.gateway"
_UNLIMITED = 1_000_000_000
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": "gateway.unused"}


def kind_of(route: Route) -> str:
    """The kind of a method."""
    return STREAM if route.streaming else READ if route.scope.endswith(READING) else COMMAND


def told(kind: str) -> dict[str, Any]:
    """The metadata of a route by which the filter knows the kind of its method."""
    return {"filter_metadata": {_METADATA: {"kind": kind}}}


def local_ratelimit(settings: GatewaySettings) -> dict[str, Any]:
    """The filter. It stands behind the one that checks tokens, which tells it the subject."""
    rates = {READ: settings.reads_per_s, COMMAND: settings.commands_per_s, STREAM: settings.streams_per_s}
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "consumers",
        # For what no bucket below is for: the gateway's own pages, health, services of the mesh.
        "token_bucket": _bucket(_UNLIMITED, 1),
        "always_consume_default_token_bucket": False,
        # Otherwise nothing would be limited.
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
        # Otherwise UNAVAILABLE, and callers would try again at once.
        "rate_limited_as_resource_exhausted": True,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        # Where one more has no room, the bucket that was used longest ago is forgotten; its caller then has a full one.
        "max_dynamic_descriptors": settings.consumers,
        "rate_limits": [{"actions": [_kind(), *_outside(settings), _header("issuer", ISSUER), _header("subject", SUBJECT)]}],
        "descriptors": [
            {
                # Without values: then each pair of issuer and subject has a bucket of its own.
                "entries": [
                    {"key": "kind", "value": kind},
                    {"key": "subject is", "value": "outside"},
                    {"key": "actor is", "value": "outside"},
                    {"key": "issuer"},
                    {"key": "subject"},
                ],
                "token_bucket": _bucket(rates[kind], settings.burst_s),
            }
            for kind in KINDS
        ],
    }


def _kind() -> dict[str, Any]:
    where = {"key": _METADATA, "path": [{"key": "kind"}]}
    return {"metadata": {"descriptor_key": "kind", "metadata_key": where, "source": "ROUTE_ENTRY"}}


def _outside(settings: GatewaySettings) -> list[dict[str, Any]]:
    """Says twice `outside`, unless a service of the mesh calls, for itself or for somebody; then there is no bucket at all."""
    own = {"name": ISSUER, "string_match": {"exact": settings.identity.issuer if settings.identity else ""}}
    return [
        {
            "header_value_match": {
                "descriptor_key": key,
                "descriptor_value": "outside",
                "expect_match": False,
                "headers": [{"name": name, "string_match": {"prefix": SERVICE}}, own],
            }
        }
        for key, name in (("subject is", SUBJECT), ("actor is", ACTOR))
    ]


def _header(key: str, name: str) -> dict[str, Any]:
    return {"request_headers": {"descriptor_key": key, "header_name": name}}


def _bucket(per_s: int, seconds: float) -> dict[str, Any]:
    return {"max_tokens": max(1, int(per_s * seconds)), "tokens_per_fill": per_s, "fill_interval": "1s"}
