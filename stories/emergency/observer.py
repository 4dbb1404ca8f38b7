"""The record outside of the mesh: every event that a subscriber was shown must still be there after a kill."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import events_pb2 as saga

from citybrain.local.calling import channel

_BACK_IN_S = 60.0
_END_IN_S = 30.0
_ENDS = frozenset(one.DESCRIPTOR.full_name for one in (saga.SagaCompleted, saga.SagaUndone, saga.SagaNeedsHuman))

Seen = Callable[[str, Event], None]


class Observer:
    """Follows incidents through the gateway, and goes on from its token when the gateway comes back."""

    def __init__(self, gateway: str, token: Callable[[], str], seen: Seen | None = None) -> None:
        self._gateway = gateway
        self._seen = seen
        self._stories: dict[str, dict[str, Event]] = {}
        self._lock = threading.Lock()
        self._told = threading.Condition(self._lock)
        self._ended = threading.Event()
        self._channel = channel(gateway, token, _OPTIONS)
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
        """The ids of all events that were shown, by incident: none may be lost."""
        with self._lock:
            return {incident: list(events) for incident, events in self._stories.items()}

    def events_of(self, incident_id: str) -> list[Event]:
        """All its events as they stand in the log now, read anew from its beginning, in the order in which it was written."""
        # Where the log has partitions they are read one after the other.
        return sorted(self._read(incident_id, self.known()[incident_id]), key=_recorded)

    def wait_for_end(self, incident_id: str) -> None:
        """Waits, for a while, until an incident's workflow has ended."""
        with self._told:
            self._told.wait_for(lambda: self._has_ended(incident_id), _END_IN_S)

    def _has_ended(self, incident_id: str) -> bool:
        return any(event.type in _ENDS for event in self._stories[incident_id].values())

    def lost(self, known: dict[str, list[str]]) -> int:
        """How many of these events are no longer in the log."""
        return sum(
            len(set(ids) - {event.id for event in self._read(incident, ids)}) for incident, ids in known.items() if ids
        )  # fmt: skip

    def _read(self, incident_id: str, known: list[str]) -> list[Event]:
        """The events of an incident: those known, and those that are read in time."""
        events: dict[str, Event] = {}
        stub = EmergencyCommandServiceStub(self._channel)  # type: ignore[no-untyped-call]
        call = stub.FollowIncident(pb.FollowIncidentRequest(incident_id=incident_id), timeout=_BACK_IN_S, wait_for_ready=True)
        try:
            for response in call:
                events |= {event.id: event for event in response.events}
                if events.keys() >= set(known):
                    break
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        call.cancel()
        return list(events.values())

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
                            self._told.notify_all()
                        if self._seen is not None:
                            self._seen(incident_id, event)
            except (grpc.RpcError, ValueError):
                # The gateway or the mesh is away, or this stream was closed. The token says where to go on.
                self._ended.wait(0.05)


def _recorded(event: Event) -> tuple[int, int]:
    return event.recorded_at.seconds, event.recorded_at.nanos


_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 250)]
