"""Queues of roads: by the minute as they are observed, and as detectors show them."""

from __future__ import annotations

from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import street_pb2 as pb
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import running
from citybrain.services.traffic import queues, streets
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.queues import Queues
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.measuring import START, Streets, detector, said

SECOND = 1_000_000


def seen(**vehicles: int) -> list[service_pb.Queue]:
    return [service_pb.Queue(edge_id=name, vehicles=number) for name, number in vehicles.items()]


def test_a_minute_has_the_longest_queue_of_each_road_and_how_often_there_was_one() -> None:
    now, over = queues.fold(Queues(), 600, seen(a=3, b=1))
    assert over is None
    now, over = queues.fold(now, 601, seen(a=5, b=0))
    now, over = queues.fold(now, 602, [])
    assert over is None and (now.roads, now.reports) == ({"a": (5, 2), "b": (1, 1)}, 3)
    later, over = queues.fold(now, 660, seen(b=2))
    assert over == now and (later.minute, later.roads, later.reports) == (11, {"b": (2, 1)}, 1)
    same, over = queues.fold(later, 659, seen(b=9))
    assert (same, over) == (later, None), "its minute is over"
    assert [(one.edge_id, one.vehicles, one.reports) for one in queues.told(now)] == [("a", 5, 2), ("b", 1, 1)]


def test_where_vehicles_stand_at_a_detector_they_stand_from_there_to_the_end_of_the_road() -> None:
    assert queues.by_detectors(100, [(25, 0.5), (90, 0.9)]) == 10
    assert queues.by_detectors(100, [(25, 0.49), (90, 0.9)]) == 1
    assert queues.by_detectors(100, [(25, 0.49), (90, 0.1)]) is None and queues.by_detectors(100, []) is None


def test_the_greater_of_what_is_observed_and_what_detectors_show_is_the_queue_of_a_road() -> None:
    one = Streets(detector("a1", position_m=100))
    queued = streets.Queued({"a": (7, 20)}, 300)

    def window(number: int, occupancy: float, some: streets.Queued) -> pb.RoadState:
        told = streets.measure(one.part, "a", one.known, START + number * WINDOW_US, {"a1": said(5, 2.0, occupancy)}, {}, some)
        for event in told:
            one.part = streets.evolve(one.part, event)
        return one.road(number)

    road = window(0, 0.1, queued)
    assert (road.queue_vehicles, road.queue_observed, road.queue_reports, road.queue_seen) == (7, 7, 300, 20)
    assert not road.HasField("queue_by_detectors")
    road = window(1, 0.6, queued)
    assert (road.queue_vehicles, road.queue_observed, road.queue_by_detectors) == (53, 7, 53)
    road = window(2, 0.1, streets.Queued({}, 300))
    assert road.HasField("queue_vehicles") and road.queue_vehicles == 0, "it was looked at, and there was none"
    road = window(3, 0.1, streets.NOT_OBSERVED)
    assert not road.HasField("queue_vehicles") and not road.HasField("queue_observed") and road.queue_reports == 0


def test_late_readings_leave_the_queues_of_a_window_as_they_were() -> None:
    one = Streets(detector("a1", position_m=100))
    for event in streets.measure(one.part, "a", one.known, START, {"a1": said(few=4)}, {}, streets.Queued({"a": (7, 20)}, 300)):
        one.part = streets.evolve(one.part, event)
    one.window(0, {"a1": said()})
    assert (one.road(0).queue_vehicles, one.road(0).queue_reports) == (7, 300)


def test_what_is_observed_second_by_second_is_the_queue_of_five_minutes() -> None:
    with running(TrafficService) as traffic:
        edges = [RoadEdge(edge_id=name, length_m=500, free_speed_mps=20, district_id="xihu") for name in ("a", "b")]
        traffic.fire("PublishRoads", service_pb.PublishRoadsRequest(edges=edges))
        traffic.rest()
        some = [detector("a1"), detector("b1", "b")]
        traffic.fire("RegisterDetectors", pb.RegisterDetectorsRequest(detectors=some))
        traffic.rest()
        traffic.advance((-traffic.advance() // SECOND % 300) or 300)
        for second in range(0, 300, 20):
            now = timestamp(traffic.advance())
            some_queues = seen(a=second // 20)
            traffic.fire("ReportObservations", service_pb.ReportObservationsRequest(observed_at=now, queues=some_queues))
            traffic.advance(20)
        traffic.fire("ReportObservations", service_pb.ReportObservationsRequest(observed_at=timestamp(traffic.advance())))
        traffic.advance(61)
        traffic.rest()
        a, b = (traffic.fire("GetRoadState", pb.GetRoadStateRequest(edge_id=name)).road for name in ("a", "b"))
        assert (a.queue_vehicles, a.queue_reports, a.queue_seen) == (14, 15, 14)
        assert b.HasField("queue_vehicles") and (b.queue_vehicles, b.queue_reports, b.queue_seen) == (0, 15, 0)
