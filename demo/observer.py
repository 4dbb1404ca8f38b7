"""The record kept outside of the mesh: every event that its subscribers were shown, and must still be there after a kill."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.events.v1.event_pb2 import Event

_BACK_IN_S = 60.0

Seen = Callable[[str, Event], None]


class Observer:
    """Follows incidents through the gateway, and goes on from its token when the gateway comes back."""

    def __init__(self, gateway: str, seen: Seen | None = None) -> None:
        self._gateway = gateway
        self._seen = seen
        self._stories: dict[str, dict[str, Event]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._channel = grpc.insecure_channel(gateway, options=_OPTIONS)
        self._threads: list[threading.Thread] = []

    def follow(self, incident_id: str) -> None:
        """Follows one more incident."""
        with self._lock:
            if incident_id in self._stories:
                return
            self._stories[incident_id] = {}
        thread = threading.Thread(target=self._run, args=(incident_id,), daemon=True, name=f"follow-{incident_id}")
        thread.start()
        self._threads.append(thread)

    def known(self) -> dict[str, list[str]]:
        """Ids of all events that were shown, by incident: what must not be lost."""
        with self._lock:
            return {incident: list(events) for incident, events in self._stories.items()}

    def story(self, incident_id: str) -> list[Event]:
        """The whole story as it stands in the log now, read anew from its beginning."""
        return self._read_at_least(incident_id, self._end(incident_id))

    def lost(self, known: dict[str, list[str]]) -> int:
        """How many of some events are not in the log any more."""
        return sum(
            len(set(ids) - {event.id for event in self._read_at_least(incident, len(ids))})
            for incident, ids in known.items()
            if ids
        )

    def _read_at_least(self, incident_id: str, count: int) -> list[Event]:
        events: list[Event] = []
        stub = EmergencyCommandServiceStub(self._channel)  # type: ignore[no-untyped-call]
        call = stub.FollowIncident(pb.FollowIncidentRequest(incident_id=incident_id), timeout=_BACK_IN_S, wait_for_ready=True)
        for response in call:
            events += response.events
            if len(events) >= count:
                break
        call.cancel()
        return events

    def _end(self, incident_id: str) -> int:
        with self._lock:
            return len(self._stories[incident_id])

    def close(self) -> None:
        """Follows no more."""
        self._ended.set()
        self._channel.close()
        for thread in self._threads:
            thread.join(5)

    def _run(self, incident_id: str) -> None:
        token = ""
        stub = EmergencyCommandServiceStub(self._channel)  # type: ignore[no-untyped-call]
        while not self._ended.is_set():
            try:
                request = pb.FollowIncidentRequest(incident_id=incident_id, resume_token=token)
                for response in stub.FollowIncident(request, wait_for_ready=True):
                    token = response.resume_token
                    for event in response.events:
                        with self._lock:
                            self._stories[incident_id][event.id] = event
                        if self._seen is not None:
                            self._seen(incident_id, event)
            except (grpc.RpcError, ValueError):
                # The gateway or the mesh is away, or we are closed: the token says where to go on.
                self._ended.wait(0.05)


_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 250)]
