"""What consumers have used, on Cassandra: plain rows, which a process overwrites, and which expire.

A counter column would be summed by Cassandra. But an update of one that timed out may have taken effect or not, and must not be
sent again; and counters do not expire, so each day would need a table of its own, to be made and dropped by somebody.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from typing_extensions import override

from citybrain.event_store.cassandra.session import Asked
from citybrain.event_store.quotas import Key, QuotaBook, Used

# A day is spread over so many partitions, so that it is not all on the same nodes.
_PARTS = 16
_KEPT_S = 2 * 86_400
_AT_ONCE = 100
_PAGE = 5_000
# $ is the keyspace.
_WRITE = f"INSERT INTO $.quotas (day, part, consumer, class, process, used) VALUES (?, ?, ?, ?, ?, ?) USING TTL {_KEPT_S}"
_READ = "SELECT class, process, used FROM $.quotas WHERE day = ? AND part = ? AND consumer = ?"
_SUMS = (
    "SELECT consumer, class, sum(used) FROM $.quotas WHERE day = ? AND part = ? AND (consumer, class) > (?, ?)"
    " GROUP BY consumer, class LIMIT ?"
)

T = TypeVar("T")


class CassandraQuotas(QuotaBook):
    """QuotaBook in a migrated keyspace."""

    def __init__(self, asked: Asked, write: Any, read: Any, sums: Any) -> None:
        self._asked = asked
        self._write = write
        self._read = read
        self._sums = sums

    @classmethod
    async def on(cls, asked: Asked, keyspace: str) -> CassandraQuotas:
        """Prepares the statements. The caller still has to close the session."""
        return cls(asked, *[await asked.prepare(cql.replace("$", keyspace)) for cql in (_WRITE, _READ, _SUMS)])

    @override
    async def read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        own: dict[Key, int] = defaultdict(int)
        others: dict[Key, int] = defaultdict(int)
        for some in _in_parts(consumers):
            answers = await asyncio.gather(*(self._asked.ask(self._read, (day, _part(one), one)) for one in some))
            for consumer, rows in zip(some, answers, strict=True):
                for name, whose, used in rows:
                    (own if bytes(whose) == process else others)[consumer, name] += used
        return {key: Used(own[key], others[key]) for key in {*own, *others}}

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        for some in _in_parts(list(own.items())):
            rows = [(day, _part(consumer), consumer, name, process, used) for (consumer, name), used in some]
            await asyncio.gather(*(self._asked.ask(self._write, row) for row in rows))

    @override
    async def most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        found: dict[bytes, dict[str, int]] = {}
        for part in range(_PARTS):
            last: Key = (b"", "")
            while True:
                rows = await self._asked.ask(self._sums, (day, part, *last, _PAGE))
                for consumer, name, used in rows:
                    found.setdefault(bytes(consumer), {})[name] = used
                if len(rows) < _PAGE:
                    break
                last = bytes(rows[-1][0]), rows[-1][1]
            # Those of the parts before stay only as long as they are among the first.
            found = dict(heapq.nsmallest(most, found.items(), key=lambda one: (-sum(one[1].values()), one[0])))
        return found

    @override
    def close(self) -> None:
        """Requests that were begun are with Cassandra already."""


def _part(consumer: bytes) -> int:
    return consumer[0] % _PARTS


def _in_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many are asked for at once."""
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]
