"""A span as it is kept, and reading spans from OTLP."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from citybrain.observability import names
from citybrain.observability.span_kinds import LEFT_OUT

_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
# The largest time that the file of spans can hold.
_LAST_NS = 2**63 - 1


@dataclass(slots=True, frozen=True)
class Link:
    """Another span that has to do with this one, and is not its parent."""

    trace_id: str
    span_id: str


@dataclass(slots=True, frozen=True)
class SpanEvent:
    """A moment inside a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Span:
    """One piece of work of one service. Ids are lower-case hex; times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    # Empty for the first span of a trace.
    parent_span_id: str
    service: str
    name: str
    # internal, server, client, producer or consumer.
    kind: str
    start_ns: int
    end_ns: int
    # unset, ok or error.
    status: str = "unset"
    status_message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    events: tuple[SpanEvent, ...] = ()

    @property
    def duration_ms(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def incident_id(self) -> str:
        """The incident that its own attribute names; empty: none."""
        return str(self.attributes.get(names.INCIDENT_ID, ""))


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """The spans of one OTLP export request."""
    for resource_spans in request.resource_spans:
        service = str(_attributes(resource_spans.resource.attributes).get(names.SERVICE_NAME, "unknown"))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(service, span)


def _span(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
        start_ns=min(span.start_time_unix_nano, _LAST_NS),
        end_ns=min(span.end_time_unix_nano, _LAST_NS),
        status=_STATUSES[span.status.code] if 0 <= span.status.code < len(_STATUSES) else "unset",
        status_message=span.status.message,
        attributes={name: value for name, value in _attributes(span.attributes).items() if name not in LEFT_OUT},
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        events=tuple(SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind) if kind else None
