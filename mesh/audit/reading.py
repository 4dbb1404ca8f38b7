"""Records of the audit trail by subject, method, person and time, in the order of the log: one partition after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime

from citybrain.audit.v1 import records_pb2 as pb
from google.protobuf.message import DecodeError

from citybrain.event_store.feed import position_before
from citybrain.event_store.store import EventStore, StoredEvent
from citybrain.mesh.audit import chain

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Query:
    """Which records; empty: all. `since`: kept at or after this moment, in microseconds since 1970."""

    subject: str = ""
    method: str = ""
    person: str = ""
    since: int = 0
    refused: bool = False

    def wants(self, record: pb.Record) -> bool:
        """Whether a record is asked for."""
        if self.subject and self.subject not in (record.subject, record.on_behalf_of):
            return False
        if self.method and not f".{record.method}".replace("/", ".").endswith("." + self.method.replace("/", ".")):
            return False
        if self.person and self.person not in record.person_ids:
            return False
        return not self.refused or record.decision == pb.DECISION_REFUSED


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two records: in a partition of the log, after a position; `skip`: records of the next batch before it."""

    partition: str = ""
    position: int = 0
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A record, its batch, and the place after it."""

    record: pb.Record
    chain: str
    number: int
    place: Place


async def records(store: EventStore, query: Query, after: Place | None = None) -> AsyncGenerator[Found | Place, None]:
    """The records that are asked for. After each part of the log without any there is only the place that was reached."""
    moment = datetime.fromtimestamp(query.since / 1e6, UTC)
    for partition in sorted(store.partitions([chain.BATCH]), key=lambda one: one.name):
        if after is not None and partition.name < after.partition:
            continue
        if after is not None and partition.name == after.partition:
            position, skip = after.position, after.skip
        else:
            position, skip = (await position_before(partition, moment) if query.since else 0), 0
        while position < partition.head():
            page = await partition.read_log(position, _PAGE, [chain.BATCH])
            for event in page.events:
                for number, record in enumerate(_records(event)):
                    if number >= skip and query.wants(record):
                        reached = Place(partition.name, position, number + 1)
                        yield Found(record, chain.chain_of(event.stream), event.version, reached)
                position, skip = event.position, 0
            position = page.reached
            yield Place(partition.name, position)


def _records(event: StoredEvent) -> list[pb.Record]:
    """The records of a batch; of one that cannot be read, none: `city audit verify` tells."""
    try:
        return list(pb.RecordsKept.FromString(event.data).records)
    except DecodeError:
        return []
