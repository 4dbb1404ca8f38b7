"""`city keys rewrap` where the keys stand in Cassandra, as somebody types it."""

from __future__ import annotations

from pathlib import Path

from citybrain.engines.local import Engines
from citybrain.mesh.settings import Cassandra, Kafka, Settings
from tests.cli.test_keys import changed_while_it_runs


def test_the_master_key_is_changed_while_the_city_runs_on_engines(engines: Engines, prefix: str, tmp_path: Path) -> None:
    settings = Settings(
        data=tmp_path / "data",
        store="distributed",
        kafka=Kafka(addresses=engines.kafka.address, prefix=prefix),
        cassandra=Cassandra(addresses=engines.cassandra.address, keyspace=prefix),
    )
    changed_while_it_runs(tmp_path, settings)
