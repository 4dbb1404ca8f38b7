"""One history in the simulated world: clients, processes that sleep and die, a reader; and what must be so at its end."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from citybrain.event_store.distributed.adoption import Adopter
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.distributed.reading import GroupReader
from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, Undecided
from tests.distributed.world import DrivenLoop, Log, Process, Store, Weather

LONGEST_S = 20_000.0
LONGEST = 100_000
PROCESSES = 3
STEPS = (
    "bucket", "is_closed", "open", "rows", "versions", "publish", "put_marks", "mark", "opened", "forget", "change_fence",
    "remove",
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The code that is run: what ships, or with a defect planted in it."""

    writer: type[Writer] = Writer
    adopter: type[Adopter] = Adopter
    process: type[Process] = Process
    store: type[Store] = Store
    reader: Callable[[History], Reader] = lambda history: Reader(history)
    streams: type[BucketedStreams] = BucketedStreams
    # A client that tries again under new ids.
    new_ids: bool = False
    # Where the search for what is wrong begins: not far before the first seed that was known to find it.
    first_seed: int = 0


@dataclass
class Told:
    """What the last try of an append told its client."""

    stream: str
    ids: list[str]
    outcome: Committed | Conflict | None = None


class Member:
    """A process with its writer and its adopter."""

    def __init__(self, history: History) -> None:
        parts = history.parts
        self.ports = parts.process(history.store, history.log, history.weather(), lambda: history.died(self))
        ids = history.ids
        self.writer = parts.writer(
            self.ports,
            self.ports,
            self.ports,
            lambda: f"w{next(ids):06}",
            bucket_events=history.bucket_events,
            openings_max=history.openings_max,
        )
        self.adopter = parts.adopter(
            self.ports,
            self.ports,
            self.writer.streams,
            self.writer.publisher,
            lambda: f"f{next(ids):06}",
            lambda: self.writer.ids,
            history.gone_s,
        )
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self.writer.run()), loop.create_task(self.adopter.run())]
        self.dead = asyncio.Event()

    def kill(self) -> None:
        """SIGKILL."""
        self.ports.kill()
        self.dead.set()


@dataclass
class Reader:
    """A consumer with a checkpoint: handles each record, then says how far it has come; it is killed now and then."""

    history: History
    handled: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    position: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    gaps: int = 0

    async def run(self) -> None:
        """One life after the other."""
        history = self.history
        calm = Weather(Random(0), 0)
        ports = Process(history.store, history.log, calm)
        while True:
            publisher = Publisher(BucketedStreams(ports, ports, history.bucket_events), ports)
            reader = GroupReader(history.log, publisher, self, "reader")  # type: ignore[arg-type]
            position = self.position
            for _ in range(history.random.randrange(1, 40)):
                await history.log.grown(position)
                page = await reader.read_log(position, 1, ["t"])
                position = page.reached
                if not page.events:
                    # Where much came twice, a reader that lives shortly would never get past it.
                    self.save(position, reader)
                for event in page.events:
                    if not await self.take(position, reader, [event.id], event.stream):
                        break
                else:
                    continue
                break
            self.gaps += reader.gaps

    async def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        """What stands with the checkpoint."""
        return {stream: self.kept[stream] for stream in streams if stream in self.kept}

    async def take(self, position: int, reader: GroupReader, ids: Sequence[str], stream: str) -> bool:
        """Handles what a record brought, then the checkpoint; False: it was killed in between."""
        if self.is_killed():
            return False
        self.handle(stream, ids)
        if self.is_killed():
            return False
        self.save(position, reader)
        return True

    def is_killed(self) -> bool:
        return self.history.stormy and self.history.random.random() < 0.05

    def handle(self, stream: str, ids: Sequence[str]) -> None:
        """The effect, once for each id: a second time writes nothing new."""
        self.handled[stream] += [one for one in ids if one not in self.handled[stream]]

    def save(self, position: int, reader: GroupReader) -> None:
        self.kept |= reader.seen(position)
        self.position = position


class Looker:
    """Somebody who reads whole streams, and falls asleep between two pages. What is read was so at a moment of the reading."""

    def __init__(self, history: History) -> None:
        self._history = history
        # Draws of its own: the histories of writers stay what they are without it.
        self._random = Random(f"{history.seed} looks")
        weather = Weather(self._random, history.badness, {"rows": 0.3, "bucket": 0.3})
        history.weathers.append(weather)
        self._ports = Process(history.store, history.log, weather)
        self._streams = history.parts.streams(self._ports, self._ports, history.bucket_events)

    async def run(self) -> None:
        """One read after the other."""
        history = self._history
        while True:
            stream = self._random.choice(history.streams)
            before = [event.id for event in history.store.whole(stream)]
            read = [event.id for event in (await self._streams.read(stream, 1, LONGEST))[0]]
            after = [event.id for event in history.store.whole(stream)]
            if not (read[: len(before)] == before and after[: len(read)] == read):
                history.wrong.append(f"{stream} was {before}, then {after}; read in between: {read}")
            await asyncio.sleep(self._random.choice([0.01, 0.5, 3]))


class History:
    """A seed's history; `run()` raises AssertionError with what is wrong at its end."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        self.seed = seed
        self.parts = parts or Parts()
        self.random = Random(seed)
        self.store = self.parts.store()
        self.log = Log()
        # Some histories are bad everywhere; in some, a few processes sleep or die at one step of all.
        self.badness = self.random.choice([0.0, 0.3, 2.0])
        self.aims = self._aims()
        self.weathers: list[Weather] = []
        self.bucket_events = self.random.choice([2, 3, 5, 1000])
        self.streams = [f"s{number}" for number in range(self.random.choice([1, 4, 20]))]
        # In some, writers have new ids all the time, and what one had open cannot be read where it had more.
        self.openings_max = self.store.readable = Random(f"{seed} openings").choice([1, 3, 2000])
        # In some, the log refuses now and then, or mostly.
        self.refusals = Random(f"{seed} refusals").choice([0.0, 0.02, 0.5])
        # In some, writers that are closed are forgotten at once; never so in others.
        self.gone_s = self.random.choice([0.0, 2.0, 3600.0])
        self.ids = itertools.count(1)
        self.told: list[Told] = []
        self.stormy = True
        # What was wrong on the way.
        self.wrong: list[str] = []

    def _aims(self) -> dict[str, float]:
        aims = {self.random.choice(STEPS): self.random.choice([0.1, 0.5])}
        return {"append": self.random.choice([0.0, 0.1, 0.5]), "late forget": self.random.choice([0.0, 0.5]), **aims}

    def weather(self) -> Weather:
        """Of a process that is new."""
        is_victim = self.stormy and self.random.random() < 0.4
        self.weathers.append(Weather(self.random, self.badness, dict(self.aims) if is_victim else {}, self.refusals))
        if not self.stormy:
            self.weathers[-1].badness = self.weathers[-1].refusals = 0
        return self.weathers[-1]

    def run(self) -> None:
        loop = DrivenLoop()
        try:
            loop.run_until_complete(asyncio.wait_for(self._live(), LONGEST_S))
        finally:
            _end(loop)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        self.members = [Member(self) for _ in range(PROCESSES)]
        self.reader = self.parts.reader(self)
        looker = Looker(self)
        going_on = [loop.create_task(work) for work in (self._trouble(), self.reader.run(), looker.run())]
        await asyncio.gather(*(self._client(number) for number in range(3)))
        # The storm is over: all that is needed for the truth to come out is time.
        self.stormy = False
        going_on[0].cancel()
        for weather in self.weathers:
            weather.badness = weather.refusals = 0
            weather.aims.clear()
        for member in self.members:
            member.ports.resume()
        await asyncio.sleep(60)
        for member in self.members:
            await member.writer.settled()
        await asyncio.sleep(60)
        self._judge()

    # -- who does what --------------------------------------------------------------------------------------------------

    async def _client(self, number: int) -> None:
        """Appends one after the other, each until it is decided, from whichever process there is."""
        heads: dict[str, int] = {}
        for turn in range(self.random.randrange(3, 12)):
            stream = self.random.choice(self.streams)
            told = Told(stream, [f"c{number}-{turn}-{n}" for n in range(self.random.choice([1, 1, 2, 4]))])
            self.told.append(told)
            expected = self.random.choice([ANY, heads.get(stream, 0)])
            tries = itertools.count()
            while told.outcome is None:
                trial = next(tries)
                ids = [f"{one}+{trial}" for one in told.ids] if self.parts.new_ids else told.ids
                told.outcome = await self._append(number, stream, ids, expected)
                if told.outcome is None and self.random.random() < 0.3:
                    # The client has gone too: nobody will ever ask again.
                    break
            if isinstance(told.outcome, Committed):
                heads[stream] = told.outcome.last
            elif told.outcome is not None:
                heads[stream] = told.outcome.actual
            await asyncio.sleep(self.random.choice([0, 0.01, 1, 8]))

    async def _append(self, number: int, stream: str, ids: Sequence[str], expected: int) -> Committed | Conflict | None:
        # Mostly from the same process, as a caller with an open connection.
        member = self.random.choice([*self.members, *[self.members[number % PROCESSES]] * 4])
        events = [NewEvent(id=one, type="t", data=b"", occurred_at=0) for one in ids]
        asking = asyncio.ensure_future(member.writer.append(stream, events, expected, self.random.choice([0.05, 1.0, 30.0])))
        dying = asyncio.ensure_future(member.dead.wait())
        await asyncio.wait([asking, dying], return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not asking.done():
            asking.cancel()
            return None
        try:
            return asking.result()
        except Undecided:
            return None

    def died(self, member: Member) -> None:
        """A process ends in the middle of something, and another one comes in its place."""
        if self.stormy and member in self.members:
            member.kill()
            self.members[self.members.index(member)] = Member(self)

    async def _trouble(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(0.5))
            number = self.random.randrange(PROCESSES)
            member = self.members[number]
            if self.random.random() < 0.4:
                self.died(member)
            else:
                member.ports.pause()
                await asyncio.sleep(self.random.choice([0.1, 2, 6, 15]))
                member.ports.resume()

    # -- what must be so ------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        assert not self.wrong, self.wrong[0]
        first_seen: dict[str, list[int]] = defaultdict(list)
        for record in self.log.records:
            if record.version not in first_seen[record.stream]:
                first_seen[record.stream].append(record.version)
        for stream in self.streams:
            events = self.store.whole(stream)
            ids = [event.id for event in events]
            versions = list(range(1, len(events) + 1))
            assert [event.version for event in events] == versions, f"{stream} has versions {[e.version for e in events]}"
            assert len(set(ids)) == len(ids), f"{stream} holds an id twice: {ids}"
            assert first_seen[stream] == versions, f"{stream} has {versions}, and the log {first_seen[stream]}"
            assert self.reader.handled[stream] == ids, f"{stream} has {ids}; handled {self.reader.handled[stream]}"
        assert self.reader.gaps == 0, "the log left something out"
        for told in self.told:
            self._judge_told(told, {event.id: event.version for event in self.store.whole(told.stream)})

    def _judge_told(self, told: Told, there: dict[str, int]) -> None:
        if isinstance(told.outcome, Committed):
            found = [there.get(one) for one in told.ids] if not self.parts.new_ids else None
            expected = list(range(told.outcome.first, told.outcome.last + 1))
            assert found is None or found == expected, f"{told} was acknowledged, and stands at {found}"
        elif isinstance(told.outcome, Conflict) and not self.parts.new_ids:
            assert not any(one in there for one in told.ids), f"{told}: a conflict with its own write"
        if self.parts.new_ids:
            copies = [one for one in there if one.partition("+")[0] in told.ids]
            assert len(copies) <= len(told.ids), f"{told} was written more than once: {copies}"


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what still goes on, whatever it waits for, and what that begins at its end."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.close()
