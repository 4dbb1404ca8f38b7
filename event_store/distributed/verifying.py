"""Compares the log with the streams. Events that a broker lost, or that a new one never had, can be published again.

When a mark is written, the log has acknowledged everything up to it. So an event that a mark covers and the log does not hold
is lost; an event above the mark may still be on its way. The comparison keeps a few numbers for each stream in memory.
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
    """A stream that differs: its last version in the store, the version up to which the log has all, and its mark."""

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
        """Events that no mark covers and that were not found in the log: their writer, or its adopter, publishes them."""
        return max(0, self.stored - max(self.logged, self.marked))

    @property
    def unknown(self) -> int:
        """Events of the log that the store does not hold: the store was put back from an older copy."""
        return max(0, self.logged - self.stored)


@dataclass(slots=True)
class Verdict:
    """What was found. `twice`: duplicates in the log, which readers drop."""

    streams: int = 0
    events: int = 0
    twice: int = 0
    differing: list[Difference] = field(default_factory=list)
    # Records that are no events. Readers go past them.
    unreadable: list[Unreadable] = field(default_factory=list)
    published: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is lost on either side."""
        return not any(one.lost or one.unknown for one in self.differing)


async def verify(names: AsyncIterable[str], log: WholeLog, publisher: Publisher, repair: bool = False) -> Verdict:
    """Compares the named streams with the log; `repair`: publishes what the log does not hold, each stream in order.

    Events that may be on their way are published too: if the store was put back from a copy, nobody else would publish them.
    If their writer publishes them as well, readers drop the duplicates.
    """
    verdict = Verdict()
    # The store is read before the log: what is marked by then must be in the log.
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
        # Events that were appended and published after the store was read are no difference.
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
