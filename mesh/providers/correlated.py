"""What happened for one correlation id: its events out of the whole log, for people who look at an incident."""

from __future__ import annotations

from citybrain.events.v1 import event_pb2
from typing_extensions import override

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.events import show_outward
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import current
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider

MOST = 10_000
"""So many events of one correlation id are read; an emergency has about a hundred."""
_PAGE = 1000


class Correlated(DependencyProvider):  # type: ignore[misc]
    """The events of one correlation id; inside a method: `self.happened.of("inc-1")`."""

    container: Container

    @override
    def get_dependency(self, worker_ctx: object) -> Correlated:
        """The provider itself: it holds nothing of a call."""
        return self

    def of(self, correlation_id: str) -> tuple[list[event_pb2.Event], bool]:
        """The events, in no order, and whether there are more of them than are read.

        Those of exercises only in a call that names the exercise. What is personal in them stays sealed.
        """
        found = wait(self._read(correlation_id))
        exercise = current().exercise
        mine = [one for one in found if exercise_of(one.stream) == exercise]
        events = []
        for stored in mine:
            shown = event_pb2.Event()
            show_outward(shown, stored)
            events.append(shown)
        return events, len(found) >= MOST

    async def _read(self, correlation_id: str) -> list[StoredEvent]:
        feed = self.container.process.store.feed(correlation_id=correlation_id)
        found: list[StoredEvent] = []
        page = await feed.read({}, _PAGE)
        while page.events and len(found) < MOST:
            found += page.events
            page = await feed.read(page.cursor, _PAGE)
        return found[:MOST]
