"""Exercises: a drill finds the city as it is, and the city finds nothing of the drill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from citybrain.mesh.v1.events_pb2 import StreamCopied
from citybrain.personal.v1.personal_pb2 import PersonErased
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, CallFailed, Forbidden, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.runtime import context, exercises
from citybrain.mesh.service import Follow, Heard, Readings, Service, Streams, View, rpc, subscribe
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import Parts, on_parts

CONTRACT = "citybrain.traffic.v1.TrafficService"


@dataclass(frozen=True)
class Names:
    seen: tuple[str, ...] = ()


def evolve(names: Names, event: Message) -> Names:
    return Names((*names.seen, event.command_id))  # type: ignore[attr-defined]


def last(row: dict[str, str] | None, event: Heard) -> dict[str, str]:
    return {"last": event.data.command_id}  # type: ignore[attr-defined]


class Signals(Service):
    """Keeps what signals report, one after the other, in a stream; a read model and a reaction look at it."""

    name = "signals"
    names = Streams("names", Names, evolve, snapshot_every=2)
    view = View((ev.SignalReported,), lambda event: "s", last, row=dict[str, str])
    batches = Readings()
    heard: ClassVar[list[str]] = []
    drilled: ClassVar[list[tuple[str, str]]] = []

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        reported = ev.SignalReported(signal_id="s", command_id=request.command_id)
        self.names.handle("s", lambda now: [reported], lambda now, mine: None)
        return pb.ReportSignalResponse()

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        return pb.GetSignalResponse(held_for=" ".join(self.names.load("s").seen))

    @rpc
    def ReportObservations(self, request: pb.ReportObservationsRequest) -> pb.ReportObservationsResponse:
        self.batches.put(request)
        return pb.ReportObservationsResponse()

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        return Follow("all", types=[ev.SignalReported, PersonErased])

    @subscribe(ev.SignalReported)
    def hear(self, event: Heard) -> None:
        self.heard.append(event.data.command_id)  # type: ignore[attr-defined]

    @subscribe(ev.SignalReported, exercises=True)
    def hear_all(self, event: Heard) -> None:
        self.drilled.append((context.current().exercise, event.data.command_id))  # type: ignore[attr-defined]


@pytest.fixture
def signals() -> Iterator[Running]:
    Signals.heard, Signals.drilled = [], []
    with running(Signals, contract=CONTRACT) as service:
        yield service


def reports(signals: Running, name: str, **more: Any) -> None:
    request = pb.ReportSignalRequest(signal_id="s", command_id=name, report=pb.SIGNAL_REPORT_STARTED)
    signals.fire("ReportSignal", request, **more)


def seen(signals: Running, exercise: str = "") -> str:
    return str(signals.fire("GetSignal", pb.GetSignalRequest(signal_id="s"), exercise=exercise).held_for)


def test_a_drill_begins_with_the_city_as_it_is_and_neither_sees_what_the_other_does_then(signals: Running) -> None:
    for name in "abc":
        reports(signals, name)
    reports(signals, "drill", exercise="fire-1")
    reports(signals, "city")
    assert seen(signals) == "a b c city"
    assert seen(signals, "fire-1") == "a b c drill"
    # Another one begins later. It is looked at, and stays what it was then.
    assert seen(signals, "fire-2") == "a b c city"
    reports(signals, "later")
    assert seen(signals, "fire-2") == "a b c city"
    assert [one.stored.stream for one in signals.events(StreamCopied)] == [
        "signals/exercise-fire-1/names-s", "signals/exercise-fire-2/names-s",
    ]  # fmt: skip


def test_a_drill_that_has_seen_more_than_there_is_says_so_and_goes_on_with_no_half_of_it(signals: Running) -> None:
    reports(signals, "a")
    # As it is after a backup was put back.
    signals.tell(StreamCopied(version=5), stream="signals/exercise-fire-1/names-s")
    with pytest.raises(Refused, match="begin another exercise"):
        seen(signals, "fire-1")


def test_a_retry_in_a_drill_gets_the_same_answer_and_writes_nothing(signals: Running) -> None:
    reports(signals, "a")
    for _ in range(2):
        reports(signals, "b", exercise="fire-1", request_id="r1")
    assert (seen(signals, "fire-1"), seen(signals)) == ("a b", "a")
    # In the city it is another command.
    reports(signals, "b", request_id="r1")
    assert (seen(signals, "fire-1"), seen(signals)) == ("a b", "a b")


def test_read_models_and_reactions_see_nothing_of_a_drill_unless_they_ask(signals: Running) -> None:
    reports(signals, "a")
    reports(signals, "drill", exercise="fire-1")
    signals.rest()
    assert signals.row("view", "s") == {"last": "a"}
    assert Signals.heard == ["a"]
    assert sorted(Signals.drilled) == [("", "a"), ("fire-1", "drill")]


def test_who_follows_sees_the_events_of_the_city_or_of_their_drill(signals: Running) -> None:
    reports(signals, "a")
    reports(signals, "drill", exercise="fire-1")
    reports(signals, "b")
    request = pb.FollowSignalCommandsRequest()

    def follows(count: int, exercise: str) -> list[str]:
        stream = signals.fire("FollowSignalCommands", request, exercise=exercise)
        found: list[str] = []
        while len(found) < count:
            for event in next(stream).events:
                one = ev.SignalReported()
                event.data.Unpack(one)
                found.append(one.command_id)
        return found

    assert follows(2, "") == ["a", "b"]
    assert follows(1, "fire-1") == ["drill"]


def test_who_follows_a_drill_hears_too_that_a_person_was_erased(signals: Running) -> None:
    signals.tell(PersonErased(person_id="per-1"), stream="personal/per-1")
    stream = signals.fire("FollowSignalCommands", pb.FollowSignalCommandsRequest(), exercise="fire-1")
    (event,) = next(stream).events
    assert event.type == "citybrain.personal.v1.PersonErased"


def test_a_token_of_the_city_does_not_go_on_in_a_drill(signals: Running) -> None:
    reports(signals, "a")
    stream = signals.fire("FollowSignalCommands", pb.FollowSignalCommandsRequest())
    token = next(stream).resume_token
    again = signals.fire("FollowSignalCommands", pb.FollowSignalCommandsRequest(resume_token=token), exercise="fire-1")
    with pytest.raises(CallFailed, match="resume_token"):
        next(again)


def test_only_who_may_names_an_exercise_and_only_with_a_name_that_can_be(signals: Running) -> None:
    with pytest.raises(Forbidden, match=r"exercises\.join"):
        reports(signals, "drill", exercise="fire-1", scopes=["traffic.device"])
    reports(signals, "drill", exercise="fire-1", scopes=["traffic.device", "exercises.join"])
    for name in ("Fire", "-fire", "fire/1", "x" * 41, "火"):
        with pytest.raises(BadRequest):
            reports(signals, "drill", exercise=name)
    assert seen(signals) == ""


def test_a_drill_has_no_readings(signals: Running) -> None:
    with pytest.raises(Refused, match="what is measured comes from the city alone"):
        signals.fire("ReportObservations", pb.ReportObservationsRequest(observed_at=timestamp(1)), exercise="fire-1")


def test_another_process_finds_the_drill_as_it_was_left(tmp_path: Path) -> None:
    def command(parts: Parts, name: str, exercise: str) -> Streams[Names]:
        (streams,) = [one for one in parts.containers[0].dependencies if isinstance(one, Streams)]
        context.enter(context.Call("tester", "city.Test/Do", name, exercise=exercise))
        if name:
            event = ev.SignalReported(signal_id="s", command_id=name)
            streams.handle("s", lambda now: [event], lambda now, mine: None)
        return streams

    def first(parts: Parts) -> None:
        parts.add(Signals, CONTRACT)
        for name, exercise in (("a", ""), ("b", ""), ("drill", "fire-1"), ("c", ""), ("more", "fire-1")):
            command(parts, name, exercise)

    def second(parts: Parts) -> None:
        parts.add(Signals, CONTRACT)
        assert command(parts, "", "fire-1").load("s").seen == ("a", "b", "drill", "more")
        assert command(parts, "", "").load("s").seen == ("a", "b", "c")

    on_parts(tmp_path, first)
    on_parts(tmp_path, second)


def test_kinds_of_streams_that_would_be_taken_for_exercises_are_refused(tmp_path: Path) -> None:
    class Taken(Service):
        """Has a kind of stream that only exercises have."""

        name = "taken"
        names = Streams("exercise-x", Names, evolve)

    with pytest.raises(ValueError, match="those of exercises"):
        on_parts(tmp_path, lambda parts: parts.add(Taken, CONTRACT))


def test_streams_of_exercises_are_told_from_all_others() -> None:
    for stream in ("health/ambulance-a1", "health/saga-exercise-x/1", "elsewhere", "health/exercise-x"):
        assert exercises.exercise_of(stream) == ""
        assert exercises.stream_in("", stream) == stream
    drill = exercises.stream_in("fire-1", "health/ambulance-a/1")
    assert (exercises.exercise_of(drill), exercises.city_stream(drill)) == ("fire-1", "health/ambulance-a/1")
