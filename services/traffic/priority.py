"""The window of priority: which of the signals ahead a vehicle needs now.

Looked at along its granted route from where it is. Metres, seconds, metres a second; queues are halted vehicles on the longest
lane of an edge. All values below are those with which the strategy was measured in simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import PriorityGranted
from citybrain.traffic.v1.traffic_service_pb2 import VehiclePosition

from citybrain.services.traffic.closures import passable
from citybrain.services.traffic.conflicts import Way
from citybrain.services.traffic.network import Network, crossings
from citybrain.services.traffic.signal_timing import ALL_RED_S, YELLOW_S

SIGNALS_AHEAD = 4
SHARE_OF_DESIRED_SPEED = 0.85
START_UP_S = 2.0
SECONDS_A_QUEUED_VEHICLE = 2.0
MARGIN_S = 15.0
EARLIEST_S = 60.0
QUEUE_REACH_M = 300.0

_SLOWEST_MPS = 1.0
# Metres: a vehicle this near to its stop has arrived, and one this far behind it has driven on.
_ARRIVED_M = 5.0
_DRIVEN_ON_M = 1.0


@dataclass(frozen=True, slots=True)
class Need:
    """A signal on the way of a vehicle: the approach it comes by, and its way through (None: it stops before the signal)."""

    signal_id: str
    approach: str
    way: Way | None
    eta_s: float
    # Whether green must be asked for now.
    due: bool


def on_route(network: Network, edge_ids: Sequence[str], position: VehiclePosition) -> bool:
    """Whether it is on its route: on the edge where it should be, or on no known edge, as inside a junction."""
    if position.route_index >= len(edge_ids):
        return False
    return position.edge_id == edge_ids[position.route_index] or position.edge_id not in network.length_m


def ahead(network: Network, granted: PriorityGranted, position: VehiclePosition, queues: Mapping[str, int]) -> dict[str, Need]:
    """The signals that the vehicle has not passed, each at its next crossing, in the order in which it reaches them.

    None beyond the place where it will stand next. While it is inside a junction, the signal there is not passed yet. Only the
    next 4 can be due, and the signal behind the place where it will stand, while it is not there and a queue is in its way.
    None that it would reach through a closed road. Nothing where the vehicle has left its route.
    """
    edge_ids = granted.edge_ids
    if not on_route(network, edge_ids, position):
        return {}
    here = position.route_index
    speed = max(_SLOWEST_MPS, SHARE_OF_DESIRED_SPEED * position.desired_speed_mps)
    metres = _metres_to_ends(network, edge_ids, position)
    last, short_of_end = _next_stop(network, granted, position)
    reached = passable(granted, here, network.closed)
    passes = [(k, signal_id) for k, signal_id in crossings(network, edge_ids) if here <= k < min(last, reached)]
    signalled = {k for k, _ in passes}
    needs: dict[str, Need] = {}

    def add(k: int, signal_id: str, way: Way | None, to_go_m: float, may_be_due: bool) -> None:
        eta = max(0.0, to_go_m) / speed
        queue = _queue(network, edge_ids, here, k, signalled, queues)
        lead = YELLOW_S + ALL_RED_S + START_UP_S + SECONDS_A_QUEUED_VEHICLE * queue + MARGIN_S
        due = may_be_due and eta <= min(EARLIEST_S, lead)
        needs.setdefault(signal_id, Need(signal_id, edge_ids[k], way, eta, due))

    for number, (k, signal_id) in enumerate(passes):
        add(k, signal_id, (edge_ids[k], edge_ids[k + 1]), metres[k - here], number < SIGNALS_AHEAD)
    to_stop = metres[last - here] - short_of_end
    if last <= reached and edge_ids[last] in network.at_end and to_stop > _ARRIVED_M:
        add(last, network.at_end[edge_ids[last]], None, to_stop, queues.get(edge_ids[last], 0) > 0)
    return needs


def _next_stop(network: Network, granted: PriorityGranted, position: VehiclePosition) -> tuple[int, float]:
    """Its next stop: the index of the edge in its route, and the metres from the stop to the end of the edge."""
    for stop in granted.stops:
        here = stop.route_index == position.route_index and position.position_m < stop.position_m + _DRIVEN_ON_M
        if (here or stop.route_index > position.route_index) and stop.route_index < len(granted.edge_ids):
            length = network.length_m.get(granted.edge_ids[stop.route_index], 0.0)
            return stop.route_index, max(0.0, length - stop.position_m)
    return len(granted.edge_ids) - 1, 0.0


def _metres_to_ends(network: Network, edge_ids: Sequence[str], position: VehiclePosition) -> list[float]:
    """Metres from the vehicle to the end of each edge of its route that is not behind it."""
    first = edge_ids[position.route_index]
    metres = max(0.0, network.length_m.get(first, 0.0) - position.position_m) if position.edge_id == first else 0.0
    ends = [metres]
    for edge in edge_ids[position.route_index + 1 :]:
        metres += network.length_m.get(edge, 0.0)
        ends.append(metres)
    return ends


def _queue(network: Network, edge_ids: Sequence[str], here: int, k: int, signalled: set[int], queues: Mapping[str, int]) -> int:
    """How many vehicles halt before a signal: on the approach, and up to 300 m before it on edges without a signal."""
    count = queues.get(edge_ids[k], 0)
    metres = network.length_m.get(edge_ids[k], 0.0)
    for back in range(k - 1, here - 1, -1):
        if back in signalled or metres >= QUEUE_REACH_M:
            break
        count += queues.get(edge_ids[back], 0)
        metres += network.length_m.get(edge_ids[back], 0.0)
    return count
