"""What others wrote into the city's topics, or what is broken there: it is set aside, and what stands behind it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from citybrain.event_store.distributed.verifying import verify
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.readings import KafkaReadings
from citybrain.event_store.kafka.records import headers_of
from citybrain.event_store.kafka.topics import UNNAMED, event_topic, partition_of, readings_topic
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import StoredEvent
from citybrain.event_store.watch import Watch
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.log import Member, running, write
from tests.engines.kafka_on_memory import OnMemory, these

LIMIT_S = 60.0
PLACE = partition_of("s", 4)
NAME = "王芳"

Spoil = Callable[[dict[str, bytes | None]], object]
HEADERS: list[tuple[Spoil, str]] = [
    (lambda has: has.update(ce_time=b"2026-01-01T00:00:00"), "header ce_time is no moment with its difference from UTC"),
    (lambda has: has.update(ce_time=NAME.encode()), "header ce_time is no moment"),
    (lambda has: has.update(ce_recordedtime=b"0001-01-01T00:00:00+23:59"), "header ce_recordedtime is no moment"),
    (lambda has: has.pop("ce_id"), "header ce_id is missing"),
    (lambda has: has.pop("ce_streamversion"), "header ce_streamversion is missing"),
    (lambda has: has.update(ce_streamversion=b"-1"), "header ce_streamversion is below 1"),
    (lambda has: has.update(ce_streamversion=str(2**63).encode()), "header ce_streamversion is no number"),
    (lambda has: has.update(ce_classification=b"secret"), "header ce_classification is no number"),
    (lambda has: has.update(ce_actor=b"\xff\xfe"), "header ce_actor is not UTF-8"),
    (lambda has: has.update(ce_type=None), "header ce_type has no value"),
    (lambda has: has.update(ce_sealed=b"!"), "header ce_sealed is no base64"),
    (lambda has: has.update(ce_actor=b"x" * 2000), "actor of an event has at most 1024 bytes"),
    (lambda has: has.clear(), "header ce_id is missing"),
]
EVENT = StoredEvent("x1", "city.Tested", b"", 1, "", "", "", "", "", 2, "s", 1, 1, 1)


@pytest.fixture
def kafka(engines: EngineProcesses, prefix: str) -> Cluster:
    """A cluster with topics of this test's own."""
    return Cluster(engines.kafka.address, prefix=prefix)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def put_foreign(kafka: Cluster) -> dict[str, str]:
    """Records that are no events, in the partition of stream `s`; why, by where they stand."""
    producer = Producer(kafka.options())
    topic, expected, at = event_topic(kafka, UNNAMED), dict[str, str](), 1
    right: dict[str, bytes | None] = dict(headers_of(EVENT))

    def put(reason: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes | None]) -> None:
        nonlocal at
        producer.produce(topic, value, key, PLACE, headers=list(headers.items()))
        producer.flush()
        expected[f"{topic}/{PLACE}@{at}"] = reason
        at += 1

    for spoil, reason in HEADERS:
        headers = dict(right)
        spoil(headers)
        put(reason, b"s", b"", headers)
    put("it has no value", b"s", None, right)
    put("it has no key", None, b"", right)
    put("its key is no text", b"\xff", b"", right)
    put("a stream id has 1 to 200 bytes", b"s" * 201, b"", right)
    put("its stream belongs to another topic", b"health/s", b"", right)
    other = next(name for name in "abcdefgh" if partition_of(name, 4) != PLACE)
    put(f"its stream belongs to partition {partition_of(other, 4)}", other.encode(), b"", right)
    return expected


def told(member: Member) -> dict[str, str]:
    """What it was told of records that are no events, by where they stand."""
    return {one.stream: one.reason for one in member.told}


def test_a_record_that_is_no_event_is_set_aside_with_its_place_and_reason_and_what_stands_behind_it_is_read(
    kafka: Cluster, tmp_path: Path
) -> None:
    async def test() -> None:
        watch = Watch()
        following, models = OnMemory(await KafkaLog.open(kafka, [UNNAMED], watch)), SqliteReadModels(tmp_path / "views.db")
        await write(following, "s1")
        await following.writer.settled()
        log = following.partitions()[PLACE]
        member = Member(log, models)
        await running(await member.join(), lambda: member.seen == ["s1"])
        expected = await asyncio.to_thread(put_foreign, kafka)
        await write(following, "s2")
        # Once as it comes, once as what was there before, once by who has read all of it.
        await running(await member.join(), lambda: member.seen == ["s1", "s2"])
        later = OnMemory(await KafkaLog.open(kafka, [UNNAMED]))
        another = Member(later.partitions()[PLACE], models, group="another")
        await running(await another.join(), lambda: another.seen == ["s1", "s2"])
        for one in (member, another):
            assert told(one).keys() == expected.keys()
            for where, reason in expected.items():
                assert told(one)[where].startswith(f"it is no event: {reason}"), where
                assert NAME not in told(one)[where]
            parked = await one.parked()
            assert {row.stream for row in parked} == expected.keys()
            assert one.subscription.parked == len(expected), "which are counted"
        assert not watch.troubles(stops=True), "nothing of it ends what must go on"
        again = Member(later.partitions()[PLACE], models)
        subscription = await again.join()
        await running(subscription, lambda: subscription.at_rest)
        assert (again.seen, told(again), subscription.parked) == ([], {}, len(expected)), "and are known after a restart"

        found = await verify(these("s"), following.log, following.writer.publisher)
        assert {one.where for one in found.unreadable} == expected.keys()
        assert (found.sound, found.events, found.differing) == (True, 2, [])
        for store in (following, later):
            store.close()
        models.close()

    run(test)


def test_what_somebody_asks_to_be_tried_again_stays_no_event_and_can_be_given_up(kafka: Cluster, tmp_path: Path) -> None:
    async def test() -> None:
        store, models = OnMemory(await KafkaLog.open(kafka, [UNNAMED])), SqliteReadModels(tmp_path / "views.db")
        await write(store, "s1")
        await store.writer.settled()
        await asyncio.to_thread(put_foreign, kafka)
        await write(store, "s2")
        member = Member(store.partitions()[PLACE], models)
        subscription = await member.join()
        await running(subscription, lambda: member.seen == ["s1", "s2"])
        first, *rest = await member.parked()
        await models.ask_replay("group", first.stream)
        subscription = await member.join()
        # It is tried, and parked for good again.
        await running(subscription, lambda: member.told[-1].stream == first.stream)
        assert member.told[-1].reason == first.reason
        assert member.seen == ["s1", "s2"]
        assert await models.drop("group", first.position, "not ours", "desk", 1)
        again = Member(store.partitions()[PLACE], models)
        subscription = await again.join()
        await running(subscription, lambda: subscription.at_rest)
        assert subscription.parked == len(rest)
        store.close()
        models.close()

    run(test)


def test_an_event_of_ours_that_is_spoilt_in_the_log_comes_again_from_its_stream_before_anybody_goes_past_it(
    kafka: Cluster, tmp_path: Path
) -> None:
    async def test() -> None:
        store, models = OnMemory(await KafkaLog.open(kafka, [UNNAMED])), SqliteReadModels(tmp_path / "views.db")
        honest, producer = store.log.publish, Producer(kafka.options())

        async def spoils_the_second(event: StoredEvent) -> None:
            if event.version != 2:
                return await honest(event)
            headers = [header for header in headers_of(event) if header[0] != "ce_recordedtime"]
            producer.produce(event_topic(kafka, UNNAMED), event.data, b"s", PLACE, headers=headers)  # type: ignore[arg-type]
            await asyncio.to_thread(producer.flush)
            return None

        store.log.publish = spoils_the_second  # type: ignore[method-assign]
        await write(store, "s1", "s2", "s3")
        await store.writer.settled()
        store.log.publish = honest  # type: ignore[method-assign]
        member = Member(store.partitions()[PLACE], models)
        subscription = await member.join()
        await running(subscription, lambda: member.seen == ["s1", "s2", "s3"])
        assert [one.reason for one in await member.parked()] == ["it is no event: header ce_recordedtime is missing"]
        store.close()
        models.close()

    run(test)


@pytest.mark.parametrize("aborts", [True, False])
def test_a_transaction_of_somebody_else_holds_up_nobody_who_reads(kafka: Cluster, tmp_path: Path, aborts: bool) -> None:
    def intrude() -> None:
        producer = Producer(kafka.options({"transactional.id": f"{kafka.prefix}-foreign"}))
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(event_topic(kafka, UNNAMED), b"", b"s", PLACE)
        producer.flush()
        (producer.abort_transaction if aborts else producer.commit_transaction)()

    async def test() -> None:
        following = OnMemory(await KafkaLog.open(kafka, [UNNAMED]))
        log, models = following.partitions()[PLACE], SqliteReadModels(tmp_path / "views.db")
        await write(following, "s1")
        await following.writer.settled()
        await log.grown(0)
        await asyncio.to_thread(intrude)
        # The record of the transaction's end is Kafka's own, and is handed to nobody.
        await log.grown(2)
        later = OnMemory(await KafkaLog.open(kafka, [UNNAMED]))
        for store in (following, later):
            member = Member(store.partitions()[PLACE], models, group=str(id(store)))
            subscription = await member.join()
            await running(subscription, lambda s=subscription: s.at_rest)  # type: ignore[misc]
            assert member.seen == ["s1"]
            assert subscription.parked == 1
            store.close()
        models.close()

    run(test)


def test_what_is_no_batch_of_readings_is_told_and_holds_up_no_other(kafka: Cluster) -> None:
    batch = "citybrain.traffic.v1.DetectorCounts"

    def put() -> None:
        producer = Producer(kafka.options())
        for value, received in ((b"", None), (b"", b"soon"), (None, b"1"), (b"", b"9" * 30)):
            headers = [("city_receivedat", received)] if received is not None else []
            producer.produce(readings_topic(kafka, batch), value, None, 0, headers=headers)  # type: ignore[arg-type]
            producer.flush()

    async def test() -> None:
        watch = Watch()
        log = KafkaReadings(kafka, watch)
        await log.put(batch, 1, b"first")
        await asyncio.to_thread(put)
        await log.put(batch, 2, b"second")
        later = KafkaReadings(kafka)
        for one in (log, later):
            await one.up_to_now(batch)
            found, position = list[bytes](), 0
            while position < one.head(batch):
                page = await one.read(batch, position, 3)
                found += [entry.data for entry in page if entry.data]
                position = page[-1].position
            assert found == [b"first", b"second"]
        (trouble,) = watch.troubles(stops=False)
        assert trouble.startswith(f"readings {batch} holds what is no batch, at {readings_topic(kafka, batch)}/0@4: ")
        assert not watch.troubles(stops=True)
        log.close()
        later.close()

    run(test)
