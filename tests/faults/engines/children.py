"""Processes that write to real streams, and what each was told, kept here: outside of everything that is killed."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.kafka.cluster import Cluster
from tests.helpers.speaking import Speaking


@dataclass
class Record:
    """What was told, by event id: stream and version; and what was begun and never answered."""

    # Why nothing more will be told: a writer ended that nobody had ended.
    wrong: str = ""
    told: dict[str, tuple[str, int]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def hear(self, line: list[Any]) -> None:
        """A line of a writer."""
        name, stream, version = line
        if version:
            self.unknown.discard(name)
            self.told[name] = (stream, version)
        else:
            self.unknown.add(name)

    def fail(self, wrong: str) -> None:
        """Nothing more will be told."""
        self.wrong = wrong

    async def more(self, appends: int) -> None:
        """Waits until so many more were acknowledged."""
        wanted = len(self.told) + appends
        while len(self.told) < wanted:
            assert not self.wrong, self.wrong
            await asyncio.sleep(0.02)


class Child(Speaking):
    """A process with some writers: `await Child.start(…)`."""

    _numbers = itertools.count()

    @classmethod
    async def start(cls, where: Place, cluster: Cluster, record: Record, writers: int) -> Child:
        """Begins to start it; `ready()` waits until it writes."""
        place = (where.addresses, where.keyspace, cluster.addresses, cluster.prefix)
        arguments = [*place, f"p{next(cls._numbers)}", str(writers)]
        return cls(await cls.spawn("tests.faults.engines.writer_process", arguments), record.hear, record.fail)
