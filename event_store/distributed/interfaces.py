"""What the distributed engine needs from outside: tables, a broker, a clock. The simulation has implementations of its own.

Every method may raise TimedOut: then nobody knows whether it took effect, and it may take effect at any later time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from citybrain.event_store.store import StoredEvent, StoreError


class TimedOut(StoreError):
    """No answer came. The request may have taken effect, may do so later, or never."""


@dataclass(slots=True, frozen=True)
class Bucket:
    """The head (last version) and the fence of one bucket of a stream; None: it has none yet."""

    head: int | None
    fence: str | None


@dataclass(slots=True, frozen=True)
class Batch:
    """An append as it is sent, perhaps many times. It applies only to this head and this fence, and only once."""

    stream: str
    bucket: int
    head: int | None
    fence: str | None
    events: tuple[StoredEvent, ...]


@dataclass(slots=True, frozen=True)
class Rows:
    """Events of a bucket, and the bucket's head as it was read together with the last of them; None: no events were found."""

    events: Sequence[StoredEvent]
    head: int | None


@dataclass(slots=True, frozen=True)
class Mark:
    """Every version up to `published` is in the log; that one stands in `bucket`. True for ever, but perhaps too low."""

    published: int = 0
    bucket: int = 0


@dataclass(slots=True, frozen=True)
class WriterRow:
    """A writer as others see it. Its beat changes as long as it lives. A closed writer stays closed for ever."""

    id: str
    beat: int
    closed: bool


@dataclass(slots=True, frozen=True)
class Opening:
    """One opening of a stream by a writer. Each has its own number, so that a late `forget` cannot delete a newer opening."""

    stream: str
    number: int


class Tables(Protocol):
    """The store of streams. `append` and `change_fence` are conditional writes in the partition of one bucket."""

    async def bucket(self, stream: str, bucket: int) -> Bucket:
        """Head and fence, as the last decided conditional write left them."""
        ...

    async def append(self, batch: Batch) -> bool:
        """Writes all events and their ids, if head and fence are those of the batch, and the bucket holds none of the ids."""
        ...

    async def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        """Sets the fence to `new`, if it is `old`. From then on no batch made for `old` applies."""
        ...

    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        """The events of a bucket from version `first` to `last`, as far as they exist."""
        ...

    async def versions(self, stream: str, bucket: int, ids: Sequence[str]) -> dict[str, int]:
        """The versions at which a bucket holds some event ids."""
        ...

    async def mark(self, stream: str) -> Mark:
        """How far a stream is known to be in the log."""
        ...

    async def put_marks(self, marks: Mapping[str, Mark]) -> None:
        """Stores marks of several streams. They are not one transaction: some may be stored and others not."""
        ...

    async def index_correlation(self, event: StoredEvent, bucket: int) -> None:
        """Adds an event to the index of its correlation id. `bucket`: the event's bucket, or an earlier one."""
        ...

    async def begin(self, writer: str) -> None:
        """Registers a writer as open, unless it was closed meanwhile. An id is begun once: after TimedOut, use another one."""
        ...

    async def beat(self, writer: str, beat: int) -> None:
        """Says that the writer is alive."""
        ...

    async def close(self, writer: str) -> None:
        """Declares the writer dead, for ever."""
        ...

    async def is_closed(self, writer: str) -> bool:
        """Whether the writer must stop. A writer that is not registered as open counts as closed."""
        ...

    async def remove(self, writer: str) -> None:
        """Removes a closed writer. It stays closed, even if one of its beats arrives later."""
        ...

    async def writers(self) -> list[WriterRow]:
        """All writers."""
        ...

    async def open(self, writer: str, opening: Opening) -> None:
        """Says that from now on the writer may have something undecided or unpublished in the stream."""
        ...

    async def opened(self, writer: str) -> list[Opening]:
        """The openings of a writer."""
        ...

    async def forget(self, writer: str, opening: Opening) -> None:
        """Deletes this opening: under it the writer has nothing undecided or unpublished. A newer opening stays."""
        ...


class Broker(Protocol):
    """The log."""

    async def publish(self, event: StoredEvent) -> None:
        """Returns when the event is in its partition."""
        ...


class Clock(Protocol):
    """Machine time."""

    def now(self) -> float:
        """Seconds; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...
