"""Bridges, tunnels and utilities, dogs, and cases of enforcement while the service runs."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as pb
from citybrain.urban.v1 import parking_pb2 as parking
from citybrain.urban.v1 import urban_service_pb2 as orders
from citybrain.urban.v1.hotline_pb2 import Contact
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.urban import dogs, facilities
from citybrain.services.urban import field_views as views
from tests.unit.urban.conftest import HERE, told

DAY = 86_400
OWNER = Contact(name="王建国", phone="+8613800003333")
DIGEST = "ab" * 32


def facility(urban: Running, name: str = "古运河桥", days: int = 30) -> pb.Facility:
    request = pb.RegisterFacilityRequest(
        facility_id="b1", kind="bridge", name=name, position=HERE, district_id="xihu", check_days=days
    )
    found: pb.Facility = urban.fire("RegisterFacility", request).facility
    return found


def check(urban: Running, grade: str) -> pb.Facility:
    request = pb.ReportCheckRequest(facility_id="b1", grade=grade, findings="cracks")
    found: pb.Facility = urban.fire("ReportCheck", request).facility
    return found


def test_a_dangerous_bridge_is_closed_mended_and_open_again_when_a_check_says_so(urban: Running) -> None:
    facility(urban)
    assert (check(urban, "C").closed, told(urban, ev.WorkOrderOpened)) == (False, [])
    unfit = check(urban, "D")
    assert (unfit.closed, unfit.order_id != "") == (False, True)
    worse = check(urban, "E")
    assert (worse.closed, worse.order_id) == (True, unfit.order_id)
    assert check(urban, "E").closed
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.kind, order.subject_id, order.order_id) == ("bridge", "b1", unfit.order_id)
    assert len(told(urban, ev.FacilityClosed)) == 1
    assert facility(urban, "运河桥").closed
    good = check(urban, "B")
    assert (good.closed, good.order_id, good.grade) == (False, "", "B")
    assert len(told(urban, ev.FacilityReopened)) == 1


def test_a_bridge_that_is_unfit_again_after_its_work_was_done_gets_another_work_order(urban: Running) -> None:
    facility(urban)
    first = check(urban, "D").order_id
    urban.fire("FinishWorkOrder", orders.FinishWorkOrderRequest(order_id=first, outcome="mended"))
    second = check(urban, "D").order_id
    assert second != first
    assert urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=second)).order.state == orders.ORDER_STATE_WAITING
    assert check(urban, "E").order_id == second


def test_what_a_check_finds_fit_needs_no_work_any_more(urban: Running) -> None:
    facility(urban)
    order_id = check(urban, "D").order_id
    check(urban, "B")
    assert urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=order_id)).order.state == orders.ORDER_STATE_DONE


def test_a_check_that_is_missed_is_told_once_with_a_work_order_and_counts_from_the_last_one(urban: Running) -> None:
    facility(urban)
    urban.advance(20 * DAY)
    check(urban, "A")
    urban.advance(29 * DAY)
    urban.rest()
    assert told(urban, ev.FacilityCheckMissed) == []
    urban.advance(3 * DAY)
    urban.rest()
    (missed,) = told(urban, ev.FacilityCheckMissed)
    assert urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=missed.order_id)).order.subject_id == "b1"
    check(urban, "A")
    urban.advance(32 * DAY)
    urban.rest()
    assert len(told(urban, ev.FacilityCheckMissed)) == 2


def test_what_is_not_known_and_what_is_no_grade_is_refused(urban: Running) -> None:
    with pytest.raises(NotFound):
        check(urban, "A")
    facility(urban)
    with pytest.raises(BadRequest, match="grade"):
        check(urban, "F")
    assert urban.fire("GetFacility", pb.GetFacilityRequest(facility_id="b1"), district="xihu").facility.grade == ""
    with pytest.raises(Forbidden):
        urban.fire("GetFacility", pb.GetFacilityRequest(facility_id="b1"), district="gongshu")


def dog(urban: Running, days: int) -> pb.Dog:
    until = timestamp(urban.advance() + days * DAY * 1_000_000)
    request = pb.RegisterDogRequest(tag_id="HZ-1", district_id="xihu", vaccinated_until=until, owner=OWNER)
    found: pb.Dog = urban.fire("RegisterDog", request).dog
    return found


def test_a_vaccination_that_has_ended_is_told_once_and_a_renewed_one_again(urban: Running) -> None:
    dog(urban, 10)
    urban.advance(9 * DAY)
    urban.rest()
    assert told(urban, ev.DogVaccinationDue) == []
    urban.advance(3 * DAY)
    urban.rest()
    assert [one.tag_id for one in told(urban, ev.DogVaccinationDue)] == ["HZ-1"]
    assert urban.fire("GetDog", pb.GetDogRequest(tag_id="HZ-1")).dog.due
    assert not dog(urban, 10).due
    urban.rest()
    urban.advance(12 * DAY)
    urban.rest()
    assert len(told(urban, ev.DogVaccinationDue)) == 2
    with pytest.raises(BadRequest, match="vaccinated_until"):
        dog(urban, -1)
    with pytest.raises(NotFound):
        urban.fire("GetDog", pb.GetDogRequest(tag_id="HZ-2"))


def test_owners_and_parties_are_sealed(urban: Running) -> None:
    dog(urban, 10)
    opened(urban, party=OWNER)
    for event in urban.events(ev.DogRegistered, ev.CaseOpened):
        assert OWNER.phone.encode() not in event.stored.data
        assert OWNER.phone not in event.stored.stream


def opened(urban: Running, team: str = "north", **more: Any) -> str:
    request = pb.OpenCaseRequest(**{"matter": "占道经营", "team": team, "position": HERE, "district_id": "xihu", **more})
    return str(urban.fire("OpenCase", request).case.case_id)


def evidence(urban: Running, case_id: str, digest: str = DIGEST, ahead_s: int = 0) -> pb.Case:
    at = timestamp(urban.advance() + ahead_s * 1_000_000)
    request = pb.AddEvidenceRequest(case_id=case_id, evidence=pb.Evidence(digest=digest, what="a picture", taken_at=at))
    found: pb.Case = urban.fire("AddEvidence", request).case
    return found


def decide(urban: Running, case_id: str, *, withdrawn: bool = False) -> pb.Case:
    request = pb.DecideCaseRequest(case_id=case_id, decision="a fine", fine_fen=20_000, withdrawn=withdrawn)
    found: pb.Case = urban.fire("DecideCase", request).case
    return found


def test_a_case_is_decided_on_evidence_only_and_an_overturned_decision_is_withdrawn(urban: Running) -> None:
    one = opened(urban)
    with pytest.raises(Refused, match="no evidence"):
        decide(urban, one)
    with pytest.raises(BadRequest, match="taken_at"):
        evidence(urban, one, ahead_s=60)
    assert [len(evidence(urban, one).evidence) for _ in range(2)] == [1, 1]
    assert decide(urban, one).state == pb.CASE_STATE_DECIDED
    with pytest.raises(Refused, match="has ended"):
        evidence(urban, one, "cd" * 32)
    with pytest.raises(Refused, match="is decided"):
        decide(urban, one)
    gone = decide(urban, one, withdrawn=True)
    assert (gone.state, gone.fine_fen) == (pb.CASE_STATE_WITHDRAWN, 0)
    assert told(urban, ev.CaseWithdrawn)[0].was_decided
    with pytest.raises(Refused, match="is withdrawn"):
        decide(urban, one)
    with pytest.raises(NotFound):
        urban.fire("GetCase", pb.GetCaseRequest(case_id="case-00000000000a"))


def test_the_performance_of_teams_is_in_time_up_to_the_ninetieth_day_and_without_what_was_overturned(urban: Running) -> None:
    cases = [opened(urban) for _ in range(4)] + [opened(urban, "south")]
    for one in cases:
        evidence(urban, one)
    urban.advance(90 * DAY)
    decide(urban, cases[0])
    decide(urban, cases[1])
    urban.advance(10 * DAY)
    decide(urban, cases[2])
    decide(urban, cases[1], withdrawn=True)
    decide(urban, cases[3], withdrawn=True)
    urban.rest()
    asked = pb.GetPerformanceRequest(district_id="xihu", page_size=1)
    first = urban.fire("GetPerformance", asked)
    (north,) = first.teams
    assert (north.team, north.opened, north.decided, north.in_time, north.withdrawn) == ("north", 4, 2, 1, 2)
    assert (north.overturned, north.open, north.overdue, north.reopened) == (1, 0, 0, 0)
    assert north.mean_days == pytest.approx(95)
    asked.page_token = first.next_page_token
    (south,) = urban.fire("GetPerformance", asked).teams
    assert (south.team, south.open, south.overdue) == ("south", 1, 1)


def test_the_performance_is_of_cases_that_were_opened_in_the_months_that_it_names(urban: Running) -> None:
    early = opened(urban)
    evidence(urban, early)
    decide(urban, early)
    urban.advance(65 * DAY)
    evidence(urban, opened(urban))
    urban.rest()
    both = urban.fire("GetPerformance", pb.GetPerformanceRequest(district_id="xihu"))
    one = urban.fire("GetPerformance", pb.GetPerformanceRequest(district_id="xihu", months=1))
    assert [(found.teams[0].opened, found.teams[0].decided) for found in (both, one)] == [(2, 1), (1, 0)]
    begin = views.month_of(urban.advance())
    assert getattr(one, "from").seconds * 1_000_000 == views.begin_of_month(begin)
    assert views.month_of(views.begin_of_month(begin) - 1) == begin - 1


def test_a_decision_that_is_sent_back_counts_no_more_and_is_made_anew_in_ninety_days(urban: Running) -> None:
    one = opened(urban)
    reopen = pb.ReopenCaseRequest(case_id=one, reason="the court: no hearing was offered")
    with pytest.raises(Refused, match="not decided"):
        urban.fire("ReopenCase", reopen)
    evidence(urban, one)
    decide(urban, one)
    urban.advance(100 * DAY)
    again = urban.fire("ReopenCase", reopen).case
    assert (again.state, again.fine_fen, again.reopened, again.HasField("ended_at")) == (pb.CASE_STATE_OPEN, 0, 1, False)
    assert len(evidence(urban, one, "cd" * 32).evidence) == 2
    urban.rest()
    (team,) = urban.fire("GetPerformance", pb.GetPerformanceRequest(district_id="xihu")).teams
    assert (team.opened, team.decided, team.open, team.overdue, team.reopened, team.mean_days) == (1, 0, 1, 0, 1, 0)
    urban.advance(80 * DAY)
    decide(urban, one)
    urban.rest()
    (team,) = urban.fire("GetPerformance", pb.GetPerformanceRequest(district_id="xihu")).teams
    assert (team.decided, team.in_time) == (1, 1)


def listed(urban: Running, state: int = 0, *, overdue: bool = False) -> list[str]:
    """The ids of a list, read in pages of one."""
    asked = pb.ListCasesRequest(district_id="xihu", overdue=overdue, page_size=1)
    asked.state = state  # type: ignore[assignment]
    found: list[str] = []
    while True:
        page = urban.fire("ListCases", asked)
        found += [one.case_id for one in page.cases]
        if not page.next_page_token:
            return found
        asked.page_token = page.next_page_token


def test_cases_of_a_district_are_listed_by_state_in_pages(urban: Running) -> None:
    first, second = opened(urban, party=OWNER), opened(urban)
    urban.advance(DAY)
    third, elsewhere = opened(urban), opened(urban, district_id="gongshu")
    urban.rest()
    assert (sorted(listed(urban)[:2]), listed(urban)[2:]) == (sorted([first, second]), [third])
    for one in (first, second):
        evidence(urban, one)
    decide(urban, first)
    decide(urban, second, withdrawn=True)
    urban.advance(89 * DAY)
    urban.rest()
    assert listed(urban) == [third]
    assert (listed(urban, pb.CASE_STATE_DECIDED), listed(urban, pb.CASE_STATE_WITHDRAWN)) == ([first], [second])
    assert listed(urban, overdue=True) == []
    urban.fire("ReopenCase", pb.ReopenCaseRequest(case_id=first, reason="anew"))
    urban.advance(2 * DAY)
    urban.rest()
    assert (listed(urban), listed(urban, overdue=True)) == ([third, first], [third])
    assert (listed(urban, pb.CASE_STATE_DECIDED), listed(urban, pb.CASE_STATE_WITHDRAWN)) == ([], [second])
    decide(urban, first, withdrawn=True)
    urban.rest()
    assert sorted(listed(urban, pb.CASE_STATE_WITHDRAWN)) == sorted([first, second])
    shown = urban.fire("ListCases", pb.ListCasesRequest(district_id="gongshu")).cases[0]
    assert (shown.case_id, shown.matter, shown.team, shown.state) == (elsewhere, "占道经营", "north", pb.CASE_STATE_OPEN)
    assert OWNER.phone not in str(urban.fire("ListCases", pb.ListCasesRequest(district_id="xihu")))
    with pytest.raises(BadRequest, match="overdue"):
        listed(urban, pb.CASE_STATE_DECIDED, overdue=True)


def test_facilities_of_a_district_are_listed_by_when_they_are_to_be_checked(urban: Running) -> None:
    def register(facility_id: str, kind: str, days: int, district_id: str = "xihu") -> None:
        request = pb.RegisterFacilityRequest(
            facility_id=facility_id, kind=kind, name="x", position=HERE, district_id=district_id, check_days=days
        )
        urban.fire("RegisterFacility", request)

    def ids(**more: Any) -> list[str]:
        urban.rest()
        found, asked = list[str](), pb.ListFacilitiesRequest(district_id="xihu", page_size=1, **more)
        while True:
            page = urban.fire("ListFacilities", asked)
            found += [one.facility_id for one in page.facilities]
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    register("b1", "bridge", 30)
    register("g1", "gas", 10)
    register("t1", "tunnel", 20)
    register("g2", "gas", 5, "gongshu")
    assert ids() == ["g1", "t1", "b1"]
    assert ids(kind="gas") == ["g1"]
    urban.advance(15 * DAY)
    assert ids(overdue=True) == ["g1"]
    urban.fire("ReportCheck", pb.ReportCheckRequest(facility_id="g1", grade="E", findings="leaks"))
    assert (ids(overdue=True), ids(), ids(closed=True)) == ([], ["t1", "g1", "b1"], ["g1"])
    register("b1", "bridge", 10)
    assert ids() == ["b1", "t1", "g1"]
    register("b1", "bridge", 10, "gongshu")
    assert ids() == ["t1", "g1"]
    urban.advance(20 * DAY)
    urban.rest()
    assert {one.facility_id for one in told(urban, ev.FacilityCheckMissed)} == {"b1", "g1", "g2", "t1"}
    shown = urban.fire("ListFacilities", pb.ListFacilitiesRequest(district_id="xihu")).facilities[0]
    assert shown == urban.fire("GetFacility", pb.GetFacilityRequest(facility_id="t1")).facility
    assert shown.due_at.seconds > 0


def test_dogs_of_a_district_are_listed_by_the_end_of_their_vaccination_without_their_owners(urban: Running) -> None:
    def register(tag_id: str, days: int, district_id: str = "xihu") -> None:
        until = timestamp(urban.advance() + days * DAY * 1_000_000)
        urban.fire(
            "RegisterDog", pb.RegisterDogRequest(tag_id=tag_id, district_id=district_id, vaccinated_until=until, owner=OWNER)
        )
        urban.rest()

    def ids(*, overdue: bool = False) -> list[str]:
        found, asked = list[str](), pb.ListDogsRequest(district_id="xihu", overdue=overdue, page_size=1)
        while True:
            page = urban.fire("ListDogs", asked)
            found += [one.tag_id for one in page.dogs]
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    register("HZ-1", 30)
    register("HZ-2", 10)
    register("HZ-3", 5, "gongshu")
    assert (ids(), ids(overdue=True)) == (["HZ-2", "HZ-1"], [])
    urban.advance(10 * DAY)
    assert ids(overdue=True) == ["HZ-2"], "at its end itself it has ended"
    urban.advance(DAY)
    urban.rest()
    assert urban.fire("ListDogs", pb.ListDogsRequest(district_id="xihu", overdue=True)).dogs[0].due
    register("HZ-2", 365)
    assert (ids(), ids(overdue=True)) == (["HZ-1", "HZ-2"], [])
    register("HZ-2", 365, "gongshu")
    assert ids() == ["HZ-1"]
    answered = str(urban.fire("ListDogs", pb.ListDogsRequest(district_id="xihu")))
    assert OWNER.phone not in answered


def test_what_is_late_is_told_once_also_before_the_read_model_knows() -> None:
    now = 100 * DAY * 1_000_000
    one = facilities.State(pb.Facility(facility_id="b1", check_days=30), due_from=1)
    (missed,) = facilities.miss(one, "wo-1", now)
    assert facilities.miss(facilities.evolve(one, missed), "wo-1", now) == []
    pet = dogs.State(pb.Dog(tag_id="HZ-1", vaccinated_until=timestamp(1)))
    (due,) = dogs.fall_due(pet, now)
    assert dogs.fall_due(dogs.evolve(pet, due), now) == []


def test_a_place_outside_the_city_is_refused_wherever_one_is_named(urban: Running) -> None:
    there = Position(latitude=31.2, longitude=121.5)
    price = parking.ParkingPrice(unit_minutes=30)
    common: dict[str, Any] = {"position": there, "district_id": "xihu"}
    for method, request, field in (
        (
            "RegisterFacility",
            pb.RegisterFacilityRequest(facility_id="b", kind="gas", name="x", check_days=1, **common),
            "position",
        ),
        ("OpenCase", pb.OpenCaseRequest(matter="x", team="x", **common), "position"),
        ("RegisterParking", parking.RegisterParkingRequest(lot_id="p", name="x", bays=1, price=price, **common), "position"),
        (
            "RegisterComponent",
            parts.RegisterComponentRequest(component_id="c", component_class="other", name="x", **common),
            "position",
        ),
        (
            "RegisterDevices",
            dev.RegisterDevicesRequest(devices=[dev.Device(device_id="d", kind="rain", **common)]),
            r"devices\[0\].position",
        ),
    ):
        with pytest.raises(BadRequest, match=rf"{field}: 31.2, 121.5 is outside of the city"):
            urban.fire(method, request)
