"""A consumer group's memory that lives as long as a test."""

from __future__ import annotations

from collections.abc import Sequence

from citybrain.event_store.views import Parked


class Parking:
    """What a group has parked, by position."""

    def __init__(self) -> None:
        self.rows: dict[int, Parked] = {}

    async def park(self, events: Sequence[Parked]) -> None:
        self.rows.update({event.position: event for event in events})

    async def parked(self) -> list[Parked]:
        return [self.rows[position] for position in sorted(self.rows)]
