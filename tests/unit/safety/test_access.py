"""Who sees and does what: scopes, districts, and what is about a person. Then a city of it, through the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from citybrain.safety.v1.safety_service_pb2_grpc import SafetyServiceStub

from citybrain.local.calling import channel
from citybrain.local.city import LocalCity
from citybrain.mesh.errors import BadRequest, Forbidden
from citybrain.mesh.personal.erasure import erase
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.safety.service import SafetyService
from tests.unit.safety.conftest import NAME, PHONE, TEXT, close, get, report, signal

A = "saf-00000000000a"
SCOPES: tuple[tuple[str, Any], ...] = (
    ("safety.report", ("ReportSignal", signal())),
    ("safety.read", ("GetIncident", pb.GetIncidentRequest(incident_id=A))),
    ("safety.read", ("ListIncidents", pb.ListIncidentsRequest())),
    ("safety.read", ("ListUnits", pb.ListUnitsRequest())),
    ("safety.command", ("AssessIncident", pb.AssessIncidentRequest(incident_id=A))),
    ("safety.command", ("ConfirmGrade", pb.ConfirmGradeRequest(incident_id=A, grade=pb.GRADE_MAJOR, reason="x"))),
    ("safety.command", ("SplitSignal", pb.SplitSignalRequest(incident_id=A, signal_id="s", reason="x"))),
    ("safety.command", ("MergeIncidents", pb.MergeIncidentsRequest(incident_id=A, other_incident_id=A, reason="x"))),
    ("safety.command", ("CloseIncident", pb.CloseIncidentRequest(incident_id=A, outcome="x"))),
    (
        "safety.command",
        (
            "RegisterUnit",
            pb.RegisterUnitRequest(
                unit_id="p1", kind=pb.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e1"), district_id="west"
            ),
        ),
    ),
    ("safety.command", ("CallJointCommand", pb.CallJointCommandRequest(incident_id=A, reason="x"))),
    ("safety.command", ("OrderStandDown", pb.OrderStandDownRequest(incident_id=A, outcome="x"))),
    ("safety.command", ("RecordAfterAction", pb.RecordAfterActionRequest(incident_id=A))),
    ("safety.read", ("GetAfterAction", pb.GetAfterActionRequest(incident_id=A))),
    ("safety.read", ("PlanCordon", pb.PlanCordonRequest(incident_id=A))),
    ("safety.command", ("AssignUnits", pb.AssignUnitsRequest(incident_id=A, assignment_id="k1", police_cars=1))),
    ("safety.command", ("ReleaseUnits", pb.ReleaseUnitsRequest(incident_id=A, assignment_id="k1"))),
    (
        "safety.command",
        (
            "PostUnits",
            pb.PostUnitsRequest(
                post_id="k1", occasion_id="peak-1", police_cars=1, place=RoadPlace(edge_id="e1"), district_id="west"
            ),
        ),
    ),
    ("safety.command", ("RecallUnits", pb.RecallUnitsRequest(post_id="k1", occasion_id="peak-1"))),
)


def called(text: str = TEXT) -> pb.ReportSignalRequest:
    return signal(text=text, reporter=pb.Contact(name=NAME, phone=PHONE))


@pytest.mark.parametrize(("scope", "call"), SCOPES, ids=[call[0] for _, call in SCOPES])
def test_each_method_needs_its_scope(safety: Running, scope: str, call: tuple[str, Any]) -> None:
    others = sorted({"safety.report", "safety.read", "safety.command"} - {scope})
    with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
        safety.fire(*call, scopes=others)


# -- persons ------------------------------------------------------------------------------------------------------------------


def test_who_reported_can_be_called_back_and_stands_in_no_file(tmp_path: Path) -> None:
    with running(SafetyService, folder=tmp_path) as safety:
        # A text that names nobody: what is about a person is in the contact.
        incident_id = safety.fire("ReportSignal", called("smoke")).incident.incident_id
        safety.rest()
        (shown,) = get(safety, incident_id).signals
        assert (shown.reporter.name, shown.reporter.phone, shown.text) == (NAME, PHONE, "smoke")
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert incident_id.encode() in kept
        for secret in (PHONE, NAME, NAME.encode("unicode_escape").decode()):
            assert secret.encode() not in kept


def test_who_may_see_no_persons_sees_the_report_without_them(safety: Running) -> None:
    answer = safety.fire("ReportSignal", called())
    incident_id = answer.incident.incident_id
    everything = {"scopes": ["safety.read", "safety.personal"], "clearance": "RESTRICTED"}
    (shown,) = get(safety, incident_id, **everything).signals
    assert (shown.reporter.phone, shown.text) == (PHONE, TEXT)
    (shown,) = get(safety, incident_id, **{**everything, "scopes": ["safety.read"]}).signals
    assert (shown.HasField("reporter"), shown.text, shown.signal_id) == (False, TEXT, answer.signal_id)
    # Whoever reports may name people in the text.
    (shown,) = get(safety, incident_id, **{**everything, "clearance": "INTERNAL"}).signals
    assert (shown.HasField("reporter"), shown.text, shown.signal_id) == (False, "", answer.signal_id)


def test_after_an_erasure_the_report_stays_without_the_person_also_where_it_was_split_off(safety: Running) -> None:
    report(safety)
    second, third = (safety.fire("ReportSignal", called()) for _ in range(2))
    incident_id = second.incident.incident_id

    def split(signal_id: str) -> str:
        asked = pb.SplitSignalRequest(incident_id=incident_id, signal_id=signal_id, reason="another house")
        return str(safety.fire("SplitSignal", asked).incident.incident_id)

    before = split(second.signal_id)
    (shown,) = get(safety, before).signals
    person = shown.reporter_id
    assert shown.reporter.phone == PHONE

    async def work() -> None:
        process = safety.parts.process
        await erase(process.store, process.vault.keys, person, actor="tester")
        await process.vault.look()

    greenlets().do(work())
    for one in (before, split(third.signal_id)):
        (shown,) = get(safety, one).signals
        assert (shown.reporter_id, shown.HasField("reporter"), shown.text) == (person, False, TEXT)


@pytest.mark.parametrize("phone", ["13800001111", "+86 138 0000", "+12345678901234567"])
def test_a_number_that_cannot_be_called_is_refused(safety: Running, phone: str) -> None:
    with pytest.raises(BadRequest, match=r"reporter\.phone"):
        report(safety, reporter=pb.Contact(phone=phone))


# -- districts ----------------------------------------------------------------------------------------------------------------


def test_who_is_bound_to_a_district_reports_anywhere_and_reads_and_changes_nothing_of_another(safety: Running) -> None:
    answer = safety.fire("ReportSignal", signal("e1"), district="east")
    incident_id = answer.incident.incident_id
    assert answer.incident.district_id == "west"
    for scope, (method, request) in SCOPES:
        asked = type(request)()
        asked.CopyFrom(request)
        if scope == "safety.report" or "incident_id" not in asked.DESCRIPTOR.fields_by_name:
            continue
        asked.incident_id = incident_id
        if method == "MergeIncidents":
            asked.other_incident_id = "saf-00000000000b"
        with pytest.raises(Forbidden):
            safety.fire(method, asked, district="east")
    assert get(safety, incident_id, district="west").incident.state == pb.INCIDENT_STATE_OPEN
    assert close(safety, incident_id, district="west").state == pb.INCIDENT_STATE_CLOSED


def test_lists_leave_out_what_is_of_another_district(safety: Running) -> None:
    west, east, nowhere = report(safety, "e1"), report(safety, "e7"), report(safety, "e99")
    for name, edge, district in (("p1", "e1", "west"), ("p7", "e7", "east")):
        unit = pb.RegisterUnitRequest(
            unit_id=name, kind=pb.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id=edge), district_id=district
        )
        with pytest.raises(Forbidden):
            safety.fire("RegisterUnit", unit, district="south")
        safety.fire("RegisterUnit", unit, district=district)
    safety.rest()
    incidents = safety.fire("ListIncidents", pb.ListIncidentsRequest(), district="west").incidents
    assert {one.incident_id for one in incidents} == {west, nowhere} and east
    units = safety.fire("ListUnits", pb.ListUnitsRequest(), district="west").units
    assert [unit.unit_id for unit in units] == ["p1"]


def test_reports_of_another_district_that_were_merged_into_an_incident_are_left_out_for_who_is_bound(safety: Running) -> None:
    west = report(safety, "e5")
    safety.advance(60)
    east = report(safety, "e6", 400)
    merge = pb.MergeIncidentsRequest(incident_id=west, other_incident_id=east, reason="one fire")
    with pytest.raises(Forbidden):
        safety.fire("MergeIncidents", merge, district="west")
    safety.fire("MergeIncidents", merge)
    assert [len(get(safety, west, **bound).signals) for bound in ({}, {"district": "west"})] == [2, 1]


def test_each_event_carries_the_district_of_its_incident(safety: Running) -> None:
    first = safety.fire("ReportSignal", signal("e5", 490))
    incident_id = first.incident.incident_id
    # Just over the border: it belongs to the incident, and is told to the district of that.
    report(safety, "e6", 10)
    unit = pb.RegisterUnitRequest(
        unit_id="p7", kind=pb.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e7"), district_id="east"
    )
    safety.fire("RegisterUnit", unit)
    safety.fire("AssessIncident", pb.AssessIncidentRequest(incident_id=incident_id, dead=3))
    safety.fire("ConfirmGrade", pb.ConfirmGradeRequest(incident_id=incident_id, grade=pb.GRADE_MAJOR, reason="a plant"))
    safety.fire("AssignUnits", pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1))
    safety.fire("ReleaseUnits", pb.ReleaseUnitsRequest(incident_id=incident_id, assignment_id="k1"))
    split = pb.SplitSignalRequest(incident_id=incident_id, signal_id=first.signal_id, reason="two")
    new = safety.fire("SplitSignal", split).incident.incident_id
    merge = pb.MergeIncidentsRequest(incident_id=incident_id, other_incident_id=new, reason="one after all")
    stays = safety.fire("MergeIncidents", merge).incident.incident_id
    close(safety, stays)
    told = (
        ev.SafetyIncidentOpened, ev.SignalReceived, ev.SafetyIncidentAssessed, ev.SafetyIncidentGraded, ev.SafetyGradeConfirmed,
        ev.UnitAssigned, ev.UnitsReleased, ev.SignalSplitOff, ev.SafetyIncidentMerged, ev.SafetyIncidentAbsorbed,
        ev.SafetyIncidentClosed,
    )  # fmt: skip
    for kind in told:
        events = safety.events(kind)
        assert events and {event.stored.district for event in events} == {"west"}, kind
        assert {event.stored.correlation_id for event in events} <= {incident_id, new}, kind


@pytest.mark.envoy
def test_it_is_called_through_the_gateway(tmp_path: Path) -> None:
    with LocalCity(Settings(data=tmp_path), only=["safety"]) as city:
        assert city.gateway is not None
        with channel(city.gateway.address, city.token()) as gateway:
            stub = SafetyServiceStub(gateway)
            opened = stub.ReportSignal(signal(), timeout=60).incident
            shown = stub.GetIncident(pb.GetIncidentRequest(incident_id=opened.incident_id), timeout=60)
        assert shown.incident == opened
