"""What the distributed engine needs of its surroundings. Adapters own threads and drivers; the simulation has its own.

Every method may raise TimedOut: whether it took effect is not known then, and it may take effect at any time later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from citybrain.event_store.store import StoredEvent, StoreError


class TimedOut(StoreError):
    """No answer came. What was asked may have happened, may yet happen, or never."""


@dataclass(slots=True, frozen=True)
class Bucket:
    """The head (last version) and the fence of one bucket of a stream; None where there is none yet."""

    head: int | None
    fence: str | None


@dataclass(slots=True, frozen=True)
class Batch:
    """An append as it is sent, again and again if need be: it applies only to this head and this fence, and only once."""

    stream: str
    bucket: int
    head: int | None
    fence: str | None
    events: tuple[StoredEvent, ...]


@dataclass(slots=True, frozen=True)
class Rows:
    """Events of a bucket, and its head when the last of them was read: one look at both. None where there was none."""

    events: Sequence[StoredEvent]
    head: int | None


@dataclass(slots=True, frozen=True)
class Mark:
    """Every version up to `published` is in the log, and it stands in `bucket`. True when written, perhaps old when read."""

    published: int = 0
    bucket: int = 0


@dataclass(slots=True, frozen=True)
class WriterRow:
    """A writer as others see it: its beat changes as long as it lives; what is closed never opens again."""

    id: str
    beat: int
    closed: bool


@dataclass(slots=True, frozen=True)
class Opening:
    """A stream as a writer opened it, for the n-th time: what takes this one away late must not take away the next."""

    stream: str
    number: int


class Tables(Protocol):
    """The store of streams. `append` and `change_fence` are conditional writes in the partition of one bucket."""

    async def bucket(self, stream: str, bucket: int) -> Bucket:
        """Head and fence, as the last conditional write that was decided left them."""
        ...

    async def append(self, batch: Batch) -> bool:
        """Writes all events and their ids, if head and fence are those of the batch and none of the ids is there."""
        ...

    async def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        """Changes the fence, if it is `old`: no batch made for the old one applies from then on."""
        ...

    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        """The events of a bucket from one version to another, those that are there."""
        ...

    async def versions(self, stream: str, bucket: int, ids: Sequence[str]) -> dict[str, int]:
        """At which versions a bucket holds some event ids."""
        ...

    async def mark(self, stream: str) -> Mark:
        """How far a stream is known to be in the log."""
        ...

    async def put_marks(self, marks: Mapping[str, Mark]) -> None:
        """Says of streams how far; each mark counts for itself."""
        ...

    async def index_correlation(self, event: StoredEvent, bucket: int) -> None:
        """Says of an event, by its correlation id, that it stands in its stream; `bucket`: one that is not behind it."""
        ...

    async def begin(self, writer: str) -> None:
        """A writer comes to life, if it has not been closed meanwhile. An id is begun once: after TimedOut, another one."""
        ...

    async def beat(self, writer: str, beat: int) -> None:
        """It is alive."""
        ...

    async def close(self, writer: str) -> None:
        """It is held to be dead: for ever."""
        ...

    async def is_closed(self, writer: str) -> bool:
        """Whether it may go on: only one that says of itself that it is open is not closed."""
        ...

    async def remove(self, writer: str) -> None:
        """Nobody need know any more that it was there; it stays closed, also where a beat of its own comes late."""
        ...

    async def writers(self) -> list[WriterRow]:
        """All there are."""
        ...

    async def open(self, writer: str, opening: Opening) -> None:
        """From now on the writer may have something undecided or unpublished in the stream."""
        ...

    async def opened(self, writer: str) -> list[Opening]:
        """What a writer has open."""
        ...

    async def forget(self, writer: str, opening: Opening) -> None:
        """It has nothing undecided or unpublished there any more. Of this opening only: a later one may be there already."""
        ...


class Broker(Protocol):
    """The log."""

    async def publish(self, event: StoredEvent) -> None:
        """Returns when the event is in its partition."""
        ...


class Clock(Protocol):
    """Machine time."""

    def now(self) -> float:
        """Seconds, never back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...
