"""Request ids on Cassandra, without conditional writes: these take longer, and nothing unsafe can follow from a race.

Each use of an id is a row of its own. Who finds no row of another use writes theirs, and looks again. Reads and writes are of a
majority: so of two that come at the same time, the one whose write ends last sees both rows. Who sees a row of another use is
refused. If each of the two sees the other, both are refused. Retries of both are refused too, also if one of them went on.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from citybrain.event_store.cassandra.session import Asked, surely
from citybrain.event_store.requests import Bound, RequestBook, Use, key

# One other use is enough to refuse; so many only come together if they come at the same moment.
_USES = 10
# $ is the keyspace.
_WRITE = "INSERT INTO $.requests (id, caller, method, content) VALUES (?, ?, ?, ?) USING TTL ?"
_READ = f"SELECT caller, method, content FROM $.requests WHERE id = ? LIMIT {_USES}"


class CassandraRequests(RequestBook):
    """RequestBook in a migrated keyspace. `kept_s`: how long an id is bound; 0: for ever."""

    def __init__(self, asked: Asked, write: Any, read: Any, kept_s: int) -> None:
        self._asked = asked
        self._write = write
        self._read = read
        self._kept_s = kept_s

    @classmethod
    async def on(cls, asked: Asked, keyspace: str, kept_s: int) -> CassandraRequests:
        """Prepares the statements. The caller still has to close the session."""
        write, read = [await asked.prepare(cql.replace("$", keyspace)) for cql in (_WRITE, _READ)]
        return cls(asked, write, read, kept_s)

    @override
    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        use, name = Use.of(caller, method, content), key(request_id)
        if bound := _compared(use, await self._uses(name)):
            # Nothing is written: so only uses that come at the same moment have rows.
            return bound
        # Also if its row is there: an earlier write that failed may have reached a minority only.
        await surely(lambda: self._asked.ask(self._write, (name, use.caller, use.method, use.content, self._kept_s)))
        return _compared(use, await self._uses(name))

    async def _uses(self, name: bytes) -> list[Use]:
        rows = await surely(lambda: self._asked.ask(self._read, (name,)))
        return [Use(bytes(caller), method, bytes(content)) for caller, method, content in rows]

    @override
    def close(self) -> None:
        """Requests that were begun are with Cassandra already."""


def _compared(use: Use, uses: list[Use]) -> Bound | None:
    return next((bound for other in uses if (bound := use.compared(other))), None)
