"""A service that runs inside the test: all of it is real but the network, and what never comes is told with what came."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from citybrain.health.v1 import health_service_pb2 as _contract_of_health  # noqa: F401 -- known once it is imported
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, CallFailed, DeadlinePassed, Refused
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import off_loop
from citybrain.mesh.service import Client, Clock, Follow, Heard, Service, Streams, View, at, every, rpc, subscribe
from citybrain.mesh.testing import Misused, NeverCame, fake, running

TRAFFIC = "citybrain.traffic.v1.TrafficService"
HEALTH = "citybrain.health.v1.HealthService"


def evolve(count: int, event: Message) -> int:
    return count + 1


def key(event: Heard) -> str | None:
    return event.data.signal_id or None  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Seen:
    """A row: all commands to a signal."""

    commands: tuple[str, ...] = ()


def apply(row: Seen | None, event: Heard) -> Seen | None:
    return Seen((*(row or Seen()).commands, event.data.command_id))  # type: ignore[attr-defined]


class Street(Service):
    """Has a method, a stream, a subscription, both kinds of timer, and a view."""

    name = "street"
    hung: ClassVar[threading.Event]
    reports = Streams("reports", int, evolve)
    seen = View((ev.SignalReported,), key, apply, row=Seen)
    clock = Clock()

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        if request.signal_id == "refuse":
            raise Refused("as things stand, no", "NOT_NOW")
        if request.signal_id == "fail":
            raise ZeroDivisionError("a defect")
        if request.signal_id == "hang":
            off_loop(self.hung.wait, 30)
        call = context.current()
        return traffic.GetSignalResponse(held_for=f"{call.caller}|{call.request_id}|{call.correlation_id}")

    @rpc
    def ReportSignal(self, request: traffic.ReportSignalRequest) -> traffic.ReportSignalResponse:
        self._report(request.signal_id, request.command_id)
        return traffic.ReportSignalResponse()

    @rpc
    def FollowSignalCommands(self, request: traffic.FollowSignalCommandsRequest) -> Follow:
        return Follow(purpose="reports", types=(ev.SignalReported,))

    @subscribe(ev.SignalRegistered, where=lambda registered: registered.signal.signal_id != "ignored", park_after=1)
    def greet(self, event: Heard) -> None:
        assert isinstance(event.data, ev.SignalRegistered)
        if event.data.signal.signal_id == "poison":
            raise ValueError("王芳 is in here")
        if event.data.signal.signal_id == "hang":
            off_loop(self.hung.wait, 30)
        self._report(event.data.signal.signal_id, "greeting")

    @every(30)
    def tick(self) -> None:
        self._report("clock", "tick")

    @at("09:00")
    def open_up(self) -> None:
        self._report("clock", "nine")

    def _report(self, signal_id: str, command_id: str) -> None:
        event = ev.SignalReported(signal_id=signal_id, command_id=command_id)
        self.reports.handle(signal_id, lambda now: [event], lambda after, _: after)


def registered(signal_id: str) -> ev.SignalRegistered:
    return ev.SignalRegistered(signal=traffic.Signal(signal_id=signal_id))


def get(signal_id: str) -> traffic.GetSignalRequest:
    return traffic.GetSignalRequest(signal_id=signal_id)


def report(signal_id: str, command_id: str) -> traffic.ReportSignalRequest:
    started = traffic.SIGNAL_REPORT_STARTED
    return traffic.ReportSignalRequest(signal_id=signal_id, command_id=command_id, report=started)


def commands(row: Seen | None) -> list[str]:
    return [] if row is None else list(row.commands)


def test_a_method_is_fired_by_a_caller_under_a_request_id_and_for_a_story() -> None:
    with running(Street, contract=TRAFFIC) as street:
        answer = street.fire("GetSignal", get("s"), caller="districts", request_id="r1", correlation_id="inc-西湖 1")
        assert answer.held_for == "service:districts|r1|inc-西湖 1"


def test_errors_are_those_that_the_method_raised() -> None:
    with running(Street, contract=TRAFFIC) as street:
        with pytest.raises(Refused, match="as things stand") as caught:
            street.fire("GetSignal", get("refuse"))
        assert caught.value.reason == "NOT_NOW"
        with pytest.raises(ZeroDivisionError, match="a defect"):
            street.fire("GetSignal", get("fail"))


def test_a_request_is_checked_against_its_contract_before_the_method_sees_it() -> None:
    with running(Street, contract=TRAFFIC) as street, pytest.raises(BadRequest, match="signal_id: is required"):
        street.fire("GetSignal", get(""))


def test_the_deadline_of_the_caller_ends_what_the_method_waits_for() -> None:
    Street.hung = threading.Event()
    with running(Street, contract=TRAFFIC) as street:
        with pytest.raises(DeadlinePassed):
            street.fire("GetSignal", get("hang"), deadline_s=0.05)
        street.rest()
    # Else the process of the tests waits for its thread when it ends.
    Street.hung.set()


def test_the_same_request_id_again_writes_nothing_new() -> None:
    with running(Street, contract=TRAFFIC) as street:
        for request_id in ("r1", "r1", "r2"):
            street.fire("ReportSignal", report("s", request_id), request_id=request_id)
        street.wait_for_row("seen", "s", lambda row: row.commands == ("r1", "r2"))


def test_a_stream_over_the_log_says_what_was_and_what_comes_and_goes_on_from_its_token() -> None:
    with running(Street, contract=TRAFFIC) as street:
        street.rest()
        with street.fire("FollowSignalCommands", traffic.FollowSignalCommandsRequest()) as stream:
            assert [event.stream for event in next(stream).events] == ["street/reports-clock"]
            street.fire("ReportSignal", report("s", "c1"))
            response = next(stream)
            assert [event.stream for event in response.events] == ["street/reports-s"]
        street.fire("ReportSignal", report("t", "c2"))
        token = response.resume_token
        with street.fire("FollowSignalCommands", traffic.FollowSignalCommandsRequest(resume_token=token)) as stream:
            assert [event.stream for event in next(stream).events] == ["street/reports-t"]


def test_a_stream_that_is_refused_says_so_to_who_reads_it() -> None:
    with running(Street, contract=TRAFFIC) as street:
        forged = traffic.FollowSignalCommandsRequest(resume_token="forged")  # noqa: S106 -- of nothing
        stream = street.fire("FollowSignalCommands", forged)
        with pytest.raises(CallFailed, match="is no token of this call"):
            next(stream)


def test_a_stream_that_was_left_open_ends_with_the_test() -> None:
    with running(Street, contract=TRAFFIC) as street:
        stream = street.fire("FollowSignalCommands", traffic.FollowSignalCommandsRequest())
        next(stream)
    with pytest.raises(CallFailed, match="gone"):
        list(stream)


def test_a_subscription_hears_what_neighbours_tell_and_its_effects_can_be_waited_for() -> None:
    with running(Street, contract=TRAFFIC) as street:
        (told,) = street.tell(registered("延安路"), correlation_id="inc-7")
        heard = street.wait_for_event(ev.SignalReported, lambda event: event.signal_id == "延安路")
        assert (heard.stored.stream, heard.stored.correlation_id) == ("street/reports-延安路", "inc-7")
        assert heard.stored.causation_id == told.stored.id
        assert street.wait_for_row("seen", "延安路") == Seen(("greeting",))


def test_an_event_fired_at_a_subscription_is_heard_once_under_one_id_and_does_not_stand_in_the_log() -> None:
    with running(Street, contract=TRAFFIC) as street:
        for _ in range(2):
            street.fire("greet", registered("s"), request_id="e1")
        street.fire("greet", registered("ignored"))
        street.rest()
        assert commands(street.row("seen", "s")) == ["greeting"]
        assert street.events(ev.SignalRegistered) == []
        assert street.row("seen", "ignored") is None
        with pytest.raises(ValueError, match="王芳"):
            street.fire("greet", registered("poison"))


def test_timers_run_when_city_time_comes_to_them_and_when_they_are_fired() -> None:
    with running(Street, contract=TRAFFIC) as street:
        street.rest()
        assert commands(street.row("seen", "clock")) == ["tick"], "the first when the time was told"
        for _ in range(3):
            street.advance(30)
        street.rest()
        assert commands(street.row("seen", "clock")) == ["tick"] * 4
        street.advance(3600)
        street.rest()
        assert commands(street.row("seen", "clock")).count("nine") == 1
        street.fire("open_up")
        street.wait_for_row("seen", "clock", lambda row: row.commands.count("nine") == 2)


def test_events_and_times_are_those_of_city_time() -> None:
    with running(Street, contract=TRAFFIC) as street:
        before = street.advance(0)
        assert street.advance(12.5) == before + 12_500_000
        street.fire("ReportSignal", report("s", "c"))
        (heard,) = [event for event in street.events(ev.SignalReported) if event.data.signal_id == "s"]  # type: ignore[attr-defined]
        assert heard.stored.occurred_at == before + 12_500_000


def test_what_never_comes_is_told_with_what_came_instead() -> None:
    with running(Street, contract=TRAFFIC) as street:
        street.fire("ReportSignal", report("s", "c1"))
        street.rest()
        with pytest.raises(NeverCame) as caught:
            street.wait_for_event(ev.SignalReported, lambda event: event.command_id == "c2", limit_s=0.1)
        assert "no citybrain.traffic.v1.SignalReported that fits" in str(caught.value)
        assert 'SignalReported in street/reports-s: signal_id: "s" command_id: "c1"' in str(caught.value)
        with pytest.raises(NeverCame) as caught:
            street.wait_for_row("seen", "t", limit_s=0.1)
        assert "seen has no row 't'" in str(caught.value)
        assert "  s: Seen(commands=('c1',))" in str(caught.value)
        assert "street.view.seen is at" in str(caught.value)


def test_what_keeps_a_service_from_rest_is_told() -> None:
    slow = threading.Event()
    with running(Street, contract=TRAFFIC) as street:
        Street.hung = slow
        street.tell(registered("hang"))
        with pytest.raises(NeverCame, match=r"did not come to rest within 0\.1 s\n.*\n.*street\.greet is at \d"):
            street.rest(limit_s=0.1)
        slow.set()
        street.rest()


def test_a_wait_in_vain_names_the_events_that_were_parked_meanwhile() -> None:
    with running(Street, contract=TRAFFIC) as street:
        street.tell(registered("poison"))
        street.rest()
        with pytest.raises(NeverCame, match=r"parked: citybrain\.traffic\.v1\.SignalRegistered at \d+: ValueError in greet"):
            street.wait_for_event(ev.SignalReported, lambda event: event.signal_id == "poison", limit_s=0.1)


def test_a_service_on_a_folder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for times in (1, 2):
        with running(Street, contract=TRAFFIC, folder=tmp_path) as street:
            street.fire("ReportSignal", report("s", str(times)))
            street.wait_for_row("seen", "s", lambda row, times=times: len(row.commands) == times)  # type: ignore[misc]


def test_earlier_events_and_rows_are_there_from_the_start() -> None:
    before = [ev.SignalReported(signal_id="s", command_id=command) for command in "ab"]
    with running(Street, contract=TRAFFIC, reports={"s": before}) as street:
        assert street.wait_for_row("seen", "s", lambda row: len(row.commands) == 2) == Seen(("a", "b"))


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("GetSignals", get("s"), "nothing to fire of the name GetSignals; it has: FollowSignalCommands, GetSignal"),
        ("GetSignal", report("s", "c"), "GetSignal takes a citybrain.traffic.v1.GetSignalRequest, not a"),
        ("GetSignal", None, "GetSignal takes one citybrain.traffic.v1.GetSignalRequest; 0 were given"),
        ("greet", ev.SignalReported(), "greet does not hear citybrain.traffic.v1.SignalReported; it hears"),
        ("greet", None, "greet hears events: give one of citybrain.traffic.v1.SignalRegistered"),
    ],
)
def test_what_cannot_be_fired_is_told_with_what_can(name: str, what: Message | None, said: str) -> None:
    with running(Street, contract=TRAFFIC) as street, pytest.raises(Misused) as caught:
        street.fire(name, what)
    assert said in str(caught.value)


def test_a_view_that_is_not_there_is_told_with_those_that_are() -> None:
    with running(Street, contract=TRAFFIC) as street, pytest.raises(Misused, match="no view rows; it folds: seen"):
        street.row("rows", "s")


class Caller(Service):
    """Calls two others."""

    name = "caller"
    traffic = Client(TRAFFIC)
    health = Client(HEALTH)


def test_a_service_that_calls_others_needs_them_and_is_told_which() -> None:
    with pytest.raises(Misused) as caught, running(Caller, fake(TRAFFIC), contract=TRAFFIC):
        pass
    assert f"Caller calls others, and the test is alone: give health=fake('{HEALTH}', …)" in str(caught.value)


def test_what_is_given_must_have_a_place() -> None:
    with (
        pytest.raises(Misused, match="Caller has no roads; what can be given is: health, traffic"),
        running(Caller, roads={}, contract=TRAFFIC),
    ):
        pass
    with (
        pytest.raises(Misused, match=f"traffic calls {TRAFFIC}, and the fake is for {HEALTH}"),
        running(Caller, traffic=fake(HEALTH), health=fake(HEALTH), contract=TRAFFIC),
    ):
        pass
    with pytest.raises(Misused, match=r"no manifest\.yaml beside its module"), running(Street):
        pass


def test_the_room_needs_no_test_runner() -> None:
    look = "import citybrain.mesh.testing, sys; sys.exit(bool({'pytest', '_pytest'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
