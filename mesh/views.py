"""Read models: two pure functions, `key(event)` and `apply(row, event)`, folded from the log into the service's own file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.event_store.read_models import Row, RowChanged
from citybrain.event_store.subscription import Batch
from citybrain.mesh.container import Container
from citybrain.mesh.events import Heard, hear, type_name
from citybrain.mesh.groups import GroupMember, Part
from citybrain.mesh.nameko import DependencyProvider
from citybrain.mesh.runtime import off_loop, wait

D = TypeVar("D")
Key = Callable[[Heard], str | None]
Apply = Callable[[Row | None, Heard], Row | None]


class View(DependencyProvider):  # type: ignore[misc]
    """A read model of this service; inside a method: `self.<name>.get(key)`, `.scan()`, `.derived(build)`."""

    container: Container

    def __init__(self, events: Sequence[type[Message]], key: Key, apply: Apply) -> None:
        self.types = [type_name(message) for message in events]
        self._key = key
        self._apply = apply

    def setup(self) -> None:
        """Opens the file, so that methods can read before the first event."""
        process = self.container.process
        service = self.container.manifest.name
        self._name = self.attr_name
        self.member = GroupMember(process, service, f"{service}.view.{self._name}", self.types)
        self.revision = 0
        """Moves whenever rows may have changed."""
        self._news = asyncio.Event()
        self._derived: dict[Callable[..., Any], tuple[int, Any]] = {}

    def start(self) -> None:
        """Folds what was, then what comes."""
        self.member.follow(self._fold, when_changed_elsewhere=self._changed)

    def stop(self) -> None:
        """Folds no more."""
        self.member.leave()

    kill = stop

    async def _fold(self, part: Part, batch: Batch) -> None:
        heard = [hear(event) for event in batch.events]
        keyed = [(key, event) for event in heard if (key := self._key(event)) is not None]
        while True:
            kept = await part.models.load(self._name, {key for key, _ in keyed}) if keyed else {}
            rows: dict[str, Row | None] = {}
            for key, event in keyed:
                before = kept.get(key)
                if before is not None and event.stored.position <= before.applied.get(part.name, 0):
                    continue
                row = rows.get(key, None if before is None else before.row)
                rows[key] = self._apply(row, event)
            try:
                await part.save(batch, self._name, rows, kept)
                break
            except RowChanged:
                # By a member on another partition: its work stands, and ours is done on it.
                continue
        self._changed()
        self.container.process.activity.changed()

    def _changed(self) -> None:
        self.revision += 1
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, revision: int) -> None:
        """Returns as soon as rows may have changed since a revision."""
        while self.revision == revision:
            await self._news.wait()

    def get_dependency(self, worker_ctx: Any) -> View:
        """The view itself."""
        return self

    def get(self, key: str) -> Row | None:
        """One row, or None."""
        return wait(self.member.file.models.get(self._name, key))

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        """Rows in the order of their keys."""
        return wait(self.member.file.models.scan(self._name, after, limit))

    def derived(self, build: Callable[[list[Row]], D]) -> D:
        """What `build` makes of all rows, made off the loop and kept until a row changes."""
        revision, made = self._derived.get(build, (-1, None))
        if revision != self.revision:
            revision = self.revision
            made = off_loop(build, [row for _, row in self.scan()])
            self._derived[build] = (revision, made)
        result: D = made
        return result
