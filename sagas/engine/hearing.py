"""Whether a service has heard everything in the log. Before that, no wait of a saga is declared over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from citybrain.event_store.store import Partition, StoreError
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.subscriptions.groups import GroupMember

_LOOK_S = 0.05
_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class _End:
    """A partition that a group hears, and its last position at the moment of asking."""

    member: GroupMember
    partition: Partition
    head: int

    @property
    def name(self) -> str:
        return f"{self.member.group}@{self.partition.name}"


class Hearing:
    """How far the groups of a service have come, in all of its processes."""

    def __init__(self, process: Process, log: Any, members: Sequence[GroupMember], limit_s: float = _LIMIT_S) -> None:
        """`limit_s`: seconds without any progress after which the waiting ends, and city time alone decides."""
        self._process = process
        self._log = log
        self._members = members
        self._limit_s = limit_s
        self._turn = asyncio.Lock()
        # Everybody who asked before this moment of machine time has an answer.
        self._answered_at = float("-inf")
        self._places: dict[str, int] = {}
        self._moved_at = float("-inf")
        # The position up to which nothing is left for the group.
        self._nothing_up_to: dict[str, int] = {}

    async def up_to_now(self) -> None:
        """Returns when everything that is in the log now has been heard, or when nothing was heard for too long."""
        asked = time.monotonic()
        async with self._turn:
            if self._answered_at >= asked:
                return
            began = time.monotonic()
            ends: list[_End] | None = None
            trouble: Exception | None = None
            said = False
            while True:
                left_s = self._limit_s - (time.monotonic() - max(asked, self._moved_at))
                places: dict[str, int] | None = None
                try:
                    async with asyncio.timeout(max(0.0, left_s)):
                        ends = await self._ends() if ends is None else ends
                        places = await self._not_heard(ends)
                except (StoreError, OSError, TimeoutError) as error:
                    trouble = error
                if places == {}:
                    self._answered_at = began
                    return
                if not said:
                    said = True
                    self._log.info("a wait is over once all is heard that is in the log", heard=places, error=trouble)
                if places is not None and places != self._places:
                    self._places, self._moved_at = places, time.monotonic()
                elif left_s <= 0:
                    self._answered_at = time.monotonic()
                    self._log.error(
                        "a wait is over though not all is heard that is in the log",
                        heard=places, nothing_heard_for_s=self._limit_s, error=trouble,
                    )  # fmt: skip
                    return
                await asyncio.sleep(_LOOK_S)

    async def _ends(self) -> list[_End]:
        await self._process.engine.up_to_now()
        return [
            _End(member, partition, partition.head())
            for member in self._members
            for partition in self._process.store.partitions(member.types)
        ]

    async def _not_heard(self, ends: Sequence[_End]) -> dict[str, int]:
        """The positions of the groups that have not heard everything up to these ends."""
        reached = {end.name: await end.member.reached(end.partition) for end in ends}
        return {end.name: reached[end.name] for end in ends if await self._is_for(end, reached[end.name])}

    async def _is_for(self, end: _End, after: int) -> bool:
        """Whether an event for the group stands behind a position. (A checkpoint moves only when there was such an event.)"""
        after = max(after, self._nothing_up_to.get(end.name, 0))
        while after < end.head:
            page = await end.partition.read_log(after, types=end.member.types)
            if page.events:
                return page.events[0].position <= end.head
            after = self._nothing_up_to[end.name] = page.reached
        return False
