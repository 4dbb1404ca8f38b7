"""Whether the log holds what the streams hold. What a broken broker lost, or a new one never had, is published.

A mark is true when it is written: up to it everything was acknowledged. So what a mark covers and the log does not hold is
lost; what is above the mark may be on its way still. One number a stream is held in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from citybrain.event_store.distributed.interfaces import Mark
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.store import Log, Unreadable


class WholeLog(Protocol):
    """All partitions, as the broker has them."""

    def partitions(self) -> Sequence[Log]:
        """All that are known here."""
        ...

    async def up_to_now(self) -> None:
        """Returns when what was in the log at the call is known here."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """A stream that differs: its last version in the store, up to which the log has all, and what its mark says of the log."""

    stream: str
    stored: int
    logged: int
    marked: int

    @property
    def lost(self) -> int:
        """Events that the log had acknowledged and does not hold."""
        return max(0, min(self.marked, self.stored) - self.logged)

    @property
    def coming(self) -> int:
        """Events that nobody has said to be in the log: their writer, or who adopts it, publishes them."""
        return max(0, self.stored - max(self.logged, self.marked))

    @property
    def unknown(self) -> int:
        """Events of the log that the store does not hold: it was put back from an older copy."""
        return max(0, self.logged - self.stored)


@dataclass(slots=True)
class Verdict:
    """What was found. `twice`: records that stand in the log again, which readers drop."""

    streams: int = 0
    events: int = 0
    twice: int = 0
    differing: list[Difference] = field(default_factory=list)
    # What is no event. Whoever reads the log goes past it.
    unreadable: list[Unreadable] = field(default_factory=list)
    published: int = 0

    @property
    def sound(self) -> bool:
        """Nothing is lost, on neither side."""
        return not any(one.lost or one.unknown for one in self.differing)


async def verify(names: AsyncIterable[str], log: WholeLog, publisher: Publisher, repair: bool = False) -> Verdict:
    """Compares the streams of some names with the log; `repair`: publishes what it does not hold, each stream in order.

    What is on its way is published too: of streams that were put back from a copy nobody knows that it has yet to be, and where
    their writer publishes it as well, readers drop the second.
    """
    verdict = Verdict()
    # First the store, then the log: what was marked before the log is read must be found there.
    stored: dict[str, tuple[int, int]] = {}
    async for name in names:
        marked = await publisher.marked(name)
        stored[name] = ((await publisher.streams.tail(name)).version, marked.published)
    await log.up_to_now()
    logged = await _logged(log, verdict)
    verdict.streams = len(stored.keys() | logged.keys())
    for name in sorted(stored.keys() | logged.keys()):
        version, published = stored.get(name, (0, 0))
        found = Difference(name, version, logged.get(name, 0), published)
        # What was appended and published after the store was looked at is no difference.
        if found.unknown:
            found = Difference(name, (await publisher.streams.tail(name)).version, found.logged, published)
        if found.lost or found.coming or found.unknown:
            verdict.differing.append(found)
        if repair and found.stored > found.logged:
            known = await publisher.bring(name, found.stored, Mark(found.logged))
            verdict.published += known.published - found.logged
    return verdict


async def _logged(log: WholeLog, verdict: Verdict) -> dict[str, int]:
    """Up to which version the log holds each stream, in order."""
    last: dict[str, int] = {}
    for partition in log.partitions():
        position, end = 0, partition.head()
        while position < end:
            page = await partition.read_log(position)
            for event in page.events:
                before = last.get(event.stream, 0)
                verdict.events += 1
                verdict.twice += event.version <= before
                if event.version == before + 1:
                    last[event.stream] = event.version
            verdict.unreadable += page.unreadable
            position = page.reached
    return last
