"""Read models: two pure functions, `key(event)` and `apply(row, event)`, folded from the log into the service's own file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from google.protobuf.message import Message
from nameko.extensions import DependencyProvider

from citybrain.event_store.contract import StoredEvent
from citybrain.event_store.subscription import Failed, Handle, Subscription
from citybrain.event_store.views import Row, ViewFile
from citybrain.mesh.container import Container
from citybrain.mesh.events import Heard, hear, type_name
from citybrain.mesh.process import Process
from citybrain.mesh.runtime import off_loop, wait
from citybrain.observability.logs import logger

D = TypeVar("D")
Key = Callable[[Heard], str | None]
Apply = Callable[[Row | None, Heard], Row | None]


class ServiceFile:
    """A service's view file with the one thread that may touch it."""

    _open: dict[tuple[int, str], ServiceFile] = {}  # noqa: RUF012 - shared on purpose: one thread per file and process

    def __init__(self, process: Process, service: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"views-{service}")
        self._loop = process.loop
        self.file = self._thread.submit(ViewFile, process.settings.data / f"{service}.views.db").result()

    @classmethod
    def of(cls, process: Process, service: str) -> ServiceFile:
        """The file of a service; opened on first use."""
        key = (id(process), service)
        if key not in cls._open:
            cls._open[key] = cls(process, service)
        return cls._open[key]

    @classmethod
    def close_all(cls, process: Process) -> None:
        """Closes every file of a process."""
        for key in [key for key in cls._open if key[0] == id(process)]:
            opened = cls._open.pop(key)
            opened._thread.submit(opened.file.close).result()
            opened._thread.shutdown()

    def run(self, work: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
        """Runs blocking work in the file's thread."""
        return self._loop.run_in_executor(self._thread, work, *arguments)

    def run_now(self, work: Callable[..., Any], *arguments: object) -> Any:
        """The same while containers are set up, before anybody else needs the loop."""
        return self._thread.submit(work, *arguments).result()


class GroupMember:
    """This process as the member of a consumer group: where it goes on, and how it says what is done."""

    def __init__(self, process: Process, service: str, group: str) -> None:
        self._process = process
        self.file = ServiceFile.of(process, service)
        self._group = group
        self.epoch, self._position = self.file.run_now(self.file.file.join, group)

    def follow(self, types: Collection[str], handle: Handle, on_failure: Failed, batch: int = 500) -> None:
        """Hears the events of some types from where the group stopped; Rest waits until it has caught up."""
        process = self._process
        self.subscription = Subscription(process.store, self._position, types, handle, on_failure=on_failure, batch=batch)
        self._unwatch = process.activity.watch(lambda: self.subscription.at_rest)
        self._task = process.loop.create_task(self.subscription.run())

    def leave(self) -> None:
        """Hears no more."""
        self._task.cancel()
        self._unwatch()

    async def save(self, position: int, view: str = "", rows: dict[str, Row | None] | None = None) -> None:
        """Stores the checkpoint, with the rows it covers; LostAssignment where another member took over."""
        await self.file.run(self.file.file.save, self._group, self.epoch, position, view, rows)


class View(DependencyProvider):  # type: ignore[misc]
    """A read model of this service; inside a method: `self.<name>.get(key)`, `.scan()`, `.derived(build)`."""

    container: Container

    def __init__(self, events: Sequence[type[Message]], key: Key, apply: Apply) -> None:
        self._types = [type_name(message) for message in events]
        self._key = key
        self._apply = apply

    def setup(self) -> None:
        """Opens the file, so that methods can read before the first event."""
        process = self.container.process
        service = self.container.manifest.name
        self._name = self.attr_name
        self._log = logger(service)
        self._member = GroupMember(process, service, f"{service}.view.{self._name}")
        self.revision = 0
        self._derived: dict[Callable[..., Any], tuple[int, Any]] = {}

    def start(self) -> None:
        """Folds what was, then what comes."""
        self._member.follow(self._types, self._fold, self._failed)

    def stop(self) -> None:
        """Folds no more."""
        self._member.leave()

    kill = stop

    async def _fold(self, events: list[StoredEvent], reached: int) -> None:
        heard = [hear(event) for event in events]
        keyed = [(key, event) for event in heard if (key := self._key(event)) is not None]
        file = self._member.file
        rows: dict[str, Row | None] = dict(await file.run(file.file.load, self._name, {key for key, _ in keyed}))
        for key, event in keyed:
            rows[key] = self._apply(rows.get(key), event)
        await self._member.save(reached, self._name, rows)
        self.revision += 1
        self.container.process.activity.changed()

    def _failed(self, event: StoredEvent, error: Exception, pause: float) -> None:
        self._log.error("view failed and is tried again", view=self._name, event_id=event.id, again_in_s=pause, exc_info=error)

    def get_dependency(self, worker_ctx: Any) -> View:
        """The view itself."""
        return self

    def get(self, key: str) -> Row | None:
        """One row, or None."""
        file = self._member.file
        row: Row | None = wait(file.run(file.file.get, self._name, key))
        return row

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        """Rows in the order of their keys."""
        file = self._member.file
        rows: list[tuple[str, Row]] = wait(file.run(file.file.scan, self._name, after, limit))
        return rows

    def derived(self, build: Callable[[list[Row]], D]) -> D:
        """What `build` makes of all rows, made off the loop and kept until a row changes."""
        revision, made = self._derived.get(build, (-1, None))
        if revision != self.revision:
            revision = self.revision
            made = off_loop(build, [row for _, row in self.scan()])
            self._derived[build] = (revision, made)
        result: D = made
        return result

    @staticmethod
    def off_loop(work: Callable[..., D], *arguments: object) -> D:
        """Runs heavy pure work in a thread while other calls go on."""
        return off_loop(work, *arguments)
