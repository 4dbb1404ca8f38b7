"""Read models: two pure functions, `key(event)` and `apply(row, event)`, folded from the log into the service's own file."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.event_store.read_models import Row, RowChanged
from citybrain.event_store.subscription import Batch
from citybrain.mesh.container import Container
from citybrain.mesh.events import Heard, hear, type_name
from citybrain.mesh.groups import GroupMember, Part
from citybrain.mesh.nameko import DependencyProvider
from citybrain.mesh.personal import NobodysData
from citybrain.mesh.runtime import off_loop, wait

D = TypeVar("D")
# Where a row keeps what is sealed of it, by field.
_SEALED = "\0sealed"
Key = Callable[[Heard], str | None]
Apply = Callable[[Row | None, Heard], Row | None]


class View(DependencyProvider):  # type: ignore[misc]
    """A read model of this service; inside a method: `self.<name>.get(key)`, `.scan()`, `.derived(build)`.

    `personal`: fields of its rows that are about a person, each with the field that holds the person's id. They are sealed in
    the file; of who was erased they are None. A view that names none is given events without what is personal in them.
    """

    container: Container

    def __init__(
        self, events: Sequence[type[Message]], key: Key, apply: Apply, *, personal: Mapping[str, str] | None = None
    ) -> None:
        self.types = [type_name(message) for message in events]
        self._key = key
        self._apply = apply
        self._personal = personal or {}

    def setup(self) -> None:
        """Opens the file, so that methods can read before the first event."""
        process = self.container.process
        service = self.container.manifest.name
        self._name = self.attr_name
        self.member = GroupMember(process, service, f"{service}.view.{self._name}", self.types)
        self.revision = 0
        """Moves whenever rows may have changed."""
        self._news = asyncio.Event()
        self._vault = process.vault
        if self._personal:
            self._vault.when_erased(lambda person: self._changed())
        self._derived: dict[Callable[..., Any], tuple[int, Any]] = {}

    def start(self) -> None:
        """Folds what was, then what comes."""
        self.member.follow(self._fold, when_changed_elsewhere=self._changed)

    def stop(self) -> None:
        """Folds no more."""
        self.member.leave()

    kill = stop

    async def _fold(self, part: Part, batch: Batch) -> None:
        heard = await self._vault.hear(batch.events) if self._personal else [hear(event) for event in batch.events]
        keyed = [(key, event) for event in heard if (key := self._key(event)) is not None]
        while True:
            kept = await part.models.load(self._name, {key for key, _ in keyed}) if keyed else {}
            standing = await self._opened({key: one.row for key, one in kept.items() if one.row is not None})
            rows: dict[str, Row | None] = {}
            for key, event in keyed:
                before = kept.get(key)
                if before is not None and event.stored.position <= before.applied.get(part.name, 0):
                    continue
                row = rows.get(key, standing.get(key))
                rows[key] = self._apply(row, event)
            try:
                await part.save(batch, self._name, await self._sealed(rows), kept)
                break
            except RowChanged:
                # By a member on another partition: its work stands, and ours is done on it.
                continue
        self._changed()
        self.container.process.activity.changed()

    # -- what is personal in rows -----------------------------------------------------------------------------------------

    async def _sealed(self, rows: Mapping[str, Row | None]) -> dict[str, Row | None]:
        found: list[tuple[Row, str, str]] = []
        sealed: dict[str, Row | None] = {}
        for key, row in rows.items():
            sealed[key] = row = None if row is None else dict(row)
            for field in self._personal if row is not None else ():
                if row is not None and row.get(field) is not None:
                    found.append((row, field, f"{self._name}\0{key}\0{field}"))
        texts = [(self._person(row, field), place, json.dumps(row.pop(field))) for row, field, place in found]
        for (row, field, _), one in zip(found, await self._vault.seal_texts(texts) if texts else (), strict=True):
            row.setdefault(_SEALED, {})[field] = None if one is None else b64encode(one).decode()
        return sealed

    async def _opened(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        opened = {key: dict(row) for key, row in rows.items()}
        found: list[tuple[Row, str, str, str]] = []
        for key, row in opened.items():
            for field, one in row.pop(_SEALED, {}).items():
                row[field] = None
                if one is not None:
                    found.append((row, field, f"{self._name}\0{key}\0{field}", one))
        texts = await self._vault.open_texts([(place, b64decode(one)) for _, _, place, one in found]) if found else []
        for (row, field, _, _), text in zip(found, texts, strict=True):
            row[field] = None if text is None else json.loads(text)
        return opened

    def _person(self, row: Row, field: str) -> str:
        person = row.get(self._personal[field])
        if not person:
            raise NobodysData(f"a row of {self._name} has {field}, and {self._personal[field]} does not say whose it is")
        return str(person)

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
        row = wait(self.member.file.models.get(self._name, key))
        return row if row is None or not self._personal else wait(self._opened({key: row}))[key]

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        """Rows in the order of their keys."""
        rows = wait(self.member.file.models.scan(self._name, after, limit))
        return list(wait(self._opened(dict(rows))).items()) if self._personal else rows

    def derived(self, build: Callable[[list[Row]], D]) -> D:
        """What `build` makes of all rows, made off the loop and kept until a row changes."""
        revision, made = self._derived.get(build, (-1, None))
        if revision != self.revision:
            revision = self.revision
            made = off_loop(build, [row for _, row in self.scan()])
            self._derived[build] = (revision, made)
        result: D = made
        return result
