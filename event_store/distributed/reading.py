"""A partition of the log as its readers see it: each stream's versions once, in order, and none left out."""

from __future__ import annotations

from collections.abc import Mapping

from citybrain.event_store.contract import StoredEvent
from citybrain.event_store.distributed.streams import Streams


class Versions:
    """The last version seen of each stream; kept with the checkpoint, so that what came before it is not handled again."""

    def __init__(self, streams: Streams, seen: Mapping[str, int] | None = None) -> None:
        self._streams = streams
        self.seen: dict[str, int] = dict(seen or {})
        self.gaps = 0
        """How often something was missing, and was read from its stream instead: never, if publishers do as they must."""

    async def next(self, record: StoredEvent) -> list[StoredEvent]:
        """What a record brings: nothing where it came before, itself, or first what is missing before it."""
        last = self.seen.get(record.stream, 0)
        if record.version <= last:
            return []
        missing: list[StoredEvent] = []
        if record.version > last + 1:
            self.gaps += 1
            missing, _ = await self._streams.read(record.stream, last + 1, record.version - 1)
        self.seen[record.stream] = record.version
        return [*missing, record]
