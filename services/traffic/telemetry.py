"""What was observed last: not kept, but folded. After a restart it is empty, and full again with the next report."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.service import Provider
from citybrain.services.traffic.green_wave import Moving, Observed

WINDOW_S = 300.0
PUBLISH_EVERY_S = 60.0


@dataclass(slots=True)
class Speeds:
    """Mean speeds over the last five minutes, weighted by vehicles. Moments are seconds since 1970."""

    _seen: deque[tuple[float, str, float, int]] = field(default_factory=deque)
    _published: float = 0.0

    def add(self, now: float, speeds: Iterable[pb.EdgeSpeed]) -> None:
        """Takes measurements in, and forgets those that are too old."""
        self._seen.extend((now, s.edge_id, s.speed_mps, s.vehicles) for s in speeds if s.vehicles)
        while self._seen and self._seen[0][0] <= now - WINDOW_S:
            self._seen.popleft()

    def due(self, now: float) -> bool:
        """Whether a minute is over and there is something to tell; the minute begins anew then."""
        if not self._seen or now - self._published < PUBLISH_EVERY_S:
            return False
        self._published = now
        return True

    def means(self) -> list[pb.EdgeSpeed]:
        """One mean per edge, by edge id."""
        driven: dict[str, list[float]] = {}
        for _, edge, speed, vehicles in self._seen:
            total = driven.setdefault(edge, [0.0, 0])
            total[0] += speed * vehicles
            total[1] += vehicles
        return [
            pb.EdgeSpeed(edge_id=edge, speed_mps=round(total / count, 2), vehicles=int(count))
            for edge, (total, count) in sorted(driven.items())
        ]


@dataclass(slots=True)
class Now:
    """The newest of everything."""

    observed: Observed = field(default_factory=Observed)
    shown: dict[str, pb.SignalShown] = field(default_factory=dict)
    freed_at: dict[str, float] = field(default_factory=dict)
    speeds: Speeds = field(default_factory=Speeds)

    def take(self, now: float, report: pb.ReportObservationsRequest) -> None:
        """Takes a report in: queues and signals are those of this moment, a vehicle's place the last that was told."""
        for position in report.vehicles:
            self.observed.moving[position.vehicle_id] = Moving(position, now)
        self.observed.queues = {queue.edge_id: queue.vehicles for queue in report.queues}
        self.shown = {signal.signal_id: signal for signal in report.signals}
        self.speeds.add(now, report.speeds)

    def forget(self, vehicle_id: str) -> None:
        """A vehicle that has not been heard of, or has no priority any more."""
        self.observed.moving.pop(vehicle_id, None)


class Telemetry(Provider):
    """One `Now` for all calls of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._now = Now()

    def get_dependency(self, worker_ctx: Any) -> Now:
        """The newest of everything."""
        return self._now
