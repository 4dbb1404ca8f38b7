"""The snapshots of a service's streams. One is used only if it fits the log and the code; no call waits for keeping (ES-10)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

from citybrain.event_store.snapshots import Snapshot, Snapshots
from citybrain.event_store.store import EventStore, StoredEvent, StoreError
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.storage.state_packing import StateError, code_of, pack_state, unpack_state
from citybrain.observability.logs import logger


class KeptStates:
    """Snapshots of streams that `evolve` folds into states of class `kind`: one each `every` events, the first one sooner."""

    def __init__(self, process: Process, service: str, kind: type, evolve: Callable[..., Any], every: int) -> None:
        self._store = process.store
        self._kind = kind
        self._every = every
        self._code = code_of(evolve)
        self._snapshots = process.engine.snapshots
        self._log = logger(service)

    def take_up(self, stream: str) -> tuple[Any, StoredEvent] | None:
        """A kept state, and the last event in it. None: there is none, other code made it, or the log has other events."""
        try:
            found = wait(fitting(self._store, self._snapshots, stream, self._code))
            if found is None:
                return None
            kept, at = found
            return unpack_state(self._kind, kept.state), at
        except (StoreError, ValueError, LookupError, TypeError) as error:
            self._log.warning("snapshot cannot be read: the stream is read whole", stream=stream, error=error)
            return None

    def keep(self, stream: str, state: Any, version: int, event_id: str, before: int) -> None:
        """Keeps a state, if one is due between version `before` and `version`."""
        # Streams often grow together, as those of all signals do: each has a turn of its own, so that their states are not all
        # made in the same moment.
        shift = zlib.crc32(stream.encode()) % self._every
        if (version + shift) // self._every == (before + shift) // self._every:
            return
        try:
            kept = Snapshot(version, event_id, self._code, pack_state(state))
        except StateError as error:
            # The command is done, and must not fail for this: the next time the stream is read whole.
            self._log.error("snapshot cannot be made", stream=stream, error=error)
            return
        keep_later(self._snapshots, stream, kept, self._log)


async def fitting(store: EventStore, snapshots: Snapshots, stream: str, code: str) -> tuple[Snapshot, StoredEvent] | None:
    """The newest snapshot of a stream, and the last event in it. None: there is none, other code made it, or the log has other
    events.
    """
    kept = await snapshots.newest(stream)
    if kept is None or kept.code != code:
        return None
    at = await store.read(stream, kept.version, 1)
    # A log that was restored from a copy may be shorter, or may have other events.
    return (kept, at[0]) if at and at[0].id == kept.event_id else None


def keep_later(snapshots: Snapshots, stream: str, snapshot: Snapshot, log: Any) -> None:
    """Has a snapshot written. Nobody waits for that, and nothing fails if it cannot be."""

    def kept(done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("snapshot cannot be kept", stream=stream, error=error)

    snapshots.keep(stream, snapshot).add_done_callback(kept)
