"""What one process knows of a stream it writes to."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from citybrain.event_store.distributed.interfaces import Mark, Opening
from citybrain.event_store.distributed.publishing import Held
from citybrain.event_store.distributed.streams import Tail
from citybrain.event_store.distributed.waiting import Waiting


@dataclass(slots=True)
class OpenStream:
    """A stream this process writes to."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: deque[Waiting] = field(default_factory=deque)
    # The id under which this process has opened it, and the opening; empty and None: it is not open.
    writer: str = ""
    opening: Opening | None = None
    # Pairs (bucket, fence) that appends may use: the fence was read first, and after it that the writer was not closed.
    allowed: set[tuple[int, str | None]] = field(default_factory=set)
    # Where it ended after our last append, with an allowed fence. If that is out of date, the next append does not apply.
    tail: Tail | None = None
    undecided: int = 0
    # Versions that were committed here and are not known to be in the log; `held` has the events of some of them.
    unpublished: list[int] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    # How far it is known here to be in the log, and the part of this that others can see.
    known: Mark = field(default_factory=Mark)
    marked: Mark = field(default_factory=Mark)
    publishing: bool = False
    touched: float = 0.0

    @property
    def unmarked(self) -> bool:
        """Whether the log is known here to hold more of it than others can see."""
        return self.marked.published < self.known.published
