"""The log on a real Kafka: what every engine's log promises, and what is promised of this one.

The streams are in memory, so that nothing but Kafka is tried. (It is long because one Kafka serves all of it.)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from typing_extensions import override

from citybrain.event_store.distributed.reading import GroupReader
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.distributed.verifying import verify
from citybrain.event_store.kafka import membership, topics
from citybrain.event_store.kafka.cluster import BrokerError, Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.membership import Membership
from citybrain.event_store.kafka.readings import KafkaReadings
from citybrain.event_store.kafka.topics import UNNAMED, Kind, Topics, event_topic, partition_of
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import ANY, LostAssignment, Partition, StoredEvent
from citybrain.event_store.subscription import Batch
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.log import LogContract, Member, running, write
from tests.contract.readings import ReadingsContract
from tests.contract.store import event
from tests.engines.kafka_on_memory import OnMemory, these
from tests.helpers.kafka_door import Door

LIMIT_S = 60.0


@pytest.fixture
def kafka(engines: EngineProcesses, prefix: str) -> Cluster:
    """A cluster with topics of this test's own."""
    return Cluster(engines.kafka.address, prefix=prefix)


@asynccontextmanager
async def opened(cluster: Cluster) -> AsyncIterator[OnMemory]:
    """A store whose log is on a cluster."""
    store = OnMemory(await KafkaLog.open(cluster, [UNNAMED]))
    try:
        yield store
    finally:
        store.close()


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[ReadModels]:
    """Read models in a file."""
    models = SqliteReadModels(folder / "views.db")
    try:
        yield models
    finally:
        models.close()


class TestLog(LogContract):
    """ES-6 … ES-8: what a subscription does."""

    features = OnMemory.features

    @pytest.fixture(autouse=True)
    def _cluster(self, kafka: Cluster) -> None:
        self.cluster = kafka

    @asynccontextmanager
    @override
    async def store(self, folder: Path) -> AsyncIterator[OnMemory]:
        async with opened(replace(self.cluster, prefix=f"{self.cluster.prefix}-{folder.name[:8]}")) as store:
            yield store

    @override
    def models(self, folder: Path) -> AbstractAsyncContextManager[ReadModels]:
        return kept(folder)


@asynccontextmanager
async def readings(cluster: Cluster) -> AsyncIterator[KafkaReadings]:
    log = KafkaReadings(cluster)
    try:
        yield log
    finally:
        log.close()


class TestReadings(ReadingsContract):
    """Batches of readings."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _cluster(self, kafka: Cluster) -> None:
        self.cluster = kafka

    @asynccontextmanager
    @override
    async def readings(self, folder: Path) -> AsyncIterator[KafkaReadings]:
        async with readings(replace(self.cluster, prefix=f"{self.cluster.prefix}-{folder.name[:8]}")) as log:
            yield log


def test_readings_that_has_all_gone_by_age_is_read_as_nothing_and_what_comes_next_is_heard(kafka: Cluster) -> None:
    async def test() -> None:
        batch = "citybrain.traffic.v1.DetectorCounts"
        async with readings(kafka) as log:
            await log.put(batch, 1, b"old")
        place = TopicPartition(f"{kafka.prefix}.traffic.readings.v1.DetectorCounts", 0, 1)
        admin = AdminClient(kafka.options())
        admin.delete_records([place])[place].result(LIMIT_S)
        async with readings(kafka) as log:
            assert await asyncio.wait_for(log.read(batch, 0, 10), 5) == []
            await log.put(batch, 2, b"new")
            await log.grown(batch, 1)
            assert [one.data for one in await log.read(batch, 0, 10)] == [b"new"]

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, a minute at most."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def stored(store: OnMemory, stream: str) -> list[StoredEvent]:
    """A stream, as it is when all of it is in the log."""
    await store.writer.settled()
    return await store.read(stream)


def partition(store: OnMemory, stream: str) -> Partition:
    """Where a stream's events stand."""
    return store.partitions()[partition_of(stream, 4)]


def gaps(member: Member) -> int:
    """How often events were missing in the log that it reads."""
    assert isinstance(member.log, GroupReader)
    return member.log.gaps


# -- what stands twice, and what is missing ---------------------------------------------------------------------------------


def test_what_was_published_twice_is_handled_once_also_after_a_restart(kafka: Cluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(kafka) as store, kept(tmp_path) as models:
            await write(store, "s1", "s2")
            events = await stored(store, "s")
            for again in events:
                await store.log.publish(again)
            log = partition(store, "s")
            while log.head() < 4:
                await log.grown(log.head())
            member = Member(log, models)
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            assert member.seen == ["s1", "s2"]
            # A writer that slept wakes up: what it knows of is long in the log.
            await store.log.publish(events[0])
            await write(store, "s3")
            later = Member(log, models)
            subscription = await later.join()
            await running(subscription, lambda: bool(later.seen) and subscription.at_rest)
            assert later.seen == ["s3"]

    asyncio.run(test())


def test_what_the_broker_lost_is_brought_into_the_log_again_before_anybody_goes_past_it(kafka: Cluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(kafka) as store, kept(tmp_path) as models:
            honest = store.log.publish

            async def loses_the_second(event: StoredEvent) -> None:
                if event.version != 2:
                    await honest(event)

            store.log.publish = loses_the_second  # type: ignore[method-assign]
            await write(store, "s1", "s2", "s3")
            await stored(store, "s")
            store.log.publish = honest  # type: ignore[method-assign]
            member = Member(partition(store, "s"), models)
            subscription = await member.join()
            await running(subscription, lambda: len(member.seen) >= 3)
            assert member.seen == ["s1", "s2", "s3"]
            assert gaps(member) == 1

    asyncio.run(test())


def test_a_stream_of_which_a_group_hears_little_has_no_gaps(kafka: Cluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(kafka) as store, kept(tmp_path) as models:
            for name in ("s1", "s2"):
                await store.append("s", [event(name, kind="city.Other")], ANY)
            await write(store, "s3")
            member = Member(partition(store, "s"), models)
            subscription = await member.join()
            await running(subscription, lambda: bool(member.seen))
            await store.append("s", [event("s4", kind="city.Other")], ANY)
            await write(store, "s5")
            again = Member(partition(store, "s"), models)
            subscription = await again.join()
            await running(subscription, lambda: bool(again.seen))
            assert (member.seen, again.seen) == (["s3"], ["s5"])
            assert (gaps(member), gaps(again)) == (0, 0)

    asyncio.run(test())


# -- what the streams hold and the log does not --------------------------------------------------------------------------


def test_the_log_is_compared_with_the_streams_and_what_it_lost_is_published_again(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            honest = store.log.publish

            async def loses_some(event: StoredEvent) -> None:
                if event.id not in ("a2", "b3"):
                    await honest(event)

            store.log.publish = loses_some  # type: ignore[method-assign]
            await write(store, "a1", "a2", "a3", "b1", "b2", "b3", "c1")
            await store.writer.settled()
            store.log.publish = honest  # type: ignore[method-assign]
            publisher = store.writer.publisher

            found = await verify(these(*"abc"), store.log, publisher)
            assert not found.sound
            assert {(one.stream, one.logged, one.lost) for one in found.differing} == {("a", 1, 2), ("b", 2, 1)}
            assert found.published == 0
            repaired = await verify(these(*"abc"), store.log, publisher, repair=True)
            assert repaired.published == 3
            again = await verify(these(*"abc"), store.log, publisher)
            assert again.sound
            assert again.differing == []
            assert (again.streams, again.events, again.twice) == (3, 8, 0)

    asyncio.run(test())


def test_what_is_not_published_yet_is_not_lost(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            honest, go_on = store.log.publish, asyncio.Event()

            async def later(event: StoredEvent) -> None:
                await go_on.wait()
                await honest(event)

            store.log.publish = later  # type: ignore[method-assign]
            await write(store, "a1", "a2")
            found = await verify(these("a"), store.log, store.writer.publisher)
            assert found.sound
            assert [(one.coming, one.lost) for one in found.differing] == [(2, 0)]
            go_on.set()
            await store.writer.settled()
            again = await verify(these("a"), store.log, store.writer.publisher, repair=True)
            assert (again.sound, again.published, again.twice) == (True, 0, 0)

    asyncio.run(test())


def test_events_that_the_store_does_not_know_are_told(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            await write(store, "a1", "a2")
            events = await stored(store, "a")
        async with opened(kafka) as emptied:
            found = await verify(these("a"), emptied.log, emptied.writer.publisher, repair=True)
            assert not found.sound
            assert [(one.stream, one.unknown) for one in found.differing] == [("a", len(events))]

    asyncio.run(test())


# -- reading ----------------------------------------------------------------------------------------------------------------


def test_old_events_are_read_in_pages_from_anywhere_while_new_ones_come(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            for number in range(6):
                await store.append("s", [event(f"s{number}-{n}") for n in range(100)], ANY)
            await stored(store, "s")
        async with opened(kafka) as later:
            # What stood there when it was opened is not in its memory.
            log = partition(later, "s")
            assert log.head() == 600
            found: list[StoredEvent] = []
            while len(found) < 600:
                page = await log.read_log(found[-1].position if found else 0, 70)
                assert 0 < len(page.events) <= 70
                assert page.reached == page.events[-1].position
                found += page.events
            assert [one.version for one in found] == list(range(1, 601))
            assert [one.version for one in (await log.read_log(250, 2)).events] == [251, 252]
            assert [one.version for one in (await log.read_log(599)).events] == [600]
            assert (await log.read_log(600)).events == []

    asyncio.run(test())


def test_one_process_hears_what_another_publishes(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as here, opened(kafka) as there:
            waiting = asyncio.ensure_future(partition(there, "s").grown(0))
            await write(here, "s1")
            assert await waiting == 1
            (heard,) = (await partition(there, "s").read_log(0)).events
            assert (heard.id, heard.stream, heard.version, heard.position) == ("s1", "s", 1, 1)

    asyncio.run(test())


def test_every_service_that_has_published_can_be_known_and_other_topics_of_the_cluster_are_let_be(kafka: Cluster) -> None:
    async def test() -> None:
        log = await KafkaLog.open(kafka, ["health"])
        other = await KafkaLog.open(kafka, ["parks"])
        stranger = NewTopic(f"{kafka.prefix}.parks.extra.events", 1, 1)
        admin = AdminClient(kafka.options())
        admin.create_topics([stranger])[stranger.topic].result(LIMIT_S)
        try:
            await log.know_all()
            assert {one.topic for one in log.partitions()} == {event_topic(kafka, "health"), event_topic(kafka, "parks")}
        finally:
            log.close()
            other.close()

    asyncio.run(test())


# -- topics and producers ---------------------------------------------------------------------------------------------------


def test_a_topic_with_another_number_of_partitions_is_refused(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka):
            pass
        with pytest.raises(BrokerError, match="has 4 partitions and 16 are configured: a topic's partitions never change"):
            await KafkaLog.open(replace(kafka, partitions=16), [UNNAMED])

    asyncio.run(test())


def test_what_kafka_refuses_is_told_and_not_what_was_wrong_before(kafka: Cluster) -> None:
    async def test() -> None:
        asked = Topics(kafka, topics.events(kafka))
        await asked.ready([event_topic(kafka, "before")])
        # As when a broker was away for a moment.
        asked._on_error(KafkaError(KafkaError._TRANSPORT, "gone"))
        with pytest.raises(BrokerError, match="does not do as asked") as refused:
            await asked.ready(["no name of a topic"])
        assert "gone" not in str(refused.value) and "does not let us in" not in str(refused.value)
        asked.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("replication", "wrong", "right"),
    [
        (1, "cleanup.policy=compact", "delete"),
        (1, "unclean.leader.election.enable=true", "false"),
        (3, "min.insync.replicas=1", "2"),
    ],
)
def test_a_topic_that_may_lose_events_is_refused(kafka: Cluster, replication: int, wrong: str, right: str) -> None:
    async def test() -> None:
        key, _, value = wrong.partition("=")
        made = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", key: value}
        await Topics(kafka, Kind(4, made)).ready([event_topic(kafka, UNNAMED)])
        with pytest.raises(BrokerError, match=re.escape(f"has {wrong} and would lose what it is to keep: set {right}")):
            await KafkaLog.open(replace(kafka, replication=replication), [UNNAMED])

    asyncio.run(test())


def test_a_cluster_that_is_not_there_is_told_with_its_address() -> None:
    async def test() -> None:
        with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 "):
            await KafkaLog.open(Cluster("127.0.0.1:1", answer_s=0.5), [UNNAMED])

    asyncio.run(test())


def test_who_heard_that_kafka_is_away_and_has_nothing_to_send_finds_out_that_it_is_back(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            await write(store, "s1")
            await stored(store, "s")
            store.log._sender._on_error(KafkaError(KafkaError._TRANSPORT, "the connection was cut"))
            assert store.log.failing
            while store.log.failing:
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_producer_that_is_broken_for_good_is_replaced_and_nothing_is_left_out(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            await write(store, "s1")
            await stored(store, "s")
            broken = store.log._sender._producer
            writing = asyncio.ensure_future(write(store, *(f"s{n}" for n in range(2, 40))))
            store.log._sender._on_error(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost its order", fatal=True))
            await writing
            events = await stored(store, "s")
            assert store.log._sender._producer is not broken
            log = partition(store, "s")
            first: dict[int, str] = {}
            position = 0
            while len(first) < 39:
                position = await log.grown(position)
                for one in (await log.read_log(0)).events:
                    first.setdefault(one.version, one.id)
            assert list(first.items()) == [(one.version, one.id) for one in events]

    asyncio.run(test())


def test_a_record_that_the_leader_turned_away_is_not_taken_for_stored_because_a_later_one_was(kafka: Cluster) -> None:
    async def test() -> None:
        door = Door(kafka.addresses)
        through_door = replace(kafka, addresses=await door.listen(), partitions=1)
        async with opened(replace(kafka, partitions=1)) as read, opened(through_door) as store:
            await write(store, "s1")
            await door.first_is_here.wait()
            await write(store, "t1")
            await store.writer.settled()
            assert door.turned_away
            await read.log.up_to_now()
            (log,) = read.log.partitions()
            assert {one.id for one in (await log.read_log(0)).events} == {"s1", "t1"}
        await door.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_what_processes_pass_on_to_each_other_stands_in_a_topic_that_is_kept_for_a_minute(kafka: Cluster) -> None:
    async def test() -> None:
        async with readings(kafka) as log:
            for topic in ("citybrain.traffic.v1.Area", "citybrain.traffic.v1.Area.passed"):
                await log.put(topic, 1, b"x")

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    admin = AdminClient(kafka.options())
    kept = {}
    for name in ("v1.Area", "v1.Area.passed"):
        resource = ConfigResource(ResourceType.TOPIC, f"{kafka.prefix}.traffic.readings.{name}")
        kept[name] = int(admin.describe_configs([resource])[resource].result(LIMIT_S)["retention.ms"].value)
    assert kept == {"v1.Area": 6 * 3600 * 1000, "v1.Area.passed": 60_000}


# -- who works on what ------------------------------------------------------------------------------------------------------


def names(members: Sequence[Membership]) -> list[set[str]]:
    """What each has."""
    return [set(member.partitions()) for member in members]


def test_members_share_the_partitions_and_those_of_one_that_leaves_go_to_the_others(kafka: Cluster) -> None:
    async def test() -> None:
        async with opened(kafka) as store:
            everything = {one.name for one in store.partitions()}
            one = Membership(kafka, "health", store.partitions())
            await until(lambda: names([one]) == [everything])
            two = Membership(kafka, "health", store.partitions())
            await until(lambda: [len(has) for has in names([one, two])] == [2, 2])
            assert set.union(*names([one, two])) == everything
            had = set(one.partitions())
            one.leave()
            await two.changed(everything - had, LIMIT_S)
            await until(lambda: names([two]) == [everything])
            two.leave()

    asyncio.run(test())


@pytest.mark.parametrize("session_ms", [1500, 500])
def test_a_member_that_is_to_be_missed_soon_belongs_also_where_brokers_allow_no_such_session(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch, session_ms: int
) -> None:
    monkeypatch.setattr(membership, "QUICK_SESSION_MS", session_ms)

    async def test() -> None:
        async with opened(kafka) as store:
            one = Membership(kafka, "areas", store.partitions(), quick=True)
            await until(lambda: len(one.partitions()) == len(store.partitions()))
            one.leave()

    asyncio.run(test())


def test_a_member_that_loses_a_partition_in_the_middle_of_a_batch_records_nothing_of_it(kafka: Cluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(kafka) as store, kept(tmp_path) as models:
            everything = {one.name for one in store.partitions()}
            one = Membership(kafka, "health", store.partitions())
            await until(lambda: names([one]) == [everything])
            two = Membership(kafka, "health", store.partitions())
            await until(lambda: len(two.partitions()) == 2)
            moved = sorted(two.partitions())[0]
            stream = next(name for name in "abcdefghijklmnop" if partition(store, name).name == moved)
            await write(store, *(f"{stream}{n}" for n in range(10)))
            await stored(store, stream)
            slow = Member(partition(store, stream), models)
            begun, go_on = asyncio.Event(), asyncio.Event()
            handle = slow.handle

            async def sleeps_on_it(batch: Batch) -> None:
                begun.set()
                await go_on.wait()
                await handle(batch)

            slow.handle = sleeps_on_it  # type: ignore[method-assign]
            losing = asyncio.ensure_future((await slow.join()).run())
            await begun.wait()
            two.leave()
            await until(lambda: moved in one.partitions())
            member = Member(one.partitions()[moved], models)
            subscription = await member.join()
            go_on.set()
            with pytest.raises(LostAssignment):
                await losing
            await running(subscription, lambda: len(member.seen) == 10)
            assert slow.seen == []
            assert dict(await models.scan("seen")) == {f"{stream}{n}": {"times": 1} for n in range(10)}
            one.leave()

    asyncio.run(test())
