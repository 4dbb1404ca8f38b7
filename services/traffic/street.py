"""What was last observed in the street. Not kept over a restart: a few seconds bring it back.

Times are city time in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1.traffic_service_pb2 import ReportObservationsRequest, VehiclePosition

from citybrain.services.traffic.signal_timing import Shown

FRESH_S = 1.5
"""For how long an observed signal state is believed to be what is shown: the street is observed every second."""

PROGRESS_M = 5.0
"""A vehicle that gets on by less stands: it creeps up in its queue."""

_FORGOTTEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Tracked:
    """A vehicle: when it was last heard of (or first expected), where it was, and what has been told of it.

    `got_on_at` is when it last had got on by 5 m, and `place` where that was: (place in its route, metres).
    """

    at: float
    position: VehiclePosition | None = None
    lost: bool = False
    missing: bool = False
    got_on_at: float = float("-inf")
    place: tuple[int, float] = (0, 0.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """A signal as it was observed."""

    at: float
    shown: Shown


@dataclass(frozen=True, slots=True)
class Street:
    """Vehicles by id, halted vehicles by edge, signals by id; nothing older than a minute but the vehicles with priority."""

    vehicles: Mapping[str, Tracked] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    queues_at: float = float("-inf")
    signals: Mapping[str, Seen] = field(default_factory=dict)
    # When a signal was given back because this vehicle did not get on: (signal, vehicle) to the moment.
    in_vain: Mapping[tuple[str, str], float] = field(default_factory=dict)


def observe(street: Street, request: ReportObservationsRequest) -> Street:
    """The street after a report; what is older than what is known already changes nothing."""
    at = request.observed_at.ToNanoseconds() / 1e9
    vehicles = dict(street.vehicles)
    for position in request.vehicles:
        known = vehicles.get(position.vehicle_id)
        if known is None or known.position is None or at >= known.at:
            vehicles[position.vehicle_id] = _heard(known, at, position)
    signals = {signal_id: seen for signal_id, seen in street.signals.items() if at - seen.at < _FORGOTTEN_S}
    for signal in request.signals:
        before = signals.get(signal.signal_id)
        if before is None or at >= before.at:
            since = tuple(signal.since_s) if len(signal.since_s) == len(signal.state) else (0.0,) * len(signal.state)
            signals[signal.signal_id] = Seen(at, Shown(signal.state, since))
    newest = at >= street.queues_at
    queues = {queue.edge_id: queue.vehicles for queue in request.queues} if newest else street.queues
    return Street(vehicles, queues, max(at, street.queues_at), signals, street.in_vain)


def _heard(known: Tracked | None, at: float, position: VehiclePosition) -> Tracked:
    place = (position.route_index, position.position_m)
    if known is None or known.position is None or known.place[0] != place[0] or abs(place[1] - known.place[1]) >= PROGRESS_M:
        return Tracked(at, position, got_on_at=at, place=place)
    return Tracked(at, position, got_on_at=known.got_on_at, place=known.place)
