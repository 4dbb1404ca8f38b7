"""Whom the crew can call back: known to those who work on it, to nobody else, and gone when the person is erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1.events_pb2 import RoadsPublished

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.errors import BadRequest, Forbidden
from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.personal.erasure import erase
from citybrain.mesh.testing import Running, running, service_factory
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.emergency_command import views
from citybrain.services.emergency_command.service import EmergencyCommandService

PHONE, NAME = "+8613800001111", "王建国"


def report(phone: str = PHONE) -> pb.ReportEmergencyRequest:
    """Each is about another patient: which are merged is tested elsewhere."""
    asked = pb.ReportEmergencyRequest(
        channel=pb.CHANNEL_PHONE,
        severity=pb.SEVERITY_SERIOUS,
        place=RoadPlace(edge_id="e1", position_m=5),
        another_patient=True,
    )
    if phone:
        asked.reporter.CopyFrom(pb.Contact(name=NAME, phone=phone))
    return asked


def get(command: Running, incident_id: str) -> Any:
    return command.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id)).incident


def erased(command: Running, person: str) -> None:
    async def work() -> None:
        process = command.parts.process
        await erase(process.store, process.vault.keys, person, actor="tester")
        await process.vault.look()

    greenlets().do(work())


def test_who_reported_can_be_called_back_and_stands_in_no_file(tmp_path: Path) -> None:
    with running(EmergencyCommandService, folder=tmp_path) as command:
        incident_id = command.fire("ReportEmergency", report()).incident.incident_id
        command.rest()
        shown = get(command, incident_id)
        assert (shown.reporter.name, shown.reporter.phone) == (NAME, PHONE)
        (listed,) = command.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
        assert listed == shown
        (event,) = command.fire("FollowIncident", pb.FollowIncidentRequest(incident_id=incident_id)).__next__().events
        assert IncidentOpened.FromString(event.data.value).reporter.phone == PHONE
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert incident_id.encode() in kept
        for secret in (PHONE, NAME, NAME.encode("unicode_escape").decode()):
            assert secret.encode() not in kept


def test_who_calls_again_is_the_same_person_and_after_an_erasure_somebody_new() -> None:
    with running(EmergencyCommandService) as command:
        first, second, other = (
            command.fire("ReportEmergency", report(phone)).incident for phone in (PHONE, PHONE, "+8613800001112")
        )
        assert first.reporter_id == second.reporter_id != other.reporter_id
        erased(command, first.reporter_id)
        command.rest()
        for incident in (first, second):
            shown = get(command, incident.incident_id)
            assert (shown.reporter_id, shown.HasField("reporter")) == (first.reporter_id, False)
        listed = command.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
        assert [one.reporter.phone for one in listed if one.HasField("reporter")] == ["+8613800001112"]
        again = command.fire("ReportEmergency", report()).incident
        assert again.reporter_id not in (first.reporter_id, other.reporter_id)
        assert get(command, again.incident_id).reporter.phone == PHONE


def test_nobody_has_to_say_who_they_are() -> None:
    with running(EmergencyCommandService) as command:
        incident = command.fire("ReportEmergency", report("")).incident
        command.rest()
        shown = get(command, incident.incident_id)
        assert (shown.reporter_id, shown.HasField("reporter")) == ("", False)


def test_a_listing_is_read_in_pages_newest_first() -> None:
    with running(EmergencyCommandService) as command:
        reported = [command.fire("ReportEmergency", report("")).incident.incident_id for _ in range(5)]
        command.rest()
        found, token = [], ""
        while True:
            page = command.fire("ListIncidents", pb.ListIncidentsRequest(page_size=2, page_token=token))
            found += [[one.incident_id for one in page.incidents]]
            token = page.next_page_token
            if not token:
                break
        assert found == [reported[4:2:-1], reported[2:0:-1], reported[:1]]
        with pytest.raises(BadRequest, match="page_token"):
            command.fire("ListIncidents", pb.ListIncidentsRequest(page_token="made up"))  # noqa: S106


def test_incidents_are_listed_by_state_time_and_the_district_that_keeps_the_road() -> None:
    with running(EmergencyCommandService) as command:
        edges = [
            RoadEdge(edge_id="e1", length_m=100, district_id="west"),
            RoadEdge(edge_id="e2", length_m=100, district_id="east"),
        ]
        command.tell(RoadsPublished(edges=edges))
        command.rest()
        ids, moments = [], []
        for edge in ("e1", "e2", "nobody's"):
            moments.append(timestamp(command.advance(60)))
            asked = report("")
            asked.place.edge_id = edge
            ids.append(command.fire("ReportEmergency", asked).incident.incident_id)
        command.fire("CancelIncident", pb.CancelIncidentRequest(incident_id=ids[1], reason="a prank"))
        command.rest()

        def listed(**question: Any) -> list[int]:
            found = command.fire("ListIncidents", pb.ListIncidentsRequest(**question)).incidents
            return [ids.index(one.incident_id) for one in found]

        assert listed() == [2, 1, 0]
        assert listed(district_id="west") == [0]
        assert listed(states=[pb.INCIDENT_STATE_OPEN]) == [2, 0]
        assert listed(reported_from=moments[1], reported_before=moments[2]) == [1]
        assert get(command, ids[1]).district_id == "east"
        # Whoever hears of it is told too, and ES-13 has it beside the event.
        assert [one.stored.district for one in command.events(IncidentOpened)] == ["west", "east", ""]


def test_incidents_that_come_between_two_pages_repeat_and_hide_none() -> None:
    with running(EmergencyCommandService) as command:
        before = [command.fire("ReportEmergency", report("")).incident.incident_id for _ in range(4)]
        command.rest()
        first = command.fire("ListIncidents", pb.ListIncidentsRequest(page_size=2))
        for _ in range(3):
            command.fire("ReportEmergency", report(""))
        command.rest()
        rest = command.fire("ListIncidents", pb.ListIncidentsRequest(page_size=9, page_token=first.next_page_token))
        assert [one.incident_id for page in (first, rest) for one in page.incidents] == before[::-1]


def test_newest_is_said_by_the_time_of_the_report_whatever_the_position_in_the_log() -> None:
    rows: dict[str, views.IncidentRow] = {}
    for name, reported, position in (("inc-1", 5, 90), ("inc-2", 7, 10), ("inc-3", 7, 50)):
        stored = StoredEvent(name, "", b"", reported, "", "", "", "", "", 0, "", 1, reported, position)
        row = views.apply(None, Heard(IncidentOpened(incident_id=name), stored))
        assert row is not None
        rows[name] = row
    with service_factory(EmergencyCommandService, listed=rows) as command:
        listed = command.ListIncidents(pb.ListIncidentsRequest()).incidents
    assert [one.incident_id for one in listed] == ["inc-3", "inc-2", "inc-1"]


@pytest.mark.parametrize("phone", ["13800001111", "+86 138 0000", "+12345678901234567"])
def test_a_number_that_cannot_be_called_is_refused(phone: str) -> None:
    with running(EmergencyCommandService) as command, pytest.raises(BadRequest, match=r"reporter\.phone"):
        command.fire("ReportEmergency", report(phone))


def test_a_place_beyond_the_end_of_its_road_is_refused_and_opens_nothing() -> None:
    with running(EmergencyCommandService) as command:
        asked = report("")
        asked.place.position_m = 99_999
        # Nobody has published a road yet: an emergency does not wait for that.
        assert command.fire("ReportEmergency", asked).incident.incident_id
        command.tell(RoadsPublished(edges=[RoadEdge(edge_id="e1", length_m=1000, free_speed_mps=10)]))
        command.wait_for_row("roads", "e1", bool)
        with pytest.raises(BadRequest) as caught:
            command.fire("ReportEmergency", asked)
        (violation,) = caught.value.violations
        assert violation == ("place.position_m", "is 99999 m, and road 'e1' is 1000 m long: give a place on it")
        assert len(command.events(IncidentOpened)) == 1
        for good in (RoadPlace(edge_id="e1", position_m=1000), RoadPlace(edge_id="e2", position_m=99_999)):
            asked.place.CopyFrom(good)
            command.fire("ReportEmergency", asked)


def test_who_is_bound_to_a_district_reports_an_emergency_anywhere_and_reads_and_changes_nothing_of_another() -> None:
    with running(EmergencyCommandService) as command:
        command.tell(RoadsPublished(edges=[RoadEdge(edge_id="e1", length_m=100, district_id="west")]))
        command.rest()
        # An emergency is reported by whoever hears of it.
        incident_id = command.fire("ReportEmergency", report(""), district="east").incident.incident_id
        cancel = pb.CancelIncidentRequest(incident_id=incident_id, reason="a prank")
        follow = pb.FollowIncidentRequest(incident_id=incident_id)
        for method, request in (("CancelIncident", cancel), ("FollowIncident", follow)):
            with pytest.raises(Forbidden, match="another district"):
                answer = command.fire(method, request, district="east")
                next(answer)
        with pytest.raises(Forbidden):
            command.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id), district="east")
        assert get(command, incident_id).state == pb.INCIDENT_STATE_OPEN
        assert command.fire("CancelIncident", cancel, district="west").incident.state == pb.INCIDENT_STATE_CANCELLED


def test_an_incident_shows_which_districts_have_not_answered_until_they_do() -> None:
    with running(EmergencyCommandService) as command:
        incident_id = command.fire("ReportEmergency", report()).incident.incident_id

        def shown() -> list[str]:
            command.rest()
            (listed,) = command.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
            assert listed.unanswered_district_ids == get(command, incident_id).unanswered_district_ids
            return list(listed.unanswered_district_ids)

        def notice(district: str) -> dict[str, Any]:
            return {"notice_id": f"{incident_id}.{district}", "incident_id": incident_id, "district_id": district}

        stream = f"district_hub/notices-{incident_id}"
        assert shown() == []
        for district in ("xihu", "gongshu"):
            command.tell(hub.NoticeEscalated(**notice(district)), stream=stream)
        assert shown() == ["gongshu", "xihu"]
        command.tell(hub.NoticeAcknowledged(**notice("xihu")), stream=stream)
        assert shown() == ["gongshu"]
        command.tell(hub.NoticeWithdrawn(**notice("gongshu")), stream=stream)
        assert shown() == []
