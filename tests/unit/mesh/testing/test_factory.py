"""Methods as plain Python: what they need is given or real and light, and nothing else of the service runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import Refused
from citybrain.mesh.runtime.greenlets import off_loop
from citybrain.mesh.service import Client, Clock, Follow, Heard, Log, Provider, Service, Streams, View, every, rpc, subscribe
from citybrain.mesh.testing import Misused, fake, service_factory

TRAFFIC = "citybrain.traffic.v1.TrafficService"


def evolve(commands: tuple[str, ...], event: Message) -> tuple[str, ...]:
    return (*commands, event.command_id)  # type: ignore[attr-defined]


def key(event: Heard) -> str:
    return str(event.data.signal_id)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Newest:
    """A row: the last command to a signal."""

    last: str


def apply(row: Newest | None, event: Heard) -> Newest | None:
    return Newest(event.data.command_id)  # type: ignore[attr-defined]


class Paper(Provider):
    """A provider of the team's own."""

    def setup(self) -> None:
        self._lines = ["set up"]

    def get_dependency(self, worker_ctx: Any) -> list[str]:
        return self._lines


class Desk(Service):
    """Has every kind of dependency."""

    name = "desk"
    reports = Streams("reports", tuple, evolve)
    newest = View((ev.SignalReported,), key, apply, row=Newest)
    traffic = Client(TRAFFIC)
    clock = Clock()
    log = Log()
    paper = Paper()

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        if request.command_id == "refuse":
            raise Refused("no")
        reported = ev.SignalReported(signal_id=request.signal_id, command_id=request.command_id)
        self.log.info("reported", signal=request.signal_id)
        self.reports.handle(request.signal_id, lambda now: [reported], lambda after, _: after)
        return pb.ReportSignalResponse()

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        row = self.newest.get(request.signal_id)
        asked = self.traffic.GetSignal(request).held_for
        apart = off_loop(threading.get_ident) != threading.get_ident()
        return pb.GetSignalResponse(held_for=f"{row}|{asked}|{self.clock.now()}|{self.paper}|{apart}")

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        return Follow(purpose="reports", types=(ev.SignalReported,))

    def names(self) -> Iterator[str]:
        for name, _ in self.newest.scan():
            yield name

    @subscribe(ev.SignalRegistered)
    def greet(self, event: Heard) -> None:
        self._note(event.data.signal.signal_id)  # type: ignore[attr-defined]

    @every(1)
    def tick(self) -> None:
        self._note("tick")

    def _note(self, text: str) -> None:
        self.paper.append(text)


def report(signal_id: str, command_id: str) -> pb.ReportSignalRequest:
    return pb.ReportSignalRequest(signal_id=signal_id, command_id=command_id)


def neighbour(held_for: str = "nobody") -> Any:
    return fake(TRAFFIC, GetSignal=pb.GetSignalResponse(held_for=held_for))


def test_a_method_finds_what_was_given_and_what_is_real() -> None:
    given: dict[str, Any] = {"newest": {"s": Newest("c0")}, "traffic": neighbour("a1"), "paper": ["mine"]}
    with service_factory(Desk, contract=TRAFFIC, **given) as desk:
        answer = desk.GetSignal(pb.GetSignalRequest(signal_id="s")).held_for
        assert answer == f"Newest(last='c0')|a1|{desk.clock.now()}|['mine']|True"
        assert isinstance(desk, Desk)


def test_streams_and_views_are_real_and_views_are_folded_when_a_call_returns() -> None:
    with service_factory(Desk, neighbour(), contract=TRAFFIC) as desk:
        for command in "abc":
            desk.ReportSignal(report("s", command))
            assert desk.newest.get("s") == Newest(command)
        assert desk.reports.load("s") == ("a", "b", "c")
        assert list(desk.names()) == ["s"]


def test_earlier_events_are_known_and_folded_before_the_first_call() -> None:
    before = [ev.SignalReported(signal_id="s", command_id=command) for command in "ab"]
    with service_factory(Desk, neighbour(), contract=TRAFFIC, reports={"s": before}) as desk:
        assert desk.newest.get("s") == Newest("b")
        assert desk.reports.load("s") == ("a", "b")
        desk.ReportSignal(report("s", "c"))
        assert desk.reports.load("s") == ("a", "b", "c")


def test_what_is_logged_is_kept_line_by_line() -> None:
    with service_factory(Desk, neighbour(), contract=TRAFFIC) as desk:
        desk.ReportSignal(report("s", "a"))
        assert desk.log.lines == [{"event": "reported", "signal": "s", "log_level": "info"}]


def test_city_time_stands_until_it_is_moved_and_no_timer_or_subscription_runs() -> None:
    with service_factory(Desk, neighbour(), contract=TRAFFIC) as desk:
        before = desk.clock.now()
        desk.clock.advance(before + 5_000_000)
        assert desk.clock.now() == before + 5_000_000
        desk.tick()
        assert desk.GetSignal(pb.GetSignalRequest(signal_id="s")).held_for.split("|")[3] == "['set up', 'tick']"


def test_errors_come_as_they_were_raised_and_nothing_is_checked_before() -> None:
    with service_factory(Desk, neighbour(), contract=TRAFFIC) as desk:
        with pytest.raises(Refused, match="no"):
            desk.ReportSignal(report("", "refuse"))
        assert desk.FollowSignalCommands(pb.FollowSignalCommandsRequest()).purpose == "reports"


def test_rows_that_were_given_are_read_as_a_view_is_read() -> None:
    rows = {name: Newest(name) for name in ("c", "a", "b")}
    with service_factory(Desk, neighbour(), contract=TRAFFIC, newest=rows) as desk:
        assert [name for name, _ in desk.newest.scan()] == ["a", "b", "c"]
        assert desk.newest.scan(after="a", limit=1) == [("b", Newest("b"))]
        assert desk.newest.derived(len) == 3
        assert desk.newest.get("d") is None


@pytest.mark.parametrize("row", [{"last": "c"}, None, Newest(7)])  # type: ignore[arg-type]
def test_what_is_given_as_a_row_and_is_none_of_the_view_is_refused(row: object) -> None:
    with pytest.raises(Misused, match="newest has no such rows as 'c' is given here: "):
        service_factory(Desk, neighbour(), contract=TRAFFIC, newest={"c": row}).__enter__()


def test_a_dependency_that_is_missing_and_one_that_does_not_exist_are_named() -> None:
    with pytest.raises(Misused, match="Desk calls others, and the test is alone: give traffic=fake"):
        service_factory(Desk, contract=TRAFFIC).__enter__()
    with pytest.raises(Misused, match="Desk has no traffik; what can be given is: clock, log, newest, paper, reports, traffic"):
        service_factory(Desk, neighbour(), contract=TRAFFIC, traffik=neighbour()).__enter__()
