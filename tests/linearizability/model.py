"""What a stream answers that is one list: appends by ES-1 and ES-2, reads by ES-4; and an operation as its caller saw it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from typing_extensions import override

from citybrain.event_store.store import ANY, Committed, Conflict

Place: TypeAlias = tuple[int, str]
"""A version, and the id of the event that stands there."""
Told: TypeAlias = Committed | Conflict | tuple[Place, ...] | int | None
"""What an operation was told; None: nothing, so it may happen at any later time, or never."""


@dataclass(slots=True, eq=False)
class Stream:
    """A list of event ids. In one search the same list is the same object, so that it is compared and kept cheaply."""

    ids: tuple[str, ...] = ()
    at: dict[str, int] = field(default_factory=dict)
    _longer: dict[tuple[str, ...], Stream] = field(default_factory=dict)

    def with_more(self, ids: tuple[str, ...]) -> Stream:
        """The list with some events behind its last."""
        longer = self._longer.get(ids)
        if longer is None:
            at = self.at | {one: len(self.ids) + number for number, one in enumerate(ids, 1)}
            longer = self._longer[ids] = Stream(self.ids + ids, at)
        return longer

    @override
    def __str__(self) -> str:
        return shown(tuple(enumerate(self.ids, 1)))


@dataclass(slots=True, frozen=True)
class Append:
    """Events that are to be written all together."""

    ids: tuple[str, ...]
    expected: int

    def after(self, stream: Stream, told: Told) -> Stream | None:
        """The list when this has happened to it; None where it would have told something else."""
        outcome, then = self._decided(stream)
        if told is None:
            return then
        # Who is told *again* wrote nothing. Who is not told so may still have been second: that is not promised.
        says_too_much = isinstance(told, Committed) and told.again and then is not stream
        return then if outcome == told and not says_too_much else None

    def _decided(self, stream: Stream) -> tuple[Committed | Conflict, Stream]:
        head = len(stream.ids)
        there = [stream.at[one] for one in self.ids if one in stream.at]
        if there:
            if there == list(range(there[0], there[0] + len(self.ids))):
                return Committed(there[0], there[-1], 0), stream
            return Conflict(head), stream
        if len(set(self.ids)) < len(self.ids) or self.expected not in (ANY, head):
            return Conflict(head), stream
        return Committed(head + 1, head + len(self.ids), 0), stream.with_more(self.ids)

    @override
    def __str__(self) -> str:
        return f"append {' '.join(self.ids)} at {'any version' if self.expected == ANY else self.expected}"


@dataclass(slots=True, frozen=True)
class Read:
    """Events from a version on."""

    first: int = 1
    limit: int = 1000
    backward: bool = False

    def after(self, stream: Stream, told: Told) -> Stream | None:
        head = len(stream.ids)
        if self.backward:
            last = min(head, self.first or head)
            versions = range(last, max(0, last - self.limit), -1)
        else:
            first = max(1, self.first)
            versions = range(first, min(head, first + self.limit - 1) + 1)
        right = isinstance(told, tuple) and told == tuple((version, stream.ids[version - 1]) for version in versions)
        return stream if right else None

    @override
    def __str__(self) -> str:
        return f"read {'back ' if self.backward else ''}from {self.first or 'the end'}, at most {self.limit}"


@dataclass(slots=True, frozen=True)
class Find:
    """At which version an id stands."""

    id: str

    def after(self, stream: Stream, told: Told) -> Stream | None:
        return stream if stream.at.get(self.id, 0) == told else None

    @override
    def __str__(self) -> str:
        return f"find {self.id}"


@dataclass(slots=True, frozen=True)
class Hear:
    """What a feed or the log gave: it may be late, so it says only what stands in the stream by now."""

    def after(self, stream: Stream, told: Told) -> Stream | None:
        right = isinstance(told, tuple) and all(stream.at.get(one) == version for version, one in told)
        return stream if right else None

    @override
    def __str__(self) -> str:
        return "hear"


Asked: TypeAlias = Append | Read | Find | Hear


@dataclass(slots=True, frozen=True)
class Operation:
    """What somebody asked and was told, with the moments of both on one clock. `ended` is None where nothing was told."""

    who: str
    begun: int
    ended: int | None
    asked: Asked
    told: Told

    @property
    def places(self) -> tuple[Place, ...]:
        """What it says of single versions."""
        if isinstance(self.told, tuple):
            return self.told
        if isinstance(self.told, Committed) and isinstance(self.asked, Append):
            return tuple(enumerate(self.asked.ids, self.told.first))
        if isinstance(self.asked, Find) and isinstance(self.told, int) and self.told:
            return ((self.told, self.asked.id),)
        return ()

    def cut_off(self) -> Operation:
        """The same, before it was told anything."""
        return replace(self, ended=None, told=None)

    @override
    def __str__(self) -> str:
        return f"{self.who}: {self.asked} -> {_said(self.told)}"


def shown(places: tuple[Place, ...]) -> str:
    """Versions and ids on one line; of many the last."""
    some = [f"{version} {one}" for version, one in places]
    return ", ".join(some if len(some) <= _SHOWN else [some[0], "…", *some[-_SHOWN:]]) or "nothing"


_SHOWN = 16


def _said(told: Told) -> str:
    if told is None:
        return "not told"
    if isinstance(told, Committed):
        return f"committed {told.first} to {told.last}{', again' if told.again else ''}"
    if isinstance(told, Conflict):
        return f"conflict, stands at {told.actual}"
    return str(told) if isinstance(told, int) else shown(told)
