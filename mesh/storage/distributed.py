"""The distributed engine before it is opened. Its drivers cost time and memory, so only opening imports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.engines import EngineFeatures
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import Engine

if TYPE_CHECKING:
    from citybrain.mesh.storage.on_cassandra_and_kafka import OnCassandraAndKafka


class Distributed(Engine):
    """Streams on Cassandra, the log on Kafka."""

    # Events come to readers through a broker. While one is on its way, no process can see it.
    features: ClassVar[EngineFeatures] = EngineFeatures(
        store=DistributedEventStore.features, many_machines=True, files=False, log_apart=True, rest_is_seen=False
    )

    @classmethod
    @override
    async def open(cls, settings: Settings, manifests: Sequence[Manifest]) -> OnCassandraAndKafka:
        from citybrain.mesh.storage.on_cassandra_and_kafka import OnCassandraAndKafka

        return await OnCassandraAndKafka.joined(settings, manifests)
