"""Kills a mesh at a moment of an incident, starts it again, and keeps the record of what had been acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import grpc
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import saga_service_pb2 as sagas

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


class KillAtEachStep:
    """Kills whenever a saga has come to a step, or to an undo, that was not seen before. What came together is killed once.

    `only`: at these; empty: at all.
    """

    def __init__(self, mesh: MeshChild, city: PaperCity, saga_id: str, only: frozenset[str] = frozenset()) -> None:
        self._mesh, self._city, self._saga_id, self._only = mesh, city, saga_id, only
        self._seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def killed_at(self, steps: set[str]) -> set[str]:
        """Waits until it was killed at all of these, then kills no more; where it was killed. An undo is `undo step`."""
        end = time.monotonic() + LIMIT_S
        while not self._seen >= steps and time.monotonic() < end:
            self._ended.wait(0.05)
        self._ended.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        return self._seen

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                watched = self._city.sagas.WatchSaga(
                    sagas.WatchSagaRequest(saga_id=self._saga_id), wait_for_ready=True, timeout=5
                )
                for shown in watched:
                    new = _begun(shown.saga) - self._seen
                    if self._only and not new & self._only:
                        self._seen |= new
                    elif new:
                        self._seen |= new
                        self._mesh.kill()
                        self._mesh.start()
                        self._city.advance(0)
                        break
            except (grpc.RpcError, ValueError):
                # The mesh comes back, nothing has changed for a while, or the city has hung up.
                self._ended.wait(0.05)


def _begun(saga: sagas.Saga) -> set[str]:
    undone = {f"undo {step.name}" for step in saga.steps if step.status.startswith("und")}
    return undone | {step.name for step in saga.steps if step.status != "not begun"}
