"""Three races that chance finds too seldom, played by hand: once with the code that ships, once with the defect they show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from typing_extensions import override

from citybrain.event_store.distributed.adoption import Adopter
from citybrain.event_store.distributed.interfaces import Batch, Opening, TimedOut
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import ANY, NewEvent, StoreError
from citybrain.event_store.watch import Watch
from tests.distributed.history import _end
from tests.distributed.planted import LooksBeforeTheFence, OneOpeningForAll, TakesSilenceForOpen
from tests.distributed.world import DrivenLoop, Log, Process, Store, Weather

T = TypeVar("T")
STREAM = "s"


class Victim(Process):
    """A process to which something is done at its next operation of some name."""

    def __init__(self, store: Store, log: Log) -> None:
        super().__init__(store, log, Weather(Random(1), 0))
        self.at: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}

    @override
    async def _do(self, operation: str, work: Callable[[], T]) -> T:
        if action := self.at.pop(operation, None):
            await action()
        return await super()._do(operation, work)

    @override
    async def append(self, batch: Batch) -> bool:
        """Dies with its append applied, if that is what is to be done."""
        if action := self.at.pop("append", None):
            self._store.append(batch)
            await action()
        return await super().append(batch)

    async def sleep_through_its_adoption(self) -> None:
        self.pause()
        await asyncio.sleep(20)
        self.resume()

    async def end_here(self) -> None:
        self.kill()


class Stage:
    """A victim that writes, and somebody who looks after what it leaves."""

    def __init__(self, writer: type[Writer], store: Store) -> None:
        self.store, self.log = store, Log()
        self.victim = Victim(self.store, self.log)
        self.writer = self._member(self.victim, "w", writer)
        self._member(Process(self.store, self.log, Weather(Random(2), 0)), "o", Writer)

    def _member(self, ports: Process, name: str, kind: type[Writer]) -> Writer:
        loop = asyncio.get_running_loop()
        numbers = iter(range(1000))
        writer = kind(ports, ports, ports, lambda: f"{name}{next(numbers)}")
        adopter = Adopter(
            ports,
            ports,
            writer.streams,
            writer.publisher,
            lambda: f"{name}-fence-{next(numbers)}",
            lambda: writer.ids,
            # Who sleeps through its adoption is forgotten too.
            gone_s=5,
        )
        self.tasks = [*getattr(self, "tasks", []), loop.create_task(writer.run()), loop.create_task(adopter.run())]
        return writer

    def begin_append(self, event: str) -> asyncio.Task[Any]:
        new = NewEvent(id=event, type="t", data=b"", occurred_at=0)
        return asyncio.get_running_loop().create_task(self.writer.append(STREAM, [new], ANY))

    def in_stream(self) -> list[str]:
        return [event.id for event in self.store.whole(STREAM)]

    def in_log(self) -> list[str]:
        return list(dict.fromkeys(record.id for record in self.log.records))


def played(play: Callable[[Stage], Coroutine[Any, Any, None]], writer: type[Writer], store: type[Store]) -> Stage:
    loop = DrivenLoop()
    stages: list[Stage] = []

    async def run() -> None:
        stages.append(Stage(writer, store()))
        await play(stages[0])
        await asyncio.sleep(60)

    try:
        loop.run_until_complete(run())
    finally:
        _end(loop)
    return stages[0]


async def asleep_before_it_reads_the_fence(stage: Stage) -> None:
    stage.victim.at = {"bucket": stage.victim.sleep_through_its_adoption, "append": stage.victim.end_here}
    stage.begin_append("e1")


async def asleep_until_it_is_forgotten(stage: Stage) -> None:
    async def its_beat_comes_first() -> None:
        while stage.writer.id not in stage.store.writers:
            await asyncio.sleep(0.01)

    await asleep_before_it_reads_the_fence(stage)
    stage.victim.at["is_closed"] = its_beat_comes_first


async def a_deletion_that_comes_when_the_stream_is_open_again(stage: Stage) -> None:
    await stage.begin_append("e1")
    late: list[asyncio.Task[None]] = []

    async def deletion_is_late() -> None:
        (opening,) = stage.store.openings[stage.writer.id]

        async def later(writer: str) -> None:
            await asyncio.sleep(6)
            stage.store.forget(writer, opening)

        late.append(asyncio.ensure_future(later(stage.writer.id)))
        raise TimedOut("no answer")

    stage.victim.at = {"forget": deletion_is_late}
    await asyncio.sleep(10)
    assert late
    # Open again; on its way to the store for so long that the late deletion comes before it, and then nobody is left.

    async def slow_and_then_dead() -> None:
        await late[0]
        stage.victim.kill()

    stage.victim.at = {"append": slow_and_then_dead}
    stage.begin_append("e2")


PLAYS = [
    (asleep_before_it_reads_the_fence, LooksBeforeTheFence, Store, ["e1"]),
    (asleep_until_it_is_forgotten, Writer, TakesSilenceForOpen, ["e1"]),
    (a_deletion_that_comes_when_the_stream_is_open_again, Writer, OneOpeningForAll, ["e1", "e2"]),
]


@pytest.mark.parametrize(
    ("play", "writer", "store", "events"),
    PLAYS,
    ids=[play[0].__name__ for play in PLAYS],
)
def test_what_was_written_reaches_the_log_and_with_the_defect_it_does_not(
    play: Callable[[Stage], Coroutine[Any, Any, None]], writer: type[Writer], store: type[Store], events: list[str]
) -> None:
    stage = played(play, Writer, Store)
    assert stage.in_stream() == stage.in_log() == events
    defective = played(play, writer, store)
    assert defective.in_stream() == events
    assert defective.in_log() != events


def test_a_process_whose_append_takes_long_beats_on_and_is_not_taken_for_dead() -> None:
    async def slow(stage: Stage) -> None:
        async def takes_long() -> None:
            await asyncio.sleep(20)

        stage.victim.at = {"bucket": takes_long}
        await stage.begin_append("e1")
        assert stage.writer.id == "w0" and not stage.store.is_closed("w0")

    assert played(slow, Writer, Store).in_log() == ["e1"]


def test_a_writer_that_could_not_be_adopted_and_is_forgotten_by_others_is_told_no_more() -> None:
    class CannotRead(Process):
        @override
        async def opened(self, writer: str) -> list[Opening]:
            raise StoreError("it cannot be read")

    async def run() -> list[list[str]]:
        store, watch = Store(), Watch()
        ports = CannotRead(store, Log(), Weather(Random(3), 0))
        writer = Writer(ports, ports, ports, lambda: "w")
        adopter = Adopter(ports, ports, writer.streams, writer.publisher, lambda: "f", lambda: [], watch=watch)
        store.close("dead")
        found = []
        for _ in range(2):
            await adopter.look()
            await asyncio.sleep(5)
            found.append(watch.troubles(stops=False))
            store.remove("dead")
        return found

    loop = DrivenLoop()
    try:
        told, later = loop.run_until_complete(run())
    finally:
        _end(loop)
    assert told == ["adopting writer dead failed, and is tried again: it cannot be read"]
    assert later == []
