"""Who needs which signal now: a window over the next signals of a way, moved on as the vehicle says where it is.

A signal is asked for by arrival time and queue: when the vehicle would reach it within the time that changing and clearing the
queue before it take. The strategy and its figures were measured in simulation on three networks: a margin of 15 s, two seconds per
waiting vehicle, no signal earlier than a minute ahead, four signals at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from citybrain.traffic.v1.events_pb2 import PriorityGranted
from citybrain.traffic.v1.traffic_service_pb2 import VehiclePosition

from citybrain.services.traffic.signal_change import ALL_RED_S, YELLOW_S, Wish

WINDOW = 4
MARGIN_S = 15.0
START_UP_S = 2.0
PER_QUEUED_S = 2.0
EARLIEST_S = 60.0
# Vehicles do not drive as fast as they would like to; measured in simulation.
PACE = 0.85
# Roads before the approach count with their queues as far as this.
QUEUE_REACH_M = 300.0
SILENT_S = 5.0
_PASSED_STOP_M = 1.0


@dataclass(frozen=True, slots=True)
class Network:
    """What a window needs of roads and signals: lengths, and which signal governs the change from one road to another."""

    length_m: Mapping[str, float]
    # (edge, following edge) → signal
    movements: Mapping[tuple[str, str], str]
    # edge → signal at its end
    ends_at: Mapping[str, str]

    def signals_on(self, edges: Sequence[str]) -> list[str]:
        """The signals on a way, in order, each once."""
        found = [self.movements[pair] for pair in zip(edges, edges[1:], strict=False) if pair in self.movements]
        return list(dict.fromkeys(found))


@dataclass(slots=True)
class Moving:
    """A vehicle with priority as it was heard last: telemetry, gone after a restart and back with the next report."""

    position: VehiclePosition
    heard_at: float


@dataclass(slots=True)
class Observed:
    """The newest observations: where vehicles are, how long queues are."""

    moving: dict[str, Moving] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)


def wishes(
    grant: PriorityGranted, at: VehiclePosition, network: Network, queues: Mapping[str, int]
) -> Iterator[tuple[str, Wish]]:
    """The signals a vehicle needs now, nearest first, with the approach it comes by."""
    edges = list(grant.edge_ids)
    index = at.route_index
    if index >= len(edges):
        return
    stop_index, stop_m = _next_stop(grant, at)
    distance = network.length_m.get(edges[index], 0.0) - at.position_m
    seen = 0
    for n in range(index, min(stop_index, len(edges) - 1) + 1):
        if n > index:
            distance += network.length_m.get(edges[n], 0.0)
        beyond = n == stop_index
        following = edges[n + 1] if n + 1 < len(edges) and not beyond else ""
        signal = network.ends_at.get(edges[n]) if beyond else network.movements.get((edges[n], following))
        if signal is None:
            continue
        seen += 1
        if seen > WINDOW:
            return
        if beyond and not queues.get(edges[n], 0):
            # Only where a queue stands between the vehicle and where it stops does the signal behind matter.
            return
        reach = distance - (network.length_m.get(edges[n], 0.0) - stop_m if beyond else 0.0)
        if _arrival_s(reach, at) <= _needed_s(_queued(edges, n, network, queues)):
            yield signal, Wish(edges[n], following)


def _next_stop(grant: PriorityGranted, at: VehiclePosition) -> tuple[int, float]:
    """Where it will stand next; behind the end of the way where no stop is left."""
    for stop in grant.stops:
        ahead = stop.route_index > at.route_index
        here = stop.route_index == at.route_index and at.position_m < stop.position_m + _PASSED_STOP_M
        if ahead or here:
            return stop.route_index, stop.position_m
    return len(grant.edge_ids), 0.0


def _arrival_s(distance_m: float, at: VehiclePosition) -> float:
    return max(0.0, distance_m) / (PACE * max(1.0, at.desired_speed_mps))


def _needed_s(queued: int) -> float:
    return min(EARLIEST_S, YELLOW_S + ALL_RED_S + START_UP_S + PER_QUEUED_S * queued + MARGIN_S)


def _queued(edges: Sequence[str], n: int, network: Network, queues: Mapping[str, int]) -> int:
    """Waiting vehicles on the approach, and on the roads before it that no signal separates from it."""
    total, reach = queues.get(edges[n], 0), network.length_m.get(edges[n], 0.0)
    for before in range(n - 1, -1, -1):
        if (edges[before], edges[before + 1]) in network.movements or reach > QUEUE_REACH_M:
            break
        total += queues.get(edges[before], 0)
        reach += network.length_m.get(edges[before], 0.0)
    return total
