"""Keys of persons on a real Cassandra: what every store of keys promises, and what is promised of this one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.keys import CassandraKeys
from citybrain.event_store.cassandra.migrations import KEYS, migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.distributed.interfaces import TimedOut
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.keys import KeyStore, Sent
from citybrain.event_store.sealing import AES_256_GCM, SM4_GCM
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.keys import KeyStoreContract, MasterKeyContract

LIMIT_S = 60.0
MASTER = b"m" * 32
TABLES = ("persons", "erasures", "lookups", "sent", "secrets")


@pytest.fixture(scope="module")
def place(engines: EngineProcesses) -> Place:
    """One keyspace for all of these tests."""
    place = Place(engines.cassandra.address, keyspace=f"keys_{uuid.uuid4().hex[:12]}")
    asyncio.run(migrate(place, KEYS))
    return place


@pytest.fixture
def empty(place: Place) -> Place:
    """With nobody in it."""

    async def clear() -> None:
        asked = await Asked.open(place)
        for table in TABLES:
            await asked.ask(f"TRUNCATE {place.keyspace}.{table}", answer_s=LIMIT_S)
        asked.close()

    asyncio.run(clear())
    return place


@asynccontextmanager
async def opened(place: Place, master: bytes = MASTER, *others: bytes) -> AsyncIterator[CassandraKeys]:
    asked = await Asked.open(place)
    try:
        yield await CassandraKeys.on(asked, place.keyspace, master, others)
    finally:
        asked.close()


class TestKeys(KeyStoreContract, MasterKeyContract):
    """ES-12: keys."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _on(self, empty: Place) -> None:
        self.place = empty

    @asynccontextmanager
    @override
    async def keys(self, folder: Path) -> AsyncIterator[KeyStore]:
        async with opened(self.place) as keys:
            yield keys

    @override
    def keys_under(self, folder: Path, master: bytes, *others: bytes) -> AbstractAsyncContextManager[KeyStore]:
        return opened(self.place, master, *others)


class Forgetful(Asked):
    """A session that loses every other answer: it was done, and nobody is told."""

    asked = lost = 0

    @override
    def ask(self, statement: Any, values: Any = None, **options: Any) -> asyncio.Future[Any]:
        answer = super().ask(statement, values, **options)
        self.asked += 1
        if self.asked % 2:
            return answer

        async def lose() -> Any:
            await answer
            self.lost += 1
            raise TimedOut("the answer was lost")

        return asyncio.ensure_future(lose())


def test_what_was_done_when_its_answer_was_lost_is_done_once(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty) as others:
            asked = await Forgetful.open(empty)
            keys = await CassandraKeys.on(asked, empty.keyspace, MASTER)
            made = await keys.obtain(["a", "b"], SM4_GCM)
            assert await others.find(["a", "b"]) == made
            found = [await keys.person("phone", "1") for _ in range(4)]
            assert set(found) == {await others.person("phone", "1")}
            for number in range(4):
                await keys.note_sent({"a": 2}, "district x", number)
            assert await others.sent("a") == [Sent("district x", 8, 0, 3)]
            erasures = [await keys.destroy(person, 7) for person in ("a", "b", found[0])]
            assert [one.number for one in erasures] == [1, 2, 3]
            assert await others.erased(0) == await keys.erased(0) == erasures
            assert asked.lost > 10
            keys.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_two_that_ask_at_once_who_somebody_is_hear_of_one_person(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty) as one, opened(empty) as two:
            for value in ("1", "2", "3"):
                found = await asyncio.gather(*(keys.person("phone", value) for keys in (one, two) * 10))
                assert len(set(found)) == 1

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_erasures_by_many_at_once_are_numbered_one_by_one(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty) as one, opened(empty) as two:
            persons = [f"p{number}" for number in range(10)]
            told = await asyncio.gather(*(keys.destroy(person, 1) for person in persons for keys in (one, two)))
            listed = await one.erased(0)
            assert [erasure.number for erasure in listed] == list(range(1, 11))
            assert {erasure.person for erasure in listed} == set(persons)
            assert {(erasure.person, erasure.number) for erasure in told} == {(one.person, one.number) for one in listed}

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_an_erasure_whose_process_died_half_way_is_finished_by_whoever_reads_of_it(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty) as dying, opened(empty) as others:
            person = await dying.person("phone", "1")
            await dying.obtain([person], AES_256_GCM)
            erasure = await dying._numbered(person, 7)
            assert (await others.find([person]))[person] is not None, "it came no further"
            assert await others.erased(0) == [erasure]
            assert await dying.find([person]) == {person: None}
            assert await dying.person("phone", "1") != person

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_look_up_that_is_written_late_leads_nobody_to_who_was_erased(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty) as keys:
            person = await keys.person("phone", "1")
            ((digest,),) = await keys._asked.ask(f"SELECT digest FROM {empty.keyspace}.lookups")
            await keys.destroy(person, 7)
            await keys._ask("lead", digest, person)
            assert await keys.person("phone", "1") != person

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_keys_that_another_master_key_wrapped_are_refused(empty: Place) -> None:
    async def test() -> None:
        async with opened(empty):
            pass
        with pytest.raises(OSError, match="wrapped by another master key: give the one they were made with"):
            async with opened(empty, b"other" + bytes(27)):
                pass

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_the_bytes_of_a_destroyed_key_leave_the_files_of_the_table(empty: Place, engines: EngineProcesses) -> None:
    """What happens within an hour; here a table is flushed each second."""

    async def wrapped() -> bytes:
        async with opened(empty) as keys:
            flushed = f"ALTER TABLE {empty.keyspace}.persons WITH memtable_flush_period_in_ms = "
            await keys._asked.ask(flushed + "1000", answer_s=LIMIT_S)
            await keys.obtain(["a", "b"], AES_256_GCM)
            found: bytes = (await keys._ask("row", "a"))[0][2]
            until(lambda: found in kept(), "the key was never in the files: the test looks in the wrong place")
            await keys.destroy("a", 7)
            assert (await keys.find(["b"]))["b"] is not None
            return found

    def kept() -> bytes:
        folder = engines.cassandra.folder / "data" / empty.keyspace
        files = [path for path in folder.glob("persons-*/*") if path.is_file()]
        return b"".join(read(path) for path in files)

    key = asyncio.run(asyncio.wait_for(wrapped(), LIMIT_S))
    until(lambda: key not in kept(), "the bytes are still there")


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        # Made one with another meanwhile.
        return b""


def until(is_so: Any, problem: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, problem
        time.sleep(0.1)
