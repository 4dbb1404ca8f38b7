"""The state of the streets while the service runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb

from citybrain.event_store.limits import MAX_EVENT_BYTES
from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import areas, congestion, detectors, free_flow_speed, street_network, street_views, streets
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.measuring import START, changes, detector, level

SECOND = 1_000_000
FIVE = 300
ROADS = (("a", "xihu"), ("b", "xihu"), ("c", "binjiang"))


@pytest.fixture
def traffic() -> Iterator[Running]:
    """Three roads of 500 m with 20 m/s of free flow, in two parts, with a detector each. It is the begin of five minutes."""
    with running(TrafficService) as service:
        for part in (ROADS[:2], ROADS[2:]):
            edges = [RoadEdge(edge_id=name, length_m=500, free_speed_mps=20, district_id=district) for name, district in part]
            service.fire("PublishRoads", service_pb.PublishRoadsRequest(edges=edges))
        service.rest()
        register(service, detector("a1"), detector("b1", "b"), detector("c1", "c"))
        now = service.advance()
        service.advance((-now // SECOND % FIVE) or FIVE)
        yield service


def register(traffic: Running, *some: pb.Detector) -> int:
    answer: pb.RegisterDetectorsResponse = traffic.fire("RegisterDetectors", pb.RegisterDetectorsRequest(detectors=some))
    traffic.rest()
    return answer.changed


def reading(name: str, began_s: float, vehicles: int, speed: float | None, occupancy: float = 0.1) -> pb.DetectorReading:
    one = pb.DetectorReading(
        detector_id=name, began_at=timestamp(round(began_s * SECOND)), vehicles=vehicles, occupancy=occupancy
    )
    if speed is not None:
        one.speed_mps = speed
    return one


def report(traffic: Running, *some: pb.DetectorReading) -> pb.ReportDetectorReadingsResponse:
    answer: pb.ReportDetectorReadingsResponse = traffic.fire(
        "ReportDetectorReadings", pb.ReportDetectorReadingsRequest(readings=some)
    )
    return answer


def begun(traffic: Running) -> int:
    """The beginning of the five minutes now, in seconds since 1970."""
    return traffic.advance() // SECOND // FIVE * FIVE


def minutes(start: int, name: str, speed: float, number: int = 0) -> list[pb.DetectorReading]:
    return [reading(name, start + 60 * minute, 8 + (minute + number) % 3, speed) for minute in range(5)]


def five_minutes(traffic: Running, speeds: Mapping[str, float], times: int = 1) -> None:
    """Five minutes in which detectors measure these speeds; and the minute after which they are judged, at their end."""
    for number in range(times):
        start = begun(traffic)
        for _ in range(4):
            traffic.advance(60)
        traffic.advance(50)
        said = [one for name, speed in speeds.items() for one in minutes(start, name, speed, number)]
        if said:
            report(traffic, *said)
        traffic.advance(10)


def judged(traffic: Running) -> None:
    """Until the last five minutes are judged."""
    traffic.advance(61)
    traffic.rest()


def state(traffic: Running, edge_id: str) -> pb.GetRoadStateResponse:
    answer: pb.GetRoadStateResponse = traffic.fire("GetRoadState", pb.GetRoadStateRequest(edge_id=edge_id))
    return answer


def congested(traffic: Running, **question: Any) -> list[str]:
    answer = traffic.fire("ListCongestedRoads", pb.ListCongestedRoadsRequest(**question))
    return [road.edge_id for road in answer.roads]


def area(traffic: Running, district_id: str = "") -> pb.GetCongestionResponse:
    answer: pb.GetCongestionResponse = traffic.fire("GetCongestion", pb.GetCongestionRequest(district_id=district_id))
    return answer


def test_five_minutes_are_judged_a_minute_after_their_end(traffic: Running) -> None:
    start = begun(traffic)
    five_minutes(traffic, {"a1": 8.0, "b1": 15.0, "c1": 19.0})
    traffic.advance(59)
    traffic.rest()
    assert getattr(state(traffic, "a"), "from").seconds == start - FIVE
    judged(traffic)
    found = state(traffic, "a")
    assert (getattr(found, "from").seconds, found.to.seconds, found.outdated) == (start, start + FIVE, False)
    assert (found.standard, found.road.ratio, found.road.incomplete) == (congestion.STANDARD, 0.4, False)
    assert found.road.vehicles_per_hour == 12 * found.road.counted
    with pytest.raises(NotFound, match="road 'z' is not in the published network"):
        state(traffic, "z")


def test_of_a_road_on_which_nothing_is_measured_nothing_is_said(traffic: Running) -> None:
    with pytest.raises(NotFound, match="the state of road 'a' is not known: nothing is measured on it: register a detector"):
        state(traffic, "a")


def test_roads_districts_and_the_city_get_their_levels(traffic: Running) -> None:
    five_minutes(traffic, {"a1": 5.0, "b1": 9.0, "c1": 19.0}, 2)
    judged(traffic)
    assert congested(traffic) == ["a", "b"]
    assert congested(traffic, district_id="xihu") == ["a", "b"] and congested(traffic, district_id="binjiang") == []
    first = traffic.fire("ListCongestedRoads", pb.ListCongestedRoadsRequest(page_size=1))
    assert [one.edge_id for one in first.roads] == ["a"]
    again = pb.ListCongestedRoadsRequest(page_size=1, page_token=first.next_page_token)
    assert [one.edge_id for one in traffic.fire("ListCongestedRoads", again).roads] == ["b"]
    xihu, binjiang, city = area(traffic, "xihu"), area(traffic, "binjiang"), area(traffic)
    assert (xihu.area.index, level(xihu.area.level), xihu.area.roads) == (0.65, "MODERATE", 2)
    assert (binjiang.area.index, level(binjiang.area.level)) == (0.05, "SMOOTH")
    assert (city.area.index, level(city.area.level), city.area.length_m) == (0.45, "BASICALLY_SMOOTH", 1500)
    assert (city.area.light, city.area.moderate, city.area.severe) == (1, 0, 1)
    told = [event.data for event in traffic.events(ev.CongestionChanged)]
    assert sorted((one.edge_id, one.district_id, level(one.level)) for one in told) == [  # type: ignore[attr-defined]
        ("", "", "BASICALLY_SMOOTH"), ("", "xihu", "MODERATE"), ("a", "xihu", "SEVERE"), ("b", "xihu", "LIGHT"),
    ]  # fmt: skip
    with pytest.raises(NotFound, match="the congestion of district 'gongshu' is not known"):
        area(traffic, "gongshu")


def test_what_was_measured_more_than_a_quarter_of_an_hour_ago_is_not_how_it_is_now(traffic: Running) -> None:
    five_minutes(traffic, {"a1": 5.0, "b1": 9.0, "c1": 19.0}, 2)
    judged(traffic)
    register(traffic, *(detector(f"{name}1", name, retired=True) for name in "abc"))
    traffic.advance(600)
    traffic.rest()
    # Nothing keeps the time any more: these are the last five minutes that are judged.
    traffic.advance(state(traffic, "a").to.seconds + 900 - traffic.advance() / SECOND)
    assert congested(traffic) and not state(traffic, "a").outdated and not area(traffic).outdated
    traffic.advance(1)
    assert congested(traffic) == [] and state(traffic, "a").outdated and area(traffic).outdated


def test_where_nothing_comes_at_all_every_detector_is_told_to_be_silent(traffic: Running) -> None:
    five_minutes(traffic, {"a1": 5.0, "b1": 9.0, "c1": 19.0})
    five_minutes(traffic, {}, 2)
    judged(traffic)
    told = [event.data for event in traffic.events(ev.DetectorFailed)]
    assert {(one.detector_id, one.reason) for one in told} == {  # type: ignore[attr-defined]
        (name, pb.FAILURE_REASON_SILENT) for name in ("a1", "b1", "c1")
    }
    assert state(traffic, "a").road.missing_detector_ids == ["a1"]
    assert area(traffic, "xihu").area.incomplete_roads == 2


def test_the_detectors_that_fail_are_listed_until_they_have_recovered(traffic: Running) -> None:
    start = begun(traffic)
    five_minutes(traffic, {"a1": 5.0, "b1": 9.0, "c1": 19.0}, 2)
    five_minutes(traffic, {"b1": 9.0}, 3)
    judged(traffic)
    found = traffic.fire("ListFailedDetectors", pb.ListFailedDetectorsRequest()).detectors
    assert [(one.detector_id, one.edge_id, one.district_id, one.reason) for one in found] == [
        ("a1", "a", "xihu", pb.FAILURE_REASON_SILENT), ("c1", "c", "binjiang", pb.FAILURE_REASON_SILENT),
    ]  # fmt: skip
    assert {one.since.seconds for one in found} == {start + 3 * FIVE}
    mine = traffic.fire("ListFailedDetectors", pb.ListFailedDetectorsRequest(district_id="binjiang")).detectors
    assert [one.detector_id for one in mine] == ["c1"]
    first = traffic.fire("ListFailedDetectors", pb.ListFailedDetectorsRequest(page_size=1))
    second = pb.ListFailedDetectorsRequest(page_size=1, page_token=first.next_page_token)
    assert [one.detector_id for one in traffic.fire("ListFailedDetectors", second).detectors] == ["c1"]
    answer = traffic.fire("GetDetector", pb.GetDetectorRequest(detector_id="a1"))
    assert (answer.detector, answer.failed.reason) == (detector("a1"), pb.FAILURE_REASON_SILENT)
    assert not traffic.fire("GetDetector", pb.GetDetectorRequest(detector_id="b1")).HasField("failed")
    register(traffic, detector("c1", "c", retired=True))
    five_minutes(traffic, {"a1": 5.0, "b1": 9.0}, 2)
    judged(traffic)
    assert not traffic.fire("ListFailedDetectors", pb.ListFailedDetectorsRequest()).detectors
    with pytest.raises(NotFound, match="there is no detector z: register it first"):
        traffic.fire("GetDetector", pb.GetDetectorRequest(detector_id="z"))


def test_late_readings_have_five_minutes_judged_anew_with_the_next_ones(traffic: Running) -> None:
    start = begun(traffic)
    five_minutes(traffic, {"a1": 5.0, "b1": 19.0, "c1": 19.0}, 2)
    judged(traffic)
    answer = report(traffic, *minutes(start + FIVE, "a1", 18.0, 1))
    assert (answer.accepted, answer.late, answer.refused) == (5, 5, 0)
    assert level(state(traffic, "a").road.level) == "SEVERE"
    five_minutes(traffic, {"a1": 18.0, "b1": 19.0, "c1": 19.0})
    judged(traffic)
    told = [event.data for event in traffic.events(ev.CongestionChanged, ev.CongestionRetracted)]
    assert [
        (one.edge_id, *one_change[1:]) for one, one_change in zip(told, changes(told), strict=True) if one.edge_id == "a"  # type: ignore[attr-defined]
    ] == [("a", "SEVERE", "UNSPECIFIED"), ("a", "SEVERE", "retracted")]  # fmt: skip
    assert level(state(traffic, "a").road.level) == "SMOOTH" and congested(traffic) == []
    again = [one.data for one in traffic.events(ev.AreaMeasured) if one.data.revision == 2]  # type: ignore[attr-defined]
    assert {one.district_id for one in again} == {"", "xihu"}  # type: ignore[attr-defined]


def test_a_reading_that_corrects_another_in_time_counts_instead(traffic: Running) -> None:
    start = begun(traffic)
    report(traffic, reading("a1", start, 30, 2.0))
    five_minutes(traffic, {"a1": 18.0, "b1": 19.0, "c1": 19.0})
    judged(traffic)
    assert state(traffic, "a").road.speed_mps == 18


def test_speeds_that_are_observed_are_part_of_the_state(traffic: Running) -> None:
    start = begun(traffic)
    for second in (10, 70):
        traffic.advance(start + second - traffic.advance() / SECOND)
        seen = [service_pb.EdgeSpeed(edge_id=name, speed_mps=second / 10, vehicles=10) for name in ("c", "unknown")]
        traffic.fire(
            "ReportObservations", service_pb.ReportObservationsRequest(observed_at=timestamp(traffic.advance()), speeds=seen)
        )
    five_minutes(traffic, {"a1": 18.0, "b1": 19.0})
    judged(traffic)
    road = state(traffic, "c").road
    # The second minute is not over: nobody has observed anything since.
    assert (road.speed_mps, road.observed, list(road.missing_detector_ids)) == (1.0, 10, ["c1"])


def test_readings_that_nobody_can_place_are_refused_by_themselves(traffic: Running) -> None:
    now = traffic.advance() / SECOND
    register(traffic, detector("c1", "c", retired=True))
    some = [
        reading("a1", now, 5, 9.0), reading("z", now, 5, 9.0), reading("c1", now, 5, 9.0), reading("a1", now + 11, 5, 9.0),
        reading("a1", now - detectors.OLDEST_S - 1, 5, 9.0), reading("a1", now - detectors.OLDEST_S, 5, 9.0),
        reading("a1", now + 10, -5, 9.0),
    ]  # fmt: skip
    answer = report(traffic, *some)
    assert (answer.accepted, answer.late, answer.refused) == (3, 1, 4)
    assert [(one.index, one.detector_id, one.reason) for one in answer.refusals] == [
        (1, "z", "UNKNOWN_DETECTOR"), (2, "c1", "UNKNOWN_DETECTOR"), (3, "a1", "FROM_THE_FUTURE"), (4, "a1", "TOO_LATE"),
    ]  # fmt: skip
    assert all(one.told for one in answer.refusals)


def test_an_answer_shows_a_hundred_refusals(traffic: Running) -> None:
    now = traffic.advance() / SECOND
    answer = report(traffic, *(reading("z", now, 5, 9.0) for _ in range(101)))
    assert (answer.refused, len(answer.refusals)) == (101, 100)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (detector("n", "z"), "detectors[1].edge_id: 'z' is not in the published network"),
        (detector("n", position_m=502), "detectors[1].position_m: is 502 m, and road 'a' is 500 m long"),
    ],
)
def test_a_detector_that_is_on_no_road_refuses_all_of_them(traffic: Running, wrong: pb.Detector, told: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(told)):
        register(traffic, detector("good"), wrong)
    assert report(traffic, reading("good", traffic.advance() / SECOND, 1, 9.0)).refused == 1


def test_a_detector_is_registered_once_and_stays_on_its_road(traffic: Running) -> None:
    assert register(traffic, detector("a1")) == 0
    assert register(traffic, detector("a1", lanes=[0, 1])) == 1
    with pytest.raises(Refused, match="a1 is on road 'a': give one elsewhere another id"):
        register(traffic, detector("a1", "b"))


def test_a_part_of_the_network_has_room_for_a_number_of_detectors() -> None:
    detectors.check_room({"a": 1}, {"a": detectors.MOST - 1})
    with pytest.raises(Refused, match="have 600 detectors at most"):
        detectors.check_room({"a": 1}, {"a": detectors.MOST})


def test_what_a_full_part_reports_fits_into_an_event() -> None:
    roads = {f"road-{n:014d}": street_network.Road("p", 500, 20.0, "xihu", ()) for n in range(500)}
    some = [detector(f"detector-{n:011d}", list(roads)[n % 500], interval_s=30) for n in range(detectors.MOST)]
    known = street_network.known(roads, some)
    said = {
        one.detector_id: {
            30 * k: pb.MeasuredInterval(second=30 * k, vehicles=20, occupancy=0.37, speed_mps=11.3) for k in range(10)
        }
        for one in some
    }
    seen = {edge_id: (11.3, 3000) for edge_id in roads}
    queued = streets.Queued({edge_id: (30, 300) for edge_id in roads}, 300)
    (measured,) = streets.measure(streets.Part(), "p", known, START, said, seen, queued)
    assert len(measured.SerializeToString()) < MAX_EVENT_BYTES


def test_an_older_window_that_is_judged_anew_is_not_how_it_is_now() -> None:
    def heard(message: Any) -> Heard:
        stored: Any = None  # Nothing here reads what the store knows of it.
        return Heard(message, stored)

    def window(kind: Any, minute: int, **more: Any) -> Heard:
        return heard(kind(**{"from": timestamp(minute * 60 * SECOND)}, **more))

    row = street_views.street(None, window(ev.StreetMeasured, 10, roads=[pb.RoadState(edge_id="a")]))
    assert street_views.street(row, window(ev.StreetMeasured, 5)) == row
    assert (
        street_views.street(row, window(ev.StreetMeasured, 10))
        != row
        != street_views.street(row, window(ev.StreetMeasured, 15))
    )
    of_area = street_views.area(None, window(ev.AreaMeasured, 10, revision=1))
    assert street_views.area(of_area, window(ev.AreaMeasured, 5)) == of_area
    assert street_views.area(of_area, window(ev.AreaMeasured, 10, revision=2)) != of_area


def test_a_reading_is_late_five_seconds_before_its_window_is_judged() -> None:
    known, start = {"a1": detector("a1")}, START // SECOND
    request = pb.ReportDetectorReadingsRequest(readings=[reading("a1", start, 5, 9.0), reading("a1", start + 299, 5, 9.0)])
    for now, late in ((354, 0), (355, 2)):
        batches, answer = detectors.sort(request, known, (start + now) * SECOND)
        assert (answer.late, [len(batch.readings) for batch in batches]) == (late, [2])
        assert batches[0].HasField("late_at") is bool(late)


def test_a_part_of_which_nothing_is_measured_any_more_stays_in_the_mean_of_the_city(traffic: Running) -> None:
    register(traffic, detector("c1", "c", retired=True))
    start = begun(traffic)
    for second in (10, 70):
        traffic.advance(start + second - traffic.advance() / SECOND)
        seen = [service_pb.EdgeSpeed(edge_id="c", speed_mps=2, vehicles=10)]
        traffic.fire(
            "ReportObservations", service_pb.ReportObservationsRequest(observed_at=timestamp(traffic.advance()), speeds=seen)
        )
    traffic.advance(start + FIVE - traffic.advance() / SECOND)
    five_minutes(traffic, {"a1": 19.0, "b1": 19.0}, 3)
    judged(traffic)
    city = area(traffic).area
    assert (city.length_m, city.ratio, city.incomplete_roads) == (1500, round((0.95 * 2 + 0.1) / 3, 4), 1)


def test_what_comes_late_is_judged_in_its_own_part_of_the_network(traffic: Running) -> None:
    five_minutes(traffic, {"a1": 5.0, "b1": 19.0, "c1": 19.0})
    gap = begun(traffic)
    # On this leap of city time nobody keeps the time: there are five minutes that were never judged.
    traffic.advance(1200)
    assert not [one for one in traffic.events(ev.StreetMeasured) if getattr(one.data, "from").seconds == gap + FIVE]
    report(traffic, *minutes(gap + FIVE, "a1", 5.0))
    five_minutes(traffic, {"a1": 5.0, "b1": 19.0, "c1": 19.0})
    judged(traffic)
    found = [one.data for one in traffic.events(ev.StreetMeasured) if getattr(one.data, "from").seconds == gap + FIVE]
    assert [one.part_id for one in found] == ["a"]  # type: ignore[attr-defined]
    # Of the city only the roads of that part are known then: nothing is told of it.
    assert not [one for one in traffic.events(ev.AreaMeasured) if getattr(one.data, "from").seconds == gap + FIVE]


def test_the_city_has_a_name_that_no_district_has() -> None:
    assert street_views.area_named("city") != street_views.area_named("")


def test_states_can_be_kept_as_snapshots(traffic: Running) -> None:
    five_minutes(traffic, {"a1": 5.0, "b1": 19.0}, 3)
    judged(traffic)
    part, city = streets.Part(), areas.Area()
    for event in traffic.events():
        if event.stored.stream == "traffic/street-a":
            part = streets.evolve(part, event.data)
        elif event.stored.stream == "traffic/area-city":
            city = areas.evolve(city, event.data)
    assert part.levels and part.windows and city.windows
    assert unpack_state(streets.Part, pack_state(part)) == part and unpack_state(areas.Area, pack_state(city)) == city


@pytest.mark.parametrize(
    ("scope", "method", "request_"),
    [
        ("traffic.network", "RegisterDetectors", pb.RegisterDetectorsRequest(detectors=[detector("a1")])),
        ("traffic.observe", "ReportDetectorReadings", pb.ReportDetectorReadingsRequest(readings=[reading("a1", 0, 1, 1.0)])),
        ("traffic.read", "ListCongestedRoads", pb.ListCongestedRoadsRequest()),
    ],
)
def test_each_method_has_its_scope(traffic: Running, scope: str, method: str, request_: Any) -> None:
    traffic.fire(method, request_, scopes=[scope])
    with pytest.raises(Forbidden):
        traffic.fire(method, request_, scopes=["traffic.priority"])


def test_a_speed_in_free_flow_that_was_learnt_is_what_roads_are_compared_with(
    traffic: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Thirty days of city time are a minute of the test: here one is enough.
    monkeypatch.setattr(free_flow_speed, "DAYS", 1)
    five_minutes(traffic, {"a1": 12.0, "c1": 12.0})
    judged(traffic)
    assert (state(traffic, "a").road.ratio, state(traffic, "a").road.free_speed_days) == (0.6, 0)
    register(traffic, *(detector(f"{name}1", name, retired=True) for name in "abc"))
    traffic.advance(86_400)
    traffic.rest()
    told = [event.data for event in traffic.events(ev.FreeSpeedsLearnt)]
    assert {one.part_id: [(road.edge_id, road.speed_mps) for road in one.roads] for one in told} == {  # type: ignore[attr-defined]
        "a": [("a", 12.0)], "c": [("c", 12.0)],
    }  # fmt: skip
    register(traffic, detector("a1"))
    five_minutes(traffic, {"a1": 12.0}, 2)
    judged(traffic)
    assert (state(traffic, "a").road.ratio, state(traffic, "a").road.free_speed_days) == (1, 1)
