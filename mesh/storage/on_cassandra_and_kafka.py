"""The distributed engine once it is opened: streams on Cassandra, the log on Kafka."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from citybrain.event_store.cassandra.correlations import CorrelationFeed
from citybrain.event_store.cassandra.keys import CassandraKeys
from citybrain.event_store.cassandra.migrations import KEYS, migrate
from citybrain.event_store.cassandra.quotas import CassandraQuotas
from citybrain.event_store.cassandra.read_models import CassandraReadModels
from citybrain.event_store.cassandra.requests import CassandraRequests
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.snapshots import CassandraSnapshots
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.distributed.verifying import Verdict, verify
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.membership import Membership
from citybrain.event_store.kafka.readings import KafkaReadings
from citybrain.event_store.kafka.topics import event_topic, partition_of, service_of, services_of
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.store import StoreError
from citybrain.event_store.watch import Watch
from citybrain.mesh.audit.chain import PUBLISHER as AUDIT
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.personal.erasure import PUBLISHER
from citybrain.mesh.personal.vault import master_secrets
from citybrain.mesh.settings.values import Cassandra, Kafka, Settings
from citybrain.mesh.storage.distributed import Distributed
from citybrain.mesh.storage.engine import Assignment
from citybrain.mesh.storage.leadership import Lead

# How often a process that stands by looks again, if nothing wakes it.
_LOOK_S = 1.0


class SharedLead(Lead):
    """The lead of a service on many machines: the process to which Kafka assigns a certain partition. It can be lost."""

    def __init__(self, membership: Assignment) -> None:
        self._membership = membership

    @property
    @override
    def leads(self) -> bool:
        return bool(self._membership.partitions())

    @override
    async def gained(self) -> None:
        while not self.leads:
            await self._membership.changed((), _LOOK_S)

    @override
    def take(self) -> bool:
        """Only Kafka gives the lead; nobody can take it."""
        return self.leads

    @override
    def give_up(self) -> None:
        self._membership.leave()

    @override
    def lose(self) -> None:
        """Who has left cannot come back: it keeps the partition, and does not lead."""


class OnCassandraAndKafka(Distributed):
    """Streams, read models, snapshots, request ids, quotas and keys of persons on Cassandra, the log and readings on Kafka."""

    look_s = 0.5
    store: DistributedEventStore

    def __init__(
        self,
        cluster: Cluster,
        asked: Asked,
        tables: CassandraTables,
        log: KafkaLog,
        models: Mapping[str, ReadModels],
        keys: CassandraKeys,
        snapshots: CassandraSnapshots,
        requests: CassandraRequests,
        quotas: CassandraQuotas,
        watch: Watch,
    ) -> None:
        self._watch = watch
        self._models = models
        self.keys = keys
        self._snapshots = snapshots
        self._requests = requests
        self._quotas = quotas
        self._cluster = cluster
        self._asked = asked
        self._tables = tables
        self._log = log
        self.store = DistributedEventStore(tables, log, functools.partial(CorrelationFeed, tables), watch=watch)

    @classmethod
    async def joined(cls, settings: Settings, manifests: Sequence[Manifest]) -> OnCassandraAndKafka:
        """Brings the keyspaces up to date, makes missing topics, and connects. StoreError: that cannot be done."""
        where, cluster = _place(settings.cassandra), _cluster(settings.kafka)
        await migrate(where)
        keys = await _open_keys(settings, where)
        try:
            asked = await Asked.open(where)
        except BaseException:
            keys.close()
            raise
        try:
            tables = await CassandraTables.on(asked, where.keyspace)
            names = [manifest.name for manifest in manifests]
            kept = await asyncio.gather(*(CassandraReadModels.on(asked, where.keyspace, name) for name in names))
            snapshots = await CassandraSnapshots.on(asked, where.keyspace)
            requests = await CassandraRequests.on(asked, where.keyspace, settings.request_ids_kept_s)
            quotas = await CassandraQuotas.on(asked, where.keyspace)
            watch = Watch()
            log = await KafkaLog.open(cluster, sorted(_services(manifests)), watch)
        except BaseException:
            keys.close()
            asked.close()
            raise
        models = dict(zip(names, kept, strict=True))
        return cls(cluster, asked, tables, log, models, keys, snapshots, requests, quotas, watch)

    @property
    @override
    def snapshots(self) -> CassandraSnapshots:
        return self._snapshots

    @property
    @override
    def requests(self) -> CassandraRequests:
        return self._requests

    @property
    @override
    def quotas(self) -> CassandraQuotas:
        return self._quotas

    @functools.cached_property
    @override
    def readings(self) -> KafkaReadings:
        return KafkaReadings(self._cluster, self._watch)

    @override
    def models(self, service: str) -> ReadModels:
        return self._models[service]

    @override
    def lead(self, service: str) -> Lead:
        first = f"{event_topic(self._cluster, service)}/0"
        own = [partition for partition in self.store.partitions() if partition.name == first]
        return SharedLead(Membership(self._cluster, f"{service}.lead", own, self._watch, quick=True))

    @override
    def assignment(self, group: str, types: Collection[str] | None, lead: Lead) -> Assignment:
        return Membership(self._cluster, group, self.store.partitions(types), self._watch)

    @override
    def partition_of(self, stream: str) -> str:
        return f"{event_topic(self._cluster, service_of(stream))}/{partition_of(stream, self._cluster.partitions)}"

    @override
    async def up_to_now(self) -> None:
        await self._log.up_to_now()

    @override
    async def know_all(self) -> None:
        await self._log.know_all()

    @override
    async def verify(self, repair: bool) -> Verdict:
        # All services that have streams, not only those that this process hears.
        await self._log.know_services({service_of(stream) async for stream in self._tables.names()})
        return await verify(self._tables.names(), self._log, self.store.writer.publisher, repair)

    @override
    async def close(self) -> None:
        await self.store.leave()
        self.store.close()
        loop = asyncio.get_running_loop()
        # What was never asked for was not opened.
        if "readings" in vars(self):
            await loop.run_in_executor(None, self.readings.close)
        await loop.run_in_executor(None, self._log.close)
        self.keys.close()
        self._asked.close()


def _services(manifests: Sequence[Manifest]) -> set[str]:
    """The services that publish here or are heard here, the publisher of erasures, and the audit trail."""
    types = {name for manifest in manifests for name in (*manifest.publishes, *manifest.subscribes)}
    return {PUBLISHER, AUDIT, *(manifest.name for manifest in manifests)}.union(*(services_of([name]) or () for name in types))


def _cluster(kafka: Kafka) -> Cluster:
    if not kafka.addresses:
        raise _unsaid("kafka")
    return Cluster(**kafka.model_dump())


def _place(cassandra: Cassandra) -> Place:
    if not cassandra.addresses:
        raise _unsaid("cassandra")
    return Place(**cassandra.model_dump(exclude={"keys_keyspace", "keys_user", "keys_password_file"}))


async def _open_keys(settings: Settings, streams: Place) -> CassandraKeys:
    said = settings.cassandra
    where = replace(streams, keyspace=said.keys_keyspace or f"{said.keyspace}_keys")
    if said.keys_user:
        where = replace(where, user=said.keys_user, password_file=said.keys_password_file)
    await migrate(where, KEYS)
    asked = await Asked.open(where)
    try:
        return await CassandraKeys.on(asked, where.keyspace, *master_secrets(settings))
    except BaseException:
        asked.close()
        raise


def _unsaid(key: str) -> StoreError:
    where = f"write `{key}: {{addresses: host:port}}`"
    return StoreError(f"the store is `distributed`, and nobody says where {key.title()} is: {where}")
