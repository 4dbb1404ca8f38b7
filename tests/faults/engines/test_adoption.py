"""What a dead writer left reaches the log, whatever stands in the way of its adoption: a log that is away, too much to read."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.interfaces import Batch, Opening, TimedOut
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.distributed.verifying import verify
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import ANY, StoredEvent, StoreError
from citybrain.event_store.watch import Watch
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.store import event
from tests.engines.strict import TOMBSTONES
from tests.faults.engines.test_stopped_writer import everything

LIMIT_S = 100
pytestmark = pytest.mark.timeout(LIMIT_S + 60)


@dataclass
class Here:
    """A process's store with its parts."""

    store: DistributedEventStore
    tables: CassandraTables
    log: KafkaLog

    async def append(self, *streams: str) -> None:
        """An event in each stream, its id the stream's name."""
        await asyncio.gather(*(self.store.append(stream, [event(stream)], ANY) for stream in streams))

    def hold(self) -> None:
        """From now on it publishes nothing: as where its process is killed before it can."""

        async def publish(event: StoredEvent) -> None:
            await asyncio.Event().wait()

        self.log.publish = publish  # type: ignore[method-assign]

    def die(self) -> None:
        """As where its process is killed: nothing of it goes on."""
        for task in (*self.store._tasks, *self.store.writer._tasks):
            task.cancel()


class Stage:
    """A keyspace and topics of one test, with processes that share them."""

    def __init__(self, engines: EngineProcesses, prefix: str) -> None:
        self.engines = engines
        self.where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20])
        # It takes Kafka for away ten times sooner than is usual.
        self.cluster = Cluster(engines.kafka.address, prefix=prefix, answer_s=1.0)

    @asynccontextmanager
    async def process(self, services: Sequence[str], openings_max: int = 2000) -> AsyncIterator[Here]:
        """One that knows the log of some services."""
        watch = Watch()
        asked = await Asked.open(self.where)
        tables = await CassandraTables.on(asked, self.where.keyspace)
        log = await KafkaLog.open(self.cluster, services, watch)
        store = DistributedEventStore(tables, log, openings_max=openings_max, watch=watch)
        try:
            yield Here(store, tables, log)
        finally:
            await store.leave()
            store.close()
            log.close()
            asked.close()

    def play(self, test: Callable[[], Awaitable[None]]) -> None:
        """Runs a test within its time."""

        async def run() -> None:
            await migrate(self.where)
            await asyncio.wait_for(test(), LIMIT_S)

        try:
            asyncio.run(run())
        finally:
            self.engines.kafka.resume()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():
        await asyncio.sleep(0.05)


async def in_log(here: Here) -> list[str]:
    return [record.id for record in await everything(here.log)]


def test_who_adopts_goes_on_when_kafka_was_away_for_longer_than_it_was_asked(engines: EngineProcesses, prefix: str) -> None:
    stage = Stage(engines, prefix)

    async def test() -> None:
        # Of another service: it does not know the topics of the one that is killed.
        async with stage.process(["health"]) as dead, stage.process(["traffic"]) as other:
            await dead.append("health/first")
            await dead.store.writer.settled()
            dead.hold()
            await dead.append("health/second")
            dead.die()
            engines.kafka.pause()

            async def is_told() -> bool:
                return f"adopting writer {dead.store.writer.id} failed" in other.store.unwell()

            await until(is_told)
            engines.kafka.resume()

            async def is_there() -> bool:
                return await in_log(dead) == ["health/first", "health/second"]

            await until(is_there)

            async def is_well() -> bool:
                return not other.store.unwell() and not await other.tables.opened(dead.store.writer.id)

            await until(is_well)
            await other.store.writable()

    stage.play(test)


def test_a_writer_is_adopted_however_many_streams_it_had_open_and_let_go(engines: EngineProcesses, prefix: str) -> None:
    stage = Stage(engines, prefix)
    streams = [f"health/{number}" for number in range(TOMBSTONES + 100)]

    async def test() -> None:
        async with stage.process(["health"], openings_max=TOMBSTONES // 2) as dead, stage.process(["traffic"]) as other:
            for first in range(0, len(streams), 64):
                await dead.append(*streams[first : first + 64])

            async def is_idle() -> bool:
                # What it had let go under ids that it had before is gone, and so are they.
                return not dead.store.writer._open and len(dead.store.writer.ids) == 1

            await until(is_idle)
            dead.hold()
            await dead.append("health/last")
            dead.die()

            async def is_there() -> bool:
                return "health/last" in await in_log(other)

            await other.log.know_services({"health"})
            await until(is_there)
            assert not other.store.unwell()

    stage.play(test)


def test_what_cannot_be_adopted_is_told_holds_up_no_other_and_is_found_and_published_by_verify(
    engines: EngineProcesses, prefix: str
) -> None:
    stage = Stage(engines, prefix)

    async def test() -> None:
        async with stage.process(["health"]) as dead, stage.process(["health"]) as sick, stage.process(["traffic"]) as other:
            await dead.append("health/a")
            await sick.append("health/b")
            await asyncio.gather(*(here.store.writer.settled() for here in (dead, sick)))
            # As a release before did: more than can be read, all under one id.
            name = sick.store.writer.id
            for number in range(1000, 1000 + TOMBSTONES + 100):
                await sick.tables.open(name, Opening("health/x", number))
                await sick.tables.forget(name, Opening("health/x", number))
            with pytest.raises(TimedOut, match="TOMBSTONES"):
                await sick.tables.opened(name)
            for here, stream in ((sick, "health/held up"), (dead, "health/left")):
                here.hold()
                await here.append(stream)
                here.die()
            await other.log.know_services({"health"})

            async def is_there() -> bool:
                return "health/left" in await in_log(other)

            await until(is_there)
            assert "health/held up" not in await in_log(other)

            async def is_told() -> bool:
                return f"adopting writer {name} failed" in other.store.unwell() and "TOMBSTONES" in other.store.unwell()

            await until(is_told)

            # Nobody knows any more that this was not published: as if its adopter had ended without a word.
            lost = event("lost")
            await other.append("health/c")
            await other.store.writer.settled()
            tail = await other.store.streams.tail("health/c")
            (row,) = await other.store.read("health/c")
            batch = Batch("health/c", tail.bucket, tail.head, tail.fence, (row._replace(id=lost.id, version=2),))
            assert await other.tables.append(batch)
            publisher = other.store.writer.publisher
            found = await verify(other.tables.names(), other.log, publisher)
            assert [(one.stream, one.coming) for one in found.differing] == [("health/c", 1), ("health/held up", 1)]
            found = await verify(other.tables.names(), other.log, publisher, repair=True)
            assert found.published == 2
            assert (await verify(other.tables.names(), other.log, publisher)).differing == []
            assert {"lost", "health/held up"} <= set(await in_log(other))

    stage.play(test)


def test_what_kafka_does_not_take_holds_up_its_own_stream_and_is_told_until_it_does(
    engines: EngineProcesses, prefix: str
) -> None:
    stage = Stage(engines, prefix)

    async def test() -> None:
        async with stage.process(["health"]) as here:
            honest = here.log.publish
            refused = asyncio.Event()

            async def refuses(event: StoredEvent) -> None:
                if event.stream == "health/odd" and not refused.is_set():
                    raise ValueError("what it holds is not told")
                await honest(event)

            here.log.publish = refuses  # type: ignore[method-assign]
            await here.append("health/odd")
            await here.append("health/even")

            async def is_there() -> bool:
                return await in_log(here) == ["health/even"]

            await until(is_there)
            with pytest.raises(StoreError, match=r"publishing health/odd failed, and is tried again: ValueError") as told:
                await here.store.writable()
            assert "what it holds" not in str(told.value)
            refused.set()
            await here.store.writer.settled()
            await here.store.writable()
            assert sorted(await in_log(here)) == ["health/even", "health/odd"]

    stage.play(test)


# What must live, by its name, and what of it is broken here.
VITAL: dict[str, Callable[[Here], tuple[object, str]]] = {
    "looking after other writers": lambda here: (here.store.adopter, "look"),
    "the beat of this writer": lambda here: (here.store.writer, "_beat"),
    "marking what is in the log": lambda here: (here.tables, "put_marks"),
    "following Kafka": lambda here: (here.log._readers, "_follow"),
    "sending to Kafka": lambda here: (here.log._sender, "_hand_over"),
}


def test_what_must_live_is_begun_again_when_it_ends_and_the_process_takes_no_calls_meanwhile(
    engines: EngineProcesses, prefix: str
) -> None:
    stage = Stage(engines, prefix)

    async def test() -> None:
        async with stage.process(["health"]) as here:
            await here.append("health/first")
            await here.store.writer.settled()
            there = ["health/first"]
            assert await in_log(here) == there
            for name, part in VITAL.items():
                broken, method = part(here)
                honest, mended = getattr(broken, method), threading.Event()

                def fails(
                    *arguments: object, honest: Callable[..., object] = honest, mended: threading.Event = mended
                ) -> object:  # fmt: skip
                    if not mended.is_set():
                        raise LookupError("a defect")
                    return honest(*arguments)

                setattr(broken, method, fails)
                stream = f"health/{method}"
                await here.append(stream)
                there.append(stream)

                async def is_told(name: str = name) -> bool:
                    try:
                        await here.store.writable()
                    except StoreError as error:
                        return f"{name} failed, and is tried again: LookupError" in str(error)
                    return False

                await until(is_told)
                mended.set()
                await here.store.writer.settled()

                async def is_well(there: Sequence[str] = tuple(there)) -> bool:
                    with contextlib.suppress(StoreError):
                        await here.store.writable()
                        return sorted(set(await in_log(here))) == sorted(there)
                    return False

                await until(is_well)

    stage.play(test)
