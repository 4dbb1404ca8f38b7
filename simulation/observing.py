"""The detectors and cameras: queues before signals, mean speeds, and what signals show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.moments import city_time
from citybrain.simulation.network import Network
from citybrain.simulation.street import Street

SLOW_MPS = 3.0
SAMPLE_EVERY_S = 5


def observed_edges(network: Network) -> list[str]:
    """The approaches of signals, and the edges right before them."""
    approaches = set(network.signal_at_end)
    before = {edge.edge_id for edge in network.edges.values() if approaches.intersection(edge.next_ids)}
    return sorted(approaches & set(network.edges) | before)


@dataclass(slots=True)
class Detectors:
    """Sums speeds up between reports."""

    street: Street
    edges: list[str] = field(default_factory=list)
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.edges = observed_edges(self.street.network)

    def sample(self, second: int) -> None:
        """Reads the speeds of all edges every few seconds. To be called once a second."""
        if second % SAMPLE_EVERY_S:
            return
        edges = self.street.sumo.edges
        for edge_id in self.street.network.edges:
            count = edges.getLastStepVehicleNumber(edge_id)
            if count:
                total, seen = self._sums.get(edge_id, (0.0, 0))
                self._sums[edge_id] = (total + edges.getLastStepMeanSpeed(edge_id) * count, seen + count)

    def speeds(self) -> list[traffic.EdgeSpeed]:
        """Mean speeds since the last call."""
        sums, self._sums = self._sums, {}
        return [
            traffic.EdgeSpeed(edge_id=edge_id, speed_mps=round(min(max(total / seen, 0.0), 100.0), 2), vehicles=seen)
            for edge_id, (total, seen) in sorted(sums.items())
        ]

    def queues(self, ours: set[str]) -> list[traffic.Queue]:
        """Queues now, without the vehicles `ours`."""
        sumo = self.street.sumo
        found = []
        for edge_id in self.edges:
            if not sumo.edges.getLastStepVehicleNumber(edge_id):
                continue
            longest = 0
            for lane in self.street.network.edges[edge_id].lanes:
                vehicles = sumo.lanes.getLastStepVehicleIDs(lane)
                slow = sum(sumo.vehicles.getSpeed(v) < SLOW_MPS for v in vehicles if v not in ours)
                longest = max(longest, slow)
            if longest:
                found.append(traffic.Queue(edge_id=edge_id, vehicles=longest))
        return found


def observation(
    street: Street, detectors: Detectors, second: int, *, with_speeds: bool
) -> traffic.ReportObservationsRequest | None:
    """The report of a second; None where there is nothing to report.

    Vehicles with priority, queues and signals are reported in every second in which a mission is under way; speeds when asked.
    """
    missions = street.fleet.under_way
    if not missions and not with_speeds:
        return None
    ours = {mission.vehicle_id for mission in missions}
    return traffic.ReportObservationsRequest(
        observed_at=city_time(second),
        vehicles=[street.fleet.position(mission) for mission in missions],
        queues=detectors.queues(ours),
        speeds=detectors.speeds() if with_speeds else [],
        signals=[
            traffic.SignalShown(
                signal_id=signal_id,
                state=street.controllers.shown[signal_id],
                since_s=street.controllers.since_s(signal_id, second),
            )
            for signal_id in sorted(_concerned(street, missions))
        ],
    )


def _concerned(street: Street, missions: Iterable[Mission]) -> set[str]:
    """The signals on active routes, those at the end of their last edges, and those that play a timing."""
    network = street.network
    found = set(street.controllers.controlled())
    for mission in missions:
        found.update(network.signals_on(mission.route))
        ends = (mission.route[mission.scene_index], mission.route[-1])
        found.update(network.signal_at_end[edge_id] for edge_id in ends if edge_id in network.signal_at_end)
    return found & set(street.plans)
