"""The spans of services in this process: those that have ended, and those that are still open."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from typing_extensions import override

from citybrain.observability.tracing import Tracing


class Watch(SpanProcessor):
    """Sees every span begin and end. `ended`: in the order in which they ended."""

    def __init__(self) -> None:
        self.open: dict[int, str] = {}
        self.ended: list[ReadableSpan] = []

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.open[span.get_span_context().span_id] = span.name

    @override
    def on_end(self, span: ReadableSpan) -> None:
        found = span.get_span_context()
        assert found is not None
        del self.open[found.span_id]
        self.ended.append(span)


class WatchedTracing(Tracing):
    """Spans that go nowhere, and are watched."""

    def __init__(self) -> None:
        self.watch = Watch()
        super().__init__()

    @override
    def _provider(self, service_name: str) -> TracerProvider:
        provider = super()._provider(service_name)
        provider.add_span_processor(self.watch)
        return provider
