"""The topic and partition of a stream. Missing topics are made; topics with wrong settings are refused."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from citybrain.event_store.kafka.cluster import BrokerError, Cluster
from citybrain.event_store.limits import SERVICE_NAME

_AGAIN_S = 0.05
# With this many copies or more, one can be lost and a majority is left.
_COPIES = 3
# Errors of a request that nobody answered.
_UNANSWERED = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
# Errors that say why a client is refused, not only that it was cut off.
_DEFINITE = (KafkaError._AUTHENTICATION, KafkaError._SSL)
_OF_A_SERVICE = re.compile(r"citybrain\.([a-z0-9_]+)\.v\d+\.")
UNNAMED = "unnamed"
"""In place of a service, for streams whose name does not begin with one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of topics. `must`: settings that they must always have; `may`: settings that they only get when they are made."""

    partitions: int
    must: Mapping[str, str]
    may: Mapping[str, str] = field(default_factory=dict)


def events(cluster: Cluster) -> Kind:
    """Topics of events: no event is ever deleted, neither by age or size, nor for a newer one, nor when a broker is lost."""
    must = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
    }
    if cluster.replication >= _COPIES:
        # An acknowledged event stands in most copies.
        must["min.insync.replicas"] = str(cluster.replication // 2 + 1)
    return Kind(cluster.partitions, must)


def event_topic(cluster: Cluster, service: str) -> str:
    """The topic in which a service publishes."""
    if not SERVICE_NAME.fullmatch(service):
        raise BrokerError(f"no topic can be named for {service!r}: a service has a-z, 0-9, _ and - in its name")
    return f"{cluster.prefix}.{service}.events"


def readings_topic(cluster: Cluster, batch: str) -> str:
    """The topic of batches of a type. It is named after the service that takes them in."""
    named = _OF_A_SERVICE.match(batch)
    service, kind = (named[1], batch.removeprefix(f"citybrain.{named[1]}.")) if named else (UNNAMED, batch)
    return f"{cluster.prefix}.{service}.readings.{kind}"


def service_of(stream: str) -> str:
    """The service that owns a stream: the first part of its name."""
    service, slash, _ = stream.partition("/")
    return service if slash else UNNAMED


def services_of(types: Iterable[str]) -> set[str] | None:
    """The services that publish events of some types; None: a type's name does not tell its service."""
    found = [_OF_A_SERVICE.match(name) for name in types]
    return None if None in found else {match[1] for match in found if match}


@functools.lru_cache(maxsize=100_000)
def partition_of(stream: str, partitions: int) -> int:
    """The partition of a stream, the same in every release and language. A change here would break the order in streams."""
    return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest()) % partitions


class Topics:
    """The topics of one kind on one cluster."""

    def __init__(self, cluster: Cluster, kind: Kind) -> None:
        self._cluster = cluster
        self._kind = kind
        # Why Kafka refuses this client, if it does. A failed request itself says only that no answer came.
        self._trouble = ""
        options: dict[str, Any] = {**cluster.options(), "error_cb": self._on_error}
        self._admin = AdminClient(options)
        # One thread asks the cluster: answers may take long.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-topics")

    async def ready(self, names: Iterable[str]) -> dict[TopicPartition, int]:
        """Makes those of the topics that are missing; returns the end of each partition."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ready, list(names))

    async def beginnings(self, names: Iterable[str]) -> dict[TopicPartition, int]:
        """The offset of each partition's oldest record that was not deleted by age; the end if all were."""
        earliest: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._offsets, list(names), earliest)

    async def services(self) -> set[str]:
        """The services that have a topic of events."""
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._listed)
        named = re.compile(re.escape(f"{self._cluster.prefix}.") + r"([^.]+)\.events")
        return {match[1] for name in found if (match := named.fullmatch(name)) and SERVICE_NAME.fullmatch(match[1])}

    def close(self) -> None:
        """Disconnects from the cluster."""
        self._thread.shutdown()

    # -- in the thread ----------------------------------------------------------------------------------------------------

    def _ready(self, names: list[str]) -> dict[TopicPartition, int]:
        # Drops errors from before.
        self._admin.poll(0)
        self._trouble = ""
        end = time.monotonic() + self._cluster.answer_s
        while True:
            try:
                return self._once(names)
            except KafkaException as error:
                # A topic that was made just now has no leader yet, and some brokers do not know it yet: ask again.
                if time.monotonic() >= end:
                    self._admin.poll(0)
                    raise BrokerError(f"Kafka at {self._cluster.addresses} {self._why(error.args[0])}") from error
                time.sleep(_AGAIN_S)

    def _on_error(self, error: KafkaError) -> None:
        # `_ALL_BROKERS_DOWN` follows every other error, and would hide it.
        if error.code() in _DEFINITE or (not self._trouble and error.code() != KafkaError._ALL_BROKERS_DOWN):
            self._trouble = error.str()

    def _why(self, error: KafkaError) -> str:
        if error.code() not in _UNANSWERED:
            return f"does not do as asked: {error.str()}"
        if self._trouble:
            return f"does not let us in: {self._trouble}"
        hint = "if it speaks TLS, or asks for a password, say so: `kafka.tls`, `kafka.sasl_mechanism`"
        return f"does not do as asked: {error.str()}; {hint}"

    def _listed(self) -> list[str]:
        try:
            return list(self._admin.list_topics(timeout=self._cluster.answer_s).topics)
        except KafkaException as error:
            raise BrokerError(f"Kafka at {self._cluster.addresses} {self._why(error.args[0])}") from error

    def _once(self, names: list[str]) -> dict[TopicPartition, int]:
        found = self._admin.list_topics(timeout=self._cluster.answer_s).topics
        self._make([name for name in names if name not in found])
        there = [name for name in names if name in found]
        for name in there:
            if len(found[name].partitions) != self._kind.partitions:
                raise BrokerError(
                    f"topic {name} has {len(found[name].partitions)} partitions and {self._kind.partitions} are configured: "
                    "a topic's partitions never change, so configure as many as it has, or another prefix"
                )
        self._refuse_unfit(there)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offsets(names, latest)

    def _make(self, names: list[str]) -> None:
        if not names:
            return
        settings = {**self._kind.must, **self._kind.may}
        new = [NewTopic(name, self._kind.partitions, self._cluster.replication, config=settings) for name in names]
        for future in self._admin.create_topics(
            new, operation_timeout=self._cluster.answer_s, request_timeout=self._cluster.answer_s
        ).values():
            try:
                future.result()
            except KafkaException as error:
                # Another process was faster.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def _refuse_unfit(self, names: list[str]) -> None:
        if not names:
            return
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        for resource, future in self._admin.describe_configs(resources, request_timeout=self._cluster.answer_s).items():
            has = future.result()
            for key, wanted in self._kind.must.items():
                if has[key].value != wanted:
                    raise BrokerError(
                        f"topic {resource.name} has {key}={has[key].value} and would lose what it is to keep: set {wanted}"
                    )

    def _offsets(self, names: list[str], which: OffsetSpec) -> dict[TopicPartition, int]:
        places = [TopicPartition(name, number) for name in names for number in range(self._kind.partitions)]
        asked = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=self._cluster.answer_s)
        return {place: future.result().offset for place, future in asked.items()}
