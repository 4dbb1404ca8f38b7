"""The chain of anchors: up to where other chains are known. All processes write to its one stream, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from citybrain.audit.v1 import records_pb2 as pb

from citybrain.event_store.store import Conflict, EventStore, StoredEvent, StoreError
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.chain import Place
from citybrain.observability.logs import logger

STREAM = chain.stream_of(chain.ANCHORS)
# How long ago a process may have ended whose chain is anchored by another one.
_LOOK_BACK_US = 2 * 86_400 * 1_000_000
_PAGE = 500
# An event of the anchors holds so many ends of chains.
_ENDS = 1000
_AGAIN_S = 5.0
_log = logger("audit")


class Anchors:
    """The anchors as one process writes them."""

    def __init__(self, store: EventStore, city_time: Callable[[], int], append_s: float) -> None:
        self._store = store
        self._city_time = city_time
        self._append_s = append_s
        self.newest = Place()
        """The newest anchor that this process knows of."""

    async def append(self, ends: Sequence[pb.ChainEnd]) -> None:
        """Writes down where some chains end. StoreError: perhaps it was not written; to do it again does no harm."""
        if not self.newest.number:
            await self._look()
        while True:
            before = self.newest
            event = chain.anchor(before, self._city_time(), ends)
            outcome = await self._store.append(STREAM, [event], before.number, self._append_s)
            if not isinstance(outcome, Conflict):
                self._know(Place(before.number + 1, chain.hash_of(event.data)))
                return
            # Another process was faster.
            await self._look()

    async def adopt(self, now: int, is_own: Callable[[str], bool]) -> None:
        """Anchors chains that have grown since their last anchor: those of processes that ended without it, above all.

        `now`: microseconds since 1970. `is_own`: whether a chain is this process's, which anchors it itself. Chains of other
        processes that live may be among them; that does no harm.
        """
        while True:
            try:
                if found := await self._unanchored(now - _LOOK_BACK_US, is_own):
                    for first in range(0, len(found), _ENDS):
                        await self.append(found[first : first + _ENDS])
                    _log.info("chains of the audit trail were anchored for others", chains=len(found))
                return
            except StoreError as error:
                _log.warning("chains of the audit trail cannot be anchored now", error=error)
                await asyncio.sleep(_AGAIN_S)

    async def _unanchored(self, since: int, is_own: Callable[[str], bool]) -> list[pb.ChainEnd]:
        """The ends of others' chains, not closed and longer than their newest anchor; anchors before `since` are not read."""
        newest: dict[str, pb.ChainEnd] = {}
        version = 0
        while True:
            page = await self._store.read(STREAM, version, _PAGE, backward=True)
            for event in page:
                for end in pb.ChainsAnchored.FromString(event.data).chains:
                    newest.setdefault(end.chain, end)
            if len(page) < _PAGE or page[-1].recorded_at < since or page[-1].version == 1:
                break
            version = page[-1].version - 1
        found = []
        for name, end in newest.items():
            if end.closed or is_own(name):
                continue
            last = await self._last(chain.stream_of(name))
            if last is not None and last.version > end.number:
                found.append(pb.ChainEnd(chain=name, number=last.version, hash=chain.hash_of(last.data)))
        return found

    async def _look(self) -> None:
        if last := await self._last(STREAM):
            self._know(Place(last.version, chain.hash_of(last.data)))

    def _know(self, place: Place) -> None:
        # Two tasks of this process may be here; the later place counts.
        if place.number > self.newest.number:
            self.newest = place

    async def _last(self, stream: str) -> StoredEvent | None:
        found = await self._store.read(stream, 0, 1, backward=True)
        return found[0] if found else None
