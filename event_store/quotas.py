"""How much each consumer has used on a day, of all processes together.

Each process has rows of its own, and overwrites them with how much it has counted itself. So a write whose outcome is unknown
is simply written again, on every engine; to add to a shared counter a second time would count twice. The rows of all processes
are summed when they are read.

Consumers are stored as digests. Rows may be removed when their day and one more are over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Key = tuple[bytes, str]
"""The digest of a consumer, and the class of the methods that it called."""


@dataclass(frozen=True, slots=True)
class Used:
    """How much of a class a consumer has used: through the process that asks, and through all others."""

    own: int
    others: int


class QuotaBook(Protocol):
    """The port. `day`: days since 1970. `process`: the name of a process, which no other one has or had."""

    async def read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        """What some consumers have used; a class that they have not used may be missing. StoreError: it is not known."""
        ...

    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        """Puts the counts of a process in the place of those it wrote before. StoreError: some may not be written yet."""
        ...

    async def most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        """The consumers that have used most, at most so many: for each the sum of each class. StoreError: it is not known."""
        ...

    def close(self) -> None:
        """Finishes begun work, then closes."""
        ...
