"""Snapshots: a stream's state kept, so that it need not be folded from its first event again (ES-10).

Only an optimisation: whatever is in here may be lost, old or of another release, and every answer stays the same. So a snapshot
names the event it stands behind and the code that made it; whoever takes one up checks both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a stream behind one of its events. `code`: what made it; any other code must not read it."""

    version: int
    event_id: str
    code: str
    state: bytes


class Snapshots(Protocol):
    """The port."""

    def newest(self, stream: str) -> Awaitable[Snapshot | None]:
        """What is kept of a stream, if anything is."""
        ...

    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        """Keeps it in the place of the one before."""
        ...

    def close(self) -> None:
        """Finishes what was begun, then lets go."""
        ...
