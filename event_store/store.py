"""What an event store promises, in types: events, outcomes, errors and the port that every engine implements.

The promises are numbered ES-1 … ES-15 in docs/guarantees.md; docstrings here name the ones they carry.
It is long because all types of the port stand in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, runtime_checkable

from citybrain.options.v1.options_pb2 import CLASSIFICATION_INTERNAL

if TYPE_CHECKING:
    from citybrain.event_store.read_models import ReadModels

__all__ = [
    "ANY",
    "NO_STREAM",
    "Committed",
    "Conflict",
    "Cursor",
    "EventStore",
    "Features",
    "Feed",
    "FeedPage",
    "GroupLog",
    "LimitExceeded",
    "Log",
    "LogPage",
    "LostAssignment",
    "NewEvent",
    "Partition",
    "Publishing",
    "StoreError",
    "StoredEvent",
    "Undecided",
    "Unreadable",
]

ANY = -1
"""Expected version: append wherever the stream stands."""
NO_STREAM = 0
"""Expected version: the stream must not exist yet."""


_NOTHING = "; nothing was written"


class StoreError(Exception):
    """Base of everything a store raises. Its text is for those who run the city: it may name files and hosts."""

    @property
    def for_logs(self) -> str:
        """What log lines and spans say of it."""
        return str(self)

    @property
    def told(self) -> str:
        """What a caller of the city is told: no file and no host, but whether it is known that nothing was done."""
        return "the event store cannot be used now" + (_NOTHING if str(self).endswith(_NOTHING) else "")


class LimitExceeded(StoreError):
    """The append breaks a limit (ES-14); nothing was written. Trying again does not help."""


class Undecided(StoreError):
    """The caller's time ran out before the append was decided (ES-3). Safe to retry with the same event ids."""


class LostAssignment(StoreError):
    """Another member of the consumer group took this partition over; what this member did is not recorded (ES-7)."""


@dataclass(slots=True)
class NewEvent:
    """An event to be appended. Times are microseconds since 1970 UTC; `data` is the serialised proto message (ES-13)."""

    id: str
    type: str
    data: bytes
    occurred_at: int
    traceparent: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    actor: str = ""
    district: str = ""
    classification: int = CLASSIFICATION_INTERNAL
    sealed: bytes = b""
    """The personal fields of the message, sealed for each person (ES-12). The store keeps them and cannot read them."""


class StoredEvent(NamedTuple):
    """An event as it stands in its stream and in the log. A tuple, because that is fast: very many are made from rows."""

    id: str
    type: str
    data: bytes
    occurred_at: int
    traceparent: str
    correlation_id: str
    causation_id: str
    actor: str
    district: str
    classification: int
    stream: str
    version: int
    recorded_at: int
    position: int
    sealed: bytes = b""


# Not frozen: that would double the cost of an append outside the database.
@dataclass(slots=True)
class Committed:
    """The events are durable: versions `first` … `last` of the stream, the last one at `position` of the log."""

    first: int
    last: int
    position: int
    # True: the events were there before, and this append wrote nothing (ES-2).
    again: bool = field(default=False, compare=False)


@dataclass(slots=True, frozen=True)
class Conflict:
    """Nothing was written. The stream stands at `actual`, not where the writer thought, or it holds only some of the ids."""

    actual: int


@dataclass(slots=True, frozen=True)
class Unreadable:
    """A record of the log that is no event: its position, its place in words for people, and why. Never its content."""

    position: int
    where: str
    # Empty: this is normal, and nobody need be told.
    reason: str
    # The type of event that the record claims to be; empty: it claims none.
    type: str = ""
    # Nothing of its content is kept.
    data: ClassVar[bytes] = b""


@dataclass(slots=True)
class LogPage:
    """Events of the log in order, and the position up to which the log was searched for them."""

    events: list[StoredEvent]
    reached: int
    # Records of the same part of the log that are no events.
    unreadable: Sequence[Unreadable] = ()


@dataclass(slots=True, frozen=True)
class Publishing:
    """How far this process is behind with bringing what it has written into the log.

    `events` that are in streams and not in the log yet; the oldest of them was recorded `oldest_s` ago. `unknown`: how often,
    since the process began, the outcome of a write was unknown, so that it was sent again.
    """

    events: int = 0
    oldest_s: float = 0.0
    unknown: int = 0


@dataclass(slots=True, frozen=True)
class Features:
    """What an engine promises beyond what every engine must promise. Contract suites differ only by these."""

    # Every reader of the log sees one order over all streams, the order of the commits. Without it there is one order in each
    # stream, and in each partition of the log.
    one_order: bool
    # Several processes may have the same place open, and each sees what the others wrote.
    several_processes: bool
    # What was acknowledged is there when the place is opened again, even after a crash.
    durable: bool


class Log(Protocol):
    """Events in one order. Positions grow, may have gaps, and mean something in this log only (ES-5)."""

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """Events after a position (0: from the beginning), of some types or all (None)."""
        ...

    def head(self) -> int:
        """Position of the last event known to be committed."""
        ...

    async def grown(self, after: int) -> int:
        """Returns the head as soon as it is above `after`."""
        ...


@runtime_checkable
class TellsTypes(Protocol):
    """A log that knows of what types new events are, so that whoever hears none of them is left alone."""

    def next_of(self, types: Collection[str]) -> asyncio.Future[int]:
        """Is done when behind the head as it is now there may be an event of one of these types.

        Its result is a position up to which there is none. Until it is done, there is none up to the head.
        """
        ...


class GroupLog(Log, Protocol):
    """A partition as the member of a group reads it: every event of a stream once, even if it was published twice."""

    def seen(self, position: int) -> Mapping[str, int]:
        """The new last versions of streams, up to a position. They are stored together with the checkpoint (ES-7)."""
        ...


class Partition(Log, Protocol):
    """One partition of an engine's log. All events of a stream are in the same partition."""

    name: str
    """Its name, which never changes; empty: the log has only this one."""

    def for_group(self, models: ReadModels, group: str) -> GroupLog:
        """The partition as a member of a group reads it. The last versions it has seen are stored in `models`."""
        ...


Cursor = Mapping[str, int]
"""A place in a feed: up to which position each of its parts was read. Empty: the beginning."""


@dataclass(slots=True)
class FeedPage:
    """Events of a feed, in order within each stream, and the place after them."""

    events: list[StoredEvent]
    cursor: Cursor


class Feed(Protocol):
    """Events out of the whole log, for a reader that keeps its own place and does no harm when an event comes twice."""

    async def read(self, cursor: Cursor, limit: int = 1000) -> FeedPage:
        """Events after a place."""
        ...

    def ended(self, cursor: Cursor) -> bool:
        """Whether no event is known after a place."""
        ...

    async def grown(self, cursor: Cursor) -> None:
        """Returns as soon as there may be an event after a place."""
        ...


class EventStore(Protocol):
    """The port. All methods may be called from one event loop by many tasks at once."""

    features: ClassVar[Features]

    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        """Appends all events or none (ES-1, ES-2). Raises LimitExceeded, or Undecided after `timeout_s` (ES-3; 0: at once).

        Begins at once. Giving up the wait does not stop the append.
        """
        ...

    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        """Events of one stream from a version on, upwards or downwards (ES-4). 0 with `backward`: from the end."""
        ...

    async def version_of(self, stream: str, event_id: str) -> int:
        """The version at which the stream holds this event id, or 0."""
        ...

    async def writable(self) -> None:
        """Returns if an append could be written now; StoreError says why not."""
        ...

    def unwell(self) -> str:
        """What is wrong although appends are written, in words for people; empty: nothing is."""
        ...

    def publishing(self) -> Publishing:
        """How far publishing is behind. May be asked from any thread. Where streams and log are one, it never is."""
        return Publishing()

    def partitions(self, types: Collection[str] | None = None) -> Sequence[Partition]:
        """The partitions of the log that can hold events of these types; None: all partitions. Only those known here."""
        ...

    async def know(self, types: Collection[str]) -> None:
        """Makes all partitions known that can hold events of these types, though no service here hears or publishes them."""
        return None

    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> Feed:
        """A feed of the events of some types (None: all), of one correlation id (empty: any)."""
        ...

    def close(self) -> None:
        """Finishes accepted work, then closes."""
        ...
