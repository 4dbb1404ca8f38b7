"""Spans of the services of one process: each service has its own name, all share one exporter.

The exporter works in a native thread of its own, not in an event loop. The standard `OTEL_*` variables say how it sends.
Without an endpoint nothing is sent, but there are spans and trace ids all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType

import grpc
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from citybrain.observability import names
from citybrain.observability.failures import FAULTS, told, traced
from citybrain.observability.incoming import continuing, span_of
from citybrain.observability.otlp import resource, sends, timeout_s
from citybrain.observability.sampling import ByIncidentAndRate, KeptAfterAll

# Short, so that a trace is complete when somebody asks for it right after an incident.
_BATCH_DELAY_MS = 20
# A burst of a whole city's calls must fit: other spans are lost.
_QUEUED_SPANS = 65_536
_BATCH_SPANS = 2048

_trace_context = TraceContextTextMapPropagator()


class _Correlation(SpanProcessor):
    """Copies the incident from the baggage of a span's context into the span."""

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        incident = baggage.get_baggage(names.INCIDENT_ID, parent_context)
        if incident:
            span.set_attribute(names.INCIDENT_ID, str(incident))


class _OneByOne(SpanExporter):
    """Sends spans together. If one of them cannot be encoded (half a letter in a text), only this one is lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(spans)
        except UnicodeError:
            if len(spans) == 1:
                return SpanExportResult.FAILURE
            return min((self.export([span]) for span in spans), key=lambda result: result.value)

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class Tracing:
    """The tracers of one process. Make one, close it with `shutdown()`."""

    def __init__(self, exporter: SpanExporter | None = None, *, endpoint: str = "", rate: float = 1.0) -> None:
        """Sends spans by `exporter`, or to an OTLP/gRPC endpoint, or nowhere.

        `rate`: so much of the traces without an incident; all with one, failed and slow calls too.
        """
        exporter = exporter or _exporter(endpoint)
        self._rate = rate
        self._correlation = _Correlation()
        self._batches: BatchSpanProcessor | None = None
        if exporter is not None:
            self._batches = BatchSpanProcessor(
                _OneByOne(exporter),
                max_queue_size=_QUEUED_SPANS,
                schedule_delay_millis=_BATCH_DELAY_MS,
                max_export_batch_size=_BATCH_SPANS,
            )
        self._tracers: dict[str, trace.Tracer] = {}
        self._lock = threading.Lock()

    def tracer(self, service_name: str) -> trace.Tracer:
        """A service's tracer: its spans have `service.name = service_name`."""
        known = self._tracers.get(service_name)
        if known is not None:
            return known
        with self._lock:
            if service_name not in self._tracers:
                self._tracers[service_name] = self._provider(service_name).get_tracer("citybrain")
            return self._tracers[service_name]

    def flush(self) -> None:
        """Sends the spans that have ended; returns when they are sent, or cannot be."""
        if self._batches is not None:
            self._batches.force_flush()

    def shutdown(self) -> None:
        """Sends the spans that have ended, and stops the exporter's thread. Spans that end later are not sent."""
        if self._batches is not None:
            self._batches.shutdown()  # type: ignore[no-untyped-call]

    def _provider(self, service_name: str) -> TracerProvider:
        # Whether a span is kept never depends on a caller's traceparent, nor on OTEL_TRACES_SAMPLER: incidents are whole.
        sampler = ALWAYS_ON if self._rate == 1 else ByIncidentAndRate(self._rate)
        provider = TracerProvider(sampler=sampler, resource=resource(service_name), shutdown_on_exit=False)
        provider.add_span_processor(self._correlation)
        if self._batches is not None:
            provider.add_span_processor(self._batches)
            if self._rate < 1:
                provider.add_span_processor(KeptAfterAll(self._batches))
        return provider


class CurrentSpan:
    """`with CurrentSpan(tracer, name, …) as span`: a span for work that every call does.

    The tracer's own context manager costs three times as much, and on an error overwrites the status that was set.
    """

    __slots__ = ("_span", "_token")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        context: Context,
        kind: trace.SpanKind,
        attributes: Mapping[str, str],
        links: Sequence[trace.Link] = (),
    ) -> None:
        self._span = tracer.start_span(name, context=context, kind=kind, attributes=attributes, links=links)
        self._token = otel_context.attach(trace.set_span_in_context(self._span, context))

    def __enter__(self) -> trace.Span:
        return self._span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        otel_context.detach(self._token)
        self._span.end()


class WorkSpan(CurrentSpan):
    """The same for work that no caller waits for. If it fails, the span says with what and where, but not the error's text.

    The tracer's own context manager writes the text down, which may hold content of an event.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: Mapping[str, str] = MappingProxyType({}),
        *,
        context: Context | None = None,
        links: Sequence[trace.Link] = (),
    ) -> None:
        """`context`: what it goes on from; None: the current one."""
        super().__init__(tracer, name, otel_context.get_current() if context is None else context, kind, attributes, links)

    @override
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception):
            name = type(error).__name__
            self._span.set_attribute(names.ERROR_TYPE, name)
            self._span.add_event(names.EXCEPTION, {names.EXCEPTION_TYPE: name, names.EXCEPTION_STACK: traced(error)})
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, told(error)))
        super().__exit__(kind, error, _)


def ended_with(span: trace.Span, code: grpc.StatusCode, why: BaseException | None = None, *, asked: bool = False) -> None:
    """Puts on the span of a call how it ended. `asked`: it is the span of the caller: for a caller all but OK is an error.

    For the service that was called, only a fault of its own is one.
    """
    span.set_attribute(names.STATUS_CODE, code.name)
    if code.name in FAULTS or (asked and code is not grpc.StatusCode.OK):
        # Without the message of an error, which may hold what the caller has sent.
        span.set_status(trace.Status(trace.StatusCode.ERROR, code.name if why is None else told(why)))


def current_traceparent() -> str:
    """The W3C traceparent of the current span; empty: there is none."""
    carrier: dict[str, str] = {}
    _trace_context.inject(carrier)
    return carrier.get("traceparent", "")


def context_from(traceparent: str, carried: Mapping[str, str] | None = None) -> Context:
    """A fresh context that continues a trace and carries this baggage. An empty or broken traceparent continues none."""
    context = continuing(span_of(traceparent))
    for key, value in (carried or {}).items():
        context = baggage.set_baggage(key, value, context)
    return context


def _exporter(endpoint: str) -> SpanExporter | None:
    return OTLPSpanExporter(endpoint=endpoint, timeout=timeout_s("TRACES")) if sends("TRACES", endpoint) else None
