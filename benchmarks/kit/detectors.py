"""A service that takes the readings of detectors in, folds each second of them, and says which roads are slow."""

from __future__ import annotations

from collections.abc import Iterable

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message

from benchmarks.kit.service import whole
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.service import Follow, Reading, Readings, Service, Streams, Window, rpc, window

LATE_S = 0.3
"""Seconds that a window waits for late readings."""
EVERYTHING = "all"
"""The edge under whose name the event has the totals."""
_SLOW_MPS = 5.0
_SLOWEST = 100

Sum = tuple[float, int]


def readings(batch: pb.ReportObservationsRequest) -> Iterable[Reading]:
    """One reading for each edge."""
    at = microseconds(batch.observed_at)
    return (Reading(one.edge_id, at, (one.speed_mps * one.vehicles, one.vehicles)) for one in batch.speeds)


def fold(sums: Sum | None, reading: Sum) -> Sum:
    """The sum of speeds, and how many vehicles."""
    return reading if sums is None else (sums[0] + reading[0], sums[1] + reading[1])


@whole()
class DetectorsService(Service):
    """Folds readings of detectors."""

    name = "detectors"
    batches = Readings()
    seconds = Streams("seconds", int, lambda told, event: told + 1)

    @rpc
    def ReportObservations(self, request: pb.ReportObservationsRequest) -> pb.ReportObservationsResponse:
        """Keeps a batch."""
        self.batches.put(request)
        return pb.ReportObservationsResponse()

    @window(pb.ReportObservationsRequest, seconds=1, readings=readings, fold=fold, late_s=LATE_S)
    def second(self, window: Window) -> None:
        """Publishes the slowest roads, and the totals."""
        means = {edge: (total / vehicles, vehicles) for edge, (total, vehicles) in window.states.items()}
        slow = sorted((mean, edge) for edge, (mean, _) in means.items() if mean < _SLOW_MPS)[:_SLOWEST]
        speeds = [pb.EdgeSpeed(edge_id=edge, speed_mps=mean, vehicles=means[edge][1]) for mean, edge in slow]
        speeds.append(pb.EdgeSpeed(edge_id=EVERYTHING, vehicles=sum(vehicles for _, vehicles in means.values())))
        event: Message = ev.SpeedsMeasured(from_time=timestamp(window.start), to_time=timestamp(window.end), speeds=speeds)
        self.seconds.handle("all", lambda told: [event], lambda after, _: None)

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        """Streams all events of this service. (The type is named after another service.)"""
        return Follow(purpose="seconds")
