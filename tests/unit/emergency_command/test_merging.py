"""Reports of different callers: which are about one patient, whatever comes at once, was cut off, or a person corrects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import reduce
from typing import Any

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1.events_pb2 import RoadsPublished

from citybrain.mesh.errors import Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.merging import REMEMBERED, Board
from citybrain.mesh.roads import build
from citybrain.mesh.testing import Running, running
from citybrain.services.emergency_command import merging
from citybrain.services.emergency_command.merging import REACH
from citybrain.services.emergency_command.service import EmergencyCommandService

A = "inc-00000000000a"
PHONES = "+8613800001111", "+8613800001112"
# A one-way street: e1 → e2 → e3 → e4.
NAMES = ["e1", "e2", "e3", "e4"]
ROADS = RoadsPublished(
    edges=[
        RoadEdge(edge_id=name, length_m=200, free_speed_mps=10, next_edge_ids=NAMES[n + 1 : n + 2], district_id="west")
        for n, name in enumerate(NAMES)
    ]
)


@pytest.fixture
def command() -> Iterator[Running]:
    with running(EmergencyCommandService) as service:
        service.tell(ROADS)
        service.rest()
        yield service


def call(edge: str = "e1", metres: float = 100, phone: str = "", **more: Any) -> pb.ReportEmergencyRequest:
    asked: dict[str, Any] = {"channel": pb.CHANNEL_PHONE, "severity": pb.SEVERITY_SERIOUS, **more}
    if phone:
        asked["reporter"] = pb.Contact(name="王建国", phone=phone)
    return pb.ReportEmergencyRequest(place=RoadPlace(edge_id=edge, position_m=metres), **asked)


def report(command: Running, *where: Any, **more: Any) -> str:
    """The incident of a report."""
    return str(command.fire("ReportEmergency", call(*where, **more)).incident.incident_id)


def get(command: Running, incident_id: str, **claims: Any) -> Any:
    return command.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id), **claims)


def split(command: Running, incident_id: str, report_id: str, **how: Any) -> str:
    asked = pb.SplitReportRequest(incident_id=incident_id, report_id=report_id, reason="another patient")
    return str(command.fire("SplitReport", asked, **how).incident.incident_id)


# -- one patient --------------------------------------------------------------------------------------------------------------


def test_who_calls_about_a_patient_that_was_reported_is_told_the_incident_and_no_second_one_is_opened(command: Running) -> None:
    first = command.fire("ReportEmergency", call(severity=pb.SEVERITY_MINOR, phone=PHONES[0]))
    command.advance(60)
    second = command.fire("ReportEmergency", call("e1", 150, severity=pb.SEVERITY_CRITICAL, phone=PHONES[1]))
    assert (first.merged, second.merged) == (False, True)
    assert second.incident.incident_id == first.incident.incident_id
    assert (second.incident.reports, second.incident.severity) == (2, pb.SEVERITY_CRITICAL)
    assert second.incident.place.position_m == 100
    assert len(command.events(ev.IncidentOpened)) == 1
    command.rest()
    found = get(command, first.incident.incident_id)
    assert [(one.report_id, one.reporter.phone) for one in found.reports] == [
        (first.report_id, PHONES[0]),
        (second.report_id, PHONES[1]),
    ]
    assert (found.incident.reporter.phone, found.incident.district_id) == (PHONES[0], "west")
    (listed,) = command.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
    assert listed == found.incident
    # Whoever follows the incident hears of it.
    told = [event.stored.correlation_id for event in command.events(ev.ReportMerged)]
    assert told == [first.incident.incident_id]


def test_reports_are_about_one_patient_up_to_100_m_along_the_roads_and_10_minutes(command: Running) -> None:
    assert (REACH.metres, REACH.minutes) == (100, 10)
    first = report(command, "e2", 0)
    assert report(command, "e2", 100) == first
    assert report(command, "e1", 100) == first
    assert report(command, "e2", 101) != first
    command.advance(600)
    assert report(command, "e2", 0) == first
    command.advance(600.001)
    assert report(command, "e2", 0) != first


def test_a_report_about_another_patient_is_an_incident_of_its_own_and_the_next_call_joins_the_older(command: Running) -> None:
    first = report(command)
    other = report(command, another_patient=True)
    assert first != other
    assert report(command) == first


def test_reports_in_pages(command: Running) -> None:
    incident_id = max(report(command) for _ in range(3))
    first = command.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id, page_size=2))
    asked = pb.GetIncidentRequest(incident_id=incident_id, page_size=2, page_token=first.next_page_token)
    second = command.fire("GetIncident", asked)
    assert (len(first.reports), len(second.reports), second.next_page_token) == (2, 1, "")


# -- the end ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CancelIncident", pb.CancelIncidentRequest(incident_id=A, reason="a prank")),
        ("CloseIncident", pb.CloseIncidentRequest(incident_id=A, outcome="handed over")),
    ],
)
def test_an_incident_that_has_ended_takes_no_report(command: Running, method: str, request_: Any) -> None:
    request_.incident_id = before = report(command)
    command.fire(method, request_)
    after = report(command)
    assert after != before
    assert report(command) == after


def test_once_the_patient_is_on_board_whoever_is_still_there_is_another_one(command: Running) -> None:
    first = command.fire("ReportEmergency", call(), request_id="r1")
    incident_id = first.incident.incident_id
    mission = {"ambulance_id": "a1", "incident_id": incident_id}
    command.tell(MissionReported(stage=health.MISSION_STAGE_AT_SCENE, **mission))
    command.rest()
    assert report(command) == incident_id
    command.tell(MissionReported(stage=health.MISSION_STAGE_PATIENT_ON_BOARD, **mission))
    command.rest()
    other = report(command)
    assert other != incident_id
    assert report(command) == other
    assert command.fire("ReportEmergency", call(), request_id="r1") == first, "a retry is answered as before"


# -- at once, again, and cut off ----------------------------------------------------------------------------------------------


def test_many_reports_at_once_open_one_incident(command: Running) -> None:
    found: list[str] = []
    calls = [threading.Thread(target=lambda: found.append(report(command))) for _ in range(8)]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    assert (len(found), len(set(found))) == (8, 1)
    assert get(command, found[0]).incident.reports == 8
    assert len(command.events(ev.IncidentOpened)) == 1


def test_the_same_request_twice_is_one_report_also_after_the_end(command: Running) -> None:
    report(command)
    answers = [command.fire("ReportEmergency", call(), request_id="r1") for _ in range(2)]
    command.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=answers[0].incident.incident_id, outcome="x"))
    answers.append(command.fire("ReportEmergency", call(), request_id="r1"))
    assert answers[0] == answers[1] == answers[2]
    assert len(command.events(ev.ReportMerged)) == 1


def test_a_report_again_is_answered_as_before_also_where_it_was_split_off_since(command: Running) -> None:
    incident_id = report(command)
    first = command.fire("ReportEmergency", call(), request_id="r1")
    assert split(command, incident_id, first.report_id) != incident_id
    assert command.fire("ReportEmergency", call(), request_id="r1") == first


def test_a_retry_does_not_read_the_long_stream_from_its_beginning(command: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = command.fire("ReportEmergency", call(), request_id="r1")
    store, whole = command.parts.process.store, []
    read = store.read

    def watched(stream: str, first: int, *more: Any) -> Any:
        if first == 1 and stream.startswith("emergency_command/board-"):
            whole.append(stream)
        return read(stream, first, *more)

    monkeypatch.setattr(store, "read", watched)
    assert command.fire("ReportEmergency", call(), request_id="r1") == answer
    assert not whole


def test_an_incident_that_a_cut_off_report_was_to_open_is_opened_by_the_next() -> None:
    with running(EmergencyCommandService) as service:
        at = timestamp(service.advance())
    cut_off = ev.ReportSorted(report_id="rep-0", incident_id=A, place=RoadPlace(edge_id="e1", position_m=100), reported_at=at)
    with running(EmergencyCommandService, boards={"city": [cut_off]}) as service:
        answer = service.fire("ReportEmergency", call())
        assert (answer.incident.incident_id, answer.merged) == (A, False)


def test_the_board_keeps_no_place_that_no_report_can_fit_any_more_and_remembers_the_newest_reports() -> None:
    def at(minutes: float, name: str) -> ev.ReportSorted:
        return ev.ReportSorted(
            report_id=f"rep-{name}", incident_id=name, place=RoadPlace(edge_id="e1"), reported_at=timestamp(int(minutes * 6e7))
        )

    board = reduce(merging.evolve, [at(0, "a"), at(9, "b"), at(10, "c")], Board())
    assert [spot.incident_id for spot in board.spots.values()] == ["a", "b", "c"]
    board = merging.evolve(board, at(10.1, "d"))
    assert [spot.incident_id for spot in board.spots.values()] == ["b", "c", "d"]
    many = reduce(merging.evolve, [at(11, f"n{n}") for n in range(2 * REMEMBERED)], board)
    assert REMEMBERED <= len(many.sorted_to) <= 2 * REMEMBERED
    assert merging.sort(board, at(12, "e"), build([]), another_patient=True) == [at(12, "e")]


# -- what a person corrects ---------------------------------------------------------------------------------------------------


def test_a_report_is_split_off_into_an_incident_of_its_own_once(command: Running) -> None:
    incident_id = report(command)
    second = command.fire("ReportEmergency", call("e1", 150, PHONES[1], severity=pb.SEVERITY_CRITICAL))
    new = split(command, incident_id, second.report_id)
    assert new != incident_id
    assert split(command, incident_id, second.report_id) == new
    opened = command.events(ev.IncidentOpened)[1]
    assert isinstance(opened.data, ev.IncidentOpened)
    assert (opened.data.split_from_id, opened.data.place.position_m) == (incident_id, 150)
    assert opened.stored.correlation_id == new
    command.rest()
    there, here = get(command, new), get(command, incident_id)
    assert (there.incident.reports, there.incident.reporter.phone, there.incident.split_from_id) == (1, PHONES[1], incident_id)
    assert (here.incident.reports, here.incident.severity) == (1, pb.SEVERITY_SERIOUS)
    listed = {one.incident_id: one for one in command.fire("ListIncidents", pb.ListIncidentsRequest()).incidents}
    assert listed == {new: there.incident, incident_id: here.incident}
    # The next report goes to the nearer of the two.
    assert report(command, "e1", 160) == new
    assert report(command, "e1", 90) == incident_id


def test_a_report_is_split_off_after_the_end_too_because_somebody_may_still_wait_for_help(command: Running) -> None:
    incident_id = report(command)
    second = command.fire("ReportEmergency", call())
    command.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=incident_id, outcome="handed over"))
    assert get(command, split(command, incident_id, second.report_id)).incident.state == pb.INCIDENT_STATE_OPEN


def test_a_split_that_was_cut_off_goes_on_where_it_stopped() -> None:
    place = RoadPlace(edge_id="e1", position_m=100)
    cut_off = [
        ev.IncidentOpened(incident_id=A, report_id="rep-0", place=place),
        ev.ReportMerged(incident_id=A, report_id="rep-1", place=place),
        ev.ReportSplitOff(incident_id=A, report_id="rep-1", to_incident_id="inc-00000000000b"),
    ]
    with running(EmergencyCommandService, incidents={A: cut_off}) as service:
        assert split(service, A, "rep-1") == "inc-00000000000b"
        assert get(service, "inc-00000000000b").incident.state == pb.INCIDENT_STATE_OPEN


def test_the_report_that_opened_an_incident_and_one_that_is_not_in_it_are_not_split_off(command: Running) -> None:
    first = command.fire("ReportEmergency", call())
    incident_id = first.incident.incident_id
    with pytest.raises(Refused, match="split off the others"):
        split(command, incident_id, first.report_id)
    with pytest.raises(NotFound, match="no report rep-9 is in incident"):
        split(command, incident_id, "rep-9")
    with pytest.raises(NotFound, match="there is no incident"):
        split(command, A, "rep-9")


def test_who_is_bound_to_a_district_splits_off_no_report_of_another_and_needs_the_scope(command: Running) -> None:
    incident_id = report(command)
    merged = command.fire("ReportEmergency", call(), district="east")
    assert (merged.merged, merged.incident.incident_id) == (True, incident_id)
    with pytest.raises(Forbidden):
        split(command, incident_id, merged.report_id, district="east")
    with pytest.raises(Forbidden, match=r"needs the scope emergency\.command"):
        split(command, incident_id, merged.report_id, scopes=["emergency.read", "emergency.report"])
    assert split(command, incident_id, merged.report_id, district="west")
