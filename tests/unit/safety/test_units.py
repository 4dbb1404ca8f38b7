"""Police cars and fire engines while the service runs, whoever calls at once and whatever comes late."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import RoadClosed, RoadReopened

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NoneFree, NotFound, Refused
from citybrain.mesh.roads import routes_to
from citybrain.mesh.testing import Running, running
from citybrain.services.safety.service import SafetyService
from tests.unit.safety.conftest import close, get, report

CAR, ENGINE = pb.UNIT_KIND_POLICE_CAR, pb.UNIT_KIND_FIRE_ENGINE


def register(safety: Running, name: str, edge: str, kind: pb.UnitKind = CAR, district: str = "west", **how: Any) -> pb.Unit:
    place = RoadPlace(edge_id=edge)
    asked = pb.RegisterUnitRequest(unit_id=name, kind=kind, station=place, district_id=district)
    unit: pb.Unit = safety.fire("RegisterUnit", asked, **how).unit
    return unit


def assign(safety: Running, incident_id: str, key: str, cars: int = 1, engines: int = 0, **how: Any) -> list[str]:
    asked = pb.AssignUnitsRequest(incident_id=incident_id, assignment_id=key, police_cars=cars, fire_engines=engines)
    return [unit.unit_id for unit in safety.fire("AssignUnits", asked, **how).units]


def release(safety: Running, incident_id: str, key: str, **how: Any) -> list[str]:
    asked = pb.ReleaseUnitsRequest(incident_id=incident_id, assignment_id=key, reason="over")
    return list(safety.fire("ReleaseUnits", asked, **how).unit_ids)


def units(safety: Running, **question: Any) -> dict[str, str]:
    found = safety.fire("ListUnits", pb.ListUnitsRequest(**question)).units
    return {unit.unit_id: unit.incident_id for unit in found}


@pytest.fixture
def fleet(safety: Running) -> Running:
    """Three police cars and a fire engine on the ring, in front of e5 and behind it."""
    for name, edge in (("p1", "e1"), ("p4", "e4"), ("p6", "e6")):
        register(safety, name, edge)
    register(safety, "f3", "e3", ENGINE)
    return safety


def test_those_come_who_are_there_first_by_road_and_the_answer_says_in_how_many_seconds(fleet: Running) -> None:
    incident_id = report(fleet, "e5", 100)
    asked = pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=2, fire_engines=1)
    sent = fleet.fire("AssignUnits", asked).units
    # p6 stands just behind the place, and would have to drive around the ring.
    assert [(unit.unit_id, unit.kind, unit.route.travel_time_s) for unit in sent] == [
        ("p4", CAR, 8 + 600 / 12),
        ("p1", CAR, round(8 + 2100 / 12, 1)),
        ("f3", ENGINE, 60 + 1100 / 10),
    ]
    assert list(sent[0].route.edge_ids) == ["e4", "e5"]
    assert sorted(get(fleet, incident_id).units, key=lambda unit: unit.unit_id) == sorted(sent, key=lambda unit: unit.unit_id)
    assert units(fleet) == {"f3": incident_id, "p1": incident_id, "p4": incident_id, "p6": ""}
    assert len({event.stored.correlation_id for event in fleet.events(ev.UnitAssigned)} | {incident_id}) == 1


def test_where_too_few_are_free_nobody_is_sent_and_the_caller_is_told_how_many_there_are(fleet: Running) -> None:
    incident_id = report(fleet, "e5")
    with pytest.raises(NoneFree, match="of 2 fire engines only 1 can be sent, so nobody was") as caught:
        assign(fleet, incident_id, "k1", cars=1, engines=2)
    assert caught.value.code.name == "RESOURCE_EXHAUSTED"
    assert set(units(fleet).values()) == {""}
    assert not fleet.events(ev.UnitAssigned)
    assert assign(fleet, incident_id, "k1", engines=1) == ["p4", "f3"]


def test_those_that_there_are_go_at_once_where_fewer_will_do(fleet: Running) -> None:
    incident_id = report(fleet, "e5")
    fewer = pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1, fire_engines=4, or_fewer=True)
    for _ in range(2):
        assert [unit.unit_id for unit in fleet.fire("AssignUnits", fewer).units] == ["p4", "f3"]
    # The same id for others is refused, also for fewer than were sent.
    with pytest.raises(AlreadyDifferent, match="k1 stands already"):
        fleet.fire(
            "AssignUnits", pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=2, or_fewer=True)
        )
    with pytest.raises(AlreadyDifferent, match="k1 stands already"):
        assign(fleet, incident_id, "k1", cars=1, engines=4)
    with pytest.raises(NoneFree, match="of 1 fire engines only 0 can be sent"):
        fleet.fire(
            "AssignUnits", pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k2", fire_engines=1, or_fewer=True)
        )


def test_all_units_of_an_incident_and_of_those_merged_into_it_are_released_at_once(fleet: Running) -> None:
    one, two, other = report(fleet, "e5"), report(fleet, "e8"), report(fleet, "e2")
    for incident_id, key in ((one, "k1"), (two, "k2"), (other, "k3")):
        assert len(assign(fleet, incident_id, key)) == 1
    asked = pb.MergeIncidentsRequest(incident_id=one, other_incident_id=two, reason="one fire")
    older = fleet.fire("MergeIncidents", asked).incident.incident_id
    held = {unit for unit, incident_id in units(fleet).items() if incident_id in (one, two)}
    assert set(release(fleet, older, "")) == held and len(held) == 2
    assert release(fleet, older, "") == []
    assert sorted(filter(None, units(fleet).values())) == [other]


def test_two_who_ask_at_once_never_get_one_unit_and_one_of_them_gets_all_it_asked_for(fleet: Running) -> None:
    incidents = [report(fleet, "e5"), report(fleet, "e8")]
    answers: dict[str, list[str]] = {}

    def call(incident_id: str, key: str) -> None:
        try:
            answers[key] = assign(fleet, incident_id, key, cars=2)
        except NoneFree:
            answers[key] = []

    calls = [threading.Thread(target=call, args=(incidents[n % 2], f"k{n}")) for n in range(4)]
    for one in calls:
        one.start()
    for one in calls:
        one.join()
    assert sorted(map(len, answers.values())) == [0, 0, 0, 2]
    assert len(fleet.events(ev.UnitAssigned)) == 2
    assert sum(bool(incident) for incident in units(fleet).values()) == 2


def test_a_unit_that_is_taken_while_the_ways_are_looked_for_is_passed_over(
    fleet: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = report(fleet, "e5"), report(fleet, "e5", kind=pb.EVENT_KIND_CROWD)
    quicker: list[str] = []

    def slow(*arguments: Any) -> Any:
        if not quicker:
            quicker.append("asks")
            other = threading.Thread(target=lambda: quicker.extend(assign(fleet, second, "k2")))
            other.start()
            other.join()
        return routes_to(*arguments)

    monkeypatch.setattr("citybrain.services.safety.service.routes_to", slow)
    assert assign(fleet, first, "k1") == ["p1"]
    assert quicker == ["asks", "p4"]


def test_an_assignment_again_is_the_same_also_after_everything_has_ended(fleet: Running) -> None:
    incident_id = report(fleet, "e5")
    assert assign(fleet, incident_id, "k1", request_id="r1") == ["p4"]
    assert assign(fleet, incident_id, "k1", request_id="r2") == ["p4"]
    assert release(fleet, incident_id, "k1", request_id="r3") == ["p4"]
    close(fleet, incident_id)
    assert assign(fleet, incident_id, "k1", request_id="r1") == ["p4"]
    assert release(fleet, incident_id, "k1", request_id="r3") == ["p4"]
    assert release(fleet, incident_id, "k1", request_id="r4") == ["p4"]
    assert set(units(fleet).values()) == {""}
    assert len(fleet.events(ev.UnitAssigned)) == len(fleet.events(ev.UnitsReleased)) == 1


def test_a_release_that_overtakes_its_assignment_bars_it(fleet: Running) -> None:
    incident_id = report(fleet, "e5")
    assert release(fleet, incident_id, "k1") == []
    with pytest.raises(Refused, match="k1 was released before it came"):
        assign(fleet, incident_id, "k1")
    assert set(units(fleet).values()) == {""}
    # The workflow may undo what it never did, for an incident that nobody knows.
    assert release(fleet, "saf-00000000000a", "k9") == []


def test_units_are_sent_to_an_incident_that_is_open_and_known(fleet: Running) -> None:
    older = report(fleet, "e5")
    fleet.advance(60)
    younger = report(fleet, "e8")
    merge = pb.MergeIncidentsRequest(incident_id=older, other_incident_id=younger, reason="one fire")
    assert assign(fleet, younger, "k1") == ["p6"]
    fleet.fire("MergeIncidents", merge)
    # Whoever was sent to what is one with it is on the way to it.
    assert [unit.unit_id for unit in get(fleet, older).units] == ["p6"]
    with pytest.raises(Refused, match=f"is one with {older}: name that"):
        assign(fleet, younger, "k2")
    close(fleet, older)
    with pytest.raises(Refused, match="is closed"):
        assign(fleet, older, "k3")
    with pytest.raises(NotFound):
        assign(fleet, "saf-00000000000a", "k4")


def test_where_no_report_named_a_road_the_caller_says_where_they_drive_to(fleet: Running) -> None:
    position = pb.Position(latitude=30.25, longitude=120.15)
    asked = pb.ReportSignalRequest(source=pb.SIGNAL_SOURCE_SENSOR, kind=pb.EVENT_KIND_GAS_LEAK, position=position)
    incident_id = fleet.fire("ReportSignal", asked).incident.incident_id
    with pytest.raises(BadRequest, match="say where they drive to"):
        assign(fleet, incident_id, "k1")
    there = pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1, place=RoadPlace(edge_id="e7"))
    assert [unit.unit_id for unit in fleet.fire("AssignUnits", there).units] == ["p6"]
    (event,) = fleet.events(ev.UnitAssigned)
    assert event.data.place.edge_id == "e7"  # type: ignore[attr-defined]


def test_a_place_or_a_station_on_no_road_is_refused_once_roads_are_known(fleet: Running) -> None:
    with pytest.raises(Refused, match="station of unit p9"):
        register(fleet, "p9", "e99")
    with pytest.raises(Refused, match="the place of the incident lies on road 'e99'"):
        assign(fleet, report(fleet, "e99"), "k1")
    with running(SafetyService) as safety:
        assert register(safety, "p9", "e99").station.edge_id == "e99"


def test_units_are_listed_by_id_in_pages_by_kind_and_by_district(fleet: Running) -> None:
    assert register(fleet, "a9", "e9", ENGINE, "east") == register(fleet, "a9", "e9", ENGINE, "east")
    assert list(units(fleet)) == ["a9", "f3", "p1", "p4", "p6"]
    assert list(units(fleet, kind=ENGINE)) == ["a9", "f3"]
    assert list(units(fleet, district_id="east")) == ["a9"]
    first = fleet.fire("ListUnits", pb.ListUnitsRequest(page_size=3))
    rest = fleet.fire("ListUnits", pb.ListUnitsRequest(page_size=3, page_token=first.next_page_token))
    assert [[unit.unit_id for unit in page.units] for page in (first, rest)] == [["a9", "f3", "p1"], ["p4", "p6"]]
    assert rest.next_page_token == ""


def test_those_come_whose_way_leads_through_no_closed_road(fleet: Running) -> None:
    incident_id = report(fleet, "e5", 100)
    fleet.tell(RoadClosed(edge_id="e2", closure_id="c1"))
    fleet.rest()
    # A cordon lets them through.
    fleet.tell(RoadClosed(edge_id="e4", closure_id="c2", emergency_vehicles_pass=True))
    fleet.rest()
    # p1 would come through e2; p6 drives almost all around the ring, through e2 too.
    with pytest.raises(NoneFree):
        assign(fleet, incident_id, "k1", cars=2)
    assert assign(fleet, incident_id, "k2", cars=1) == ["p4"]
    fleet.tell(RoadReopened(edge_id="e2", closure_id="c1"))
    fleet.rest()
    assert assign(fleet, incident_id, "k3", cars=1) == ["p1"]


# -- posted before anything has happened --------------------------------------------------------------------------------------


def post(safety: Running, key: str, cars: int = 1, occasion: str = "peak-1", **how: Any) -> list[str]:
    asked = pb.PostUnitsRequest(
        post_id=key, occasion_id=occasion, police_cars=cars, place=RoadPlace(edge_id="e5"), district_id="east", **how
    )
    return [unit.unit_id for unit in safety.fire("PostUnits", asked).units]


def recall(safety: Running, key: str, occasion: str = "peak-1") -> list[str]:
    asked = pb.RecallUnitsRequest(post_id=key, occasion_id=occasion, reason="over")
    return list(safety.fire("RecallUnits", asked).unit_ids)


def test_police_cars_are_posted_where_nothing_has_happened_and_are_free_for_nothing_else(fleet: Running) -> None:
    assert post(fleet, "k1", 2) == post(fleet, "k1", 2) == ["p4", "p1"]
    assert units(fleet) == {"f3": "", "p1": "peak-1", "p4": "peak-1", "p6": ""}
    assert assign(fleet, report(fleet, "e5", 100), "k2") == ["p6"]
    with pytest.raises(NoneFree):
        post(fleet, "k3")
    assert recall(fleet, "k1") == recall(fleet, "k1") == ["p4", "p1"]
    assert units(fleet)["p4"] == ""
    (released,) = [event.data for event in fleet.events(ev.UnitsReleased)]
    assert isinstance(released, ev.UnitsReleased) and released.district_id == "east"


def test_with_fewer_free_those_are_posted_that_there_are(fleet: Running) -> None:
    with pytest.raises(NoneFree):
        post(fleet, "k1", 5)
    assert post(fleet, "k1", 5, or_fewer=True) == ["p4", "p1", "p6"]


def test_a_recall_that_overtakes_its_post_bars_it_and_nobody_recalls_that_of_another(fleet: Running) -> None:
    assert recall(fleet, "k1") == []
    with pytest.raises(Refused, match="was released before it came"):
        post(fleet, "k1")
    post(fleet, "k2")
    with pytest.raises(Refused, match="name that"):
        recall(fleet, "k2", "peak-2")
    with pytest.raises(Refused, match="not in the published network"):
        fleet.fire(
            "PostUnits",
            pb.PostUnitsRequest(
                post_id="k4", occasion_id="peak-1", police_cars=1, place=RoadPlace(edge_id="nowhere"), district_id="east"
            ),
        )
