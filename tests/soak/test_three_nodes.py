"""Clusters of three nodes: with one away the city goes on. ROUNDS kills a seed, SOAK_SEEDS seeds from SOAK_FROM on."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from collections.abc import Iterator

import pytest

from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.local.engine_process import EngineProcess
from citybrain.local.engine_processes import EngineProcesses
from tests.faults.engines.children import Child, Record
from tests.faults.engines.test_everything_killed import lived_through
from tests.soak.three_nodes import NODES, Nodes, addresses, started

FIRST = int(os.environ.get("SOAK_FROM", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SOAK_SEEDS", "3")))
ROUNDS = int(os.environ.get("ROUNDS", "6"))


@pytest.fixture(scope="module")
def nodes(engines: EngineProcesses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """`engines`, so that their jars are there."""
    with started(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", SEEDS)
def test_with_one_node_away_appends_go_on_and_nothing_is_lost_doubled_or_out_of_order(
    nodes: Nodes, prefix: str, seed: int
) -> None:
    chance = random.Random(seed)
    victims: list[EngineProcess] = [chance.choice(nodes.all) for _ in range(ROUNDS)]
    sys.stdout.write(f"seed {seed}: killed are {', '.join(victim.folder.name for victim in victims)}\n")
    where = Place(addresses(nodes.cassandra), "t" + uuid.uuid4().hex[:20], replication={"datacenter1": NODES}, answer_s=2)
    cluster = Cluster(addresses(nodes.kafka), prefix=prefix, replication=NODES)

    async def happens(record: Record, children: list[Child]) -> None:
        await asyncio.gather(*(child.ready() for child in children))
        for victim in victims:
            await record.more(chance.randrange(40, 120))
            await asyncio.to_thread(victim.kill)
            await record.more(chance.randrange(40, 120))
            await asyncio.to_thread(victim.start)

    asyncio.run(asyncio.wait_for(lived_through(where, cluster, happens), 180 + 60 * ROUNDS))
