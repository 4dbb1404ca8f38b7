"""What a call says of its trace: whom it is believed, and that nothing else has any effect."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context

from citybrain.observability import names
from citybrain.observability.incoming import CALLERS_TRACE, NO_TRACE, Incoming, incoming, span_of
from citybrain.observability.tracing import context_from

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{SPAN}-01"
GATEWAYS = f"00-{'a' * 32}-{'b' * 16}-01"
CONTINUED = f"00-{TRACE}-{'b' * 16}-01"
Metadata = Sequence[tuple[str, str | bytes]]


def parent_of(told: Incoming) -> str:
    """The span that goes on, as `trace-span`; empty: none."""
    found = trace.get_current_span(told.context).get_span_context()
    return f"{found.trace_id:032x}-{found.span_id:016x}" if found.is_valid else ""


def linked(told: Incoming) -> list[str]:
    return [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in told.links]


def broken() -> st.SearchStrategy[str]:
    """What looks like a traceparent and is none."""
    digits = st.text("0123456789abcdef", max_size=40)
    versions = st.sampled_from(["00", "01", "ff", "0", "", "0A"])
    parts = st.tuples(versions, digits, digits, st.text("0123456789abcdefg", max_size=4))
    near = parts.map("-".join)
    zeros = st.sampled_from([f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{'0' * 32}-{'0' * 16}-00"])
    changed = st.builds(
        lambda at, letter: TOLD[:at] + letter + TOLD[at + 1 :],
        st.integers(0, len(TOLD) - 1),
        st.sampled_from(["", "G", "A", "-", " ", "é", "\0", "\xff", "٣", "00"]),
    )
    longer = st.sampled_from([TOLD + "-", TOLD + "\n", " " + TOLD, TOLD + "-x" * 10_000, f"{TOLD},{TOLD}", TOLD.upper()])
    return st.one_of(near, zeros, changed, longer, st.text(max_size=60)).filter(lambda text: not _well_formed(text))


def _well_formed(text: str) -> bool:
    """Said once more, in other words than the code's."""
    parts = text.split("-")
    if [len(part) for part in parts] != [2, 32, 16, 2] or parts[0] != "00" or set("".join(parts)) - set("0123456789abcdef"):
        return False
    return int(parts[1], 16) != 0 and int(parts[2], 16) != 0


def ways() -> list[tuple[Metadata, dict[str, bool]]]:
    """How a call may come: past the gateway, through one that continues traces, through one that does not."""
    brought: list[Metadata] = [(), ((CALLERS_TRACE, TOLD),), ((CALLERS_TRACE, NO_TRACE),)]
    callers = [{"of_service": True}, {"continues": True}, {}]
    return [(more, caller) for more in brought for caller in callers]


@given(broken())
@example("")
def test_what_is_no_traceparent_begins_a_trace_without_link_whoever_calls(text: str) -> None:
    assert span_of(text) is None
    for caller in ({"of_service": True}, {"continues": True}, {}):
        for more in ([], [(CALLERS_TRACE, NO_TRACE)], [(CALLERS_TRACE, text)]):
            assert incoming([("traceparent", text), *more], **caller) == Incoming(Context())
    assert context_from(text) == Context()


def test_a_traceparent_in_bytes_or_given_twice_is_none() -> None:
    for metadata in ([("traceparent", TOLD.encode())], [("traceparent", TOLD), ("traceparent", GATEWAYS)]):
        for caller in ({"of_service": True}, {"continues": True}, {}):
            assert incoming(metadata, **caller) == Incoming(Context())
    assert incoming(None) == Incoming(Context())


def test_the_trace_of_a_caller_from_outside_becomes_a_link_and_nothing_else() -> None:
    told = incoming([("traceparent", TOLD)])
    assert (parent_of(told), linked(told), told.trace_id) == ("", [f"{TRACE}-{SPAN}"], "")


@pytest.mark.parametrize("caller", [{"of_service": True}, {"continues": True}])
def test_the_trace_of_who_may_is_continued(caller: dict[str, bool]) -> None:
    told = incoming([("traceparent", TOLD)], **caller)
    assert (parent_of(told), linked(told), told.trace_id) == (f"{TRACE}-{SPAN}", [], TRACE)


@pytest.mark.parametrize("caller", [{"continues": True}, {}])
def test_a_trace_that_the_gateway_began_is_continued_for_everybody(caller: dict[str, bool]) -> None:
    told = incoming([("traceparent", GATEWAYS), (CALLERS_TRACE, NO_TRACE)], **caller)
    assert (parent_of(told), linked(told)) == (f"{'a' * 32}-{'b' * 16}", [])
    # The caller brought one, and the gateway began another.
    told = incoming([("traceparent", GATEWAYS), (CALLERS_TRACE, TOLD)], **caller)
    assert (parent_of(told), linked(told)) == (f"{'a' * 32}-{'b' * 16}", [f"{TRACE}-{SPAN}"])


def test_a_trace_that_the_gateway_continued_goes_on_for_who_may_and_is_a_link_for_others() -> None:
    through = [("traceparent", CONTINUED), (CALLERS_TRACE, TOLD)]
    span = f"{TRACE}-{'b' * 16}"
    may, others = incoming(through, continues=True), incoming(through)
    assert (parent_of(may), linked(may)) == (span, [])
    assert (parent_of(others), linked(others)) == ("", [span])


@given(st.sampled_from([TOLD[:-2] + flags for flags in ("00", "01", "ff", "7e")]), st.text(max_size=50))
def test_neither_flags_nor_tracestate_change_anything(traceparent: str, state: str) -> None:
    for more, caller in ways():
        plain = incoming([("traceparent", TOLD), *more], **caller)
        other = incoming([("traceparent", traceparent), ("tracestate", state), *more], **caller)
        assert (parent_of(plain), linked(plain), plain.incident) == (parent_of(other), linked(other), other.incident)
        assert trace.get_current_span(other.context).get_span_context().trace_state == {}


@given(st.one_of(st.just("incident.id=inc-1"), st.text(), st.just("a=b," * 5000), st.just("incident.id=" + "x" * 9000)))
def test_an_incident_is_believed_from_services_only_and_of_baggage_nothing_else_is_carried_on(text: str) -> None:
    metadata = [("traceparent", TOLD), ("baggage", text)]
    for caller in ({"continues": True}, {}):
        told = incoming(metadata, **caller)
        assert told.incident == "" and baggage.get_all(told.context) == {}
    inside = incoming(metadata, of_service=True)
    assert inside.incident == ("inc-1" if text == "incident.id=inc-1" else "")
    assert dict(baggage.get_all(inside.context)) == ({names.INCIDENT_ID: "inc-1"} if inside.incident else {})


def test_services_name_an_incident_among_other_entries_in_one_header_or_several() -> None:
    for metadata in (
        [("baggage", "other=x,incident.id=inc%2D4")],
        [("baggage", "other=x"), ("baggage", "incident.id=inc-4")],
    ):
        assert incoming(metadata, of_service=True).incident == "inc-4"


def test_what_is_too_long_or_from_outside_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    hostile = [("traceparent", "not-a-trace"), ("tracestate", "no state"), ("baggage", "=no baggage,;;")]
    with caplog.at_level(logging.DEBUG):
        incoming(hostile)
        incoming(hostile, continues=True)
        incoming([("baggage", "no baggage" * 5000)], of_service=True)
    assert caplog.text == ""
