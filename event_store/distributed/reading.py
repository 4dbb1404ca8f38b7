"""A partition of the log as groups read it: the versions of each stream once, in order, and none left out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from typing import Protocol

from citybrain.event_store.distributed.interfaces import Mark
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.store import Log, LogPage, StoredEvent

# For how many streams of a partition a group's member keeps the last version in memory.
_KNOWN_MAX = 100_000
# Stored in place of a stream's name: says that the group has heard the log from its beginning.
_BEGINNING = ""


class NamedLog(Log, Protocol):
    """A partition as the broker has it: an event that was published twice stands there twice."""

    @property
    def name(self) -> str:
        """Its name, which never changes."""
        ...


class SharedPartition:
    """A Partition of the distributed engine. Its own methods read it as the broker has it; `for_group` drops duplicates."""

    def __init__(self, log: NamedLog, publisher: Publisher) -> None:
        self._log = log
        self._publisher = publisher
        self.name = log.name
        self.read_log = log.read_log
        self.head = log.head
        self.grown = log.grown

    def for_group(self, models: ReadModels, group: str) -> GroupReader:
        """The partition as a member of a group reads it: every event of a stream once."""
        return GroupReader(self._log, self._publisher, models, group)


class GroupReader:
    """A GroupLog: it drops duplicates. If an event is missing, it is published again before the group goes past it.

    Of a stream that the group has not heard yet, nothing is kept. Such a stream may begin here at
    a version above 1. If the group has heard the log from its beginning, the stream itself is then read, to see whether an
    earlier version was for this group too.
    """

    def __init__(self, log: Log, publisher: Publisher, models: ReadModels, group: str) -> None:
        self._log = log
        self._publisher = publisher
        self._models = models
        self._group = group
        self.head = log.head
        self.grown = log.grown
        # Whether the group has heard the log from its beginning; None: not known before the first look.
        self._whole: bool | None = None
        self._last: OrderedDict[str, int] = OrderedDict()
        # To be stored with the next checkpoints: position, stream and version, in the order of the partition.
        self._new: deque[tuple[int, str, int]] = deque()
        self.gaps = 0
        """How often an event was missing. Stays 0 if publishers are correct and the broker loses nothing."""

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """Without `types`: the page as the broker has it, for reading one event again."""
        page = await self._log.read_log(after, limit)
        if types is None:
            return page
        # The checkpoint `after` is stored, and with it everything up to there.
        while self._new and self._new[0][0] <= after:
            self._new.popleft()
        if self._whole is None:
            self._whole = after == 0 or _BEGINNING in await self._models.seen(self._group, [_BEGINNING])
        await self._look_up(page.events, types)
        events = [event for event in page.events if await self._is_next(event, types) and event.type in types]
        while len(self._last) > _KNOWN_MAX:
            self._last.popitem(last=False)
        # A record that claims a type of other groups is left to them.
        unreadable = [one for one in page.unreadable if not one.type or one.type in types]
        return LogPage(events, page.reached, unreadable)

    def seen(self, position: int) -> dict[str, int]:
        """The last versions up to a position that no checkpoint holds yet, by stream."""
        new = {stream: version for at, stream, version in self._new if at <= position}
        return new | {_BEGINNING: 1} if new and self._whole else new

    async def _look_up(self, events: Sequence[StoredEvent], types: Collection[str]) -> None:
        """Loads the last versions that are not in memory, of the streams that are heard here."""
        unknown = {event.stream for event in events if event.type in types} - self._last.keys()
        if unknown:
            kept = await self._models.seen(self._group, unknown)
            newer = {stream: version for _, stream, version in self._new if stream in unknown}
            self._last |= dict.fromkeys(unknown, 0) | kept | newer

    async def _is_next(self, event: StoredEvent, types: Collection[str]) -> bool:
        last = self._last.get(event.stream, 0 if event.version == 1 else None)
        if last is None or event.version <= last:
            return False
        if event.version > last + 1 and (last or self._whole) and await self._missing(event, last, types):
            return False
        self._last[event.stream] = event.version
        self._last.move_to_end(event.stream)
        if event.type in types:
            self._new.append((event.position, event.stream, event.version))
        return True

    async def _missing(self, event: StoredEvent, last: int, types: Collection[str]) -> bool:
        """Whether an event for this group is missing before `event`. If so, all from there to `event` are published again."""
        between, _ = await self._publisher.streams.read_all(event.stream, last + 1, event.version - 1)
        if not any(one.type in types for one in between):
            return False
        self.gaps += 1
        await self._publisher.bring(event.stream, event.version, Mark(last))
        return True
