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
    # The writer that has opened it, and how; None: nobody has.
    writer: str = ""
    opening: Opening | None = None
    # (bucket, fence) that may be used: seen before the writer was seen not to be closed.
    allowed: set[tuple[int, str | None]] = field(default_factory=set)
    # Where it ended after our last append, with a fence that is allowed: whether that is still so, the next append decides.
    tail: Tail | None = None
    undecided: int = 0
    # Versions that were committed here and are not known to be in the log; and what stands there, of some of them.
    unpublished: list[int] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    known: Mark = field(default_factory=Mark)
    # How much of that others can see.
    marked: Mark = field(default_factory=Mark)
    publishing: bool = False
    touched: float = 0.0

    @property
    def unmarked(self) -> bool:
        """Whether something of it is in the log, and others cannot see that yet."""
        return self.marked.published < self.known.published
