"""Spans of several services of one process, through a real exporter to a real receiver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from citybrain.observability import names
from citybrain.observability.receiver import Receiver
from citybrain.observability.trace_tree import Edge, edges, link_edges
from citybrain.observability.tracing import Tracing, context_from, current_traceparent

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "traces.db")
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def tracing(receiver: Receiver) -> Iterator[Tracing]:
    tracing = Tracing(OTLPSpanExporter(endpoint=receiver.endpoint, insecure=True, timeout=1))
    yield tracing
    tracing.shutdown()


def test_services_of_one_process_have_their_own_names(tracing: Tracing, receiver: Receiver) -> None:
    with tracing.tracer("health").start_as_current_span("reserve") as outer:
        link = trace.Link(outer.get_span_context())
        with tracing.tracer("traffic").start_as_current_span("grant", links=[link]):
            pass
    tracing.flush()
    spans = receiver.store.by_trace(f"{outer.get_span_context().trace_id:032x}")
    assert {(span.service, span.name) for span in spans} == {("health", "reserve"), ("traffic", "grant")}
    assert edges(spans) == {Edge("health", "reserve", "traffic", "grant")}
    assert link_edges(spans) == {Edge("health", "reserve", "traffic", "grant")}


def test_the_incident_rides_as_baggage_onto_spans(tracing: Tracing, receiver: Receiver) -> None:
    context = context_from(TRACEPARENT, {names.INCIDENT_ID: "inc-1"})
    tracer = tracing.tracer("health")
    with tracer.start_as_current_span("given", context=context):
        pass
    token = otel_context.attach(context)
    with tracer.start_as_current_span("current") as span:
        span.add_event(names.APPENDED, {names.EVENT_TYPE: "a.v1.B"})
        assert current_traceparent().startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    otel_context.detach(token)
    tracing.flush()
    first, second = receiver.store.by_incident("inc-1")
    assert first.incident_id == second.incident_id == "inc-1"
    assert first.parent_span_id == "00f067aa0ba902b7"
    assert (second.events[0].name, second.events[0].attributes) == (names.APPENDED, {names.EVENT_TYPE: "a.v1.B"})


def test_a_caller_cannot_switch_the_record_off(tracing: Tracing) -> None:
    not_recorded = context_from(TRACEPARENT[:-2] + "00", {})
    with tracing.tracer("health").start_as_current_span("reserve", context=not_recorded) as span:
        assert span.is_recording()
        assert current_traceparent().endswith("-01")


def test_without_endpoint_spans_are_real() -> None:
    tracing = Tracing()
    assert current_traceparent() == ""
    with tracing.tracer("health").start_as_current_span("reserve"):
        assert len(current_traceparent()) == 55
    tracing.flush()
    tracing.shutdown()


def test_spans_go_to_the_endpoint(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    tracing = Tracing(endpoint=receiver.endpoint)
    with tracing.tracer("health").start_as_current_span("reserve", context=context_from("", {names.INCIDENT_ID: "inc-2"})):
        pass
    # Sends what is left.
    tracing.shutdown()
    assert [span.name for span in receiver.store.by_incident("inc-2")] == ["reserve"]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    threads = threading.active_count()
    Tracing(endpoint=receiver.endpoint)
    assert threading.active_count() == threads


def test_a_receiver_that_is_gone_harms_nobody(tracing: Tracing, receiver: Receiver) -> None:
    receiver.stop()
    with tracing.tracer("health").start_as_current_span("reserve"):
        pass
    tracing.shutdown()


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-0"])
def test_a_broken_traceparent_begins_a_trace(traceparent: str) -> None:
    context = context_from(traceparent, {names.INCIDENT_ID: "inc-3"})
    assert not trace.get_current_span(context).get_span_context().is_valid
    assert baggage.get_baggage(names.INCIDENT_ID, context) == "inc-3"
