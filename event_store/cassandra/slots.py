"""Numbered slots for the parked events of a group. A free slot is overwritten, and no row is ever deleted.

Cassandra keeps a tombstone of a deleted row for days, and refuses to read past too many of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import astuple

from citybrain.event_store.read_models import Parked

FREE = (0, "", "", "", "", 0, 0)
"""Written into a slot that becomes free. No nulls: they are tombstones too."""


class Slots:
    """The slot of each parked event of a group, as its member knows it, and the free slots."""

    def __init__(self, epoch: int, asked: int | None, rows: Iterable[tuple[int, Parked]]) -> None:
        self.epoch = epoch
        self.asked = asked
        # Events that others gave up: a member that does not know this yet must not park them again.
        self.given_up: set[int] = set()
        self._of: dict[int, int] = {}
        self._free: list[int] = []
        self._next = 0
        for number, one in rows:
            if one.position:
                self._of[one.position] = number
            else:
                self._free.append(number)
            self._next = number + 1

    def __len__(self) -> int:
        return len(self._of)

    @property
    def positions(self) -> Iterable[int]:
        """Where parked events stand in the log."""
        return self._of

    def change(self, park: Iterable[Parked], unpark: Iterable[int]) -> dict[int, tuple[object, ...]]:
        """Takes events in and out; returns what to write into which slots. The lowest free slots are used first."""
        written: dict[int, tuple[object, ...]] = {}
        for position in unpark:
            if (number := self._of.pop(position, None)) is not None:
                heapq.heappush(self._free, number)
                written[number] = FREE
        for one in park:
            if one.position in self.given_up:
                continue
            if one.position not in self._of:
                self._of[one.position] = heapq.heappop(self._free) if self._free else self._next
                self._next = max(self._next, self._of[one.position] + 1)
            written[self._of[one.position]] = astuple(one)
        return written
