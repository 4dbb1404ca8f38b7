"""Reports while the service runs: into which incident they go, whatever comes at once or was cut off."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.testing import Running, running
from citybrain.services.safety.service import SafetyService
from tests.unit.safety.conftest import ROADS, close, get, report, signal

A, B = "saf-00000000000a", "saf-00000000000b"


def test_reports_of_one_fire_are_one_incident_and_it_shows_all_of_them(safety: Running) -> None:
    first = safety.fire("ReportSignal", signal(metres=10, source=pb.SIGNAL_SOURCE_110))
    second = safety.fire("ReportSignal", signal(metres=200, source=pb.SIGNAL_SOURCE_VIDEO))
    other = safety.fire("ReportSignal", signal("e3"))
    assert (first.opened, second.opened, other.opened) == (True, False, True)
    assert first.incident.incident_id == second.incident.incident_id != other.incident.incident_id
    found = get(safety, first.incident.incident_id)
    assert [each.signal_id for each in found.signals] == sorted([first.signal_id, second.signal_id])
    assert (found.incident.signals, found.incident.district_id, found.incident.place.position_m) == (2, "west", 10)
    assert len(safety.events(ev.SafetyIncidentOpened)) == 2


def test_another_kind_at_the_same_place_is_another_incident(safety: Running) -> None:
    assert report(safety) != report(safety, kind=pb.EVENT_KIND_CROWD)


def test_the_same_request_twice_is_one_report_also_after_the_end(safety: Running) -> None:
    answers = [safety.fire("ReportSignal", signal(), request_id="r1") for _ in range(2)]
    close(safety, answers[0].incident.incident_id)
    answers.append(safety.fire("ReportSignal", signal(), request_id="r1"))
    assert answers[0] == answers[1] == answers[2]
    assert len(safety.events(ev.SignalReceived)) == 1


def test_a_report_again_is_answered_as_before_also_where_it_was_split_off_since(safety: Running) -> None:
    report(safety)
    first = safety.fire("ReportSignal", signal(), request_id="r1")
    incident_id = first.incident.incident_id
    split = pb.SplitSignalRequest(incident_id=incident_id, signal_id=first.signal_id, reason="another house")
    assert safety.fire("SplitSignal", split).incident.incident_id != incident_id
    assert safety.fire("ReportSignal", signal(), request_id="r1") == first


def test_an_incident_that_is_closed_takes_no_report(safety: Running) -> None:
    before = report(safety)
    assert close(safety, before).state == pb.INCIDENT_STATE_CLOSED
    assert report(safety) != before


def test_many_reports_at_once_open_one_incident(safety: Running) -> None:
    found: list[str] = []
    calls = [threading.Thread(target=lambda: found.append(report(safety))) for _ in range(8)]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    assert (len(found), len(set(found))) == (8, 1)
    assert get(safety, found[0]).incident.signals == 8
    assert len(safety.events(ev.SafetyIncidentOpened)) == 1


def test_a_report_is_observed_when_its_source_says_and_a_clock_that_is_wrong_is_refused(safety: Running) -> None:
    now = safety.advance(7200) // 1_000_000
    earlier = report(safety, observed_at=Timestamp(seconds=now - 3601))
    assert report(safety) != earlier
    assert report(safety, observed_at=Timestamp(seconds=now - 3700)) == earlier
    for wrong in (now - 86_402, now + 62):
        with pytest.raises(BadRequest, match="observed_at"):
            report(safety, observed_at=Timestamp(seconds=wrong))


def test_a_report_says_where_it_is_by_a_road_that_is_long_enough_or_a_position(safety: Running) -> None:
    nowhere = signal()
    nowhere.ClearField("place")
    with pytest.raises(BadRequest, match="say where it is"):
        safety.fire("ReportSignal", nowhere)
    with pytest.raises(BadRequest) as caught:
        report(safety, "e1", 99_999)
    assert caught.value.violations == [("place.position_m", "is 99999 m, and road 'e1' is 500 m long: give a place on it")]
    # An emergency on a road that nobody has published does not wait for that.
    assert report(safety, "e99", 99_999)
    nowhere.position.CopyFrom(pb.Position(latitude=30.25, longitude=120.15))
    nowhere.district_id = "xihu"
    assert safety.fire("ReportSignal", nowhere).incident.district_id == "xihu"
    for wrong in (91.0, float("nan")):
        nowhere.position.latitude = wrong
        with pytest.raises(BadRequest, match="latitude"):
            safety.fire("ReportSignal", nowhere)


# -- what was cut off, or not known yet ---------------------------------------------------------------------------------------


def sorted_to(incident: str, edge: str = "e1") -> ev.SignalSorted:
    place, at = RoadPlace(edge_id=edge), Timestamp(seconds=1_767_571_200)
    return ev.SignalSorted(signal_id="s0", incident_id=incident, kind=pb.EVENT_KIND_FIRE, place=place, observed_at=at)


def begun(incident: str, *signals: str, at: int = 1_767_571_200) -> list[Any]:
    place = RoadPlace(edge_id="e1")
    received = [
        ev.SignalReceived(incident_id=incident, signal=pb.Signal(signal_id=name, kind=pb.EVENT_KIND_FIRE, place=place))
        for name in signals
    ]
    opened = ev.SafetyIncidentOpened(incident_id=incident, kind=pb.EVENT_KIND_FIRE, opened_at=Timestamp(seconds=at))
    return [opened, *received]


def test_a_report_that_was_sorted_to_an_incident_which_ended_meanwhile_opens_another() -> None:
    ended = [*begun(A, "s0"), ev.SafetyIncidentClosed(incident_id=A, outcome="put out")]
    with running(SafetyService, boards={"fire": [sorted_to(A)]}, incidents={A: ended}) as safety:
        answer = safety.fire("ReportSignal", signal(), request_id="r1")
        assert answer.opened and answer.incident.incident_id != A
        assert [event.data for event in safety.events(ev.SortingEnded)] == [ev.SortingEnded(incident_id=A)]
        # The next one finds it at once.
        assert report(safety) == answer.incident.incident_id
        assert safety.fire("ReportSignal", signal(), request_id="r1") == answer


def test_a_report_that_was_sorted_to_an_incident_which_is_one_with_another_goes_there() -> None:
    merged = [*begun(A, "s0"), ev.SafetyIncidentMerged(incident_id=A, into_incident_id=B, reason="one fire")]
    with running(SafetyService, boards={"fire": [sorted_to(A)]}, incidents={A: merged, B: begun(B, "s1")}) as safety:
        assert report(safety) == report(safety) == B
        told = [ev.SortingEnded(incident_id=A, into_incident_id=B)]
        assert [event.data for event in safety.events(ev.SortingEnded)] == told


def test_an_incident_that_a_cut_off_report_was_to_open_is_opened_by_the_next() -> None:
    with running(SafetyService, boards={"fire": [sorted_to(A)]}) as safety:
        answer = safety.fire("ReportSignal", signal())
        assert (answer.incident.incident_id, answer.opened, answer.incident.signals) == (A, True, 1)


def test_a_split_that_was_cut_off_is_finished_by_the_next_call() -> None:
    off = ev.SignalSplitOff(incident_id=A, signal_id="s1", to_incident_id=B, reason="another house")
    with running(SafetyService, incidents={A: [*begun(A, "s0", "s1"), off]}) as safety:
        split = pb.SplitSignalRequest(incident_id=A, signal_id="s1", reason="another house")
        answers = [safety.fire("SplitSignal", split).incident for _ in range(2)]
        assert [(one.incident_id, one.signals, one.split_from_id) for one in answers] == [(B, 1, A)] * 2
        assert len(safety.events(ev.SignalSplitOff)) == len(safety.events(ev.SignalSorted)) == 1


def test_a_merge_that_was_cut_off_is_finished_by_the_next_call() -> None:
    younger = [*begun(B, "s1", at=1_767_571_300), ev.SafetyIncidentMerged(incident_id=B, into_incident_id=A, reason="one fire")]
    with running(SafetyService, boards={"fire": [sorted_to(B, "e3")]}, incidents={A: begun(A, "s0"), B: younger}) as safety:
        for _ in range(2):
            safety.fire("MergeIncidents", pb.MergeIncidentsRequest(incident_id=A, other_incident_id=B, reason="one fire"))
        assert len(get(safety, A).signals) == 2
        assert report(safety, "e3") == A
        assert len(safety.events(ev.SafetyIncidentAbsorbed)) == len(safety.events(ev.SortingEnded)) == 1


# -- what a person decides ----------------------------------------------------------------------------------------------------


def test_a_report_that_is_split_off_has_an_incident_of_its_own_and_the_next_ones_near_it_go_there(safety: Running) -> None:
    stays = safety.fire("ReportSignal", signal(metres=10))
    goes = safety.fire("ReportSignal", signal(metres=200))
    incident_id = stays.incident.incident_id
    request = pb.SplitSignalRequest(incident_id=incident_id, signal_id=goes.signal_id, reason="another house")
    new = safety.fire("SplitSignal", request).incident
    assert (new.split_from_id, new.signals, new.district_id, new.place.position_m) == (incident_id, 1, "west", 200)
    assert [each.signal_id for each in get(safety, incident_id).signals] == [stays.signal_id]
    assert [each.signal_id for each in get(safety, new.incident_id).signals] == [goes.signal_id]
    assert report(safety, "e1", 190) == new.incident_id
    assert report(safety, "e1", 20) == incident_id
    (event,) = safety.events(ev.SignalSplitOff)
    assert event.data.reason == "another house"  # type: ignore[attr-defined]


def test_of_two_incidents_that_are_one_the_older_stays_with_the_reports_of_both(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    younger = report(safety, "e3")
    safety.fire("AssessIncident", pb.AssessIncidentRequest(incident_id=younger, dead=3))
    # The younger is named first, and it is the older that stays.
    merge = pb.MergeIncidentsRequest(incident_id=younger, other_incident_id=older, reason="one fire")
    stays = safety.fire("MergeIncidents", merge, request_id="m1").incident
    assert (stays.incident_id, stays.grade, stays.state) == (older, pb.GRADE_LARGER, pb.INCIDENT_STATE_OPEN)
    gone = get(safety, younger).incident
    assert (gone.state, gone.merged_into_id, gone.outcome) == (pb.INCIDENT_STATE_MERGED, older, "one fire")
    assert len(get(safety, older).signals) == 2
    assert report(safety, "e3") == older
    assert safety.fire("MergeIncidents", merge, request_id="m1").incident == stays


def test_two_who_merge_the_same_two_at_once_in_either_order_make_one_of_them(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    younger = report(safety, "e3")
    answers: list[str] = []

    def merge(one: str, other: str) -> None:
        request = pb.MergeIncidentsRequest(incident_id=one, other_incident_id=other, reason="one fire")
        answers.append(safety.fire("MergeIncidents", request).incident.incident_id)

    calls = [threading.Thread(target=merge, args=pair) for pair in ((older, younger), (younger, older))]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    assert answers == [older, older]
    assert len(safety.events(ev.SafetyIncidentMerged)) == len(safety.events(ev.SafetyIncidentAbsorbed)) == 1


def test_incidents_of_two_kinds_may_be_one_and_a_report_of_the_second_kind_goes_there(safety: Running) -> None:
    fire = report(safety, "e1")
    safety.advance(60)
    gas = report(safety, "e1", 0, kind=pb.EVENT_KIND_GAS_LEAK)
    safety.fire("MergeIncidents", pb.MergeIncidentsRequest(incident_id=fire, other_incident_id=gas, reason="it exploded"))
    assert report(safety, "e1", 0, kind=pb.EVENT_KIND_GAS_LEAK) == fire
    close(safety, fire)
    assert report(safety, "e1", 0, kind=pb.EVENT_KIND_GAS_LEAK) not in (fire, gas)


def test_what_cannot_be_merged_or_split_is_told(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    younger = report(safety, "e3")

    def merge(one: str, other: str) -> None:
        safety.fire("MergeIncidents", pb.MergeIncidentsRequest(incident_id=one, other_incident_id=other, reason="one fire"))

    with pytest.raises(BadRequest, match="the same incident"):
        merge(older, older)
    with pytest.raises(NotFound, match=B):
        merge(older, B)
    with pytest.raises(NotFound, match=B):
        safety.fire("SplitSignal", pb.SplitSignalRequest(incident_id=B, signal_id="s1", reason="another house"))
    close(safety, older)
    with pytest.raises(Refused, match=f"{older} is closed: put out"):
        merge(older, younger)
    assert get(safety, younger).incident.state == pb.INCIDENT_STATE_OPEN


def test_a_report_of_what_was_merged_is_split_off_from_what_it_is_now(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    second = safety.fire("ReportSignal", signal("e3"))
    younger = second.incident.incident_id
    safety.fire("MergeIncidents", pb.MergeIncidentsRequest(incident_id=older, other_incident_id=younger, reason="one fire"))
    split = pb.SplitSignalRequest(incident_id=older, signal_id=second.signal_id, reason="two after all")
    new = safety.fire("SplitSignal", split).incident
    assert new.incident_id not in (older, younger) and new.split_from_id == younger
    assert len(get(safety, older).signals) == len(get(safety, new.incident_id).signals) == 1


def test_a_report_that_was_split_off_and_merged_back_may_be_split_off_again_and_a_retry_is_not_that(safety: Running) -> None:
    older = report(safety)
    name = safety.fire("ReportSignal", signal()).signal_id
    split = pb.SplitSignalRequest(incident_id=older, signal_id=name, reason="another house")
    safety.advance(60)
    first = safety.fire("SplitSignal", split, request_id="r1").incident
    merge = pb.MergeIncidentsRequest(incident_id=older, other_incident_id=first.incident_id, reason="the same house")
    safety.fire("MergeIncidents", merge)
    assert safety.fire("SplitSignal", split, request_id="r1").incident == first
    second = safety.fire("SplitSignal", split, request_id="r2").incident
    assert second.incident_id not in (older, first.incident_id)
    assert [each.signal_id for each in get(safety, second.incident_id).signals] == [name]
    assert name not in [each.signal_id for each in get(safety, older).signals]


def test_what_has_ended_leaves_the_board_at_once_so_that_it_does_not_grow(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    younger = report(safety, "e3")
    safety.fire("MergeIncidents", pb.MergeIncidentsRequest(incident_id=older, other_incident_id=younger, reason="one fire"))
    moved = ev.SortingEnded(incident_id=younger, into_incident_id=older)
    assert [event.data for event in safety.events(ev.SortingEnded)] == [moved]
    close(safety, older)
    assert [event.data for event in safety.events(ev.SortingEnded)] == [moved, ev.SortingEnded(incident_id=older)]


# -- lists --------------------------------------------------------------------------------------------------------------------


def test_incidents_are_listed_newest_first_by_state_grade_kind_district_and_time(safety: Running) -> None:
    ids: list[str] = []
    moments: list[Timestamp] = []
    for place, kind in ((("e1",), pb.EVENT_KIND_FIRE), (("e7",), pb.EVENT_KIND_FLOOD), (("e99",), pb.EVENT_KIND_CRIME)):
        now = safety.advance(60)
        moments.append(Timestamp(seconds=now // 1_000_000))
        ids.append(report(safety, *place, kind=kind))
    close(safety, ids[1])
    safety.fire("AssessIncident", pb.AssessIncidentRequest(incident_id=ids[0], badly_hurt=10))
    safety.fire("ConfirmGrade", pb.ConfirmGradeRequest(incident_id=ids[0], grade=pb.GRADE_MAJOR, reason="a plant"))
    safety.rest()

    def listed(**question: Any) -> list[int]:
        found = safety.fire("ListIncidents", pb.ListIncidentsRequest(**question)).incidents
        for one in found:
            assert one == get(safety, one.incident_id).incident
        return [ids.index(one.incident_id) for one in found]

    assert listed() == [2, 1, 0]
    assert listed(states=[pb.INCIDENT_STATE_OPEN]) == [2, 0]
    assert listed(grades=[pb.GRADE_MAJOR]) == [0]
    assert listed(grades=[pb.GRADE_UNSPECIFIED]) == [2, 1]
    assert listed(kinds=[pb.EVENT_KIND_FLOOD, pb.EVENT_KIND_CRIME]) == [2, 1]
    assert listed(district_id="east") == [1]
    assert listed(opened_from=moments[1], opened_before=moments[2]) == [1]


def test_the_list_shows_what_an_incident_has_become(safety: Running) -> None:
    older = report(safety, "e1")
    safety.advance(60)
    moved = safety.fire("ReportSignal", signal("e3"))
    position = pb.Position(latitude=30.25, longitude=120.15)
    safety.fire("ReportSignal", signal("e3", position=position))
    split = pb.SplitSignalRequest(incident_id=moved.incident.incident_id, signal_id=moved.signal_id, reason="two")
    safety.fire("SplitSignal", split)
    safety.fire(
        "ConfirmGrade",
        pb.ConfirmGradeRequest(incident_id=moved.incident.incident_id, grade=pb.GRADE_EXTRA_MAJOR, reason="a plant"),
    )
    merge = pb.MergeIncidentsRequest(incident_id=older, other_incident_id=moved.incident.incident_id, reason="one fire")
    safety.fire("MergeIncidents", merge)
    safety.rest()
    listed = safety.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
    assert len(listed) == 3
    for one in listed:
        assert one == get(safety, one.incident_id).incident


def test_incidents_and_the_reports_of_one_are_read_in_pages(safety: Running) -> None:
    incidents = []
    for edge in ("e1", "e3", "e5"):
        safety.advance(60)
        incidents.append(report(safety, edge))
    for _ in range(4):
        safety.advance(1)
        report(safety, "e5")
    safety.rest()
    first = safety.fire("ListIncidents", pb.ListIncidentsRequest(page_size=2))
    rest = safety.fire("ListIncidents", pb.ListIncidentsRequest(page_size=2, page_token=first.next_page_token))
    pages = [[one.incident_id for one in page.incidents] for page in (first, rest)]
    assert (pages, rest.next_page_token) == ([incidents[:0:-1], incidents[:1]], "")
    seen, token = [], ""
    for size in (2, 2, 1):
        asked = pb.GetIncidentRequest(incident_id=incidents[2], page_size=2, page_token=token)
        answer = safety.fire("GetIncident", asked)
        assert len(answer.signals) == size
        seen += [each.received_at.ToMicroseconds() for each in answer.signals]
        token = answer.next_page_token
    assert token == "" and seen == sorted(set(seen))


def test_an_incident_shows_what_each_source_counted_last(safety: Running) -> None:
    incident_id = report(safety)
    for source, dead in ((pb.SIGNAL_SOURCE_120, 2), (pb.SIGNAL_SOURCE_110, 1), (pb.SIGNAL_SOURCE_120, 3)):
        asked = pb.AssessIncidentRequest(incident_id=incident_id, source=source, dead=dead)
        after = safety.fire("AssessIncident", asked).incident
    assert (after.grade, after.colour) == (pb.GRADE_LARGER, pb.COLOUR_YELLOW)
    assert [(one.source, one.dead) for one in get(safety, incident_id).assessments] == [
        (pb.SIGNAL_SOURCE_110, 1),
        (pb.SIGNAL_SOURCE_120, 3),
    ]
    grades = [(event.data.old_grade, event.data.new_grade) for event in safety.events(ev.SafetyIncidentGraded)]  # type: ignore[attr-defined]
    assert grades == [(pb.GRADE_UNSPECIFIED, pb.GRADE_GENERAL), (pb.GRADE_GENERAL, pb.GRADE_LARGER)]


def test_who_confirms_a_grade_is_who_calls_and_somebody_else_takes_nothing_back(safety: Running) -> None:
    incident_id = report(safety)

    def confirm(grade: pb.Grade, caller: str) -> Any:
        asked = pb.ConfirmGradeRequest(incident_id=incident_id, grade=grade, reason="a plant")
        return safety.fire("ConfirmGrade", asked, caller=caller).incident

    assert confirm(pb.GRADE_MAJOR, "li").confirmed_grade == pb.GRADE_MAJOR
    with pytest.raises(Refused, match=r"li has confirmed major .*: only they can confirm less"):
        confirm(pb.GRADE_LARGER, "wang")
    assert confirm(pb.GRADE_LARGER, "li").grade == pb.GRADE_LARGER


def test_a_service_that_is_started_anew_sorts_as_before(tmp_path: Any) -> None:
    with running(SafetyService, folder=tmp_path) as safety:
        safety.tell(ROADS)
        safety.rest()
        before = report(safety, "e1", 450)
    with running(SafetyService, folder=tmp_path) as safety:
        assert report(safety, "e2", 100) == before
