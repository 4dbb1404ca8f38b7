"""The store of a service's read models: their rows, the checkpoint that covers the rows, and the parked events of a group.

A group here is what one member works on alone: a consumer group in one partition of the log. If the log has several
partitions, each of these parts has a name of its own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from citybrain.event_store.store import LimitExceeded, StoreError

Row = dict[str, Any]
"""What JSON can hold."""

MAX_ROW_BYTES = 1024 * 1024
MAX_KEY_BYTES = 1000


def checked(keys: Iterable[str]) -> list[str]:
    """Keys of rows, as a list. LimitExceeded: a key is too long."""
    found = list(keys)
    if longest := max((size for key in found if (size := len(key.encode())) > MAX_KEY_BYTES), default=0):
        raise LimitExceeded(f"the key of a row has at most {MAX_KEY_BYTES} bytes; this one has {longest}")
    return found


def row_text(row: Row) -> str:
    """A row as the JSON text that engines store. LimitExceeded: it is too large."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode())) > MAX_ROW_BYTES:
        raise LimitExceeded(f"a row holds at most {MAX_ROW_BYTES} bytes; this one has {size}: spread it over several keys")
    return text


class RowChanged(StoreError):
    """Another member has changed a row since it was loaded. Load it again, and fold again."""


@dataclass(slots=True, frozen=True)
class Kept:
    """A row as the store holds it. A deleted row (None) may still be held, because its `applied` is needed."""

    row: Row | None
    # Changes whenever the row changes.
    revision: int = 0
    # Which events are in this row, even if the checkpoint does not cover them yet. A group's name leads to a position: all its
    # events up to there are in the row. A name from `replayed_as` stands for one replayed event. Empty in an engine that writes
    # rows and checkpoint in one transaction.
    applied: Mapping[str, int] = field(default_factory=dict)

    def holds(self, group: str, position: int, replayed: bool = False) -> bool:
        """Whether an event of a group is in the row. A `replayed` event comes out of order, so it is looked up by itself."""
        return replayed_as(group, position) in self.applied if replayed else position <= self.applied.get(group, 0)


def replayed_as(group: str, position: int) -> str:
    """The name in `Kept.applied` of one replayed event."""
    return f"{group}#{position}"


@dataclass(slots=True, frozen=True)
class Parked:
    """An event that stands aside: it failed, or it follows a failed event of its stream. Holds no payload (ES-8)."""

    position: int
    stream: str
    event_id: str
    type: str
    reason: str
    # Microseconds since 1970, by the store's clock.
    parked_at: int
    # 1: the event is tried again by itself as soon as it is the first parked one of its stream. 0: its tries are used up, and
    # it waits until somebody asks for a replay.
    replay: int = 0

    @property
    def unreadable(self) -> bool:
        """Whether this record of the log is no event. Then it can only be given up."""
        return not self.event_id


def given_over(parked: Iterable[Parked]) -> list[Parked]:
    """Those that wait for a person: all events of streams whose first one is not tried again by itself."""
    events = list(parked)
    first = {one.stream: one for one in sorted(events, key=lambda one: one.position, reverse=True)}
    return [one for one in events if not first[one.stream].replay]


@dataclass(slots=True, frozen=True)
class Dropped:
    """A parked event that somebody gave up."""

    position: int
    event_id: str
    reason: str
    who: str
    # Microseconds since 1970, in city time.
    dropped_at: int


@dataclass(slots=True, frozen=True)
class WindowsSeen:
    """How far windows of readings were handed to the method, and where folding the open ones begins after a restart."""

    # Microseconds since 1970: every window that ends up to here was handed over.
    closed_until: int = 0
    # Position of the last batch that no open window needs.
    resume: int = 0
    # Position of the last batch that was folded when this was kept.
    position: int = 0


@dataclass(slots=True, frozen=True)
class FoldedBy:
    """What a group folds its rows by: digests of the shape of the rows, and of the code that folds events into them."""

    shape: str
    code: str


class ReadModels(Protocol):
    """The port. A call returns when its writes are stored. Calls of one process are done in the order they were made."""

    def close(self) -> None:
        """Finishes begun work, then closes."""
        ...

    # -- groups -----------------------------------------------------------------------------------------------------------

    def join(self, group: str, start: int = 0) -> Awaitable[tuple[int, int]]:
        """Takes a group over; returns the epoch of this member and the position it goes on from.

        A new group begins after position `start`. From now on every earlier member is refused (ES-7).
        """
        ...

    def position(self, group: str) -> Awaitable[int | None]:
        """How far a group has come; None: it never began."""
        ...

    def save(
        self,
        group: str,
        epoch: int,
        position: int,
        view: str = "",
        rows: Mapping[str, Row | None] | None = None,
        unparked: Iterable[int] = (),
        *,
        kept: Mapping[str, Kept] | None = None,
        seen: Mapping[str, int] | None = None,
    ) -> Awaitable[None]:
        """Writes changed rows (None: delete the row), then the checkpoint. `unparked` events are done (ES-7, ES-8).

        `kept`: the rows as they were loaded before folding. `seen`: last versions of streams, stored with the checkpoint.

        The checkpoint never covers an event whose effect is not in the rows. No effect is in the rows twice, if the caller
        folds no event that a row already `holds`.

        Raises LimitExceeded if a row or its key is too large: nothing was written; LostAssignment if another member took over;
        RowChanged if another member has changed one of the rows. After RowChanged, rows that this call has written stay, and
        the checkpoint does not move.
        """
        ...

    def seen(self, group: str, streams: Iterable[str]) -> Awaitable[dict[str, int]]:
        """The last version of each of these streams that the group's checkpoint covers, if one was stored."""
        ...

    def keep_folded_by(self, group: str, by: FoldedBy) -> Awaitable[FoldedBy]:
        """Keeps what a group folds its rows by, if nothing is kept yet. Returns what is kept; it never changes (ES-11)."""
        ...

    # -- rows -------------------------------------------------------------------------------------------------------------

    def get(self, view: str, key: str) -> Awaitable[Row | None]:
        """One row, or None, as it is kept now: this call waits for none that was made before."""
        ...

    def load(self, view: str, keys: Iterable[str]) -> Awaitable[dict[str, Kept]]:
        """The rows of those keys that exist, to fold into."""
        ...

    def scan(self, view: str, after: str = "", limit: int = -1) -> Awaitable[list[tuple[str, Row]]]:
        """Rows after a key, in the order of their keys; all of them if `limit` is below 0."""
        ...

    def changes(self) -> Awaitable[int]:
        """A number that changes when another process has written."""
        ...

    # -- parked events ----------------------------------------------------------------------------------------------------

    def park(self, group: str, epoch: int, events: Sequence[Parked]) -> Awaitable[None]:
        """Parks events, or gives them a new reason; before the checkpoint moves past them. Events given up are left out."""
        ...

    def parked(self, group: str) -> Awaitable[list[Parked]]:
        """The parked events of a group, in the order of the log."""
        ...

    def count_parked(self, group: str) -> Awaitable[int]:
        """How many events a group has parked."""
        ...

    def asked(self, group: str) -> Awaitable[int]:
        """A number that changes whenever somebody asks for a replay or gives an event up. Costs little, however many wait."""
        ...

    def ask_replay(self, group: str, stream: str) -> Awaitable[int]:
        """Asks the group's member to try the parked events of a stream again; returns how many there are."""
        ...

    def drop(self, group: str, position: int, reason: str, who: str, now: int) -> Awaitable[bool]:
        """Gives a parked event up, and keeps the reason. The next one of its stream moves up. False: it is not parked."""
        ...

    def dropped(self, group: str, after: int = 0) -> Awaitable[list[Dropped]]:
        """The events given up after a position, in the order of the log."""
        ...

    # -- timers and windows -----------------------------------------------------------------------------------------------

    def last_run(self, timer: str) -> Awaitable[int | None]:
        """The moment of a timer's last finished run; None: it never ran."""
        ...

    def ran(self, timer: str, moment: int) -> Awaitable[None]:
        """Notes that the run of a moment is finished."""
        ...

    def windows_seen(self, name: str) -> Awaitable[WindowsSeen]:
        """How far the windows of this name have come."""
        ...

    def save_windows_seen(self, name: str, seen: WindowsSeen) -> Awaitable[None]:
        """Stores how far they have come."""
        ...
