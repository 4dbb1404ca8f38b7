"""From a stream to the log: in version order, each event only when the one before it is there; then the mark says so.

Several may publish the same stream at once, and some may have slept: they add what is there already, never anything out of
order, since each has seen version v-1 acknowledged, or marked by one who had, before it sends v.
"""

from __future__ import annotations

from citybrain.event_store.distributed.ports import Broker, Mark
from citybrain.event_store.distributed.streams import Streams


class Publisher:
    """Brings streams into the log."""

    def __init__(self, streams: Streams, broker: Broker) -> None:
        self.streams = streams
        self._broker = broker

    async def marked(self, stream: str) -> Mark:
        """How far a stream is known to be in the log."""
        return await self.streams.surely(self.streams.tables.mark, stream)

    async def bring(self, stream: str, target: int, known: Mark) -> Mark:
        """Publishes everything above what is known to be in the log, up to a version; returns what is known then."""
        events, bucket = await self.streams.read(stream, known.published + 1, target, known.bucket)
        for event in events:
            if event.correlation_id:
                # Before the event is heard: who hears of a story finds all of it.
                await self.streams.surely(self.streams.tables.tell_story, event, known.bucket)
            await self.streams.surely(self._broker.publish, event)
        if not events:
            return known
        mark = Mark(events[-1].version, bucket)
        await self.streams.surely(self.streams.tables.put_mark, stream, mark)
        return mark
