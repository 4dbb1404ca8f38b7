"""What was last observed in the street. Not kept over a restart: a few seconds bring it back.

Times are city time in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1.traffic_service_pb2 import ReportObservationsRequest, VehiclePosition

from citybrain.services.traffic.score import Shown

FRESH_S = 1.5
"""For how long an observed signal state is believed to be what is shown: the street is observed every second."""

_FORGOTTEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A vehicle: when it was last heard of (or first expected), where it was, and whether it has been told to be lost."""

    at: float
    position: VehiclePosition | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A signal as it was observed."""

    at: float
    shown: Shown


@dataclass(frozen=True, slots=True)
class Street:
    """Vehicles by id, halted vehicles by edge, signals by id; nothing older than a minute but the vehicles with priority."""

    vehicles: Mapping[str, Heard] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    queues_at: float = float("-inf")
    signals: Mapping[str, Seen] = field(default_factory=dict)


def observe(street: Street, request: ReportObservationsRequest) -> Street:
    """The street after a report; what is older than what is known already changes nothing."""
    at = request.observed_at.ToNanoseconds() / 1e9
    vehicles = dict(street.vehicles)
    for position in request.vehicles:
        known = vehicles.get(position.vehicle_id)
        if known is None or known.position is None or at >= known.at:
            vehicles[position.vehicle_id] = Heard(at, position)
    signals = {signal_id: seen for signal_id, seen in street.signals.items() if at - seen.at < _FORGOTTEN_S}
    for signal in request.signals:
        before = signals.get(signal.signal_id)
        if before is None or at >= before.at:
            since = tuple(signal.since_s) if len(signal.since_s) == len(signal.state) else (0.0,) * len(signal.state)
            signals[signal.signal_id] = Seen(at, Shown(signal.state, since))
    newest = at >= street.queues_at
    queues = {queue.edge_id: queue.vehicles for queue in request.queues} if newest else street.queues
    return Street(vehicles, queues, max(at, street.queues_at), signals)
