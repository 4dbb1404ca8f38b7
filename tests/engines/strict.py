"""A Cassandra that refuses early to read what has much in it that was deleted: so a table that would grow past it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from typing_extensions import override

from citybrain.local.cassandra import Cassandra
from citybrain.local.engine_processes import EngineProcesses

# A read that meets more tombstones than this is refused. Cassandra's own limit is 100,000, which a city comes to after weeks.
TOMBSTONES = 1000


# Each test has a keyspace of its own, and the memory of Cassandra grows with their tables: what is enough for the one city of a
# laptop ran out behind some hundred of them.
_HEAP_MB = 768


class StrictCassandra(Cassandra):
    """Warns and refuses a hundred times sooner than is usual; has room for many keyspaces."""

    @override
    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        options = super().prepare(ports, classes)
        before = options.index("-cp")
        # Of what is said twice Java takes the last.
        return [*options[:before], f"-Xmx{_HEAP_MB}m", *options[before:]]

    @override
    def configuration(self, ports: Mapping[str, int]) -> str:
        limits = f"tombstone_warn_threshold: {TOMBSTONES // 2}\ntombstone_failure_threshold: {TOMBSTONES}\n"
        return super().configuration(ports) + limits


class StrictEngines(EngineProcesses):
    """Both engines, with a Cassandra that is strict."""

    def __init__(self, folder: Path, kafka_port: int = 0, cassandra_port: int = 0) -> None:
        super().__init__(folder, kafka_port, cassandra_port)
        self.cassandra = StrictCassandra(folder / "cassandra", cassandra_port)
