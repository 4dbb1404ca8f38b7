"""What callers on real engines are told comes from one list, while processes, Cassandra and Kafka are stopped or killed."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.local.engine_processes import EngineProcesses
from tests.linearizability.places import DistributedPlace
from tests.linearizability.trouble import Histories, judged

LIMIT_S = 240


def lived(engines: EngineProcesses, prefix: str, seed: int, bucket_events: int, rounds: int) -> Histories:
    """A seed's histories on a keyspace of their own."""
    keyspace = "t" + uuid.uuid4().hex[:20]
    asyncio.run(asyncio.wait_for(migrate(Place(engines.cassandra.address, keyspace)), 60))
    place = DistributedPlace(engines.cassandra.address, keyspace, engines.kafka.address, prefix, bucket_events)
    return judged(place, seed, rounds, list(engines.all))


@pytest.mark.timeout(LIMIT_S)
def test_with_buckets_of_five_what_callers_are_told_comes_from_one_list_and_what_is_heard_is_in_its_order(
    engines: EngineProcesses, prefix: str
) -> None:
    lived(engines, prefix, seed=1, bucket_events=5, rounds=5)
