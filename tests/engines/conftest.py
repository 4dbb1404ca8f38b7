"""One Kafka and one Cassandra for a whole run of tests; topics and a keyspace of its own for each test."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.errors import NotFetched
from citybrain.mesh.settings.values import Cassandra, Kafka, Settings
from tests.engines.strict import StrictEngines


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcesses]:
    """Both engines. Where their packages cannot be had a laptop goes on without these tests; CI does not."""
    try:
        running = StrictEngines.start(tmp_path_factory.mktemp("engines"), say=_say)
    except NotFetched as problem:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"NOT TESTED ON REAL ENGINES: {problem}")
    with running:
        yield running


@pytest.fixture(scope="module")
def place(engines: EngineProcesses) -> Place:
    """One keyspace for the tests of a module: each test has streams, ids, days or a service of its own in it."""
    place = Place(engines.cassandra.address, keyspace=f"module_{uuid.uuid4().hex[:12]}")
    asyncio.run(migrate(place))
    return place


@pytest.fixture
def prefix() -> str:
    """What the names of a test's topics and keyspace begin with."""
    return f"test{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings(engines: EngineProcesses, prefix: str, tmp_path: Path) -> Settings:
    """Of a mesh that keeps everything in both engines, under names of the test's own."""
    return Settings(
        data=tmp_path / "data",
        store="distributed",
        kafka=Kafka(addresses=engines.kafka.address, prefix=prefix),
        cassandra=Cassandra(addresses=engines.cassandra.address, keyspace=prefix),
    )
