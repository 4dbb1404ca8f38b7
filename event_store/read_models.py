"""What keeps the read models of a service promises: rows, the checkpoint that covers them, and what a group has parked.

A group here is what one member works on alone: a consumer group's part of one partition of the log. An engine whose log has
several partitions gives each a name of its own.
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
    """Keys of rows. LimitExceeded where one is longer than each engine takes."""
    found = list(keys)
    if longest := max((size for key in found if (size := len(key.encode())) > MAX_KEY_BYTES), default=0):
        raise LimitExceeded(f"the key of a row has at most {MAX_KEY_BYTES} bytes; this one has {longest}")
    return found


def row_text(row: Row) -> str:
    """A row as engines keep it. LimitExceeded where it is larger than each of them takes."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode())) > MAX_ROW_BYTES:
        raise LimitExceeded(f"a row holds at most {MAX_ROW_BYTES} bytes; this one has {size}: spread it over several keys")
    return text


class RowChanged(StoreError):
    """A row is not what it was folded from: another member has folded into it. Load it again, and fold again."""


@dataclass(slots=True, frozen=True)
class Kept:
    """A row as it is kept; one that was deleted may be kept too, for what is said of it here."""

    row: Row | None
    # Another one for another row.
    revision: int = 0
    # Group to position: up to where its events are in this row, though its checkpoint may be behind; and its replayed events,
    # each by itself, that may be parked still. Empty where an engine writes rows and checkpoint in one transaction.
    applied: Mapping[str, int] = field(default_factory=dict)

    def holds(self, group: str, position: int, replayed: bool = False) -> bool:
        """Whether an event of a group is in the row. One that is `replayed` comes after later ones: they say nothing of it."""
        return replayed_as(group, position) in self.applied if replayed else position <= self.applied.get(group, 0)


def replayed_as(group: str, position: int) -> str:
    """Under which name a row says that it holds an event that was parked."""
    return f"{group}#{position}"


@dataclass(slots=True, frozen=True)
class Parked:
    """An event that stands aside: it failed, or stands behind one of its stream that did. Holds no payload (ES-8)."""

    position: int
    stream: str
    event_id: str
    type: str
    reason: str
    # Microseconds since 1970, by the store's clock.
    parked_at: int
    # 1: it is tried again by itself as soon as it is the first of its stream. 0: its tries are used up, and it waits for
    # somebody who asks for it.
    replay: int = 0

    @property
    def unreadable(self) -> bool:
        """What stands there is no event, and never will be one: it can be given up, and no more."""
        return not self.event_id


def given_over(parked: Iterable[Parked]) -> list[Parked]:
    """Those that wait for somebody: all of streams whose first event is not tried again by itself."""
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
    """How far windows of readings were told, and from which batch on the open ones are folded again after a restart."""

    # Microseconds since 1970: every window before it was told.
    closed_until: int = 0
    # Position of the last batch that no open window needs.
    resume: int = 0
    # Position of the last batch that was folded when this was kept.
    position: int = 0


class ReadModels(Protocol):
    """The port. What was written is there when a call has returned; a process's calls are done in the order they were made."""

    def close(self) -> None:
        """Finishes what was begun, then lets go."""
        ...

    # -- groups -----------------------------------------------------------------------------------------------------------

    def join(self, group: str, start: int = 0) -> Awaitable[tuple[int, int]]:
        """Takes a group over; returns the epoch of this member and the position it goes on from.

        A group that is new begins behind `start`. From now on every earlier member is refused (ES-7).
        """
        ...

    def position(self, group: str) -> Awaitable[int | None]:
        """How far a group has come; None where it never began."""
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
        """Writes changed rows (None: deleted), then the checkpoint, and takes parked events out that are done (ES-7, ES-8).

        LimitExceeded where a row or its key is too large: nothing was written.

        `kept`: the rows as they were loaded before they were folded. `seen`: last versions of streams, kept with the
        checkpoint. Whatever happens meanwhile, the checkpoint never covers an event whose effect is not in the rows, and none
        is in them twice, if what is folded leaves out what a row `holds`. Raises LostAssignment where another
        member took over, and RowChanged where another one has written a row meanwhile: what was written then stays, and the
        checkpoint stands.
        """
        ...

    def seen(self, group: str, streams: Iterable[str]) -> Awaitable[dict[str, int]]:
        """The last versions of some streams that the group's checkpoint covers; those that were kept."""
        ...

    # -- rows -------------------------------------------------------------------------------------------------------------

    def get(self, view: str, key: str) -> Awaitable[Row | None]:
        """One row, or None."""
        ...

    def load(self, view: str, keys: Iterable[str]) -> Awaitable[dict[str, Kept]]:
        """The rows of some keys that exist, to fold into."""
        ...

    def scan(self, view: str, after: str = "", limit: int = -1) -> Awaitable[list[tuple[str, Row]]]:
        """Rows in the order of their keys, behind a key; all when no limit is given."""
        ...

    def changes(self) -> Awaitable[int]:
        """A number that differs when another process has written."""
        ...

    # -- parked events ----------------------------------------------------------------------------------------------------

    def park(self, group: str, epoch: int, events: Sequence[Parked]) -> Awaitable[None]:
        """Parks events, or says anew why they are parked. Before the checkpoint moves past them. What was given up stays so."""
        ...

    def parked(self, group: str) -> Awaitable[list[Parked]]:
        """What a group has parked, in the order of the log."""
        ...

    def count_parked(self, group: str) -> Awaitable[int]:
        """How many events a group has parked."""
        ...

    def asked(self, group: str) -> Awaitable[int]:
        """Another number whenever somebody has asked for a replay, or given one up; costs the same however many there are."""
        ...

    def ask_replay(self, group: str, stream: str) -> Awaitable[int]:
        """Has the group's member try the parked events of a stream again; returns how many there are."""
        ...

    def drop(self, group: str, position: int, reason: str, who: str, now: int) -> Awaitable[bool]:
        """Gives a parked event up, with a reason that is kept: the next of its stream is the first. False: it is not parked."""
        ...

    def dropped(self, group: str, after: int = 0) -> Awaitable[list[Dropped]]:
        """What was given up behind a position, in the order of the log."""
        ...

    # -- timers and windows -----------------------------------------------------------------------------------------------

    def last_run(self, timer: str) -> Awaitable[int | None]:
        """The moment of a timer's last run that was finished; None where it never ran."""
        ...

    def ran(self, timer: str, moment: int) -> Awaitable[None]:
        """The run of a moment is finished."""
        ...

    def windows_seen(self, name: str) -> Awaitable[WindowsSeen]:
        """What is kept of some windows of readings."""
        ...

    def save_windows_seen(self, name: str, seen: WindowsSeen) -> Awaitable[None]:
        """Keeps it."""
        ...
