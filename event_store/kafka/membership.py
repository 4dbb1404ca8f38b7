"""Which partitions this process works on for the groups of a service. Kafka's consumer group assigns them, and does no more.

Kafka says which members are there; the read models say what is done. So nothing is fetched or committed here. For a moment two
members may both think that they have a partition. Each took an epoch when it began, and the older epoch is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, TopicPartition

from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.store import Partition
from citybrain.event_store.watch import VitalThread, Watch

_POLL_S = 0.1
# A member that is silent for this long counts as gone, and others get its partitions.
SESSION_MS = 10_000
QUICK_SESSION_MS = 1500
"""The same for a group whose partitions cost nothing to take over. Brokers allow it from `group.min.session.timeout.ms` on."""


class Membership:
    """A process's place in a consumer group. Create it inside the running event loop; `leave()` when done."""

    def __init__(
        self, cluster: Cluster, group: str, partitions: Sequence[Partition], watch: Watch | None = None, *, quick: bool = False
    ) -> None:
        """`partitions`: those that the members share. `watch`: gets reports of the thread here.

        `quick`: others get the partitions of a member that is gone after 1.5 s, if the brokers allow that.
        """
        self._loop = asyncio.get_running_loop()
        self._all = {partition.name: partition for partition in partitions}
        self._mine: dict[str, Partition] = {}
        self._changed = asyncio.Event()
        self._options = cluster.options(
            {
                "group.id": f"{cluster.prefix}.{group}",
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
                "allow.auto.create.topics": False,
            }
        )
        self._session_ms = QUICK_SESSION_MS if quick else SESSION_MS
        self._topics = sorted({name.rpartition("/")[0] for name in self._all})
        self._thread = VitalThread(watch or Watch(), f"the place in group {group}", self._run)

    def partitions(self) -> Mapping[str, Partition]:
        """The partitions that this process has now, by their names."""
        return self._mine

    async def changed(self, known: Collection[str], timeout_s: float) -> None:
        """Returns when the partitions are others than those known, or after `timeout_s`."""
        if set(known) != self._mine.keys():
            return
        self._changed.clear()
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([waiting], timeout=timeout_s)
        finally:
            waiting.cancel()

    def leave(self) -> None:
        """Gives the partitions up, so that other members get them at once."""
        self._thread.end(wait=False)

    # -- the thread that is the member --------------------------------------------------------------------------------------

    def _run(self, thread: VitalThread) -> None:
        if self._belong(thread, self._session_ms):
            # These brokers allow no session that is so short. Then a member that is gone is missed later.
            self._belong(thread, SESSION_MS)

    def _belong(self, thread: VitalThread, session_ms: int) -> bool:
        """Is a member until the thread is to end. Returns whether it ends before, as brokers refuse so short a session."""
        session = {"session.timeout.ms": session_ms, "heartbeat.interval.ms": session_ms // 10}
        consumer = Consumer(self._options | session)
        mine: set[str] = set()

        def tell() -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._have, frozenset(mine))

        def assigned(consumer: Consumer, places: list[TopicPartition]) -> None:
            consumer.incremental_assign(places)
            # This consumer is only a member: events are read elsewhere.
            consumer.pause(places)
            mine.update(map(_name, places))
            tell()

        def revoked(consumer: Consumer, places: list[TopicPartition]) -> None:
            mine.difference_update(map(_name, places))
            tell()
            consumer.incremental_unassign(places)

        try:
            consumer.subscribe(self._topics, on_assign=assigned, on_revoke=revoked, on_lost=revoked)
            while not thread.over.is_set():
                told = consumer.poll(_POLL_S)
                if told is not None and _is_too_short(told.error()) and session_ms < SESSION_MS:
                    return True
                thread.well()
            return False
        finally:
            # A member that is gone has no partitions. If it comes back, it is given some anew.
            mine.clear()
            tell()
            consumer.close()

    def _have(self, names: frozenset[str]) -> None:
        self._mine = {name: self._all[name] for name in sorted(names) if name in self._all}
        self._changed.set()


def _name(place: TopicPartition) -> str:
    return f"{place.topic}/{place.partition}"


def _is_too_short(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError.INVALID_SESSION_TIMEOUT
