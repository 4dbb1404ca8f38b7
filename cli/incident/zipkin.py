"""Spans from Zipkin, by its query API (version 2): the traces in which a span has the incident as its tag `incident.id`."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from citybrain.local.problems import Problem
from citybrain.observability import names
from citybrain.observability.spans import Span, SpanEvent

_TIMEOUT_S = 10.0
_MOST_TRACES = 100
_LOOKED_BACK_MS = 30 * 86_400_000
_KINDS = {"CLIENT": "client", "SERVER": "server", "PRODUCER": "producer", "CONSUMER": "consumer"}
_MOST_BYTES = 64 * 1024 * 1024
# What is raised where nobody answers, something that is no Zipkin does, or what it answers is no list of traces.
_NONSENSE = (
    OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


def spans_of(incident_id: str, address: str) -> list[Span]:
    """All spans of every trace of an incident in the last thirty days, by start. Problem: Zipkin does not tell them."""
    if not address.startswith(("http://", "https://")):
        raise Problem(f"{address} is no address of Zipkin: write http://HOST:9411")
    query = urllib.parse.urlencode(
        {
            "annotationQuery": f"{names.INCIDENT_ID}={incident_id}",
            "endTs": time.time_ns() // 1_000_000,
            "lookback": _LOOKED_BACK_MS,
            "limit": _MOST_TRACES,
        }
    )
    url = f"{address.rstrip('/')}/api/v2/traces?{query}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            said = json.loads(answer.read(_MOST_BYTES))
        spans = [_span(one) for trace in said for one in trace]
    except _NONSENSE as error:
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else f"{type(error).__name__}: {error}"
        raise Problem(f"Zipkin at {address} does not tell the spans: {reason}: see whether it answers there") from None
    return sorted(_together(spans), key=lambda span: (span.start_ns, span.end_ns, span.span_id))


def _span(said: Mapping[str, Any]) -> Span:
    tags = {str(name): str(value) for name, value in said.get("tags", {}).items()}
    start = int(said["timestamp"]) * 1000
    failed = "error" in tags or tags.get("otel.status_code") == "ERROR"
    message = tags.get("otel.status_description") or tags.get("error", "")
    return Span(
        # A trace id may have 64 bits there.
        trace_id=str(said["traceId"]).zfill(32),
        span_id=str(said["id"]),
        parent_span_id=str(said.get("parentId", "")),
        service=str(said.get("localEndpoint", {}).get("serviceName", "unknown")),
        name=str(said.get("name", "")),
        kind=_KINDS.get(said.get("kind", ""), "internal"),
        start_ns=start,
        end_ns=start + int(said.get("duration", 0)) * 1000,
        status="error" if failed else "unset",
        status_message=message if message != "true" else "",
        attributes=tags,
        events=tuple(SpanEvent(str(one["value"]), int(one["timestamp"]) * 1000) for one in said.get("annotations", [])),
    )


def _together(spans: list[Span]) -> list[Span]:
    """Zipkin may have the two sides of a call under one id: the side of who was called becomes a child of the other."""
    clients = {(one.trace_id, one.span_id) for one in spans if one.kind == "client"}
    found = []
    for one in spans:
        if one.kind == "server" and (one.trace_id, one.span_id) in clients:
            one = _renamed(one)
        found.append(one)
    return found


def _renamed(span: Span) -> Span:
    return replace(span, parent_span_id=span.span_id, span_id=f"{span.span_id}-server")
