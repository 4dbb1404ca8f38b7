"""Work that waits for people: a read model whose rows are gone as soon as people have dealt with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from typing_extensions import override

from citybrain.event_store.store import StoreError
from citybrain.mesh.events import Heard
from citybrain.mesh.providers.rows import RowUnreadable
from citybrain.mesh.providers.views import Key, View
from citybrain.observability.logs import logger
from citybrain.observability.metrics import WaitingNumbers

_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that a person has to do. Moments in microseconds of city time; 0: none.

    `kind`: a word for what is to be done; `name`: of what it is to be done, inside the thing that waits; `key`: tells apart two
    of one name; `who`: the authorities that were asked, the last one is asked now (none: whoever is on duty); `until`: when it
    goes on without them, or asks the next one.
    """

    kind: str
    name: str
    reason: str
    since: int
    who: tuple[str, ...] = ()
    until: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row: something waits for people, until its last task is gone."""

    tasks: tuple[Task, ...]
    # The exercise that it is part of. What waits there is not counted.
    exercise: str = ""


@dataclass(frozen=True, slots=True)
class Waits:
    """How many tasks wait for people; the id of what has the oldest, since when that waits (microseconds of city time), why."""

    count: int
    oldest: str
    since: int
    reason: str


class WaitsForPeople(View[Waiting]):
    """A view with a row for each thing that waits for people, under its id. `GetStatus` and the metrics tell of it."""

    def __init__(
        self,
        events: Sequence[type[Message]],
        key: Key,
        apply: Callable[[Waiting | None, Heard], Waiting | None],
        *,
        exercises: bool = False,
    ) -> None:
        """`exercises`: tasks of exercises too; `key` must tell them apart from those of the city."""
        super().__init__(events, key, apply, row=Waiting, exercises=exercises)
        self._new_rows = asyncio.Event()
        # When the tasks of each authority began to wait.
        self._since: dict[str, list[int]] = {}

    async def waits(self) -> Waits | None:
        """What waits now; None: nothing does."""
        tasks = [(task.since, name, task.reason) for name, row in await self._counted() for task in row.tasks]
        return Waits(len(tasks), *_oldest(min(tasks))) if tasks else None

    async def _counted(self) -> list[tuple[str, Waiting]]:
        return [(name, row) for name, row in await self.rows() if not row.exercise]

    @override
    def start(self) -> None:
        """Looks at the rows from now on, besides."""
        super().start()
        self._begin(self._count())

    def numbers(self) -> list[WaitingNumbers]:
        """For each authority that is asked, how many tasks wait and for how long the oldest has. From any thread.

        Whoever is on duty is always among them, also with no task. Empty: the rows cannot be read now; readiness says why.
        """
        now = self._process.clock.now()
        return [WaitingNumbers(self._service, who, len(s), (now - min(s, default=now)) / 1e6) for who, s in self._since.items()]

    @override
    def _changed(self) -> None:
        super()._changed()
        self._new_rows.set()

    async def _count(self) -> None:
        """Counts again when rows change. Another process may change them too, so it also looks now and then."""
        while True:
            self._new_rows.clear()
            try:
                rows = await self._counted()
            except Exception as error:
                # What cannot be read is told by readiness; here it is only not counted.
                self._since = {}
                if not isinstance(error, StoreError | RowUnreadable):
                    logger(self._service).error("tasks cannot be counted, which is tried again", exc_info=error)
            else:
                since: dict[str, list[int]] = {"": []}
                for task in (task for _, row in rows for task in row.tasks):
                    since.setdefault(task.who[-1] if task.who else "", []).append(task.since)
                self._since = since
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._new_rows.wait(), _LOOK_S)


def _oldest(task: tuple[int, str, str]) -> tuple[str, int, str]:
    since, name, reason = task
    return name, since, reason
