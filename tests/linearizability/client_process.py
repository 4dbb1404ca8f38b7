"""A process with clients of a store: writers, readers, followers. A line on standard input stops it.

Run as `python -m tests.linearizability.client_process JSON`; `Clients` says what stands there. Its first line says that it is
there, the others what its clients begin and are told (see record).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.helpers.speaking import asked_to_stop, say
from tests.linearizability.clients import Client, keep_on
from tests.linearizability.model import Append
from tests.linearizability.places import AnyPlace, DistributedPlace, EmbeddedPlace, Slow

# One clock for all processes of a machine.
now = time.monotonic_ns


@dataclass(frozen=True)
class Clients:
    """What is in a process."""

    name: str
    writers: int = 0
    readers: int = 0
    # One that hears the events of the one correlation id, and one of each partition.
    follows: bool = False
    # How it stands still between two questions.
    slow: Slow = field(default_factory=lambda: Slow(0.02, 0.05))
    seed: str = ""
    # What another process was told nothing of when it was killed: its callers ask here.
    again: Sequence[tuple[str, Append]] = ()

    def told_as(self, place: AnyPlace) -> str:
        """The argument of the process."""
        return json.dumps({"place": asdict(place), "clients": asdict(self)})

    @staticmethod
    def from_told(told: str) -> tuple[AnyPlace, Clients]:
        """What an argument says."""
        said = json.loads(told)
        where, who = said["place"], said["clients"]
        place: AnyPlace = DistributedPlace(**where) if "cassandra" in where else EmbeddedPlace(**where)
        who["again"] = [(stream, Append(tuple(one["ids"]), one["expected"])) for stream, one in who["again"]]
        return place, Clients(**who | {"slow": Slow(**who["slow"])})


async def live(place: AnyPlace, clients: Clients) -> None:
    """Until it is told to stop, each client one thing after the other."""
    stop = await asked_to_stop()
    chance = Random(clients.seed)
    async with place.opened(Random(f"{clients.seed} slow"), clients.slow) as store:

        def client(number: object) -> Client:
            return Client(store, f"{clients.name}.{number}", Random(f"{clients.seed} {number}"), say, now)

        say(["", 0])
        following = []
        if clients.follows:
            following.append(asyncio.ensure_future(client("correlated").follow_correlated()))
            logs = enumerate(store.partitions())
            following += [asyncio.ensure_future(client(f"log{number}").follow_log(one)) for number, one in logs]
        again = client("again")
        busy: list[Any] = [again.append(stream, asked) for stream, asked in clients.again]
        pause = lambda: chance.uniform(0, 0.02)  # noqa: E731
        busy += [keep_on(client(number).write, pause, stop) for number in range(clients.writers)]
        busy += [keep_on(client(f"r{number}").read, pause, stop) for number in range(clients.readers)]
        working = asyncio.ensure_future(asyncio.gather(stop, *busy))
        await asyncio.wait([working, *following], return_when=asyncio.FIRST_COMPLETED)
        for follower in following:
            if follower.done():
                follower.result()
            follower.cancel()
        await working


if __name__ == "__main__":
    asyncio.run(live(*Clients.from_told(sys.argv[1])))
