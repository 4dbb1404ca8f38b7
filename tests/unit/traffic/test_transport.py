"""What is asked of those who run metro, buses and signals: asked once, answered by people, withdrawn in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import transport_pb2 as pb

from citybrain.mesh.errors import AlreadyDifferent, Forbidden, NotFound, Refused
from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import transport
from citybrain.services.traffic.service import TrafficService

BUSES, FREQUENCY = pb.TRANSPORT_KIND_BUSES, pb.TRANSPORT_KIND_FREQUENCY


@pytest.fixture
def traffic() -> Iterator[Running]:
    with running(TrafficService) as service:
        yield service


def asked(key: str = "r1", kind: Any = BUSES, **more: Any) -> pb.RequestTransportRequest:
    told: dict[str, Any] = {
        "occasion_id": "peak-1", "district_id": "xihu", "where": "断桥", "reason": "1,020 of 1,000 people",
        "answer_minutes": 20,
    }  # fmt: skip
    return pb.RequestTransportRequest(request_id=key, kind=kind, place=RoadPlace(edge_id="e5"), **{**told, **more})


def ask(traffic: Running, *key: Any, **more: Any) -> pb.TransportRequest:
    answer: pb.RequestTransportResponse = traffic.fire("RequestTransport", asked(*key, **more))
    traffic.rest()
    return answer.request


def answer(traffic: Running, key: str = "r1", *, accepted: bool = True, note: str = "") -> pb.TransportRequest:
    request = pb.AnswerTransportRequest(request_id=key, accepted=accepted, note=note)
    answered: pb.AnswerTransportResponse = traffic.fire("AnswerTransport", request)
    traffic.rest()
    return answered.request


def withdraw(traffic: Running, key: str = "r1") -> None:
    traffic.fire("WithdrawTransport", pb.WithdrawTransportRequest(request_id=key, reason="it is over"))
    traffic.rest()


def standing(traffic: Running, **how: Any) -> dict[str, Any]:
    question = pb.ListTransportRequest(district_id=how.pop("in_district", ""), page_size=2)
    found: dict[str, Any] = {}
    while True:
        page = traffic.fire("ListTransport", question, **how)
        found |= {one.request_id: one.state for one in page.requests}
        if not page.next_page_token:
            return found
        question.page_token = page.next_page_token


def test_what_is_asked_stands_in_the_list_with_when_an_answer_is_needed(traffic: Running) -> None:
    one = ask(traffic)
    assert (one.answer_by.seconds - one.asked_at.seconds, one.state) == (1200, pb.TRANSPORT_STATE_ASKED)
    assert standing(traffic) == {"r1": pb.TRANSPORT_STATE_ASKED}
    assert ask(traffic) == one and len(list(traffic.events(ev.TransportRequested))) == 1
    with pytest.raises(AlreadyDifferent):
        ask(traffic, "r1", FREQUENCY)


def test_the_operator_answers_and_may_think_again(traffic: Running) -> None:
    ask(traffic)
    assert answer(traffic, note="four buses").state == pb.TRANSPORT_STATE_ACCEPTED
    answer(traffic, note="four buses")
    assert standing(traffic) == {"r1": pb.TRANSPORT_STATE_ACCEPTED}
    assert answer(traffic, accepted=False, note="no driver").note == "no driver"
    assert standing(traffic) == {}
    answer(traffic)
    assert standing(traffic) == {"r1": pb.TRANSPORT_STATE_ACCEPTED}
    answered = [event.data for event in traffic.events(ev.TransportAnswered)]
    assert [isinstance(one, ev.TransportAnswered) and one.accepted for one in answered] == [True, False, True]
    with pytest.raises(NotFound, match="there is no request r9"):
        answer(traffic, "r9")


def test_what_is_withdrawn_is_over_and_what_was_withdrawn_before_it_came_is_refused(traffic: Running) -> None:
    ask(traffic)
    withdraw(traffic)
    withdraw(traffic)
    withdraw(traffic, "r2")
    assert (standing(traffic), len(list(traffic.events(ev.TransportWithdrawn)))) == ({}, 2)
    with pytest.raises(Refused, match="nothing is needed any more"):
        answer(traffic)
    with pytest.raises(Refused, match="was withdrawn before it came"):
        ask(traffic, "r2")
    assert ask(traffic).state == pb.TRANSPORT_STATE_WITHDRAWN, "a retry of what came before is answered as it stands"


def test_a_district_sees_its_own_and_each_method_needs_its_scope(traffic: Running) -> None:
    for number in range(3):
        ask(traffic, f"r{number}")
    ask(traffic, "r3", district_id="gongshu")
    assert set(standing(traffic)) == {"r0", "r1", "r2", "r3"}
    assert set(standing(traffic, district="xihu")) == set(standing(traffic, in_district="xihu")) == {"r0", "r1", "r2"}
    calls = {
        "RequestTransport": ("traffic.transport", asked("r7")),
        "AnswerTransport": ("traffic.operator", pb.AnswerTransportRequest(request_id="r1", accepted=True)),
        "WithdrawTransport": ("traffic.transport", pb.WithdrawTransportRequest(request_id="r1")),
        "ListTransport": ("traffic.read", pb.ListTransportRequest()),
    }
    every = {scope for scope, _ in calls.values()}
    for method, (scope, request) in calls.items():
        with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
            traffic.fire(method, request, scopes=sorted(every - {scope}))


def test_a_request_that_is_taken_up_again_is_the_same(traffic: Running) -> None:
    ask(traffic)
    answer(traffic, note="four buses")
    state = transport.State()
    for event in traffic.events(ev.TransportRequested, ev.TransportAnswered):
        state = transport.evolve(state, event.data)
    assert unpack_state(transport.State, pack_state(state)) == state
    assert state.request is not None and state.request.note == "four buses"
