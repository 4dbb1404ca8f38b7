"""The street as it was observed last. It is not kept over a restart: a few seconds of reports bring it back.

Times are city time in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1.traffic_service_pb2 import ReportObservationsRequest, VehiclePosition

from citybrain.services.traffic.signal_timing import Shown

FRESH_S = 1.5
"""Seconds for which an observed signal state is taken as what is shown. The street is observed every second."""

PROGRESS_M = 5.0
"""Metres: a vehicle that gets on by less is standing, or creeps in a queue."""

_FORGOTTEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Tracked:
    """A vehicle: when it last reported (or was first expected), where it was, and whether it was reported lost or missing.

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
    """Vehicles by id, numbers of halted vehicles by edge, signals by id. Only vehicles with priority are kept over a minute."""

    vehicles: Mapping[str, Tracked] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    queues_at: float = float("-inf")
    signals: Mapping[str, Seen] = field(default_factory=dict)
    # (signal, vehicle): when the signal was given back because the vehicle did not get on.
    in_vain: Mapping[tuple[str, str], float] = field(default_factory=dict)


def observe(street: Street, request: ReportObservationsRequest) -> Street:
    """The street after a report. A report that is older than what is known changes nothing."""
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
