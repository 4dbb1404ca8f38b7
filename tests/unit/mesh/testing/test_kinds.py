"""Methods of all four kinds, and windows of readings, fired without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Cancelled, DeadlinePassed, Refused
from citybrain.mesh.service import Clock, Reading, Readings, Service, Streams, Window, at, rpc, window
from citybrain.mesh.testing import Misused, running, service_factory

PROBE = "citybrain.probe.v1.ProbeService"
MINUTE = 60_000_000


def readings(batch: pb.ReportReadingsRequest) -> Iterable[Reading]:
    return (Reading(reading.channel, reading.at, reading.value) for reading in batch.readings)


class Talking(Service):
    """Counts, adds, echoes and folds."""

    name = "talking"
    sums = Streams("sums", int, lambda count, event: count + 1)
    batches = Readings()
    went: ClassVar[list[str]] = []
    sent: ClassVar[list[int]] = []
    looked: ClassVar[list[list[tuple[int, str]]]] = []
    clock = Clock()

    @rpc
    def Count(self, request: pb.CountRequest) -> Iterator[pb.CountResponse]:
        try:
            for number in range(1, request.to + 1):
                if number == request.fails_at:
                    raise Refused("no further", "NO_FURTHER")
                self.sent.append(number)
                yield pb.CountResponse(number=number)
        except GeneratorExit:
            raise
        except Exception as error:
            self.went.append(type(error).__name__)
            raise

    @rpc
    def Sum(self, requests: Iterable[pb.SumRequest]) -> pb.SumResponse:
        return pb.SumResponse(sum=sum(request.number for request in requests))

    @rpc
    def Echo(self, requests: Iterable[pb.EchoRequest]) -> Iterator[pb.EchoResponse]:
        try:
            for request in requests:
                yield pb.EchoResponse(text=request.text)
        except Exception as error:
            self.went.append(type(error).__name__)
            raise
        yield pb.EchoResponse(text="the end")

    @rpc
    def ReportReadings(self, request: pb.ReportReadingsRequest) -> pb.ReportReadingsResponse:
        self.batches.put(request)
        return pb.ReportReadingsResponse()

    @at("12:00")
    def look_back(self) -> None:
        pages = self.batches.kept(pb.ReportReadingsRequest, self.clock.now() - 3600 * 1_000_000)
        self.looked.append([(came, batch.readings[0].channel) for page in pages for came, batch in page])

    @window(pb.ReportReadingsRequest, seconds=60, readings=readings, fold=lambda total, value: (total or 0) + value)
    def minute(self, window: Window) -> None:
        if "broken" in window.states:
            raise ValueError("a broken detector")
        told: list[Message] = [ev.Written(key=key, text=f"{total:g}") for key, total in sorted(window.states.items())]
        self.sums.handle("all", lambda count: told, lambda after, _: None)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Talking.went.clear()
    Talking.looked.clear()
    Talking.sent.clear()


def numbers(*values: int) -> list[pb.SumRequest]:
    return [pb.SumRequest(number=value) for value in values]


def count(to: int, fails_at: int = 0) -> pb.CountRequest:
    return pb.CountRequest(name="n", to=to, fails_at=fails_at)


def test_a_stream_of_responses_is_iterated_to_its_end() -> None:
    with running(Talking, contract=PROBE) as talking:
        assert [response.number for response in talking.fire("Count", count(3))] == [1, 2, 3]


def test_an_error_in_the_middle_of_a_stream_comes_where_it_was_raised() -> None:
    with running(Talking, contract=PROBE) as talking:
        stream = talking.fire("Count", count(9, fails_at=3))
        assert (next(stream).number, next(stream).number) == (1, 2)
        with pytest.raises(Refused, match="no further"):
            next(stream)


def test_a_follower_that_does_not_read_holds_the_method_up() -> None:
    with running(Talking, contract=PROBE) as talking:
        stream = talking.fire("Count", count(1000))
        assert next(stream).number == 1
        assert len(Talking.sent) < 5
        stream.cancel()
        talking.rest()
        assert len(Talking.sent) < 5


def test_a_stream_of_requests_is_answered_when_it_ends() -> None:
    with running(Talking, contract=PROBE) as talking:
        assert talking.fire("Sum", numbers(1, 2, 3)).sum == 6
        stream = talking.fire("Sum")
        stream.send(*numbers(4, 5))
        stream.send(*numbers(6))
        assert stream.answer().sum == 15


def test_each_request_of_a_stream_is_checked() -> None:
    with running(Talking, contract=PROBE) as talking, pytest.raises(BadRequest, match="number: "):
        talking.fire("Sum", numbers(1, 1001))


def test_both_sides_talk_in_turn_and_the_method_says_the_last_word() -> None:
    with running(Talking, contract=PROBE) as talking, talking.fire("Echo") as stream:
        for text in ("西湖", "钱塘江"):
            stream.send(pb.EchoRequest(text=text))
            assert next(stream).text == text
        stream.end()
        assert [response.text for response in stream] == ["the end"]


def test_a_caller_who_goes_and_one_whose_time_is_up_end_what_the_method_waits_for() -> None:
    with running(Talking, contract=PROBE) as talking:
        talking.fire("Echo").cancel()
        stream = talking.fire("Echo", deadline_s=0.05)
        with pytest.raises(DeadlinePassed):
            next(stream)
        talking.rest()
        assert sorted(Talking.went) in (["Cancelled", "Cancelled"], ["Cancelled", "DeadlinePassed"])
        assert Cancelled.__name__ in Talking.went


def test_a_window_is_told_when_city_time_has_passed_its_end() -> None:
    with running(Talking, contract=PROBE) as talking:
        now = talking.advance(0)
        batch = [pb.Reading(channel="a", at=now + second * 1_000_000, value=second) for second in (0, 10, 50)]
        talking.fire("ReportReadings", pb.ReportReadingsRequest(readings=batch))
        talking.advance(59)
        assert talking.events() == []
        talking.advance(30)
        assert talking.wait_for_event(ev.Written).data == ev.Written(key="a", text="60")


def test_a_service_can_read_the_batches_again_that_came_since_a_moment(tmp_path: Path) -> None:
    with running(Talking, contract=PROBE, folder=tmp_path) as talking:
        for channel, wait_s in (("a", 0), ("b", 10), ("c", 3595)):
            now = talking.advance(wait_s)
            talking.fire("ReportReadings", pb.ReportReadingsRequest(readings=[pb.Reading(channel=channel, at=now)]))
        talking.fire("look_back")
        assert Talking.looked == [[(now - 3595 * 1_000_000, "b"), (now, "c")]]


def test_a_window_is_handed_over_by_itself_too_and_its_errors_are_those_of_the_method() -> None:
    with running(Talking, contract=PROBE) as talking:
        talking.fire("minute", Window(0, MINUTE, {"b": 2.5}))
        assert [heard.data for heard in talking.events()] == [ev.Written(key="b", text="2.5")]
        with pytest.raises(ValueError, match="a broken detector"):
            talking.fire("minute", Window(MINUTE, 2 * MINUTE, {"broken": 1}))
        with pytest.raises(Misused, match="minute gets windows: give a Window"):
            talking.fire("minute", pb.ReportReadingsRequest())


def test_as_plain_python_streams_are_iterators() -> None:
    with service_factory(Talking, contract=PROBE) as talking:
        assert [response.number for response in talking.Count(count(3))] == [1, 2, 3]
        assert talking.Sum(iter(numbers(1, 2))).sum == 3
        assert [response.text for response in talking.Echo([pb.EchoRequest(text="a")])] == ["a", "the end"]
        talking.minute(Window(0, MINUTE, {"c": 1}))
        assert talking.sums.load("all") == 1
