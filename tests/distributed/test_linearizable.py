"""What the distributed engine tells its callers comes from one list, in the simulated world; defects in its reads are found."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from types import MethodType
from typing import Any

import pytest
from typing_extensions import override

from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import ANY, NewEvent
from tests.distributed.history import History, Member, Parts, _end
from tests.distributed.planted import LeavesABucketThatIsNotFull, LooksForIdsInTheTailOnly
from tests.distributed.world import DrivenLoop, Log, Process, Store, Weather
from tests.linearizability.checker import NotLinearizable, check
from tests.linearizability.clients import Client
from tests.linearizability.model import Append, Operation, Read
from tests.linearizability.record import Record, begin, end, places

SEEDS = 30
BLOCK = 15
# What a defect may cost to find.
ENOUGH = 100


class Simulated(DistributedEventStore):
    """The store of a member, without a life of its own. Who asks a member that dies is told nothing."""

    def __init__(self, member: Member) -> None:
        self.writer, self.streams, self._tables = member.writer, member.writer.streams, member.ports
        self._closed = False
        self.dead = member.dead


class Caller(Client):
    """A client in the simulated world, whose process may die."""

    @override
    async def _ask(self, *arguments: Any) -> Any:
        assert isinstance(self._store, Simulated)
        asking = asyncio.ensure_future(super()._ask(*arguments))
        dying = asyncio.ensure_future(self._store.dead.wait())
        await asyncio.wait([asking, dying], return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        return None

    def lives_on(self, member: Member) -> None:
        """Asks another process from now on."""
        self._store = Simulated(member)


class Asked(History):
    """A history in which streams are read too, and everything that anybody was told is kept."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        super().__init__(seed, parts)
        self.record = Record()
        self._moments = itertools.count(step=1_000_000)

    @override
    def _aims(self) -> dict[str, float]:
        # Asleep between two questions of one read.
        return super()._aims() | {"rows": self.random.choice([0.0, 0.1, 0.3])}

    @override
    async def _client(self, number: int) -> None:
        reading = asyncio.ensure_future(self._calls(number, f"r{number}", Caller.read))
        await self._calls(number, f"w{number}", Caller.write)
        await reading

    async def _calls(self, number: int, who: str, call: Callable[[Caller], Awaitable[None]]) -> None:
        members = self.members
        client = Caller(Simulated(members[number]), who, self.random, self.record.hear, self._moments.__next__)
        for _ in range(self.random.randrange(10, 30)):
            # Mostly the same process, as a caller with an open connection.
            client.lives_on(self.random.choice([*members, *[members[number]] * 4]))
            await call(client)
            await asyncio.sleep(self.random.choice([0, 0, 0.01, 0.1]))

    @override
    def _judge(self) -> None:
        for stream, operations in self.record.histories().items():
            check(operations, stream)


class TearsReads(Writer):
    """A writer whose process reads so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streams.read = MethodType(LeavesABucketThatIsNotFull.read, self.streams)  # type: ignore[method-assign]


class ReadsFromACopy(Process):
    """A process that is answered now and then by a copy that is behind."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._copy: dict[tuple[object, ...], Any] = {}

    @override
    async def rows(self, *asked: Any) -> Any:
        if asked not in self._copy or self._weather.random.random() < 0.8:
            self._copy[asked] = await super().rows(*asked)
        return self._copy[asked]


PLANTED = {
    "a bucket is left that is not full": Parts(writer=TearsReads),
    "a read is answered by a copy that is behind": Parts(process=ReadsFromACopy),
    "ids are looked for in the tail only": Parts(writer=LooksForIdsInTheTailOnly),
}


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_what_callers_are_told_comes_from_one_list_in_any_history(first: int) -> None:
    for seed in range(first, first + BLOCK):
        try:
            Asked(seed).run()
        except Exception as error:
            raise AssertionError(f"history {seed}: {error!r}\n{error}") from error


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found(defect: str) -> None:
    assert found_at(PLANTED[defect]) is not None


def found_at(parts: Parts) -> int | None:
    """The first seed whose history cannot be explained."""
    for seed in range(ENOUGH):
        try:
            Asked(seed, parts).run()
        except NotLinearizable:
            return seed
    return None


def stopped_between_two_buckets(kind: type[BucketedStreams]) -> list[Operation]:
    """Eight events in buckets of five; who reads them all is stopped behind the second bucket until there are thirteen."""
    record, moments = Record(), itertools.count(step=1_000_000)
    store, log, calm = Store(), Log(), Weather(History(0).random, 0)
    ports, other = Process(store, log, calm), Process(store, log, calm)
    loop = DrivenLoop()

    async def appended(writer: Writer, ids: Sequence[str]) -> None:
        number = next(moments)
        record.hear(begin("writer", number, number, "s", Append(tuple(ids), ANY)))
        outcome = await writer.append("s", [NewEvent(one, "t", b"", 0) for one in ids], ANY)
        record.hear(end("writer", number, next(moments), outcome))

    async def run() -> None:
        writer = Writer(ports, ports, ports, lambda: f"w{next(moments)}", bucket_events=5)
        reader = kind(other, other, 5)
        for version in range(1, 9):
            await appended(writer, [f"e{version}"])
        ask = other._do
        more = iter(range(9, 14))

        async def stopped(operation: str, work: Any) -> Any:
            answer = await ask(operation, work)
            if "id='e8'" in repr(answer):
                for version in more:
                    await appended(writer, [f"e{version}"])
            return answer

        other._do = stopped  # type: ignore[method-assign]
        record.hear(begin("reader", 0, next(moments), "s", Read()))
        found, _ = await reader.read("s", 1, 1000)
        record.hear(end("reader", 0, next(moments), places(found)))

    try:
        loop.run_until_complete(run())
    finally:
        _end(loop)
    (operations,) = record.histories().values()
    return operations


def test_a_reader_that_is_stopped_between_two_buckets_gets_what_the_stream_once_held() -> None:
    check(stopped_between_two_buckets(BucketedStreams))


def test_one_that_leaves_a_bucket_that_is_not_full_is_refused_and_shown() -> None:
    with pytest.raises(NotLinearizable) as refused:
        check(stopped_between_two_buckets(LeavesABucketThatIsNotFull))
    (line,) = [line for line in str(refused.value).splitlines() if line.startswith("!")]
    assert line.endswith("7 e7, 8 e8, 11 e11, 12 e12, 13 e13")
