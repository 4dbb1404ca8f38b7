"""Kafka and Cassandra as clusters of three nodes each, on one machine: each node is an engine with a folder of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from citybrain.local.cassandra import Cassandra
from citybrain.local.engine_process import EngineProcess
from citybrain.local.kafka import Kafka
from citybrain.local.tcp_ports import HOST, keep_free_port

NODES = 3


class KafkaNode(Kafka):
    """Broker and controller."""

    inner_ports: tuple[str, ...] = ()

    def __init__(self, folder: Path, number: int, controllers: list[int]) -> None:
        super().__init__(folder)
        self._number = number
        self._controllers = controllers

    @override
    def configuration(self, ports: Mapping[str, int]) -> str:
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(self._controllers, 1))
        more = [f"node.id={self._number + 1}", f"controller.quorum.voters={voters}"]
        more += [f"{topic}.replication.factor=3" for topic in ("offsets.topic", "transaction.state.log")]
        return super().configuration({**ports, "inner": self._controllers[self._number]}) + "\n".join(more)


class CassandraNode(Cassandra):
    """Asks the first one who else there is."""

    def __init__(self, folder: Path, first: CassandraNode | None) -> None:
        super().__init__(folder)
        self._first = first

    @override
    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        *options, path, classes, daemon = super().prepare(ports, classes)
        # It listens to what the others say before it takes clients. Of two values the later one counts.
        settled = ["-Dcassandra.skip_wait_for_gossip_to_settle=-1", "-Dcassandra.ring_delay_ms=3000"]
        return [*options, *settled, "-Dcassandra.consistent.rangemovement=false", path, classes, daemon]

    @override
    def configuration(self, ports: Mapping[str, int]) -> str:
        text = super().configuration(ports)
        if self._first is not None:
            text = text.replace(f'seeds: "{HOST}:{ports["inner"]}"', f'seeds: "{HOST}:{self._first.inner}"')
        return f"{text}auto_bootstrap: false\n"

    @property
    def inner(self) -> int:
        """Where other nodes speak to it."""
        return self._ports()["inner"]


@dataclass
class Nodes:
    """Both clusters."""

    kafka: list[KafkaNode]
    cassandra: list[CassandraNode]

    @property
    def all(self) -> list[EngineProcess]:
        """Every node."""
        return [*self.kafka, *self.cassandra]


def addresses(nodes: list[KafkaNode] | list[CassandraNode]) -> str:
    """As a client is told them."""
    return ",".join(node.address for node in nodes)


@contextmanager
def started(folder: Path) -> Iterator[Nodes]:
    """Three nodes of each, until the end."""
    with ExitStack() as stack:
        kept: list[socket.socket] = [stack.enter_context(keep_free_port()) for _ in range(NODES)]
        controllers = [one.getsockname()[1] for one in kept]
        kafka = [KafkaNode(folder / f"kafka-{number}", number, controllers) for number in range(NODES)]
        first = CassandraNode(folder / "cassandra-0", None)
        cassandra = [first, *(CassandraNode(folder / f"cassandra-{number}", first) for number in range(1, NODES))]
        for node in [*kafka, *cassandra]:
            stack.callback(node.kill)
        # No broker answers before most controllers are there; nodes of Cassandra join one after the other.
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(lambda node: node.start(), kafka))
        for node in cassandra:
            node.start()
        yield Nodes(kafka, cassandra)
