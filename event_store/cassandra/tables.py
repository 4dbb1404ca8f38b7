"""The conditional store of streams: each bucket is one partition, and an append is one conditional batch in it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from cassandra.query import BatchStatement, BatchType
from citybrain.event_store.cassandra.session import Asked
from citybrain.event_store.distributed.interfaces import Batch, Bucket, Mark, Opening, Rows, Tables, WriterRow
from citybrain.event_store.store import StoredEvent

_SHARDS = 64
_COLUMNS = (
    "id, type, data, occurred_at, traceparent, correlation_id, causation_id, actor, district, classification, version, "
    "recorded_at, sealed"
)
# $ is the keyspace.
_STATEMENTS = {
    "append": "UPDATE $.streams SET head = ? WHERE stream = ? AND bucket = ? IF head = ? AND fence = ?",
    "event": f"INSERT INTO $.streams (stream, bucket, kind, {_COLUMNS}) VALUES (?, ?, 0, {', '.join('?' * 13)})",
    "id": "INSERT INTO $.streams (stream, bucket, kind, version, id, at) VALUES (?, ?, 1, 0, ?, ?) IF NOT EXISTS",
    "change_fence": "UPDATE $.streams SET fence = ? WHERE stream = ? AND bucket = ? IF fence = ?",
    # The head is read together with the rows: one read of a partition sees whole batches only.
    "rows": f"SELECT head, {_COLUMNS} FROM $.streams WHERE stream = ? AND bucket = ? AND kind = 0"
    " AND version >= ? AND version <= ? LIMIT ?",
    "versions": "SELECT id, at FROM $.streams WHERE stream = ? AND bucket = ? AND kind = 1 AND version = 0 AND id IN ?",
    "mark": "SELECT published, bucket FROM $.marks WHERE shard = ? AND stream = ?",
    "names": "SELECT DISTINCT stream, bucket, token(stream, bucket) FROM $.streams WHERE token(stream, bucket) > ? LIMIT ?",
    # The higher mark wins, whenever it was written.
    "put_mark": "INSERT INTO $.marks (shard, stream, published, bucket) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
    # Timestamp 1 is older than every close or remove, whenever this write arrives: so a late one cannot open a closed writer.
    "begin": "INSERT INTO $.writers (id, beat, closed) VALUES (?, 0, false) USING TIMESTAMP 1",
    "beat": "INSERT INTO $.writers (id, beat) VALUES (?, ?)",
    "close": "INSERT INTO $.writers (id, closed) VALUES (?, true)",
    "remove": "DELETE FROM $.writers WHERE id = ?",
    "writer": "SELECT closed FROM $.writers WHERE id = ?",
    "writers": "SELECT id, beat, closed FROM $.writers",
    "open": "INSERT INTO $.open_streams (writer, stream, number) VALUES (?, ?, ?)",
    "opened": "SELECT stream, number FROM $.open_streams WHERE writer = ?",
    "forget": "DELETE FROM $.open_streams WHERE writer = ? AND stream = ? AND number = ?",
    "index_correlation": "INSERT INTO $.stories (story, stream, version, bucket) VALUES (?, ?, ?, ?)",
    "correlated": "SELECT stream, version, bucket FROM $.stories WHERE story = ?",
}
_SERIAL = {"bucket": "SELECT DISTINCT stream, bucket, head, fence FROM $.streams WHERE stream = ? AND bucket = ?"}
# More events are asked for page by page.
_ROWS_MAX = 1000
# Cassandra warns of batches over more than ten partitions.
_MARKS_MAX = 10
_FIRST_TOKEN = -(2**63)


class CassandraTables(Tables):
    """Tables in a migrated keyspace."""

    def __init__(self, asked: Asked, prepared: dict[str, Any]) -> None:
        self._asked = asked
        self._prepared = prepared

    @classmethod
    async def on(cls, asked: Asked, keyspace: str) -> CassandraTables:
        """Prepares the statements."""
        prepared = {name: await asked.prepare(cql.replace("$", keyspace)) for name, cql in _STATEMENTS.items()}
        for name, cql in _SERIAL.items():
            prepared[name] = await asked.prepare(cql.replace("$", keyspace), serial=True)
        return cls(asked, prepared)

    async def _ask(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return await self._asked.ask(self._prepared[name], values)

    # -- streams --------------------------------------------------------------------------------------------------------

    @override
    async def bucket(self, stream: str, bucket: int) -> Bucket:
        rows = await self._ask("bucket", stream, bucket)
        return Bucket(rows[0][2], rows[0][3]) if rows else Bucket(None, None)

    @override
    async def append(self, batch: Batch) -> bool:
        stream, bucket = batch.stream, batch.bucket
        sent = BatchStatement(batch_type=BatchType.UNLOGGED)
        prepared = self._prepared
        sent.add(prepared["append"], (batch.events[-1].version, stream, bucket, batch.head, batch.fence))
        for e in batch.events:
            sent.add(
                prepared["event"],
                (
                    stream, bucket, e.id, e.type, e.data, e.occurred_at, e.traceparent, e.correlation_id, e.causation_id,
                    e.actor, e.district, e.classification, e.version, e.recorded_at, e.sealed,
                ),
            )  # fmt: skip
            sent.add(prepared["id"], (stream, bucket, e.id, e.version))
        (answer, *_) = await self._asked.ask(sent)
        return bool(answer[0])

    @override
    async def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        (answer, *_) = await self._ask("change_fence", new, stream, bucket, old)
        return bool(answer[0])

    @override
    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        found: list[StoredEvent] = []
        head: int | None = None
        while first <= last:
            page = await self._ask("rows", stream, bucket, first, last, _ROWS_MAX)
            found += [_event(stream, row[1:]) for row in page]
            head = page[-1][0] if page else head
            if len(page) < _ROWS_MAX:
                break
            first = found[-1].version + 1
        return Rows(found, head)

    @override
    async def versions(self, stream: str, bucket: int, ids: Sequence[str]) -> dict[str, int]:
        return dict(await self._ask("versions", stream, bucket, list(ids)))

    # -- marks and correlations ----------------------------------------------------------------------------------------------

    @override
    async def mark(self, stream: str) -> Mark:
        rows = await self._ask("mark", _shard(stream), stream)
        return Mark(*rows[0]) if rows else Mark()

    @override
    async def put_marks(self, marks: Mapping[str, Mark]) -> None:
        values = [(_shard(stream), stream, mark.published, mark.bucket, mark.published) for stream, mark in marks.items()]
        if len(values) == 1:
            await self._ask("put_mark", *values[0])
            return
        batches = []
        for first in range(0, len(values), _MARKS_MAX):
            batch = BatchStatement(batch_type=BatchType.UNLOGGED)
            for some in values[first : first + _MARKS_MAX]:
                batch.add(self._prepared["put_mark"], some)
            batches.append(self._asked.ask(batch))
        await asyncio.gather(*batches)

    async def names(self) -> AsyncIterator[str]:
        """The names of all streams, read page by page."""
        place = _FIRST_TOKEN
        while rows := await self._ask("names", place, _ROWS_MAX):
            for stream, bucket, _ in rows:
                if bucket == 0:
                    yield stream
            place = rows[-1][2]

    @override
    async def index_correlation(self, event: StoredEvent, bucket: int) -> None:
        await self._ask("index_correlation", event.correlation_id, event.stream, event.version, bucket)

    async def correlated(self, correlation_id: str) -> list[tuple[str, int, int]]:
        """Stream, version and bucket of each event of a correlation id, in the order of streams and versions."""
        return [(row[0], row[1], row[2]) for row in await self._ask("correlated", correlation_id)]

    # -- writers --------------------------------------------------------------------------------------------------------

    @override
    async def begin(self, writer: str) -> None:
        await self._ask("begin", writer)

    @override
    async def beat(self, writer: str, beat: int) -> None:
        await self._ask("beat", writer, beat)

    @override
    async def close(self, writer: str) -> None:
        await self._ask("close", writer)

    @override
    async def is_closed(self, writer: str) -> bool:
        rows = await self._ask("writer", writer)
        return not rows or rows[0][0] is not False

    @override
    async def remove(self, writer: str) -> None:
        await self._ask("remove", writer)

    @override
    async def writers(self) -> list[WriterRow]:
        return [WriterRow(row[0], row[1] or 0, row[2] is not False) for row in await self._ask("writers")]

    @override
    async def open(self, writer: str, opening: Opening) -> None:
        await self._ask("open", writer, opening.stream, opening.number)

    @override
    async def opened(self, writer: str) -> list[Opening]:
        return [Opening(*row) for row in await self._ask("opened", writer)]

    @override
    async def forget(self, writer: str, opening: Opening) -> None:
        await self._ask("forget", writer, opening.stream, opening.number)


def _event(stream: str, row: Sequence[Any]) -> StoredEvent:
    said, (version, recorded_at, sealed) = row[:10], row[10:]
    where: tuple[Any, ...] = (stream, version, recorded_at, 0, sealed or b"")
    return StoredEvent(*said, *where)


def _shard(stream: str) -> int:
    return zlib.crc32(stream.encode()) % _SHARDS
