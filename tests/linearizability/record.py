"""What clients began and were told, as lines from one process to another, kept outside of all that is killed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from citybrain.event_store.store import Committed, Conflict, StoredEvent
from tests.linearizability.model import Append, Asked, Find, Hear, Operation, Place, Read, Told

Line = list[Any]
Say = Callable[[Line], None]
_KINDS: dict[str, type[Append] | type[Read] | type[Find] | type[Hear]] = {
    kind.__name__: kind for kind in (Append, Read, Find, Hear)
}


class Record:
    """Hears lines: [client, number, moment, stream, kind, what was asked…] and [client, number, moment, what was told]."""

    def __init__(self) -> None:
        # Why nothing more will be told: a process ended that nobody had ended.
        self.wrong = ""
        self.ended = 0
        self._begun: dict[tuple[str, int], tuple[str, int, Asked]] = {}
        self._told: dict[str, list[Operation]] = defaultdict(list)
        # What each follower heard of each stream, one after the other.
        self.heard: dict[str, dict[str, list[Place]]] = defaultdict(lambda: defaultdict(list))

    def hear(self, line: Line) -> None:
        """A line of a client."""
        who, number, moment, *rest = line
        if len(rest) > 1:
            stream, kind, *asked = rest
            asked = [tuple(one) if isinstance(one, list) else one for one in asked]
            self._begun[who, number] = (stream, moment, _KINDS[kind](*asked))
            return
        stream, begun, what = self._begun.pop((who, number))
        told = _told(rest[0])
        if told is None:
            # It was given up, and goes on without its client.
            self._begun[who, number] = (stream, begun, what)
        else:
            self._told[stream].append(Operation(who, begun, moment, what, told))
            if isinstance(what, Hear) and isinstance(told, tuple):
                self.heard[who][stream].extend(told)
        self.ended += 1

    async def more(self, operations: int) -> None:
        """Waits until so many more have ended."""
        wanted = self.ended + operations
        while self.ended < wanted:
            assert not self.wrong, self.wrong
            await asyncio.sleep(0.005)

    def unfinished(self, process: str) -> list[tuple[str, Append]]:
        """Appends of which a process, whose clients have names that begin with its own, was told nothing."""
        begun = [(who, stream, what) for (who, _), (stream, _, what) in self._begun.items()]
        return [(stream, what) for who, stream, what in begun if isinstance(what, Append) and who.startswith(f"{process}.")]

    def histories(self) -> dict[str, list[Operation]]:
        """All operations by stream; reads of which nobody was told anything say nothing."""
        found = {stream: list(operations) for stream, operations in self._told.items()}
        for (who, _), (stream, begun, what) in self._begun.items():
            if isinstance(what, Append):
                found.setdefault(stream, []).append(Operation(who, begun, None, what, None))
        return found


def begin(who: str, number: int, moment: int, stream: str, asked: Asked) -> Line:
    """The line that says that an operation begins."""
    values = [getattr(asked, name) for name in type(asked).__slots__]
    return [who, number, moment, stream, type(asked).__name__, *values]


def end(who: str, number: int, moment: int, told: Told) -> Line:
    """The line that says what it was told."""
    said: Any = told
    if isinstance(told, Committed):
        said = ["committed", told.first, told.last, told.again]
    elif isinstance(told, Conflict):
        said = ["conflict", told.actual]
    return [who, number, moment, said]


def places(events: Iterable[StoredEvent]) -> tuple[Place, ...]:
    """What events say of their stream."""
    return tuple((event.version, event.id) for event in events)


def _told(said: Any) -> Told:
    if said is None or isinstance(said, int):
        return said
    if isinstance(said, Sequence) and said and isinstance(said[0], str):
        kind, first, *more = said
        return Conflict(first) if kind == "conflict" else Committed(first, more[0], 0, again=more[1])
    return tuple((version, name) for version, name in said)
