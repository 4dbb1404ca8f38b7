"""Sixteen writers go on while Cassandra is cut off; then all is compared with a record kept outside of it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.store import ANY, Committed, Undecided
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.store import event
from tests.engines.test_cassandra_store import LOGS, opened
from tests.faults.engines.record import compare
from tests.helpers.line import Wire

WRITERS = 16
STREAMS = [f"s{number}" for number in range(12)]
LIMIT_S = 100


class Load:
    """Writers on two processes' stores, and what they were told: kept here, and nowhere in the system."""

    def __init__(self, stores: list[DistributedEventStore]) -> None:
        self.stores = stores
        self.told: dict[str, tuple[str, int]] = {}
        self._stopping = False
        self._writers = [asyncio.ensure_future(self._write(number)) for number in range(WRITERS)]

    async def _write(self, number: int) -> None:
        chance, count = random.Random(number), 0
        while not self._stopping:
            stream, name = chance.choice(STREAMS), f"w{number}-{count}"
            outcome = await self.stores[number % 2].append(stream, [event(name)], ANY)
            assert isinstance(outcome, Committed) and not outcome.again
            self.told[name] = (stream, outcome.first)
            count += 1

    async def more(self, appends: int = 80) -> None:
        """Waits until so many more were acknowledged."""
        wanted = len(self.told) + appends
        await until(lambda: len(self.told) >= wanted or any(writer.done() for writer in self._writers))
        for writer in self._writers:
            if writer.done():
                writer.result()

    async def end(self) -> None:
        """Every append that was begun is decided, and in the log."""
        self._stopping = True
        await asyncio.gather(*self._writers)
        for store in self.stores:
            await store.writer.settled()


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.02)


@asynccontextmanager
async def load(where: Place) -> AsyncIterator[Load]:
    async with opened(where) as one, opened(where) as two:
        yield Load([one, two])


@pytest.mark.timeout(LIMIT_S + 60)
def test_cut_off_for_longer_than_every_timeout_what_was_on_its_way_is_decided_once(engines: EngineProcesses) -> None:
    keyspace = "t" + uuid.uuid4().hex[:20]

    async def test() -> None:
        await migrate(Place(engines.cassandra.address, keyspace))
        wire = Wire(engines.cassandra.address)
        where = Place(await wire.listen(), keyspace, answer_s=1)
        async with load(where) as writing:
            await writing.more()
            wire.hold()
            # Longer than an answer may take, and than a writer may be silent before it is held to be gone.
            with pytest.raises(Undecided, match="retry with the same request id"):
                await writing.stores[0].append(STREAMS[0], [event("on-its-way")], ANY, timeout_s=5)
            wire.mend()
            outcome = await writing.stores[1].append(STREAMS[0], [event("on-its-way")], ANY)
            assert isinstance(outcome, Committed)
            writing.told["on-its-way"] = (STREAMS[0], outcome.first)
            await writing.more()
            await writing.end()
            await compare(writing.told, writing.stores[0], LOGS[keyspace].records)
        await wire.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
