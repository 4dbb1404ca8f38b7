"""Incidents while the service runs: found, confirmed, listed, the road closed and open again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic.incident_thresholds import LEAST
from citybrain.services.traffic.recent_readings import Recent
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.measuring import detector

SECOND = 1_000_000
FIVE = 300
STOPPED = pb.TRAFFIC_INCIDENT_KIND_STOPPED_VEHICLE
WHOLE = pb.BLOCKED_SCOPE_WHOLE_ROAD
LIMITS = pb.PairThresholds(
    edge_id="a", upstream_detector_id="up", downstream_detector_id="dn", block_s=90, occupancy_difference=0.2,
    occupancy_ratio=0.3, downstream_occupancy=0.1, deviate=0.7, windows=LEAST,
)  # fmt: skip


@pytest.fixture
def traffic() -> Iterator[Running]:
    """Two roads of two districts; on the first a pair of detectors with thresholds, and a signal with a cycle of 90 s."""
    with running(TrafficService) as service:
        _build(service)
        yield service


def _build(service: Running) -> None:
    edges = [
        RoadEdge(edge_id=name, length_m=500, free_speed_mps=20, district_id=district)
        for name, district in (("a", "xihu"), ("b", "binjiang"))
    ]
    service.fire("PublishRoads", service_pb.PublishRoadsRequest(edges=edges))
    phases = [service_pb.SignalPhase(state="G", duration_s=45), service_pb.SignalPhase(state="r", duration_s=45)]
    links = [service_pb.SignalLink(index=0, from_edge_id="a", to_edge_id="b")]
    signal = service_pb.Signal(signal_id="s", links=links, phases=phases, program_id="0", cycle_start=timestamp(0))
    service.fire("RegisterSignal", service_pb.RegisterSignalRequest(signal=signal))
    service.rest()
    pair = [detector("up", position_m=30, interval_s=30), detector("dn", position_m=480, interval_s=30)]
    service.fire("RegisterDetectors", street.RegisterDetectorsRequest(detectors=pair))
    service.tell(ev.IncidentThresholdsCalibrated(part_id="a", pairs=[LIMITS]))
    now = service.advance()
    service.advance((-now // SECOND % FIVE) or FIVE)
    service.rest()


def readings(start: int, name: str, vehicles: int, occupancy: float) -> list[street.DetectorReading]:
    return [
        street.DetectorReading(
            detector_id=name, began_at=timestamp((start + second) * SECOND), vehicles=vehicles, occupancy=occupancy
        )
        for second in range(0, FIVE, 30)
    ]


def report(traffic: Running, *some: street.DetectorReading) -> None:
    traffic.fire("ReportDetectorReadings", street.ReportDetectorReadingsRequest(readings=some))


def five_minutes(traffic: Running, blocked: bool = False, passing: int = 3) -> int:
    """Five minutes until they are judged; gives their beginning. `passing`: vehicles in 30 s at the second detector."""
    start = traffic.advance() // SECOND // FIVE * FIVE
    traffic.advance(start + FIVE - 5 - traffic.advance() / SECOND)
    report(traffic, *readings(start, "up", 3, 0.7 if blocked else 0.1))
    report(traffic, *readings(start, "dn", 0 if blocked else passing, 0.0 if blocked else 0.1))
    traffic.advance(66)
    traffic.rest()
    return start


def listed(traffic: Running, **question: Any) -> list[pb.TrafficIncident]:
    traffic.rest()
    return list(traffic.fire("ListIncidents", pb.ListIncidentsRequest(**question)).incidents)


def closed(traffic: Running) -> list[str]:
    traffic.rest()
    answer = traffic.fire("ListClosedRoads", service_pb.ListClosedRoadsRequest())
    return [road.edge_id for road in answer.roads]


def seen(traffic: Running, name: str, source: pb.IncidentSource = pb.INCIDENT_SOURCE_PATROL, **more: Any) -> Any:
    told: dict[str, Any] = {"report_id": name, "edge_id": "a", "source": source, "kind": STOPPED, **more}
    told.setdefault("seen_at", timestamp(traffic.advance()))
    claims = told.pop("claims", {})
    return traffic.fire("ReportIncident", pb.ReportIncidentRequest(**told), **claims)


def test_what_detectors_show_is_confirmed_by_both_algorithms_and_the_road_is_closed_until_vehicles_pass(
    traffic: Running,
) -> None:
    for _ in range(6):
        five_minutes(traffic)
    assert listed(traffic) == [] and closed(traffic) == []
    five_minutes(traffic, blocked=True)
    start = five_minutes(traffic, blocked=True)
    (one,) = listed(traffic)
    assert (one.edge_id, one.district_id, one.state, one.scope) == ("a", "xihu", pb.TRAFFIC_INCIDENT_STATE_CONFIRMED, WHOLE)
    assert {e.source for e in one.evidence} == {pb.INCIDENT_SOURCE_CALIFORNIA_7, pb.INCIDENT_SOURCE_NORMAL_DEVIATE}
    newest = [e for e in one.evidence if getattr(e, "from").seconds == start]
    assert len(newest) == 2 and all(e.figures.vehicles_out == 0 for e in newest)
    assert all(e.thresholds == LIMITS for e in one.evidence)
    assert closed(traffic) == ["a"] and not one.confirmed_by_person
    assert listed(traffic, district_id="binjiang") == [] and len(listed(traffic, district_id="xihu")) == 1
    for passing in (6, 6, 3, 3, 3):
        five_minutes(traffic, passing=passing)
    assert listed(traffic) == [] and closed(traffic) == []
    over = traffic.fire("GetIncident", pb.GetIncidentRequest(incident_id=one.incident_id)).incident
    assert (over.state, over.end, over.closure_id) == (
        pb.TRAFFIC_INCIDENT_STATE_CLOSED, pb.INCIDENT_END_BACK_TO_NORMAL, "",
    )  # fmt: skip
    first, second, *confirmed, last = [step.what.split(";")[0] for step in over.history]
    assert over.HasField("ended_at") and (first, second) == ("suspected by california 7", "supported by normal deviate")
    # Again each time that what is blocked is another: nobody passes, and then somebody does.
    assert set(confirmed) == {"confirmed by california 7 and normal deviate"} and len(confirmed) == 3
    assert last == "closed: nothing was found for 15 minutes"


def test_what_corrected_readings_do_not_support_is_retracted_and_the_road_is_open_again(traffic: Running) -> None:
    for _ in range(6):
        five_minutes(traffic)
    both = [five_minutes(traffic, blocked=True) for _ in range(2)]
    (one,) = listed(traffic)
    assert closed(traffic) == ["a"]
    for start in both:
        report(traffic, *readings(start, "up", 3, 0.1), *readings(start, "dn", 3, 0.1))
    five_minutes(traffic)
    assert listed(traffic) == [] and closed(traffic) == []
    over = traffic.fire("GetIncident", pb.GetIncidentRequest(incident_id=one.incident_id)).incident
    assert over.state == pb.TRAFFIC_INCIDENT_STATE_RETRACTED and not over.evidence


def minute(traffic: Running, blocked: bool = False) -> None:
    """A minute until it is looked at; what detectors say comes a second before its end."""
    start = traffic.advance() // SECOND // 60 * 60
    traffic.advance(start + 59 - traffic.advance() / SECOND)
    for name, few in (("up", False), ("dn", blocked)):
        said = readings(start, name, 0 if few else 3, 0.0 if few else 0.7 if blocked else 0.1)
        report(traffic, *said[:2])
    traffic.advance(17)
    traffic.rest()


def quiet_minutes(traffic: Running) -> int:
    """Half an hour of quiet minutes; gives the second at which it is over, the begin of five minutes."""
    while True:
        minute(traffic)
        now = traffic.advance() // SECOND // 60 * 60
        if traffic.events(ev.StreetMeasured)[5:] and now % FIVE == 0:
            return now


def test_an_incident_is_told_before_its_five_minutes_are_over(traffic: Running) -> None:
    begun = quiet_minutes(traffic)
    for _ in range(5):
        minute(traffic, blocked=True)
    (one,) = listed(traffic)
    assert 180 < one.suspected_at.seconds - begun < FIVE, "before three blocks of 90 s of which the first had begun before"
    assert one.suspected_at.seconds % 60 == 15 and all(e.figures.block_s == 90 for e in one.evidence)


def test_what_a_minute_showed_is_retracted_when_the_five_minutes_do_not_support_it(traffic: Running) -> None:
    start = quiet_minutes(traffic)
    for _ in range(4):
        minute(traffic, blocked=True)
    (one,) = listed(traffic)
    assert one.suspected_at.seconds < start + FIVE
    report(traffic, *readings(start, "up", 3, 0.1), *readings(start, "dn", 3, 0.1))
    traffic.advance(FIVE)
    assert listed(traffic) == []
    over = traffic.fire("GetIncident", pb.GetIncidentRequest(incident_id=one.incident_id)).incident
    assert over.state == pb.TRAFFIC_INCIDENT_STATE_RETRACTED


def test_after_a_restart_the_readings_that_are_kept_are_looked_at_also_where_they_cannot_be_read_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(TrafficService, folder=tmp_path) as service:
        _build(service)
        quiet_minutes(service)
        now = datetime.fromtimestamp(service.advance() / SECOND, UTC)
    recall = Recent.recall
    failed: list[bool] = []

    def fails_once(self: Recent, batches: Any) -> None:
        if not failed:
            failed.append(True)
            raise OSError("the store is away")
        recall(self, batches)

    monkeypatch.setattr(Recent, "recall", fails_once)
    with running(TrafficService, folder=tmp_path, city_time=now) as service:
        for _ in range(5):
            minute(service, blocked=True)
        (one,) = listed(service)
        assert failed and pb.INCIDENT_SOURCE_NORMAL_DEVIATE in {e.source for e in one.evidence}, "it needs 11 blocks"


def test_a_person_confirms_and_closes_and_the_closure_follows(traffic: Running) -> None:
    answer = seen(traffic, "r1", pb.INCIDENT_SOURCE_CITIZEN)
    assert answer.state == pb.TRAFFIC_INCIDENT_STATE_SUSPECTED and closed(traffic) == []
    request = pb.ConfirmIncidentRequest(incident_id=answer.incident_id, kind=STOPPED, scope=WHOLE)
    told = traffic.fire("ConfirmIncident", request)
    assert told.closure_id and closed(traffic) == ["a"]
    assert traffic.fire("ConfirmIncident", request) == told
    some = pb.ConfirmIncidentRequest(
        incident_id=answer.incident_id, kind=STOPPED, scope=pb.BLOCKED_SCOPE_SOME_LANES
    )  # fmt: skip
    assert traffic.fire("ConfirmIncident", some).closure_id == "" and closed(traffic) == []
    traffic.fire("ConfirmIncident", request)
    assert closed(traffic) == ["a"]
    (one,) = listed(traffic)
    assert one.confirmed_by_person and one.closure_id
    traffic.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=answer.incident_id, reason="towed away"))
    assert closed(traffic) == [] and listed(traffic) == []
    with pytest.raises(Refused, match="is over"):
        traffic.fire("ConfirmIncident", request)


def test_a_road_that_a_person_has_reopened_stays_open_when_the_incident_is_confirmed_again(traffic: Running) -> None:
    incident_id = seen(traffic, "r1").incident_id
    confirm = pb.ConfirmIncidentRequest(incident_id=incident_id, kind=STOPPED, scope=WHOLE)
    closure_id = traffic.fire("ConfirmIncident", confirm).closure_id
    assert closed(traffic) == ["a"]
    traffic.fire("ReopenRoads", service_pb.ReopenRoadsRequest(closure_id=closure_id))
    accident = pb.ConfirmIncidentRequest(incident_id=incident_id, kind=pb.TRAFFIC_INCIDENT_KIND_ACCIDENT, scope=WHOLE)
    traffic.fire("ConfirmIncident", accident)
    assert closed(traffic) == []
    traffic.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=incident_id))
    assert listed(traffic) == []


def test_a_rejected_incident_reopens_its_road(traffic: Running) -> None:
    seen(traffic, "r1", pb.INCIDENT_SOURCE_CITIZEN, scope=WHOLE)
    incident_id = seen(traffic, "r2", pb.INCIDENT_SOURCE_VIDEO).incident_id
    assert closed(traffic) == ["a"]
    traffic.fire("RejectIncident", pb.RejectIncidentRequest(incident_id=incident_id, reason="a lorry that unloads"))
    assert closed(traffic) == [] and listed(traffic) == []
    again = seen(traffic, "r2", pb.INCIDENT_SOURCE_VIDEO)
    assert (again.incident_id, again.state) == (incident_id, pb.TRAFFIC_INCIDENT_STATE_REJECTED)
    history = traffic.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id)).incident.history
    assert history[-1].what == "rejected: a lorry that unloads"


def test_what_nobody_confirms_is_over_after_an_hour(traffic: Running) -> None:
    seen(traffic, "r1")
    traffic.advance(3540)
    assert len(listed(traffic)) == 1
    traffic.advance(121)
    assert listed(traffic) == []


def test_open_incidents_are_listed_in_pages_the_oldest_first(traffic: Running) -> None:
    seen(traffic, "r1", edge_id="b")
    traffic.advance(1)
    seen(traffic, "r2")
    traffic.rest()
    first = traffic.fire("ListIncidents", pb.ListIncidentsRequest(page_size=1))
    assert [one.edge_id for one in first.incidents] == ["b"]
    again = pb.ListIncidentsRequest(page_size=1, page_token=first.next_page_token)
    assert [one.edge_id for one in traffic.fire("ListIncidents", again).incidents] == ["a"]


def test_a_report_that_nobody_can_place_is_refused_with_what_to_do(traffic: Running) -> None:
    with pytest.raises(BadRequest, match="'z' is not in the published network"):
        seen(traffic, "r1", edge_id="z")
    with pytest.raises(BadRequest, match="position_m"):
        seen(traffic, "r1", position_m=600)
    with pytest.raises(BadRequest, match="seen_at"):
        seen(traffic, "r1", seen_at=timestamp(traffic.advance() - 3601 * SECOND))
    with pytest.raises(BadRequest, match="source"):
        seen(traffic, "r1", pb.INCIDENT_SOURCE_CALIFORNIA_7)
    with pytest.raises(NotFound, match="there is no incident ti-x: list those that are open"):
        traffic.fire("GetIncident", pb.GetIncidentRequest(incident_id="ti-x"))
    with pytest.raises(NotFound, match="there is no incident"):
        traffic.fire("CloseIncident", pb.CloseIncidentRequest(incident_id="ti-x"))


def test_whoever_is_bound_to_a_district_works_on_its_incidents_only(traffic: Running) -> None:
    with pytest.raises(Forbidden):
        seen(traffic, "r1", claims={"district": "binjiang"})
    incident_id = seen(traffic, "r1", claims={"district": "xihu"}).incident_id
    traffic.rest()
    confirm = pb.ConfirmIncidentRequest(incident_id=incident_id, kind=STOPPED, scope=WHOLE)
    reject = pb.RejectIncidentRequest(incident_id=incident_id, reason="nothing there")
    for method, request in (
        ("ConfirmIncident", confirm), ("RejectIncident", reject),
        ("CloseIncident", pb.CloseIncidentRequest(incident_id=incident_id)),
        ("GetIncident", pb.GetIncidentRequest(incident_id=incident_id)),
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            traffic.fire(method, request, district="binjiang")
    traffic.fire("RejectIncident", reject, district="xihu")


@pytest.mark.parametrize(
    ("scope", "method", "request_"),
    [
        ("traffic.read", "ListIncidents", pb.ListIncidentsRequest()),
        ("traffic.network", "CalibrateIncidents", pb.CalibrateIncidentsRequest()),
    ],
)
def test_each_method_has_its_scope(traffic: Running, scope: str, method: str, request_: Any) -> None:
    traffic.fire(method, request_, scopes=[scope])
    with pytest.raises(Forbidden):
        traffic.fire(method, request_, scopes=["traffic.priority"])
    with pytest.raises(Forbidden):
        seen(traffic, "r1", claims={"scopes": [scope]})


def test_thresholds_are_learnt_each_night_from_a_day_of_figures_and_by_a_call(traffic: Running) -> None:
    calibrate = pb.CalibrateIncidentsRequest(edge_id="a")
    now = traffic.advance() // SECOND // FIVE * FIVE
    told = []
    for number in range(LEAST):
        start = now - (number + 1) * FIVE
        figures = pb.PairFigures(
            edge_id="a", upstream_detector_id="up", downstream_detector_id="dn", block_s=90, occupancy_difference=0.15,
            occupancy_ratio=0.5, downstream_occupancy=0.02, deviate=0.6, vehicles_out=5,
        )  # fmt: skip
        window = {"from": timestamp(start * SECOND), "to": timestamp((start + FIVE) * SECOND)}
        told.append(ev.PairsMeasured(part_id="a", pairs=[figures], **window))  # type: ignore[arg-type]
    for first in range(0, LEAST, 80):
        traffic.tell(*told[first : min(first + 80, LEAST - 1)])
    traffic.rest()
    answer = traffic.fire("CalibrateIncidents", calibrate)
    assert (answer.calibrated, answer.too_little) == (0, 1)
    traffic.tell(told[-1])
    traffic.rest()
    traffic.fire("calibrate")
    event = traffic.events(ev.IncidentThresholdsCalibrated)[-1].data
    assert isinstance(event, ev.IncidentThresholdsCalibrated)
    ((one,), too_little) = event.pairs, event.too_little
    assert (one.occupancy_difference, one.deviate, one.windows, too_little) == (0.2, 0.7, LEAST, 0)
    answer = traffic.fire("CalibrateIncidents", pb.CalibrateIncidentsRequest())
    assert (answer.calibrated, answer.too_little) == (1, 0)
    assert traffic.events(ev.IncidentThresholdsCalibrated)[-1].data == event, "nothing new is told once"
    with pytest.raises(BadRequest, match="'z' is not in the published network"):
        traffic.fire("CalibrateIncidents", pb.CalibrateIncidentsRequest(edge_id="z"))
