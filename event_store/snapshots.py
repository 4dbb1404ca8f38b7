"""Snapshots: a stream's state is kept, so that it need not be folded from its first event again (ES-10).

Only an optimisation: a snapshot may be lost, old, or made by another release, and every answer stays the same. So a snapshot
names the last event that is in it, and the code that made it. A reader checks both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a stream after one of its events. `code` names the code that made it; other code must not read it."""

    version: int
    event_id: str
    code: str
    state: bytes


class Snapshots(Protocol):
    """The port."""

    def newest(self, stream: str) -> Awaitable[Snapshot | None]:
        """The snapshot of a stream; None: there is none."""
        ...

    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        """Stores a snapshot in place of the one before."""
        ...

    def close(self) -> None:
        """Finishes begun work, then closes."""
        ...
