"""Kills a mesh at a moment of an incident, starts it again, and keeps the record of what had been acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Callable

from citybrain.events.v1.event_pb2 import Event

from citybrain.local.child import MeshChild
from citybrain.stories.emergency.observer import Observer
from tests.helpers.callers import token
from tests.helpers.paper_city import LIMIT_S, PaperCity


class KillAt:
    """Kills once, when an event of the followed incident is the one that was named."""

    def __init__(self, mesh: MeshChild, city: PaperCity, moment: Callable[[Event], bool]) -> None:
        self._mesh = mesh
        self._city = city
        self._moment = moment
        self._hit = threading.Event()
        self._back = threading.Event()
        self._known: dict[str, list[str]] = {}
        self._observer = Observer(mesh.address, lambda: token(mesh.log_path.parent), self._seen)
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self._thread.start()

    def follow(self, incident_id: str) -> None:
        """Follows an incident from its beginning."""
        self._observer.follow(incident_id)

    def killed(self) -> bool:
        """Whether the kill has been, and the mesh is back."""
        return self._back.wait(LIMIT_S)

    def lost(self) -> int:
        """How many of the events that had been shown before the kill are gone."""
        lost = self._observer.lost(self._known)
        assert sum(map(len, self._known.values())) > 0
        self._observer.close()
        return lost

    def _seen(self, _incident: str, event: Event) -> None:
        if not self._hit.is_set() and self._moment(event):
            self._hit.set()

    def _kill(self) -> None:
        if self._hit.wait(LIMIT_S):
            self._mesh.kill()
            self._known = self._observer.known()
            self._mesh.start()
            # A mesh that was started again knows no city time until it is told.
            self._city.advance(0)
            self._back.set()
