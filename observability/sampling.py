"""Which spans are kept: all of an incident, of other traces a part.

The part is chosen by the trace's id, so of a call all spans are kept or none, in every process. A span that is not kept is
watched all the same where an incident may still join it. It is sent if one did, if it failed, or if it was slow.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes
from typing_extensions import override

from citybrain.observability import names

SLOW_MS = 500
"""What takes longer is kept."""

# Ids are random in all of their bits; the lower half decides, as in the sampler of OpenTelemetry.
_BITS = 64
# An outgoing call or message joins no incident later: it begins with what its call has.
_NEVER_LATER = (SpanKind.CLIENT, SpanKind.PRODUCER)


class ByIncidentAndRate(Sampler):
    """Keeps what carries an incident, and `rate` of the other traces. Flags of a parent do not count: they may be anybody's."""

    def __init__(self, rate: float) -> None:
        """`rate`: from 0, none, to 1, all."""
        self._below = round(rate * (1 << _BITS))

    @override
    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        decision = Decision.DROP if kind in _NEVER_LATER else Decision.RECORD_ONLY
        if trace_id % (1 << _BITS) < self._below or baggage.get_baggage(names.INCIDENT_ID, parent_context):
            decision = Decision.RECORD_AND_SAMPLE
        return SamplingResult(decision, attributes)

    @override
    def get_description(self) -> str:
        return f"ByIncidentAndRate{{{self._below / (1 << _BITS)}}}"


class KeptAfterAll(SpanProcessor):
    """Hands on the spans that were not kept when they began, and are to be now that they have ended."""

    def __init__(self, sending: SpanProcessor) -> None:
        self._sending = sending

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is known yet."""

    @override
    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None or context.trace_flags.sampled:
            return
        took_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        failed = span.status.status_code is StatusCode.ERROR
        if failed or took_ms > SLOW_MS or names.INCIDENT_ID in (span.attributes or {}):
            self._sending.on_end(_kept(span, context))


def _kept(span: ReadableSpan, context: trace.SpanContext) -> ReadableSpan:
    """The same span with the flag that it is kept: without it nothing is sent."""
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    return ReadableSpan(
        span.name,
        SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state),
        span.parent,
        span.resource,
        span.attributes,
        span.events,
        span.links,
        span.kind,
        None,
        span.status,
        span.start_time,
        span.end_time,
        span.instrumentation_scope,
    )
