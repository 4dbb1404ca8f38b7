"""Ids of what a call writes and sends: the same for every retry, different for everything else."""

from __future__ import annotations

import contextvars
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.errors import Cancelled, DeadlinePassed
from citybrain.mesh.runtime.context import Call, cause, current, enter, header, new_id, onward_metadata

Word = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6)
Parts = st.tuples(Word, Word, Word, Word, Word, st.integers(0, 99))


def event_id(caller: str, method: str, request_id: str, stream: str, label: str, number: int) -> str:
    return Call(caller, method, request_id).event_id(stream, label, number)


@given(Parts, Parts)
def test_event_ids_are_equal_exactly_when_all_they_are_made_from_is(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (event_id(*one) == event_id(*other)) == (one == other)  # type: ignore[arg-type]


def test_a_retry_has_the_same_event_ids_whatever_its_deadline_and_story() -> None:
    first = Call("c", "m", "r", deadline=1.0, correlation_id="one")
    again = Call("c", "m", "r", correlation_id="another", causation_id="x")
    assert [first.event_id("s", "", n) for n in range(3)] == [again.event_id("s", "", n) for n in range(3)]


def test_a_call_says_for_which_event_it_is_made_where_a_header_can_say_it() -> None:
    for event, told in (("5f0c-1", "5f0c-1"), ("", ""), ("事件", ""), ("a\nb", ""), ("x" * 201, "")):
        metadata = onward_metadata(Call("c", "m", "r", causation_id=event), "c", "r", {})
        assert cause(metadata) == told
        assert all(value.isascii() and value.isprintable() for _, value in metadata)


def test_onward_calls_are_numbered_by_method_and_the_same_in_a_retry() -> None:
    def sent(call: Call) -> list[str]:
        return [call.onward_id(method) for method in ("a", "b", "a")]

    first = sent(Call("c", "m", "r"))
    assert len(set(first)) == 3
    assert sent(Call("c", "m", "r")) == first
    assert not set(sent(Call("c", "m", "other"))) & set(first)


def test_a_new_thing_has_the_same_id_in_a_retry_and_another_in_another_call() -> None:
    def made(request_id: str) -> str:
        enter(Call("c", "m", request_id))
        return new_id("inc")

    assert made("r1") == made("r1") != made("r2")
    assert made("r1").startswith("inc-")


def test_a_call_has_the_time_its_caller_gave_and_none_when_the_caller_has_gone() -> None:
    assert Call("c", "m", "r").remaining() is None
    left = Call("c", "m", "r", deadline=time.monotonic() + 60).remaining()
    assert left is not None and 0 < left <= 60
    with pytest.raises(DeadlinePassed):
        Call("c", "m", "r", deadline=time.monotonic() - 1).remaining()
    with pytest.raises(Cancelled):
        gone = Call("c", "m", "r")
        gone.end()
        gone.remaining()


def test_outside_of_any_call_every_request_id_is_new() -> None:
    ids = {contextvars.Context().run(lambda: current().request_id) for _ in range(3)}
    assert len(ids) == 3


def test_headers_are_read_as_text_and_missing_ones_are_empty() -> None:
    metadata: list[tuple[str, str | bytes]] = [("x-one", "a"), ("x-bytes-bin", "西湖".encode())]
    assert (header(metadata, "x-one"), header(metadata, "x-bytes-bin"), header(metadata, "x")) == ("a", "西湖", "")
    assert header(None, "x") == ""
    assert onward_metadata(Call("c", "m", "r"), "a.b.c", "id", {"traceparent": "t"}) == [
        ("x-request-id", "id"),
        ("authorization", "Bearer a.b.c"),
        ("traceparent", "t"),
    ]
