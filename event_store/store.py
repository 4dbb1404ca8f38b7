"""What an event store promises, in types: events, outcomes, errors and the port that every engine implements.

The promises are numbered ES-1 … ES-14 in docs/guarantees.md; docstrings here name the ones they carry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

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
    "StoreError",
    "StoredEvent",
    "Undecided",
    "Unreadable",
]

ANY = -1
"""Expected version: append wherever the stream stands."""
NO_STREAM = 0
"""Expected version: the stream must not exist yet."""


class StoreError(Exception):
    """Base of everything a store raises."""


class LimitExceeded(StoreError):
    """The append holds what no store accepts, or more than it accepts (ES-14); nothing was written. To try again is no use."""


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
    """What of the message is personal, sealed for each person (ES-12). The store keeps it as it is and cannot read it."""


class StoredEvent(NamedTuple):
    """An event as it stands in its stream and in the log. A tuple: hundreds of thousands a second are made of rows."""

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


# Not frozen: that would cost as much as all else that is done for an append outside the database.
@dataclass(slots=True)
class Committed:
    """The events are durable: versions `first` … `last` of the stream, the last one at `position` of the log."""

    first: int
    last: int
    position: int
    # They were there before: this append wrote nothing (ES-2).
    again: bool = field(default=False, compare=False)


@dataclass(slots=True, frozen=True)
class Conflict:
    """Nothing was written: the stream stands at `actual`, not where the writer thought, or holds only some of the ids."""

    actual: int


@dataclass(slots=True, frozen=True)
class Unreadable:
    """What stands in the log and is no event: at which position, where that is for people, and why. Not what it holds."""

    position: int
    where: str
    # Empty: it is nobody's fault, and nothing is to be told.
    reason: str
    # Of events, where it says so; else empty.
    type: str = ""
    # It takes no room.
    data: ClassVar[bytes] = b""


@dataclass(slots=True)
class LogPage:
    """Events of the log in order, and the position up to which the log was looked at for them."""

    events: list[StoredEvent]
    reached: int
    # What stands between them and cannot be read.
    unreadable: Sequence[Unreadable] = ()


@dataclass(slots=True, frozen=True)
class Features:
    """What an engine promises beyond what every engine must: where contract suites differ, they ask this and nothing else."""

    # Every reader of the log sees one order over all streams, the order of the commits. Without it: in each stream, and in
    # each partition of the log.
    one_order: bool
    # Several processes may have the same place open, and each sees what the others wrote.
    several_processes: bool
    # What was acknowledged is there when the place is opened again, however it was left.
    durable: bool


class Log(Protocol):
    """Events in one order. A position means something only here: it grows, and may leave gaps (ES-5)."""

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """Events behind a position (0: from the beginning), of some types or all."""
        ...

    def head(self) -> int:
        """Position of the last event known to be committed."""
        ...

    async def grown(self, after: int) -> int:
        """Returns the head as soon as it is above `after`."""
        ...


class GroupLog(Log, Protocol):
    """A partition as the member of a group reads it: every event of a stream once, whatever was published twice."""

    def seen(self, position: int) -> Mapping[str, int]:
        """The last version of each stream up to a position, where that is new: kept together with the checkpoint (ES-7)."""
        ...


class Partition(Log, Protocol):
    """One partition of an engine's log; a stream stands in one."""

    name: str
    """Its name, which never changes; empty where the log has only one."""

    def for_group(self, models: ReadModels, group: str) -> GroupLog:
        """The partition for a member of a group, which keeps in `models` what it has seen."""
        ...


Cursor = Mapping[str, int]
"""A place in a feed: how far each of its parts was read. Empty: the beginning."""


@dataclass(slots=True)
class FeedPage:
    """Events of a feed, each stream's in order, and the place behind them."""

    events: list[StoredEvent]
    cursor: Cursor


class Feed(Protocol):
    """Events out of the whole log, for who keeps the place where they are and acts on none of them twice."""

    async def read(self, cursor: Cursor, limit: int = 1000) -> FeedPage:
        """What stands behind a place."""
        ...

    def ended(self, cursor: Cursor) -> bool:
        """Nothing is known to stand behind a place."""
        ...

    async def grown(self, cursor: Cursor) -> None:
        """Returns as soon as something may stand behind a place."""
        ...


class EventStore(Protocol):
    """The port. All methods may be called from one event loop by many tasks at once."""

    features: ClassVar[Features]

    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        """Appends all events or none (ES-1, ES-2). Raises LimitExceeded, or Undecided after `timeout_s` (ES-3; 0: at once).

        Begins at once; who stops waiting for it does not stop it.
        """
        ...

    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        """Events of one stream from a version on, upwards or downwards (ES-4). `from_version` 0 with `backward`: the end."""
        ...

    async def version_of(self, stream: str, event_id: str) -> int:
        """The version at which the stream holds this event id, or 0."""
        ...

    async def writable(self) -> None:
        """Returns when an append could be written now; StoreError says why none could."""
        ...

    def unwell(self) -> str:
        """What is not well though appends are written, for people; empty: all is."""
        ...

    def partitions(self, types: Collection[str] | None = None) -> Sequence[Partition]:
        """The partitions of the log in which events of some types can stand; all."""
        ...

    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> Feed:
        """The events of some types, or of one correlation id, or both."""
        ...

    def close(self) -> None:
        """Finishes what was accepted, then lets go."""
        ...
