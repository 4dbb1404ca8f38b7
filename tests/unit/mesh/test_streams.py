"""Commands on streams: decided on the newest state, written once, answered the same however often they are sent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1.traffic_service_pb2 import EdgeSpeed
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import Committed, Conflict, NewEvent
from citybrain.mesh.errors import Refused
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.validation import EventRefused
from citybrain.mesh.service import Service, Streams
from citybrain.mesh.storage.embedded import Embedded
from citybrain.mesh.testing.parts import Parts, on_parts, together
from citybrain.observability.logs import set_level
from tests.helpers.telemetry import listening


@dataclass(frozen=True)
class Names:
    """What was reported, in order."""

    seen: tuple[str, ...] = ()


def evolve(names: Names, event: Message) -> Names:
    return Names((*names.seen, event.command_id))  # type: ignore[attr-defined]


class Counting(Service):
    """Has one kind of stream."""

    name = "counting"
    names = Streams("names", Names, evolve)


def streams(parts: Parts) -> Streams[Names]:
    container = parts.add(Counting, "citybrain.traffic.v1.TrafficService")
    (found,) = [extension for extension in container.dependencies if isinstance(extension, Streams)]
    return found


def reported(name: str) -> ev.SignalReported:
    return ev.SignalReported(signal_id="s", command_id=name)


def call(request_id: str) -> None:
    context.enter(context.Call("tester", "city.Test/Do", request_id))


def add(names: Streams[Names], request_id: str, *added: str) -> tuple[tuple[str, ...], list[str]]:
    call(request_id)
    return names.handle(
        "s", lambda now: [reported(name) for name in added], lambda now, mine: (now.seen, [e.command_id for e in mine])
    )


class Slow(SqliteEventStore):
    """A store that holds some answers back until it is told."""

    held = ""

    def hold(self, method: str) -> None:
        self.held, self.reached, self.go = method, asyncio.Event(), asyncio.Event()

    async def _gate(self, method: str) -> None:
        if self.held == method:
            self.held = ""
            self.reached.set()
            await self.go.wait()

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        found = await super().version_of(stream, event_id)
        await self._gate("version_of")
        return found

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        await self._gate("append")
        return await super().append(stream, events, expected, timeout_s)


async def slow_store(path: Path) -> Slow:
    return Slow(path)


async def _hold(store: Slow, method: str) -> None:
    store.hold(method)


def on_slow(tmp_path: Path, test: Any) -> None:
    def run(parts: Parts) -> None:
        parts.store.close()
        engine = parts.process.engine
        assert isinstance(engine, Embedded)
        engine.store = parts.store = wait(slow_store(tmp_path / "events.db"))
        test(parts, parts.store)

    on_parts(tmp_path, run)


def test_a_retry_is_answered_with_the_state_and_the_events_of_the_first_time(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        first = add(names, "r1", "a", "b")
        assert first == (("a", "b"), ["a", "b"])
        add(names, "r2", "c")
        assert add(names, "r1", "something else") == first
        assert names.load("s").seen == ("a", "b", "c")

    on_parts(tmp_path, test)


@pytest.mark.tells("field stream", "field types")
def test_that_events_were_appended_is_a_line_for_those_who_ask_for_all_lines(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        add(names, "r1", "a")
        before = set_level("debug")
        try:
            add(names, "r2", "b")
        finally:
            set_level(before)

    with listening() as heard:
        on_parts(tmp_path, test)
    said = [(line["stream"], line["types"]) for line in heard.lines if line["message"] == "appended"]
    assert said == [("counting/names-s", ["SignalReported"])]


def test_a_command_with_nothing_to_write_is_answered_from_the_newest_state(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        add(names, "r1", "a")
        wait(foreign(parts, "b", 1))
        assert add(names, "r2") == (("a", "b"), [])

    on_parts(tmp_path, test)


def test_an_event_that_breaks_its_contract_is_not_written_nor_is_one_decided_with_it(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        broken = ev.SpeedsMeasured(speeds=[EdgeSpeed(edge_id="e", speed_mps=math.nan)])
        call("r1")
        with pytest.raises(EventRefused, match=r"SpeedsMeasured .* speeds\[0\]\.speed_mps: is nan"):
            names.handle("s", lambda now: [reported("a"), broken], lambda now, mine: now.seen)
        assert names.load("s").seen == ()

    on_parts(tmp_path, test)


def test_a_command_is_refused_by_the_newest_state_only(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        add(names, "r1", "a")
        wait(foreign(parts, "b", 1))

        def decide(now: Names) -> list[Message]:
            if "b" not in now.seen:
                raise Refused("b is not there")
            return [reported("c")]

        call("r2")
        assert names.handle("s", decide, lambda now, mine: now.seen) == ("a", "b", "c")

    on_parts(tmp_path, test)


def test_a_refusal_by_the_newest_state_reaches_the_caller_and_writes_nothing(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        add(names, "r1", "a")

        def decide(now: Names) -> list[Message]:
            raise Refused("no")

        call("r2")
        with pytest.raises(Refused, match="no"):
            names.handle("s", decide, lambda now, mine: None)
        assert names.load("s").seen == ("a",)

    on_parts(tmp_path, test)


def test_the_same_command_twice_at_once_is_not_refused_by_its_own_effect(tmp_path: Path) -> None:
    def test(parts: Parts, store: Slow) -> None:
        names = streams(parts)
        add(names, "r0", "a")

        def once(now: Names) -> list[Message]:
            if "b" in now.seen:
                raise Refused("b is there already")
            return [reported("b")]

        def held() -> Any:
            call("r1")
            return names.handle("s", once, lambda now, mine: now.seen)

        def quick() -> Any:
            wait(store.reached.wait())
            try:
                return held()
            finally:
                store.go.set()

        wait(_hold(store, "append"))
        assert together(held, quick) == [("a", "b"), ("a", "b")]
        assert held() == ("a", "b"), "and once more, when it is known"

    on_slow(tmp_path, test)


def test_the_same_command_twice_at_once_with_another_between_leaves_the_known_state_whole(tmp_path: Path) -> None:
    def test(parts: Parts, store: Slow) -> None:
        names = streams(parts)
        add(names, "r0", "a")

        def quick() -> Any:
            wait(store.reached.wait())
            try:
                add(names, "other", "x")
                return add(names, "r1", "b")
            finally:
                store.go.set()

        wait(_hold(store, "append"))
        answers = together(lambda: add(names, "r1", "b"), quick)
        assert answers == [(("a", "x", "b"), ["b"])] * 2
        assert names.known("s").seen == names.load("s").seen == ("a", "x", "b")

    on_slow(tmp_path, test)


def test_the_same_command_twice_at_once_answers_what_was_written_though_it_would_decide_otherwise_now(tmp_path: Path) -> None:
    def test(parts: Parts, store: Slow) -> None:
        names = streams(parts)

        def quick() -> Any:
            wait(store.reached.wait())
            try:
                return add(names, "r1", "the first free one")
            finally:
                store.go.set()

        wait(_hold(store, "append"))
        one, two = together(lambda: add(names, "r1", "another free one"), quick)
        assert one == two == (("the first free one",), ["the first free one"])
        assert names.known("s").seen == ("the first free one",)

    on_slow(tmp_path, test)


def test_many_commands_at_once_on_one_stream_are_each_written_once(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        wanted = [str(n) for n in range(12)]
        together(*(lambda name=name: add(names, f"r{name}", name) for name in wanted * 2))
        assert sorted(names.load("s").seen) == sorted(wanted)

    on_parts(tmp_path, test)


async def foreign(parts: Parts, name: str, version: int) -> None:
    """Another process of the same service writes to the stream."""
    store = SqliteEventStore(parts.process.settings.data / "events.db")
    event = reported(name)
    new = NewEvent(id=name, type=event.DESCRIPTOR.full_name, data=event.SerializeToString(), occurred_at=1)
    assert isinstance(await store.append("counting/names-s", [new], version), Committed)
    store.close()


def test_a_state_that_was_read_before_another_call_went_on_does_not_take_the_place_of_the_newer_one(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        names = streams(parts)
        call("first")
        add(names, "first", "a")
        real, began, goes_on = parts.store.read, asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **named: Any) -> Any:
            page = await real(*arguments, **named)
            began.set()
            await goes_on.wait()
            return page

        def read() -> object:
            parts.store.read = slow  # type: ignore[method-assign]
            return names.load("s").seen

        def write() -> object:
            wait(began.wait())
            parts.store.read = real  # type: ignore[method-assign]
            written = add(names, "second", "b")
            goes_on.set()
            return written

        together(read, write)
        assert names.known("s").seen == ("a", "b")

    on_parts(tmp_path, test)
