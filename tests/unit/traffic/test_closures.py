"""Roads that are closed: who may close what, in which order closing and reopening may come, and whom a closed road concerns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic.closures import blocked
from citybrain.services.traffic.grants import Grant
from citybrain.services.traffic.network import Network
from citybrain.services.traffic.priority import ahead
from citybrain.services.traffic.service import TrafficService
from citybrain.services.traffic.street import Street, Tracked
from tests.unit.traffic.test_priority import ROUTE, at, granted, street

SECOND = 1_000_000
WAY = ["w1", "w2", "e1", "e2"]
LENGTHS = dict.fromkeys(ROUTE, 100.0)


@pytest.fixture
def traffic() -> Iterator[Running]:
    with running(TrafficService) as service:
        edges = [
            RoadEdge(edge_id=edge, length_m=200, free_speed_mps=14, district_id="west" if edge[0] == "w" else "east")
            for edge in WAY
        ]
        service.fire("PublishRoads", pb.PublishRoadsRequest(edges=edges))
        service.rest()
        yield service


def close(traffic: Running, *edges: str, closure_id: str = "c1", **more: Any) -> None:
    claims = {"district": more.pop("district")} if "district" in more else {}
    asked = pb.CloseRoadsRequest(closure_id=closure_id, edge_ids=edges, reason="a burst pipe", **more)
    traffic.fire("CloseRoads", asked, **claims)
    traffic.rest()


def reopen(traffic: Running, closure_id: str = "c1", **claims: Any) -> list[str]:
    answer = traffic.fire("ReopenRoads", pb.ReopenRoadsRequest(closure_id=closure_id, reason="mended"), **claims)
    traffic.rest()
    return list(answer.edge_ids)


def closed(traffic: Running, district: str = "", **claims: Any) -> list[tuple[str, str]]:
    listed = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest(district_id=district), **claims).roads
    return [(road.edge_id, road.closure_id) for road in listed]


def observe(traffic: Running, index: int, vehicle: str = "a1") -> None:
    """The street is observed now: a vehicle is on a road of its way."""
    seen = pb.VehiclePosition(vehicle_id=vehicle, edge_id=WAY[index], position_m=50, route_index=index)
    traffic.fire("ReportObservations", pb.ReportObservationsRequest(observed_at=timestamp(traffic.advance()), vehicles=[seen]))


def grant(traffic: Running, incident_id: str = "i1", vehicle_id: str = "a1") -> None:
    asked = pb.GrantPriorityRequest(
        incident_id=incident_id, grant_id=f"{incident_id}/grant/1", vehicle_id=vehicle_id, edge_ids=WAY,
        stops=[pb.PlannedStop(route_index=1, position_m=20), pb.PlannedStop(route_index=3, position_m=20)],
    )  # fmt: skip
    traffic.fire("GrantPriority", asked)
    traffic.rest()


def told(traffic: Running) -> list[Any]:
    traffic.rest()
    return [event.data for event in traffic.events(ev.WayBlocked)]


# -- closing and reopening ----------------------------------------------------------------------------------------------------


def test_a_closed_road_is_listed_with_why_and_until_when_until_it_is_reopened(traffic: Running) -> None:
    until = timestamp(traffic.advance() + 3600 * SECOND)
    close(traffic, "w1", "e1", expected_end=until, incident_id="saf-0123456789ab")
    listed = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest()).roads
    assert [(road.edge_id, road.district_id) for road in listed] == [("e1", "east"), ("w1", "west")]
    assert {(road.reason, road.incident_id) for road in listed} == {("a burst pipe", "saf-0123456789ab")}
    assert {road.expected_end.ToMicroseconds() for road in listed} == {until.ToMicroseconds()}
    assert all(road.HasField("closed_at") for road in listed)
    assert {event.stored.correlation_id for event in traffic.events(ev.RoadClosed)} == {"saf-0123456789ab"}
    assert reopen(traffic) == ["w1", "e1"]
    assert closed(traffic) == []
    assert {event.stored.correlation_id for event in traffic.events(ev.RoadReopened)} == {"saf-0123456789ab"}


def test_a_road_that_two_closures_name_is_open_again_when_both_have_ended(traffic: Running) -> None:
    close(traffic, "w1")
    close(traffic, "w1", "w2", closure_id="c2")
    assert closed(traffic) == [("w1", "c1"), ("w1", "c2"), ("w2", "c2")]
    reopen(traffic, "c2")
    assert closed(traffic) == [("w1", "c1")]
    reopen(traffic, "c1")
    assert closed(traffic) == []


def test_a_closure_that_comes_twice_closes_once_and_one_with_other_roads_is_refused(traffic: Running) -> None:
    close(traffic, "w1", "w2")
    close(traffic, "w2", "w1")
    assert len(traffic.events(ev.RoadClosed)) == 2
    with pytest.raises(AlreadyDifferent, match="c1 has closed other roads"):
        close(traffic, "w1")
    reopen(traffic)
    assert reopen(traffic) == ["w1", "w2"]
    assert len(traffic.events(ev.RoadReopened)) == 2


def test_a_closure_whose_end_came_first_is_refused_when_it_comes(traffic: Running) -> None:
    assert reopen(traffic) == []
    assert reopen(traffic) == []
    assert len(traffic.events(ev.ClosureBarred)) == 1
    with pytest.raises(Refused, match="c1 was ended before it came"):
        close(traffic, "w1")
    assert closed(traffic) == []


def test_after_its_end_a_closure_does_not_close_again(traffic: Running) -> None:
    close(traffic, "w1")
    reopen(traffic)
    with pytest.raises(Refused, match="under a new id"):
        close(traffic, "w1")


def test_a_road_that_is_not_published_and_an_end_that_is_over_are_refused_and_nothing_is_closed(traffic: Running) -> None:
    with pytest.raises(Refused, match="road 'e9' is not in the published network"):
        close(traffic, "w1", "e9")
    with pytest.raises(BadRequest, match="expected_end: is over already"):
        close(traffic, "w1", expected_end=timestamp(traffic.advance()))
    assert not traffic.events(ev.RoadClosed)


def test_who_is_bound_to_a_district_closes_and_reopens_its_roads_only_and_sees_no_others(traffic: Running) -> None:
    with pytest.raises(Forbidden):
        close(traffic, "w1", "e1", district="west")
    assert not traffic.events(ev.RoadClosed), "all of them, or none"
    close(traffic, "w1", district="west")
    close(traffic, "e1", closure_id="c2")
    assert closed(traffic, district="west") == closed(traffic, "west") == [("w1", "c1")]
    with pytest.raises(Forbidden):
        reopen(traffic, "c2", district="west")
    close(traffic, "w2", "e2", closure_id="c3")
    with pytest.raises(Forbidden):
        reopen(traffic, "c3", district="west")
    reopen(traffic, "c2")
    with pytest.raises(Forbidden):
        reopen(traffic, "c2", district="west")
    assert reopen(traffic, "c1", district="west") == ["w1"]


@pytest.mark.parametrize(
    ("scope", "method", "request_"),
    [
        ("traffic.closures", "CloseRoads", pb.CloseRoadsRequest(closure_id="c1", edge_ids=["w1"], reason="x")),
        ("traffic.closures", "ReopenRoads", pb.ReopenRoadsRequest(closure_id="c1")),
        ("traffic.read", "ListClosedRoads", pb.ListClosedRoadsRequest()),
    ],
)
def test_each_method_needs_its_scope(traffic: Running, scope: str, method: str, request_: Any) -> None:
    others = sorted({"traffic.closures", "traffic.read", "traffic.network", "traffic.priority"} - {scope})
    with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
        traffic.fire(method, request_, scopes=others)


def test_a_long_list_comes_in_pages(traffic: Running) -> None:
    close(traffic, *WAY)
    first = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest(page_size=3))
    rest = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest(page_size=3, page_token=first.next_page_token))
    assert [road.edge_id for road in (*first.roads, *rest.roads)] == sorted(WAY)
    assert not rest.next_page_token


# -- whom it concerns ---------------------------------------------------------------------------------------------------------


def test_every_vehicle_on_whose_way_a_closed_road_lies_is_told_once_with_where_it_is(traffic: Running) -> None:
    grant(traffic)
    grant(traffic, "i2", "a2")
    observe(traffic, 0)
    observe(traffic, 2, "a2")
    close(traffic, "e1")
    for _ in range(3):
        traffic.advance(1)
        observe(traffic, 0)
        observe(traffic, 2, "a2")
    (one,) = told(traffic)
    assert (one.incident_id, one.grant_id, one.vehicle_id, one.closure_id) == ("i1", "i1/grant/1", "a1", "c1")
    assert (one.edge_id, one.reason, one.vehicle_at.edge_id, one.vehicle_at.position_m) == ("e1", "a burst pipe", "w1", 50)


def test_a_cordon_is_listed_and_blocks_no_vehicle_in_an_emergency(traffic: Running) -> None:
    grant(traffic)
    close(traffic, "e1", emergency_vehicles_pass=True)
    observe(traffic, 0)
    traffic.advance(1)
    assert told(traffic) == []
    (road,) = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest()).roads
    assert road.emergency_vehicles_pass
    close(traffic, "e1", emergency_vehicles_pass=True)
    with pytest.raises(AlreadyDifferent, match="or for others"):
        close(traffic, "e1")
    close(traffic, "e1", closure_id="c2")
    observe(traffic, 0)
    assert [one.closure_id for one in told(traffic)] == ["c2"]


def test_where_only_lorries_are_led_around_everybody_else_drives_through_and_the_list_says_so(traffic: Running) -> None:
    grant(traffic)
    close(traffic, "e1", lorries_only=True)
    observe(traffic, 0)
    traffic.advance(1)
    assert told(traffic) == []
    (road,) = traffic.fire("ListClosedRoads", pb.ListClosedRoadsRequest()).roads
    assert (road.lorries_only, road.emergency_vehicles_pass) == (True, True)
    close(traffic, "e1", lorries_only=True)
    # A cordon keeps out others than lorries.
    with pytest.raises(AlreadyDifferent, match="or for others"):
        close(traffic, "e1", emergency_vehicles_pass=True)
    assert reopen(traffic) == ["e1"]
    assert closed(traffic) == []


def test_a_way_that_is_given_after_the_closure_is_told_to_be_blocked_too(traffic: Running) -> None:
    close(traffic, "e1")
    grant(traffic)
    observe(traffic, 0)
    assert [one.grant_id for one in told(traffic)] == ["i1/grant/1"]


def test_another_closure_on_the_way_is_told_too_and_nothing_is_when_priority_was_taken_back(traffic: Running) -> None:
    grant(traffic)
    close(traffic, "e1", "e2")
    observe(traffic, 0)
    close(traffic, "e1", closure_id="c2")
    observe(traffic, 0)
    assert [one.closure_id for one in told(traffic)] == ["c1", "c2"]
    traffic.fire("ReleasePriority", pb.ReleasePriorityRequest(incident_id="i1", grant_id="i1/grant/1"))
    close(traffic, "e1", closure_id="c3")
    observe(traffic, 0)
    assert len(told(traffic)) == 2


def test_the_road_where_the_vehicle_is_and_those_where_it_stops_do_not_block_its_way(traffic: Running) -> None:
    grant(traffic)
    close(traffic, "w1", "w2", "e2")
    observe(traffic, 0)
    assert told(traffic) == []


def test_where_nobody_observes_the_street_a_blocked_way_is_told_without_the_place(traffic: Running) -> None:
    grant(traffic)
    close(traffic, "e1")
    traffic.advance(5)
    assert told(traffic) == []
    for _ in range(5):
        traffic.advance(1)
    (one,) = told(traffic)
    assert one.edge_id == "e1" and not one.HasField("vehicle_at")


def test_a_vehicle_that_has_not_reported_yet_is_waited_for_until_it_is_lost() -> None:
    way = ev.PriorityGranted(incident_id="i1", grant_id="g1", vehicle_id="v", edge_ids=ROUTE)
    shut = [pb.ClosedRoad(edge_id="c", closure_id="c1")]
    assert blocked([Grant(way)], shut, Street({"v": Tracked(0)}), LENGTHS) == []
    assert [one.edge_id for one in blocked([Grant(way, lost=True)], shut, Street({"v": Tracked(0)}), LENGTHS)] == ["c"]
    # A road that it has passed means nothing.
    assert blocked([Grant(way)], shut, Street({"v": Tracked(0, at(3, 0))}), LENGTHS) == []


def test_of_a_closure_the_first_road_on_the_way_is_told_and_what_was_told_is_not_looked_at_again() -> None:
    way = ev.PriorityGranted(incident_id="i1", grant_id="g1", vehicle_id="v", edge_ids=ROUTE)
    shut = [pb.ClosedRoad(edge_id=edge, closure_id="c1") for edge in ("e", "c", "d")]
    street = Street({"v": Tracked(0, at(0, 0))})
    assert [one.edge_id for one in blocked([Grant(way)], shut, street, LENGTHS)] == ["c"]
    assert blocked([Grant(way, blocked_by=("c1",))], shut, street, LENGTHS) == []


def test_a_vehicle_inside_a_junction_is_told_to_be_at_the_end_of_the_road_before() -> None:
    way = ev.PriorityGranted(incident_id="i1", grant_id="g1", vehicle_id="v", edge_ids=ROUTE)
    shut = [pb.ClosedRoad(edge_id="c", closure_id="c1")]
    inside = Street({"v": Tracked(0, at(1, 7, edge=":junction"))})
    assert [one.vehicle_at for one in blocked([Grant(way)], shut, inside, LENGTHS)] == [RoadPlace(edge_id="b", position_m=100)]


# -- signals ------------------------------------------------------------------------------------------------------------------


def needed(network: Network, shut: str) -> list[str]:
    found = ahead(
        Network(network.length_m, network.lights, network.at_way, network.at_end, frozenset(shut)), granted(), at(0, 60), {}
    )
    return list(found)


def test_no_signal_is_asked_for_that_is_reached_only_through_a_closed_road() -> None:
    network = street(1, 3, 4)
    assert needed(network, "") == ["s1", "s3", "s4"]
    # The signal at the end of b leads into c: the vehicle will turn off before.
    assert needed(network, "c") == []
    assert needed(network, "d") == ["s1"]
    assert needed(network, "a") == ["s1", "s3", "s4"], "it is on that road"
    assert needed(network, "g") == ["s1", "s3", "s4"], "its way ends there"


def test_a_stop_behind_a_closed_road_has_no_signal() -> None:
    network = street(4)
    stopping = granted((4, 50))
    assert list(ahead(network, stopping, at(3, 60), {"e": 1})) == ["s4"]
    assert list(ahead(replace(network, closed=frozenset("d")), stopping, at(2, 60), {"e": 1})) == []
