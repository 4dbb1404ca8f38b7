"""The snapshots of a service's streams: taken up where they fit the log and the code, kept while nobody waits (ES-10)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from citybrain.event_store.snapshots import Snapshot
from citybrain.event_store.store import StoredEvent, StoreError
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.storage.states import StateError, code_of, pack_state, unpack_state
from citybrain.observability.logs import logger


class KeptStates:
    """Of streams that are folded by `evolve` into states of a class, one snapshot after so many events."""

    def __init__(self, process: Process, service: str, kind: type, evolve: Callable[..., Any], every: int) -> None:
        self._store = process.store
        self._kind = kind
        self._every = every
        self._code = code_of(evolve)
        self._snapshots = process.engine.snapshots
        self._log = logger(service)

    def take_up(self, stream: str) -> tuple[Any, StoredEvent] | None:
        """What is kept, and the event it stands behind. None: nothing is, other code made it, or the log has another event."""
        try:
            kept = wait(self._snapshots.newest(stream))
            if kept is None or kept.code != self._code:
                return None
            at = wait(self._store.read(stream, kept.version, 1))
            # A log that was put back from a copy may not have come so far, or have gone another way.
            if not at or at[0].id != kept.event_id:
                return None
            return unpack_state(self._kind, kept.state), at[0]
        except (StoreError, ValueError, LookupError, TypeError) as error:
            self._log.warning("snapshot cannot be read: the stream is read whole", stream=stream, error=repr(error))
            return None

    def keep(self, stream: str, state: Any, version: int, event_id: str, before: int) -> None:
        """Keeps a state, where that is due since the version before."""
        if version // self._every == before // self._every:
            return
        try:
            kept = Snapshot(version, event_id, self._code, pack_state(state))
        except StateError as error:
            # The command is done: that its state is read whole the next time is no reason to fail it.
            self._log.error("snapshot cannot be made", stream=stream, error=str(error))
            return
        self._snapshots.keep(stream, kept).add_done_callback(functools.partial(self._kept, stream))

    def _kept(self, stream: str, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._log.warning("snapshot cannot be kept", stream=stream, error=repr(error))
