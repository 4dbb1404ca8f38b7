"""Shares of a process's places for calls or streams: no single part of them (a caller, a method, all that only read) takes all.

Whoever makes `Shares` says which parts there are, and how much each may take at most.

The rest is for commands, and for the services of the mesh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asker:
    """A call that asks for a place."""

    caller: str
    method: str
    # The scope of the method ends with `.read`: it moves nothing.
    reads: bool
    outside: bool

    def belongs_to(self) -> tuple[tuple[str, str], ...]:
        """The shares it takes a place from, as pairs (kind, name)."""
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
    """Parts of a number of places, by kind: `caller`, `method`, `reading`, `outside`. A kind without a part may take all."""

    def __init__(self, places: int, parts: Mapping[str, float]) -> None:
        self._most = {kind: max(1, int(places * part)) for kind, part in parts.items()}
        self._taken: Counter[tuple[str, str]] = Counter()

    def full(self, asker: Asker) -> str:
        """The share that has no place left for it, in words; empty: all have one."""
        for share in asker.belongs_to():
            if share[0] in self._most and self._taken[share] >= self._most[share[0]]:
                return _TOLD[share[0]]
        return ""

    def take(self, asker: Asker) -> None:
        """Counts one place more."""
        self._taken.update(asker.belongs_to())

    def give_back(self, asker: Asker) -> None:
        """Counts one place less. Shares with no places are removed."""
        for share in asker.belongs_to():
            self._taken[share] -= 1
            if not self._taken[share]:
                del self._taken[share]
