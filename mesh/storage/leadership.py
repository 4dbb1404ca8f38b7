"""The leader of a service: the one of its processes that does what only one may do (subscriptions, read models, timers).

The leader holds a lock of the kernel on a file beside the service's data; the others stand by. The kernel frees the lock when
the process ends, however it ends. So there is no timeout, and never a second leader by mistake. (If a service runs on many
machines, its consumer group says which process leads: `SharedLead`.)
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from citybrain.observability.logs import logger

# How often a process that stands by tries to take the lead.
_LOOK_S = 0.1
_log = logger("leadership")


class Lead(Protocol):
    """The lead of one service."""

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        ...

    async def gained(self) -> None:
        """Waits until this process leads."""
        ...

    def take(self) -> bool:
        """Takes the lead if no process has it; returns whether this process leads now."""
        ...

    def give_up(self) -> None:
        """Gives the lead up, so that another process may lead."""
        ...

    def lose(self) -> None:
        """Gives the lead up for a while, where it can be taken again."""
        return None


class Leadership:
    """The lead of one service on one data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._file is not None

    async def gained(self) -> None:
        """Waits until this process leads."""
        trouble = ""
        while True:
            try:
                if self.take():
                    return
            except OSError as error:
                # The error may pass, so go on trying.
                if str(error) != trouble:
                    trouble = str(error)
                    _log.error("cannot see whether another process leads; tries again", error=error)
            await asyncio.sleep(_LOOK_S)

    def take(self) -> bool:
        """Takes the lead if no process has it; returns whether this process leads now."""
        if self._file is None:
            file = self._path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                self._file = file
        return self._file is not None

    def give_up(self) -> None:
        """Gives the lead up, so that another process may lead."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def lose(self) -> None:
        """The same: it can be taken again."""
        self.give_up()


class MayBeLost:
    """A lead that a fault takes away for a while: `lost` says whether it has."""

    def __init__(self, lead: Lead, lost: Callable[[], bool]) -> None:
        self._lead = lead
        self._lost = lost

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._lead.leads and not self._lost()

    async def gained(self) -> None:
        """Waits until this process leads."""
        while True:
            # While it is lost it stays free, for another process to take.
            if not self._lost():
                await self._lead.gained()
                if not self._lost():
                    return
                self._lead.lose()
            await asyncio.sleep(_LOOK_S)

    def take(self) -> bool:
        """Takes the lead if no process has it; returns whether this process leads now."""
        return not self._lost() and self._lead.take()

    def give_up(self) -> None:
        """Gives the lead up, so that another process may lead."""
        self._lead.give_up()

    def lose(self) -> None:
        """Gives the lead up for a while."""
        self._lead.lose()
