"""Fakes of neighbours: a test gives them only what their contract has, and what they are asked is checked as in earnest."""

from __future__ import annotations

import threading

import grpc
import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.errors import CallFailed, Refused, Unavailable
from citybrain.mesh.service import Client, Service, rpc
from citybrain.mesh.testing import Fake, Misused, fake, running, service_factory

TRAFFIC = "citybrain.traffic.v1.TrafficService"
FIRST = min(method.name for method in pb.DESCRIPTOR.services_by_name["TrafficService"].methods)
"""The first method of its contract, by name."""


class Asking(Service):
    """Asks the traffic department what it is asked itself."""

    name = "asking"
    traffic = Client(TRAFFIC)

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        answer: pb.GetSignalResponse = self.traffic.GetSignal(request)
        return answer

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        # What a real neighbour would never get: the type is wrong.
        answer: pb.ReportSignalResponse = self.traffic.GetSignal(request)
        return answer


def ask(neighbour: Fake, signal_id: str = "s1", deadline_s: float | None = None) -> str:
    with running(Asking, traffic=neighbour, contract=TRAFFIC) as service:
        request = pb.GetSignalRequest(signal_id=signal_id)
        return str(service.fire("GetSignal", request, request_id="r1", deadline_s=deadline_s).held_for)


def held(by: str) -> pb.GetSignalResponse:
    return pb.GetSignalResponse(held_for=by)


def test_a_response_an_error_or_a_function_is_what_the_caller_gets() -> None:
    assert ask(fake(TRAFFIC, GetSignal=held("a1"))) == "a1"
    assert ask(fake(TRAFFIC, GetSignal=lambda request: held(request.signal_id + "!"))) == "s1!"
    with pytest.raises(CallFailed, match="not now") as caught:
        ask(fake(TRAFFIC, GetSignal=Refused("not now")))
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_defect_of_the_neighbour_is_told_without_its_text() -> None:
    with pytest.raises(CallFailed) as caught:
        ask(fake(TRAFFIC, GetSignal=ValueError("a secret of the inside")))
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


def test_a_request_that_breaks_a_rule_of_the_contract_is_refused_and_not_recorded() -> None:
    neighbour = fake(TRAFFIC, GetSignal=held("a1"))
    with service_factory(Asking, traffic=neighbour, contract=TRAFFIC) as service:
        with pytest.raises(CallFailed, match="signal_id: is required") as caught:
            service.GetSignal(pb.GetSignalRequest())
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert neighbour.asked == []


def test_every_call_is_recorded_with_who_called_and_under_which_id() -> None:
    neighbour = fake(TRAFFIC, GetSignal=held("a1"))
    for _ in range(2):
        ask(neighbour)
    assert neighbour.requests("GetSignal") == [pb.GetSignalRequest(signal_id="s1")] * 2
    assert {asked.caller for asked in neighbour.asked} == {"service:asking"}
    assert len({asked.request_id for asked in neighbour.asked}) == 1, "the same for the same call of the test"
    assert neighbour.requests("ReportSignal") == []


def test_what_is_asked_and_answered_is_a_copy() -> None:
    response = held("a1")
    neighbour = fake(TRAFFIC, GetSignal=response)
    request = pb.GetSignalRequest(signal_id="s1")
    with service_factory(Asking, traffic=neighbour, contract=TRAFFIC) as service:
        answer = service.GetSignal(request)
        answer.held_for = request.signal_id = "changed"
    assert (response.held_for, neighbour.requests("GetSignal")[0].signal_id) == ("a1", "s1")


def test_a_neighbour_that_is_away_is_asked_again_and_one_that_is_back_answers() -> None:
    neighbour = fake(TRAFFIC)

    def away(request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        if len(neighbour.asked) == 3:
            return held("a1")
        raise Unavailable("not yet")

    neighbour.answer(GetSignal=away)
    assert ask(neighbour) == "a1"
    assert len({asked.request_id for asked in neighbour.asked}) == 1


def test_a_slow_neighbour_costs_its_caller_the_time_it_has_and_nobody_else() -> None:
    slow = threading.Event()

    def answer(request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        if request.signal_id == "slow":
            slow.wait(30)
        return held("a1")

    with running(Asking, traffic=fake(TRAFFIC, GetSignal=answer), contract=TRAFFIC) as service:
        with pytest.raises(Exception, match=r"(?i)deadline|more time"):
            service.fire("GetSignal", pb.GetSignalRequest(signal_id="slow"), deadline_s=0.1)
        assert service.fire("GetSignal", pb.GetSignalRequest(signal_id="quick")).held_for == "a1"
        slow.set()


@pytest.mark.parametrize(
    ("service", "answers", "said"),
    [
        ("citybrain.traffic.v1.TrafikService", {}, "no contract that was imported has a citybrain.traffic.v1.TrafikService"),
        (
            TRAFFIC,
            {"GetSignals": held("a")},
            f"has no method GetSignals; its contract has: {FIRST}, ",
        ),
        (TRAFFIC, {"GetSignal": pb.ReportSignalResponse()}, "answers with a citybrain.traffic.v1.GetSignalResponse, not"),
        (TRAFFIC, {"GetSignal": "green"}, "'green' is no answer: give a response, an error, or a function"),
        (TRAFFIC, {"GetSignal": Refused}, "is no answer"),
        (TRAFFIC, {"FollowSignalCommands": held("a")}, "is a stream, and services call unary methods only"),
    ],
)
def test_what_the_contract_has_not_cannot_be_given(service: str, answers: dict[str, object], said: str) -> None:
    with pytest.raises(Misused) as caught:
        fake(service, **answers)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_function_that_answers_with_another_type_is_named() -> None:
    with pytest.raises(Misused, match=r"answers with a .*GetSignalResponse, not a .*ReportSignalResponse"):
        ask(fake(TRAFFIC, GetSignal=lambda request: pb.ReportSignalResponse()))


def test_a_method_that_was_given_no_answer_says_how_to_give_it() -> None:
    with pytest.raises(Misused, match=r"GetSignal was asked and has no answer: fake\('citybrain.*GetSignal=…\)"):
        ask(fake(TRAFFIC, ReportSignal=pb.ReportSignalResponse()))


def test_a_request_of_another_type_is_named() -> None:
    request = pb.ReportSignalRequest(signal_id="s", command_id="c")
    with (
        service_factory(Asking, traffic=fake(TRAFFIC, GetSignal=held("a")), contract=TRAFFIC) as service,
        pytest.raises(Misused, match=r"GetSignal takes a .*GetSignalRequest, not a .*ReportSignalRequest"),
    ):
        service.ReportSignal(request)
