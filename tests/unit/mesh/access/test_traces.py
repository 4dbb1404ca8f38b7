"""Whose trace a call is in, whatever its caller says: here past every gateway, with real tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from citybrain.mesh.testing.parts import on_parts
from citybrain.observability import names
from citybrain.observability.incoming import CALLERS_TRACE, NO_TRACE
from tests.helpers.spans import WatchedTracing
from tests.unit.mesh.access.test_guard import WHOLE, Door

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TOLD = ("traceparent", f"00-{TRACE}-{SPAN}-00")
INCIDENT = ("baggage", "incident.id=inc-000000000000")


def shown(span: ReadableSpan) -> tuple[str, str, list[str]]:
    """Its trace, its parent, its links."""
    links = [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}" if span.parent else "", links


def asked(
    tmp_path: Path, *metadata: tuple[str, str], method: str = "Show", token: bool = True, **claims: object
) -> tuple[list[ReadableSpan], str]:
    """The spans of a service that a call left, and the trace that the audit trail has of it."""
    tracing = WatchedTracing()
    traces: list[str] = []

    def test(door: Door) -> None:
        bearer = [door.parts.bearer("app-7", **claims)] if token else []
        door.ask(method, WHOLE, *bearer, *metadata)
        traces.append(door.parts.trail.entries[0].trace_id)

    on_parts(tmp_path, lambda parts: test(Door(parts)), tracing=tracing)
    assert tracing.watch.open == {}
    return [span for span in tracing.watch.ended if span.kind is SpanKind.SERVER], traces[0]


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_a_caller_from_outside_gets_a_trace_of_our_own_with_a_link_to_theirs(tmp_path: Path, method: str) -> None:
    (span,), audited = asked(tmp_path, TOLD, INCIDENT, method=method, scopes=["guarded.read"], clearance="SECRET")
    trace, parent, links = shown(span)
    assert trace not in (TRACE, "0" * 32) and parent == "" and links == [f"{TRACE}-{SPAN}"]
    # That a stream was opened is recorded before its span begins.
    assert audited == ("" if method == "Follow" else trace)
    # Nor does it stand in an incident of somebody else.
    assert names.INCIDENT_ID not in (span.attributes or {})


def test_the_trace_of_a_caller_with_the_scope_goes_on_and_names_no_incident(tmp_path: Path) -> None:
    (span,), audited = asked(tmp_path, TOLD, INCIDENT, scopes=["guarded.read", "traces.continue"], clearance="SECRET")
    assert shown(span) == (TRACE, SPAN, []) and audited == TRACE
    assert names.INCIDENT_ID not in (span.attributes or {})


def test_the_trace_of_a_service_goes_on_and_its_incident_stands_on_the_span(tmp_path: Path) -> None:
    (span,), audited = asked(tmp_path, TOLD, INCIDENT, actor="sagas")
    assert shown(span) == (TRACE, SPAN, []) and audited == TRACE
    assert (span.attributes or {})[names.INCIDENT_ID] == "inc-000000000000"


def test_the_trace_of_the_gateway_goes_on_for_everybody(tmp_path: Path) -> None:
    (span,), audited = asked(tmp_path, TOLD, (CALLERS_TRACE, NO_TRACE), scopes=["guarded.read"], clearance="SECRET")
    assert shown(span) == (TRACE, SPAN, []) and audited == TRACE


def test_a_call_without_a_token_is_recorded_in_no_trace_of_its_callers_choice(tmp_path: Path) -> None:
    assert asked(tmp_path, TOLD, token=False) == ([], "")
    assert asked(tmp_path, TOLD, (CALLERS_TRACE, NO_TRACE), token=False) == ([], TRACE)
    assert asked(tmp_path, TOLD, (CALLERS_TRACE, TOLD[1]), token=False) == ([], "")
