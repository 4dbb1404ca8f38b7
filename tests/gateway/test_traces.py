"""Envoy's spans, in the caller's trace, kept by our receiver."""

from __future__ import annotations

from typing import Any

import pytest

from citybrain.observability import names
from citybrain.observability.trace_tree import build
from tests.gateway.conftest import call_json
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

METHOD = "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident"


# Also when the caller says that it does not record: an emergency leaves a whole record.
@pytest.mark.parametrize("flags", ["01", "00"])
def test_spans_of_envoy_continue_the_callers_trace(make_gateway: Any, upstream: Any, receiver: Any, flags: str) -> None:
    gateway = make_gateway(otlp_endpoint=receiver.endpoint)
    trace_id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace_id}-{caller}-{flags}", "baggage": "incident.id=inc-1"}
    answer = call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a", headers=headers)
    assert answer.status == 200, answer.body

    spans = until(lambda: (found := receiver.store.by_trace(trace_id)) and len(found) == 2 and found, "both spans of Envoy")
    (root,) = build(spans)
    (onward,) = root.children
    assert root.parent_missing
    assert root.span.parent_span_id == caller
    assert {span.service for span in spans} == {names.GATEWAY}
    assert [root.span.name, onward.span.name] == [METHOD, METHOD]
    assert [root.span.kind, onward.span.kind] == ["server", "client"]

    seen = upstream.service.metadata[0]
    assert seen["traceparent"] == f"00-{trace_id}-{onward.span.span_id}-01"
    # Else what a caller does would stand in somebody else's incident.
    assert "baggage" not in seen


def test_a_header_that_is_no_text_costs_no_span(make_gateway: Any, upstream: Any, receiver: Any) -> None:
    upstream.service.release.set()
    gateway = make_gateway(otlp_endpoint=receiver.endpoint)
    traces = [f"4bf92f3577b34da6a3ce929d0e0e474{number}" for number in range(2)]
    for trace_id, agent in zip(traces, ("curl", b"\xff\xfe".decode("latin-1")), strict=True):
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "user-agent": agent}
        call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a", headers=headers)
    for trace_id in traces:
        until(lambda trace_id=trace_id: len(receiver.store.by_trace(trace_id)) == 2, "both spans of Envoy")  # type: ignore[misc]


def test_spans_have_no_query_strings(make_gateway: Any, upstream: Any, receiver: Any) -> None:
    upstream.service.release.set()
    gateway = make_gateway(otlp_endpoint=receiver.endpoint)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4737"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a:follow?resumeToken=secret", headers=headers)
    spans = until(lambda: (found := receiver.store.by_trace(trace_id)) and len(found) == 2 and found, "both spans of Envoy")
    assert "secret" not in str(spans)
