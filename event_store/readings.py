"""Readings: what sensors send, in batches. They are not events: a batch is kept as it was sent, for some hours.

Sectors fold batches in windows of city time. A power cut may take the last second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_BATCH_BYTES = 1024 * 1024
KEPT_US = 6 * 3600 * 1_000_000
"""The shortest time a batch is kept, in microseconds after it came in."""

PASSED = ".passed"
"""So ends the topic of what processes of a service pass on to each other."""

PASSED_KEPT_US = 60 * 1_000_000
"""The shortest time that is kept: whoever has not read it by then has no use for it."""


def kept_us(topic: str) -> int:
    """The shortest time a batch of a topic is kept."""
    return PASSED_KEPT_US if topic.endswith(PASSED) else KEPT_US


@dataclass(slots=True, frozen=True)
class ReadingsBatch:
    """A batch as it was sent, and when it came in (microseconds since 1970, city time)."""

    position: int
    received_at: int
    data: bytes


class ReadingsLog(Protocol):
    """The port: batches by topic, in the order they came in."""

    async def put(self, topic: str, received_at: int, data: bytes) -> None:
        """Keeps a batch. LimitExceeded: it is over 1 MiB. StoreError: it cannot be written."""
        ...

    async def read(self, topic: str, after: int, limit: int) -> Sequence[ReadingsBatch]:
        """Batches of a topic after a position."""
        ...

    async def up_to_now(self, topic: str) -> None:
        """Returns when every batch that any process put before this call can be read here, and `head` knows of it."""
        ...

    def head(self, topic: str) -> int:
        """Position of the newest batch of a topic that this process knows; 0: it knows none."""
        ...

    async def grown(self, topic: str, after: int) -> None:
        """Returns when a topic has a batch after a position."""
        ...
