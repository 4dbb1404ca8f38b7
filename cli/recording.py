"""What a command does without asking a process is recorded in the audit trail all the same, before it is done."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from citybrain.mesh.storage.engine import Engine


@asynccontextmanager
async def recorded(engine: Engine, command: str, *persons: str) -> AsyncIterator[None]:
    """Records a command, e.g. `city erase`, in the name of the operator at the keyboard; if it fails, that too.

    `persons`: ids of those whose data it is about. TrailAway: it cannot be recorded, so it must not be done.
    """
    from citybrain.event_store.feed import last_moment
    from citybrain.mesh.access.installation import OPERATOR
    from citybrain.mesh.audit.entries import Entry
    from citybrain.mesh.audit.trail import ChainedTrail

    city_time = await last_moment(engine.store)
    trail = ChainedTrail(engine.store, lambda: city_time)
    who = f"{OPERATOR}:{getpass.getuser()}"
    try:
        await trail.keep(Entry(who, command, persons=persons))
        try:
            yield
        except BaseException as error:
            trail.note(Entry(who, command, persons=persons, code="FAILED", reason=type(error).__name__))
            raise
    finally:
        await trail.close()
