"""Who may take how much of what a process has: one caller, one method, and all who only read, never all of it.

What is left is for those who command, and for the services of the mesh. Until callers show tokens one from outside is known by
the address it calls from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

ANONYMOUS = "anonymous"
"""Who calls from outside."""


@dataclass(frozen=True, slots=True)
class Asker:
    """One who asks for a place."""

    caller: str
    method: str
    # The scope of the method ends with `.read`: it moves nothing.
    reads: bool
    outside: bool

    def belongs_to(self) -> tuple[tuple[str, str], ...]:
        """The shares it takes from, as (kind, which)."""
        found = [("caller", self.caller), ("method", self.method)]
        if self.reads:
            found.append(("reading", ""))
        if self.outside:
            found.append(("outside", ""))
        return tuple(found)


_TOLD = {
    "caller": "this caller has its share of them",
    "method": "this method has its share of them",
    "reading": "those who only read have their share of them",
    "outside": "the rest is for the services of the mesh",
}


class Shares:
    """Parts of a number of places, by kind: `caller`, `method`, `reading`, `outside`. A kind without one may take all."""

    def __init__(self, places: int, parts: Mapping[str, float]) -> None:
        self._most = {kind: max(1, int(places * part)) for kind, part in parts.items()}
        self._taken: Counter[tuple[str, str]] = Counter()

    def full(self, asker: Asker) -> str:
        """Which share has no place left for it, in words; empty where all have."""
        for share in asker.belongs_to():
            if share[0] in self._most and self._taken[share] >= self._most[share[0]]:
                return _TOLD[share[0]]
        return ""

    def take(self, asker: Asker) -> None:
        """One place more."""
        self._taken.update(asker.belongs_to())

    def give_back(self, asker: Asker) -> None:
        """One place less; of who has none nothing is kept."""
        for share in asker.belongs_to():
            self._taken[share] -= 1
            if not self._taken[share]:
                del self._taken[share]
