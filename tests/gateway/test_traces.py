"""Envoy's spans, in the caller's trace or in one of their own, kept by our receiver."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from citybrain.gateway.settings import Gateway
from citybrain.observability import names
from citybrain.observability.incoming import CALLERS_TRACE, NO_TRACE
from citybrain.observability.spans import Span
from citybrain.observability.trace_tree import build
from tests.gateway.conftest import BEARER, call_json
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{CALLER}-01"
# No text here is a traceparent, and each breaks it in another way.
BROKEN = [
    "", "nonsense", TOLD.upper(), f"ff{TOLD[2:]}", f"01{TOLD[2:]}", f"{TOLD}-more", f"00-{'0' * 32}-{CALLER}-01",
    f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{CALLER}-01", f"00-{TRACE}-{CALLER}0-1", f"00-{TRACE[1:]}@-{CALLER}-01",
    f"{TOLD}, {TOLD}", TOLD + "\xff", "00-" + "a" * 9000, "00-" + "-" * 52,
]  # fmt: skip
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


def spans_of(receiver: Any, trace_id: str) -> list[Span]:
    """Both spans of Envoy in a trace."""
    found: list[Span] = until(lambda: (spans := receiver.store.by_trace(trace_id)) and len(spans) == 2 and spans, "both spans")
    return found


def test_before_the_public_a_trace_from_outside_is_a_link_for_services_and_changes_nothing(
    make_gateway: Any, upstream: Any, receiver: Any
) -> None:
    gateway = make_gateway(otlp_endpoint=receiver.endpoint, continues_traces=False)
    for number, flags in enumerate(("01", "00")):
        told = TOLD[:-2] + flags
        # Nor can a caller say what the gateway says.
        headers = {
            "traceparent": told, "tracestate": "city=1,x=" + "y" * 200, CALLERS_TRACE: NO_TRACE,
            "baggage": "incident.id=inc-1," + "a=b," * 1000,
        }  # fmt: skip
        answer = call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a", headers=headers)
        assert answer.status == 200, answer.body
        seen = upstream.service.metadata[number]
        assert seen[CALLERS_TRACE] == told
        _, trace_id, span_id, kept = seen["traceparent"].split("-")
        assert trace_id != TRACE and kept == "01"
        assert "baggage" not in seen and not seen.get("tracestate")
        root, onward = sorted(spans_of(receiver, trace_id), key=lambda span: span.kind, reverse=True)
        assert (root.parent_span_id, onward.parent_span_id, onward.span_id) == ("", root.span_id, span_id)
    assert receiver.store.by_trace(TRACE) == [] == receiver.store.by_incident("inc-1")


@pytest.mark.parametrize("continues", [True, False])
def test_a_broken_trace_from_outside_has_no_effect(make_gateway: Any, upstream: Any, receiver: Any, continues: bool) -> None:
    gateway = make_gateway(otlp_endpoint=receiver.endpoint, continues_traces=continues)
    for told in BROKEN:
        answer = call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a", headers={"traceparent": told})
        assert answer.status == 200, (told, answer.body)
    # Two in one call are none.
    connection = http.client.HTTPConnection(gateway.address, timeout=60)
    connection.putrequest("GET", "/v1/incidents/inc-00000000000a")
    for name, value in (*BEARER.items(), ("traceparent", TOLD), ("traceparent", TOLD.replace("4bf9", "aaaa"))):
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()
    traces = [seen["traceparent"].split("-")[1] for seen in upstream.service.metadata]
    assert len(set(traces)) == len(BROKEN) + 1 and TRACE not in traces
    assert {seen[CALLERS_TRACE] for seen in upstream.service.metadata} == {NO_TRACE}
    for trace_id in traces:
        assert {span.parent_span_id == "" for span in spans_of(receiver, trace_id)} == {True, False}


def test_only_a_gateway_that_no_other_machine_reaches_continues_traces_unless_told() -> None:
    for host, told, continues in (
        ("127.0.0.1", None, True), ("0.0.0.0", None, False), ("10.0.0.7", None, False),  # noqa: S104
        ("127.0.0.1", False, False), ("10.0.0.7", True, True),
    ):  # fmt: skip
        assert Gateway(host=host, continues_traces=told).continues is continues
