"""What a call says of its trace, and how much of it is believed.

A trace is continued where the caller may say so; else the call begins a trace of its own, with a link to the caller's. What is
no traceparent counts as none. `tracestate` is not read. Whether a span is kept does not depend on the sampled flag of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from citybrain.observability import names

CALLERS_TRACE = "x-callers-trace"
"""The header in which the gateway says which traceparent its caller brought. No caller can send it through the gateway."""
NO_TRACE = "-"
"""In this header: none."""

_TRACEPARENT, _BAGGAGE = "traceparent", "baggage"
# Version 00, which all of ours write, and nothing after it.
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
# Services write one short entry. What is longer than the standard demands to be carried is not read.
_LONGEST_BAGGAGE = 8192
_baggage = W3CBaggagePropagator()


class Incoming(NamedTuple):
    """Where the span of a call begins: in this context, with these links. `incident`: empty: the call names none."""

    context: Context
    links: tuple[trace.Link, ...] = ()
    incident: str = ""

    @property
    def trace_id(self) -> str:
        """The trace that is continued; empty: none."""
        found = trace.get_current_span(self.context).get_span_context()
        return trace.format_trace_id(found.trace_id) if found.is_valid else ""


def span_of(traceparent: str) -> trace.SpanContext | None:
    """The span that a traceparent names. None: it is not of the form that W3C gives it."""
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    span = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return span if span.is_valid else None


def continuing(span: trace.SpanContext | None, incident: str = "") -> Context:
    """A fresh context with this span as parent, and this incident."""
    context = Context()
    if span is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(span), context)
    return baggage.set_baggage(names.INCIDENT_ID, incident, context) if incident else context


def incoming(
    metadata: Iterable[tuple[str, str | bytes]] | None, *, of_service: bool = False, continues: bool = False
) -> Incoming:
    """Where the span of a call begins.

    `of_service`: a service of the mesh calls; only it says to which incident a call belongs. `continues`: the caller may have
    its trace continued.
    """
    told: dict[str, list[str]] = {_TRACEPARENT: [], CALLERS_TRACE: [], _BAGGAGE: []}
    for key, value in metadata or ():
        if key in told:
            told[key].append(value if isinstance(value, str) else "")
    parent = _only(told[_TRACEPARENT])
    if of_service:
        incident = _incident(told[_BAGGAGE])
        return Incoming(continuing(parent, incident), (), incident)
    if not told[CALLERS_TRACE]:
        # It came past the gateway.
        return Incoming(continuing(parent)) if continues or parent is None else _begun_anew(parent)
    brought = _only(told[CALLERS_TRACE])
    if brought is None or parent is None or brought.trace_id != parent.trace_id:
        # The trace is the gateway's own.
        return Incoming(continuing(parent), (trace.Link(brought),) if brought is not None else ())
    return Incoming(continuing(parent)) if continues else _begun_anew(parent)


def _begun_anew(span: trace.SpanContext) -> Incoming:
    return Incoming(Context(), (trace.Link(span),))


def _only(values: list[str]) -> trace.SpanContext | None:
    return span_of(values[0]) if len(values) == 1 else None


def _incident(values: list[str]) -> str:
    text = ",".join(values)
    # The library writes what it cannot read into the log, whole.
    if not text or len(text) > _LONGEST_BAGGAGE:
        return ""
    return str(baggage.get_baggage(names.INCIDENT_ID, _baggage.extract({_BAGGAGE: text}, context=Context())) or "")
