"""Streams over the log as followers see them: everything once and in order, an end with a word, nothing left when they go."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import grpc
import grpc.aio
import pytest
from citybrain.options.v1 import options_pb2
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.protobuf.message import Message

from citybrain.event_store.store import ANY, NewEvent
from citybrain.mesh.errors import Overloaded
from citybrain.mesh.providers import following
from citybrain.mesh.providers.following import MAX_BATCH_BYTES
from citybrain.mesh.runtime.context import Call
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.shares import Asker
from citybrain.mesh.service import Follow, Service, rpc
from citybrain.mesh.testing.parts import Parts, on_parts

REPORTED = ev.SignalReported.DESCRIPTOR.full_name


class Source(Service):
    """Has one stream."""

    name = "source"
    subject: ClassVar[Follow]

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        return self.subject


class Follower:
    """Reads one stream."""

    def __init__(self, parts: Parts, token: str = "", stream_id: str = "", **claims: Any) -> None:
        self.channel = grpc.aio.insecure_channel(parts.address)
        metadata = [parts.bearer(**claims), *([("x-stream-id", stream_id)] if stream_id else [])]
        request = pb.FollowSignalCommandsRequest(resume_token=token)
        self.call: Any = TrafficServiceStub(self.channel).FollowSignalCommands(request, metadata=metadata)
        self.token = token

    def read(self, count: int) -> list[str]:
        names: list[str] = []
        while len(names) < count:
            response = wait(self.call.read())
            assert isinstance(response, pb.FollowSignalCommandsResponse), wait(self.call.details())
            self.token = response.resume_token
            names += [event.id for event in response.events]
        return names

    def end(self) -> tuple[grpc.StatusCode, str]:
        code, details = wait(self.call.code()), wait(self.call.details())
        wait(self.channel.close(None))
        return code, details

    def leave(self) -> None:
        self.call.cancel()
        wait(self.channel.close(None))


def write(parts: Parts, *names: str, size: int = 1, **more: Any) -> None:
    data = ev.SignalReported(signal_id="s" * size).SerializeToString()
    for name in names:
        wait(parts.store.append("s", [NewEvent(id=name, type=REPORTED, data=data, occurred_at=1, **more)], ANY))


def recorded(parts: Parts, name: str) -> int:
    """When the store recorded an event."""
    (event,) = [one for one in wait(parts.store.read("s")) if one.id == name]
    return event.recorded_at


def all_of(follower: Follower) -> list[str]:
    """What a stream that ends brings."""
    names: list[str] = []
    while isinstance(response := wait(follower.call.read()), pb.FollowSignalCommandsResponse):
        names += [event.id for event in response.events]
    code, details = follower.end()
    assert code is grpc.StatusCode.OK, details
    return names


def on_source(tmp_path: Path, test: Callable[[Parts], None], **subject: Any) -> None:
    def run(parts: Parts) -> None:
        Source.subject = Follow(**{"purpose": "all", "types": (ev.SignalReported,), **subject})
        parts.add(Source, "citybrain.traffic.v1.TrafficService")
        parts.start()
        test(parts)

    on_parts(tmp_path, run)


def test_what_was_and_what_comes_is_read_once_in_order_and_from_the_token_on(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        before, live = [f"b{n}" for n in range(250)], [f"l{n}" for n in range(20)]
        write(parts, *before)
        follower = Follower(parts)
        assert follower.read(len(before)) == before
        write(parts, *live)
        assert follower.read(len(live)) == live
        token = follower.token
        follower.leave()
        write(parts, "after")
        again = Follower(parts, token)
        assert again.read(1) == ["after"]
        again.leave()

    on_source(tmp_path, test)


def test_the_count_of_a_stream_with_an_id_is_what_its_follower_read_and_goes_with_it(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        follower, nameless = Follower(parts, stream_id="f"), Follower(parts)
        write(parts, "a")
        follower.read(1)
        write(parts, "b")
        follower.read(1)
        nameless.read(2)
        parts.until(lambda: parts.process.open_streams.at_rest())
        assert parts.process.open_streams.sent() == {"f": 2}
        follower.leave()
        nameless.leave()
        parts.until(lambda: not parts.process.open_streams._open)

    on_source(tmp_path, test)


def test_a_follower_that_goes_without_reading_does_not_keep_the_mesh_from_rest(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        streams = parts.process.open_streams
        write(parts, *(str(uuid.uuid4()) for _ in range(60)), size=200_000)
        follower = Follower(parts, stream_id="f")
        parts.until(lambda: bool(streams.sent().get("f")))
        assert not streams.at_rest()
        follower.leave()
        parts.until(lambda: streams.at_rest())
        assert streams.sent() == {}

    on_source(tmp_path, test)


def test_a_stream_ends_with_a_word_when_the_process_stops(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, "a")
        follower = Follower(parts)
        follower.read(1)
        parts.process.open_streams.end()
        code, details = follower.end()
        assert code is grpc.StatusCode.UNAVAILABLE and "resume token" in details
        assert Follower(parts).end()[0] is grpc.StatusCode.UNAVAILABLE

    on_source(tmp_path, test)


def test_a_filter_that_fails_ends_the_stream_without_the_text_of_its_error(tmp_path: Path) -> None:
    def fails(message: Message) -> bool:
        raise ValueError("a secret of the inside")

    def test(parts: Parts) -> None:
        write(parts, "a")
        code, details = Follower(parts).end()
        assert code is grpc.StatusCode.INTERNAL
        assert "secret" not in details
        # The follower hears the end a moment before the stream is counted out.
        parts.until(lambda: not parts.process.open_streams._open)

    on_source(tmp_path, test, concerns=fails)


@pytest.mark.parametrize("token", ["forged", "AAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_a_forged_token_is_refused_by_name(tmp_path: Path, token: str) -> None:
    def test(parts: Parts) -> None:
        code, details = Follower(parts, token).end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "resume_token" in details

    on_source(tmp_path, test)


@pytest.mark.parametrize("clearance", options_pb2.Classification.values()[1:])
def test_a_follower_sees_what_its_clearance_reaches_and_nothing_more_closed(
    tmp_path: Path, clearance: options_pb2.Classification
) -> None:
    def test(parts: Parts) -> None:
        data = ev.SignalReported(signal_id="s").SerializeToString()
        for closed in (4, 3, 2, 1):
            new = NewEvent(id=f"c{closed}", type=REPORTED, data=data, occurred_at=1, classification=closed)
            wait(parts.store.append("s", [new], ANY))
        name = options_pb2.Classification.Name(clearance).removeprefix("CLASSIFICATION_")
        follower = Follower(parts, clearance=name)
        # The most open one is written last: all that may be seen before it has been seen.
        assert follower.read(clearance) == [f"c{closed}" for closed in range(clearance, 0, -1)]
        follower.leave()

    on_source(tmp_path, test)


def test_what_was_is_sent_in_messages_that_any_client_takes_however_large_the_events_are(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = [f"n{n}" for n in range(40)]
        write(parts, *names, size=157_000)
        follower = Follower(parts)
        assert follower.read(len(names)) == names
        follower.leave()
        # Each token is of the last event of its own message.
        token = ""
        read: list[str] = []
        while len(read) < len(names):
            again = Follower(parts, token)
            response = wait(again.call.read())
            assert 0 < response.ByteSize() <= MAX_BATCH_BYTES + 256 * 1024
            read += [event.id for event in response.events]
            token = response.resume_token
            again.leave()
        assert read == names

    on_source(tmp_path, test)


def test_a_stream_that_has_nothing_to_say_says_at_once_that_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", None)

    def test(parts: Parts) -> None:
        follower = Follower(parts)
        assert wait(follower.call.initial_metadata()) is not None
        follower.leave()

    on_source(tmp_path, test)


def test_a_stream_that_has_nothing_to_say_says_now_and_then_that_it_is_well_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.05)

    def test(parts: Parts) -> None:
        follower = Follower(parts)
        first, second = wait(follower.call.read()), wait(follower.call.read())
        assert not first.events and not second.events and second.resume_token
        write(parts, "a")
        assert follower.read(1) == ["a"]
        follower.leave()
        again = Follower(parts, second.resume_token)
        assert again.read(1) == ["a"]
        again.leave()

    on_source(tmp_path, test)


def test_streams_that_only_read_leave_a_reserve_to_those_that_carry_commands() -> None:
    streams, call = following.OpenStreams(16), Call("anonymous", "m", "r")

    def opened(method: str, *, reads: bool, caller: int) -> bool:
        try:
            streams.open("", call, Asker(str(caller), method, reads, outside=True))
        except Overloaded as error:
            assert error.reason == "TOO_MANY_STREAMS"
            return False
        return True

    # Many callers at two methods that read: three quarters are theirs.
    assert [opened(f"Read{n % 2}", reads=True, caller=n) for n in range(20)].count(True) == 12
    assert len(streams) == 12
    # The rest is for what commands, half of all at most for one method, until nothing is left.
    assert [opened("FollowMissions", reads=False, caller=n) for n in range(6)].count(True) == 4
    assert len(streams) == 16


# -- where a stream begins and ends, and what it leaves out -------------------------------------------------------------------


def test_a_stream_from_now_on_has_a_place_to_go_on_from_before_anything_has_happened(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, "before")
        follower = Follower(parts)
        first = wait(follower.call.read())
        assert not first.events and first.resume_token
        follower.leave()
        write(parts, "while away")
        again = Follower(parts, first.resume_token)
        write(parts, "after")
        assert again.read(2) == ["while away", "after"]
        again.leave()

    on_source(tmp_path, test, from_now=True)


def test_a_stream_hears_of_its_district_and_of_what_belongs_to_none(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        for name, district in (("a", "xihu"), ("b", "gongshu"), ("c", ""), ("d", "xihu")):
            write(parts, name, district=district)
        follower = Follower(parts)
        assert follower.read(3) == ["a", "c", "d"]
        follower.leave()

    on_source(tmp_path, test, district="xihu")


def test_a_stream_that_asks_for_open_events_only_gets_no_others(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        for closed in (3, 2, 1):
            write(parts, f"c{closed}", classification=closed)
        follower = Follower(parts)
        assert follower.read(2) == ["c2", "c1"]
        follower.leave()

    on_source(tmp_path, test, highest=2)


def test_types_may_be_given_by_name_and_need_not_be_known_to_the_service(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, "a")
        follower = Follower(parts)
        assert follower.read(1) == ["a"]
        follower.leave()

    on_source(tmp_path, test, types=(REPORTED, "citybrain.nowhere.v1.Nothing"))


def test_a_replay_has_what_was_recorded_in_its_time_and_an_end(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, *"abcdef")
        Source.subject = replace(Source.subject, recorded_from=recorded(parts, "b"), recorded_until=recorded(parts, "e"))
        # Two may have been recorded in the same microsecond.
        between = [n for n in "abcdef" if recorded(parts, "b") <= recorded(parts, n) < recorded(parts, "e")]
        assert all_of(Follower(parts)) == between

    on_source(tmp_path, test)


def test_a_replay_up_to_a_moment_to_come_ends_with_what_there_is_now(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        assert all_of(Follower(parts)) == []
        write(parts, *"ab")
        assert all_of(Follower(parts)) == ["a", "b"]

    on_source(tmp_path, test, recorded_until=2**52)


def test_a_replay_that_broke_off_goes_on_from_its_token(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, *(names := [f"n{n}" for n in range(250)]))
        follower = Follower(parts)
        first = follower.read(100)
        follower.leave()
        assert first + all_of(Follower(parts, follower.token)) == names

    on_source(tmp_path, test, recorded_until=2**52)


def test_a_paced_replay_keeps_the_pauses_so_many_times_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(until: float, ending: object) -> bool:
        pauses.append(until - machine[0])
        machine[0] = until
        return False

    machine = [50.0]
    monkeypatch.setattr(following, "_pause", pause)
    monkeypatch.setattr(following, "_machine_time", lambda: machine[0])

    def test(parts: Parts) -> None:
        for name in "abc":
            write(parts, name)
            wait(asyncio.sleep(0.002))
        moments = [recorded(parts, name) for name in "abc"]
        assert all_of(Follower(parts)) == ["a", "b", "c"]
        gaps = [(after - before) / 1e6 / 0.5 for before, after in pairwise(moments)]
        assert pauses == pytest.approx(gaps)

    on_source(tmp_path, test, recorded_until=2**52, speed=0.5)


def test_a_paced_replay_says_between_two_events_that_it_is_well_and_ends_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.01)

    def test(parts: Parts) -> None:
        write(parts, "a")
        wait(asyncio.sleep(0.002))
        write(parts, "b")
        follower = Follower(parts)
        assert follower.read(1) == ["a"]
        heartbeat = wait(follower.call.read())
        assert not heartbeat.events and heartbeat.resume_token
        parts.process.open_streams.end()
        assert follower.end()[0] is grpc.StatusCode.UNAVAILABLE

    # A pause of 2 ms takes 2,000 s.
    on_source(tmp_path, test, recorded_until=2**52, speed=1e-6)


def test_a_token_of_other_days_is_too_old_and_says_what_to_do(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        write(parts, "a")
        follower = Follower(parts)
        follower.read(1)
        follower.leave()
        parts.process.tokens._now = lambda: time.time() + 91 * 86_400
        code, details = Follower(parts, follower.token).end()
        assert (
            code is grpc.StatusCode.FAILED_PRECONDITION and "older than 90 days" in details and "begin at a moment" in details
        )

    on_source(tmp_path, test)


def test_a_follower_that_stops_reading_holds_up_nobody_and_nothing_piles_up_for_it(tmp_path: Path) -> None:
    size, count = 20_000, 2000

    def test(parts: Parts) -> None:
        slow, quick = Follower(parts, stream_id="slow"), Follower(parts, stream_id="quick")
        wait(slow.call.initial_metadata())
        heard: list[str] = []
        for number in range(0, count, 50):
            write(parts, *(names := [f"n{n}" for n in range(number, number + 50)]), size=size)
            heard += quick.read(len(names))
        assert heard == [f"n{n}" for n in range(count)]
        sent = parts.process.open_streams.sent()["slow"]
        # What was sent and not read lies in the buffers of the connection, which hold a few megabytes of these forty.
        assert sent < count / 4, f"{sent} messages were made for a follower that reads none"
        assert slow.read(count) == heard
        slow.leave()
        quick.leave()

    on_source(tmp_path, test)


def test_many_streams_leave_each_other_time_and_few_do_not() -> None:
    streams = following.OpenStreams(2000)
    call = Call("c", "m", "r")
    waits = []
    for number in range(400):
        streams.open("", call, Asker(str(number), str(number), reads=False, outside=True))
        waits.append(streams.patience_s)
    assert set(waits[:32]) == {0.0} and waits[32:] == sorted(waits[32:]) and 0 < waits[32] < 0.05
    assert waits[-1] == following.LONGEST_PATIENCE_S


def test_a_stream_that_waits_for_others_sends_more_at_once_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_FEW", 0)
    gate = asyncio.Event()
    asked: list[float] = []

    async def leave_time(seconds: float) -> None:
        asked.append(seconds)
        await gate.wait()

    monkeypatch.setattr(following, "_leave_time", leave_time)

    def test(parts: Parts) -> None:
        follower = Follower(parts, stream_id="f")
        write(parts, "first")
        assert follower.read(1) == ["first"]
        write(parts, *(names := [f"n{n}" for n in range(50)]))
        gate.set()
        assert follower.read(50) == names
        assert parts.process.open_streams.sent() == {"f": 2}
        assert asked[0] == following.PATIENCE_S
        follower.leave()

    on_source(tmp_path, test)


def test_the_log_of_services_elsewhere_is_known_before_it_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[str] = []

    async def know(store: object, types: Collection[str]) -> None:
        known.extend(types)

    monkeypatch.setattr("citybrain.event_store.sqlite.store.SqliteEventStore.know", know)

    def test(parts: Parts) -> None:
        write(parts, "a")
        follower = Follower(parts)
        assert follower.read(1) == ["a"]
        assert known == [REPORTED]
        follower.leave()

    on_source(tmp_path, test)


@pytest.mark.parametrize(("subject", "looks"), [({}, 0), ({"from_now": True}, 1), ({"recorded_until": 2**52}, 1)])
def test_where_now_is_in_the_log_is_looked_up_for_whoever_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: dict[str, Any], looks: int
) -> None:
    looked: list[bool] = []

    async def up_to_now(engine: object) -> None:
        looked.append(True)

    def test(parts: Parts) -> None:
        monkeypatch.setattr(type(parts.process.engine), "up_to_now", up_to_now)
        write(parts, "a")
        follower = Follower(parts)
        wait(follower.call.read())
        assert len(looked) == looks
        follower.leave()

    on_source(tmp_path, test, **subject)
