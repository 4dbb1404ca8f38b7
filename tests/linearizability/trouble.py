"""A seed's histories: processes of clients that are stopped, killed and started anew, and engines that stand still."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from citybrain.event_store.store import EventStore
from tests.helpers.speaking import Speaking
from tests.linearizability.checker import NotLinearizable, check
from tests.linearizability.client_process import Clients, now
from tests.linearizability.clients import Client
from tests.linearizability.model import Operation, Place
from tests.linearizability.places import AnyPlace, Slow
from tests.linearizability.record import Record, places

WRITERS = Clients("w", writers=3)
# So slow that between two questions of one read much is written, and just where the end of the stream was a moment ago.
READERS = Clients("r", readers=8, slow=Slow(0.02, 1.0, 0.5))
FOLLOWERS = Clients("f", readers=2, follows=True)
PROCESSES = (WRITERS, WRITERS, READERS, FOLLOWERS)


class Pausable(Protocol):
    """An engine's process."""

    def pause(self) -> None:
        """SIGSTOP."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...


@dataclass
class Histories:
    """What came of a seed: `judge()` says what is wrong with it."""

    record: Record
    # What each stream holds; read again when nobody hears any more: what was heard had been there.
    streams: dict[str, list[Place]]
    # Processes with followers that lived to the end.
    living: Sequence[str]

    @property
    def operations(self) -> dict[str, list[Operation]]:
        """Of each stream."""
        return self.record.histories()

    def judge(self) -> None:
        """Raises AssertionError with all that is wrong."""
        wrong = []
        for stream, operations in sorted(self.operations.items()):
            try:
                check(operations, stream)
            except NotLinearizable as error:
                wrong.append(str(error))
        for who, heard in self.record.heard.items():
            for stream, some in heard.items():
                if some != (wanted := self.streams[stream][: len(some)]):
                    wrong.append(f"{who} heard of {stream} {some}; it holds {wanted}")
        assert not wrong, f"{len(wrong)} of {len(self.operations)} histories are wrong:\n" + "\n".join(wrong)

    def missing(self) -> dict[str, list[str]]:
        """Who of those that live has not heard which streams to their end."""
        found: dict[str, list[str]] = {}
        for process in self.living:
            for way in ("correlated", "log"):
                heard: dict[str, int] = defaultdict(int)
                for who, streams in self.record.heard.items():
                    if who.startswith(f"{process}.{way}"):
                        heard |= {stream: len(some) for stream, some in streams.items()}
                late = [stream for stream, whole in self.streams.items() if heard[stream] < len(whole)]
                found |= {f"{process}.{way}": late} if late else {}
        return found


class Trouble:
    """`await Trouble(…).run()`: so many misfortunes, in an order and at moments that the seed says."""

    def __init__(self, place: AnyPlace, seed: int, rounds: int, engines: Sequence[Pausable] = (), limit_s: float = 60) -> None:
        """`limit_s`: how long what was acknowledged may take to be heard by all who listen."""
        self._place = place
        self._seed = seed
        self._chance = Random(seed)
        self._rounds = rounds
        self._engines = engines
        self._limit_s = limit_s
        self._record = Record()
        self._living: list[tuple[Clients, Speaking]] = []
        self._started = 0

    async def run(self) -> Histories:
        """What came of it."""
        sys.stdout.write(f"seed {self._seed}, {self._rounds} misfortunes: ")
        try:
            await asyncio.gather(*(self._start(clients) for clients in PROCESSES))
            await asyncio.gather(*(process.ready() for _, process in self._living))
            for _ in range(self._rounds):
                await self._record.more(self._chance.randrange(30, 120))
                await self._happens()
            await asyncio.gather(*(process.ready() for _, process in self._living))
            await self._record.more(60)
            writing = [process for clients, process in self._living if clients.writers]
            # One in the middle of its work: nobody asks again for what it was told nothing of.
            await writing.pop().kill()
            await asyncio.gather(*(process.stop() for process in writing))
            living = [clients.name for clients, _ in self._living if clients.follows]
            async with self._place.opened(Random(0), Slow()) as store:
                histories = await self._read_all(store, living)
                await self._heard_by_all(histories)
                await asyncio.gather(*(process.stop() for clients, process in self._living if not clients.writers))
                histories.streams = await self._kept(store)
        finally:
            await asyncio.gather(*(process.kill() for _, process in self._living))
        operations = sum(map(len, histories.operations.values()))
        sys.stdout.write(f"{len(histories.operations)} histories of {operations} operations\n")
        return histories

    async def _start(self, clients: Clients) -> None:
        name = f"{clients.name[0]}{self._started}"
        self._started += 1
        clients = replace(clients, name=name, seed=f"{self._seed} {name}")
        process = await Speaking.spawn("tests.linearizability.client_process", [clients.told_as(self._place)])
        self._living.append((clients, Speaking(process, self._record.hear, self._fail)))

    def _fail(self, wrong: str) -> None:
        self._record.wrong = wrong

    async def _happens(self) -> None:
        chance = self._chance
        if self._engines and chance.random() < 0.3:
            # A process that finds no engine when it begins ends with an error.
            await asyncio.gather(*(process.ready() for _, process in self._living))
            engine = chance.choice(self._engines)
            engine.pause()
            try:
                await asyncio.sleep(chance.uniform(1, 3))
            finally:
                engine.resume()
            return
        victim = chance.choice(self._living)
        clients, process = victim
        await process.ready()
        if chance.random() < 0.6:
            process.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(chance.choice([0.1, 0.5, 2]))
            finally:
                process.signal(signal.SIGCONT)
        else:
            await process.kill()
            self._living.remove(victim)
            await self._start(replace(clients, again=self._record.unfinished(clients.name)))

    async def _read_all(self, store: EventStore, living: Sequence[str]) -> Histories:
        """Reads every stream in all ways, with a store that has seen nothing yet."""
        client = Client(store, "end.0", Random(0), self._record.hear, now)
        for stream in sorted(self._record.histories()):
            await client.read_all_ways(stream)
        return Histories(self._record, await self._kept(store), living)

    async def _kept(self, store: EventStore) -> dict[str, list[Place]]:
        streams = self._record.histories()
        return {stream: list(places(await store.read(stream, limit=1_000_000))) for stream in streams}

    async def _heard_by_all(self, histories: Histories) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                while histories.missing():
                    assert not self._record.wrong, self._record.wrong
                    await asyncio.sleep(0.02)
        except TimeoutError:
            # What it has heard wrongly is told first.
            histories.judge()
            raise AssertionError(f"not heard to the end: {histories.missing()}") from None


def judged(place: AnyPlace, seed: int, rounds: int, engines: Sequence[Pausable] = (), limit_s: float = 60) -> Histories:
    """Lives through a seed and judges it."""
    histories = asyncio.run(Trouble(place, seed, rounds, engines, limit_s).run())
    histories.judge()
    return histories
