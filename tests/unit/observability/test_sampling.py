"""Which spans are kept: all of an incident, a part of the other traces, and of each call all or none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, Status, StatusCode

from citybrain.mesh.runtime import context as ctx
from citybrain.observability import names, sampling
from citybrain.observability.incoming import incoming
from citybrain.observability.sampling import SLOW_MS, ByIncidentAndRate
from citybrain.observability.tracing import CurrentSpan, Tracing, context_from, current_traceparent

KINDS = list(SpanKind)
Sent = Callable[[], list[ReadableSpan]]


@contextmanager
def at_rate(rate: float, slow_ms: float = math.inf) -> Iterator[tuple[Tracing, Sent]]:
    """Spans of a process, and those that it has sent. Nothing is slow, unless the test says so: the machine may be busy."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, rate=rate)

    def sent() -> list[ReadableSpan]:
        tracing.flush()
        return list(exporter.get_finished_spans())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "SLOW_MS", slow_ms)
        yield tracing, sent
    tracing.shutdown()


def is_kept(rate: float, trace_id: int, kind: SpanKind = SpanKind.SERVER, within: Context | None = None) -> bool:
    found = ByIncidentAndRate(rate).should_sample(within or Context(), trace_id, "a call", kind)
    return found.decision is Decision.RECORD_AND_SAMPLE


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.5, 0.99, 1.0])
def test_of_random_traces_the_share_is_kept_that_was_asked_for(rate: float) -> None:
    some = random.Random(7)
    many = 20_000
    kept = sum(is_kept(rate, some.getrandbits(128)) for _ in range(many))
    # Five standard deviations; at 0 and 1 it is exact.
    assert abs(kept - rate * many) <= 5 * math.sqrt(rate * (1 - rate) * many)


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_every_kind_of_span_of_a_trace_is_kept_or_none_and_more_at_a_higher_rate(
    trace_id: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert len({is_kept(low, trace_id, kind) for kind in KINDS}) == 1
    assert is_kept(high, trace_id) or not is_kept(low, trace_id)


@given(st.integers(1, 2**128 - 1), st.sampled_from(KINDS), st.text(min_size=1))
def test_every_span_with_an_incident_is_kept_at_rate_0(trace_id: int, kind: SpanKind, incident: str) -> None:
    assert is_kept(0, trace_id, kind, context_from("", {names.INCIDENT_ID: incident}))
    assert not is_kept(0, trace_id, kind)


def through_three_services(tracing: Tracing, incident: str) -> str:
    """A call that goes on to a second service, writes an event there, and is heard by a third; its trace."""
    within = context_from("", {names.INCIDENT_ID: incident} if incident else {})
    gateway, health, sagas = (tracing.tracer(name) for name in ("gateway", "health", "sagas"))
    with CurrentSpan(gateway, "call", within, SpanKind.SERVER, {}) as first:
        with CurrentSpan(gateway, "way", otel_context.get_current(), SpanKind.CLIENT, {}):
            carried = [("traceparent", current_traceparent()), *([("baggage", f"incident.id={incident}")] if incident else [])]
        told = incoming(carried, of_service=True)
        with CurrentSpan(health, "call", told.context, SpanKind.SERVER, {}):
            written = current_traceparent()
            with health.start_as_current_span("step"):
                pass
    heard = context_from(written, {names.INCIDENT_ID: incident} if incident else {})
    sagas.start_span("handle", heard, SpanKind.CONSUMER).end()
    return f"{first.get_span_context().trace_id:032x}"


@settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.sampled_from([0.0, 0.3, 0.7]))
def test_parts_of_one_call_are_never_half_kept_and_with_an_incident_all_of_it_is(calls: list[bool], rate: float) -> None:
    with at_rate(rate) as (tracing, sent):
        made = {through_three_services(tracing, f"inc-{n}" if named else ""): named for n, named in enumerate(calls)}
        count = dict.fromkeys(made, 0)
        for span in sent():
            count[f"{span.context.trace_id:032x}"] += 1
    for trace_id, named in made.items():
        assert count[trace_id] == (5 if named or is_kept(rate, int(trace_id, 16)) else 0)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_the_flag_of_a_parent_neither_forces_a_span_nor_forbids_it(flags: str) -> None:
    for rate in (0.0, 1.0):
        with at_rate(rate) as (tracing, sent):
            parent = context_from(f"00-{'a' * 32}-{'b' * 16}-{flags}")
            tracing.tracer("health").start_span("call", parent, SpanKind.SERVER).end()
            assert len(sent()) == rate


def test_an_incident_that_joins_late_keeps_the_span_it_joins_and_all_that_follows_but_not_what_had_ended() -> None:
    def call(tracing: Tracing) -> None:
        tracer = tracing.tracer("emergency_command")
        with tracer.start_as_current_span("report", kind=SpanKind.SERVER, attributes={"a": "b"}):
            with tracer.start_as_current_span("before", kind=SpanKind.CLIENT):
                pass
            ctx.enter(ctx.Call("zhang", "report", "r1"))
            ctx.correlate("inc-1")
            trace.get_current_span().add_event("appended", {"c": "d"})
            with tracer.start_as_current_span("after", kind=SpanKind.CLIENT):
                pass

    with at_rate(0) as (tracing, sent):
        before = otel_context.attach(Context())
        call(tracing)
        otel_context.detach(before)
        after, report = sent()
    assert (after.name, report.name) == ("after", "report")
    assert after.parent is not None and after.parent.span_id == report.context.span_id
    # It is the whole span.
    assert report.attributes == {"a": "b", names.INCIDENT_ID: "inc-1"}
    assert [(event.name, event.attributes) for event in report.events] == [("appended", {"c": "d"})]
    assert report.kind is SpanKind.SERVER and report.resource.attributes[names.SERVICE_NAME] == "emergency_command"
    assert report.start_time and report.end_time and report.start_time < report.end_time


def test_of_calls_that_are_not_kept_those_that_fail_or_are_slow_are_sent() -> None:
    with at_rate(0, SLOW_MS) as (tracing, sent):
        tracer = tracing.tracer("health")
        link = trace.Link(trace.SpanContext(1, 2, is_remote=True))
        for name, status, took_ms in (
            ("ordinary", StatusCode.UNSET, SLOW_MS), ("failed", StatusCode.ERROR, 1), ("slow", StatusCode.UNSET, SLOW_MS + 1),
        ):  # fmt: skip
            span = tracer.start_span(name, kind=SpanKind.CONSUMER, start_time=1_000, links=[link])
            span.set_status(Status(status, "why" if status is StatusCode.ERROR else None))
            span.end(1_000 + took_ms * 1_000_000)
        failed, slow = sent()
    assert (failed.name, failed.status.description, slow.name) == ("failed", "why", "slow")
    assert failed.links == (link,) and failed.context.trace_flags.sampled


def test_at_rate_1_nothing_is_left_out() -> None:
    with at_rate(1) as (tracing, sent):
        for kind in KINDS:
            tracing.tracer("health").start_span("call", kind=kind).end()
        assert len(sent()) == len(KINDS)


def test_an_outgoing_call_that_is_not_kept_is_not_recorded_and_one_that_comes_in_is_watched() -> None:
    with at_rate(0.0) as (tracing, _):
        tracer = tracing.tracer("health")
        recorded = {kind: tracer.start_span("a call", kind=kind).is_recording() for kind in (SpanKind.CLIENT, SpanKind.SERVER)}
    assert recorded == {SpanKind.CLIENT: False, SpanKind.SERVER: True}
