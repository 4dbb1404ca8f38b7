"""The window of priority: which signals a vehicle needs, and from when on."""

from __future__ import annotations

from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1.events_pb2 import PriorityGranted
from citybrain.traffic.v1.traffic_service_pb2 import PlannedStop, VehiclePosition

from citybrain.services.traffic import network as networks
from citybrain.services.traffic.network import Network
from citybrain.services.traffic.priority import Need, ahead
from tests.unit.traffic.signals import crossing

ROUTE = ["a", "b", "c", "d", "e", "f", "g"]


def street(*signalled: int, length_m: float = 100.0) -> Network:
    """A route of equal edges, with a signal at the end of some of them."""
    edges = [RoadEdge(edge_id=edge, length_m=length_m, free_speed_mps=14) for edge in ROUTE]
    return networks.build(
        edges, [crossing(f"s{k}", ROUTE[k], ROUTE[k + 1] if k + 1 < len(ROUTE) else "out") for k in signalled]
    )


def granted(*stops: tuple[int, float]) -> PriorityGranted:
    return PriorityGranted(edge_ids=ROUTE, stops=[PlannedStop(route_index=k, position_m=m) for k, m in stops])


def at(index: int, metres: float, *, edge: str | None = None, desired: float = 20 / 0.85) -> VehiclePosition:
    """A vehicle that covers 20 m a second by our estimate."""
    return VehiclePosition(
        vehicle_id="v", edge_id=ROUTE[index] if edge is None else edge, position_m=metres, desired_speed_mps=desired,
        route_index=index,
    )  # fmt: skip


def due(needs: dict[str, Need]) -> list[str]:
    return [signal_id for signal_id, need in needs.items() if need.due]


def test_a_signal_is_asked_for_as_soon_as_changing_and_a_margin_take_as_long_as_the_way() -> None:
    # 3 s yellow, 2 s red, 2 s start-up and 15 s margin: 22 s, or 440 m.
    network = street(4)
    assert due(ahead(network, granted(), at(0, 59), {})) == []
    assert due(ahead(network, granted(), at(0, 60), {})) == ["s4"]
    assert ahead(network, granted(), at(0, 60), {})["s4"].eta_s == 22


def test_every_vehicle_that_halts_before_it_makes_it_two_seconds_earlier() -> None:
    network = street(4)
    assert due(ahead(network, granted(), at(0, 19), {"e": 1})) == []
    assert due(ahead(network, granted(), at(0, 20), {"e": 1})) == ["s4"]


def test_queues_reach_back_over_edges_without_a_signal_but_not_beyond_300_m_nor_behind_the_vehicle() -> None:
    network = street(4)
    assert due(ahead(network, granted(), at(0, 0), {"d": 4})) == ["s4"]
    assert due(ahead(network, granted(), at(0, 0), {"b": 4})) == []
    assert due(ahead(street(1, length_m=500), granted(), at(1, 0), {"a": 40})) == []


def test_queues_before_another_signal_are_that_signals() -> None:
    network = street(3, 4)
    assert due(ahead(network, granted(), at(0, 0), {"d": 4})) == ["s3"]


def test_no_signal_is_asked_for_more_than_a_minute_ahead() -> None:
    network = street(4, length_m=300)
    assert due(ahead(network, granted(), at(0, 299), {"e": 500})) == []
    assert due(ahead(network, granted(), at(0, 300), {"e": 500})) == ["s4"]


def test_only_the_next_four_signals_are_asked_for_at_once() -> None:
    network = street(0, 1, 2, 3, 4, length_m=20)
    assert due(ahead(network, granted(), at(0, 0), {})) == ["s0", "s1", "s2", "s3"]
    assert due(ahead(network, granted(), at(1, 0), {})) == ["s1", "s2", "s3", "s4"]


def test_a_signal_is_passed_when_the_next_edge_is_reached_and_not_inside_the_junction() -> None:
    network = street(1, 3)
    assert list(ahead(network, granted(), at(1, 5, edge="inside"), {})) == ["s1", "s3"]
    assert list(ahead(network, granted(), at(2, 0), {})) == ["s3"]


def test_inside_a_junction_the_whole_next_edge_is_still_to_go() -> None:
    assert ahead(street(1, 3), granted(), at(1, 5, edge="inside"), {})["s3"].eta_s == 10


def test_a_vehicle_that_left_its_route_needs_nothing() -> None:
    network = street(1, 3)
    assert ahead(network, granted(), at(1, 5, edge="f"), {}) == {}
    assert ahead(network, granted(), VehiclePosition(edge_id="a", route_index=7), {}) == {}


def test_the_signal_behind_its_destination_matters_only_while_a_queue_stands_in_its_way() -> None:
    network = street(6)
    assert due(ahead(network, granted(), at(5, 0), {})) == []
    assert due(ahead(network, granted(), at(5, 0), {"g": 1})) == ["s6"]
    assert ahead(network, granted(), at(5, 0), {"g": 1})["s6"].way is None


def test_no_signal_beyond_the_next_stop_is_needed_until_the_vehicle_drives_on() -> None:
    network = street(1, 3)
    stop = granted((2, 50.0))
    assert list(ahead(network, stop, at(0, 0), {})) == ["s1"]
    assert list(ahead(network, stop, at(2, 50), {})) == []
    assert list(ahead(network, stop, at(2, 60), {})) == ["s3"]


def test_the_signal_behind_a_stop_is_needed_for_a_queue_until_the_vehicle_stands_there() -> None:
    network = street(2)
    stop = granted((2, 50.0))
    assert due(ahead(network, stop, at(1, 0), {"c": 3})) == ["s2"]
    assert ahead(network, stop, at(1, 0), {"c": 3})["s2"].eta_s == 7.5
    assert due(ahead(network, stop, at(2, 48), {"c": 3})) == []


def test_a_signal_passed_twice_is_needed_for_its_next_crossing() -> None:
    edges = [RoadEdge(edge_id=edge, length_m=100, free_speed_mps=14) for edge in "abc"]
    network = networks.build(edges, [crossing("s", "a", "b")])
    twice = PriorityGranted(edge_ids=["a", "b", "c", "a", "b"])
    first = VehiclePosition(edge_id="a", route_index=0, desired_speed_mps=20 / 0.85)
    second = VehiclePosition(edge_id="b", route_index=1, desired_speed_mps=20 / 0.85)
    assert ahead(network, twice, first, {})["s"].eta_s == 5
    assert ahead(network, twice, second, {})["s"].eta_s == 15


def test_the_signals_of_a_route_are_told_once_and_in_order() -> None:
    assert networks.signals_on(street(1, 3), [*ROUTE, *ROUTE]) == ["s1", "s3"]
