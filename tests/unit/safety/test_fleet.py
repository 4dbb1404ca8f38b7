"""Who is sent: the nearest of each kind, all that were asked for or none, and nobody twice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import combinations

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Refused
from citybrain.mesh.testing import given
from citybrain.services.safety import fleet
from citybrain.services.safety.fleet import Fleet, NotEnoughUnits

INCIDENT, OTHER = "saf-00000000000a", "saf-00000000000b"
CAR, ENGINE = pb.UNIT_KIND_POLICE_CAR, pb.UNIT_KIND_FIRE_ENGINE
STATION, PLACE = RoadPlace(edge_id="e1"), RoadPlace(edge_id="e2", position_m=5)


def registered(name: str, kind: pb.UnitKind = CAR) -> ev.UnitRegistered:
    return ev.UnitRegistered(unit_id=name, kind=kind, station=STATION, district_id="xihu")


def ways(**seconds: float) -> dict[str, Route]:
    return {name: Route(travel_time_s=value) for name, value in seconds.items()}


def ask(key: str = "k1", incident: str = INCIDENT, cars: int = 1, engines: int = 0) -> pb.AssignUnitsRequest:
    return pb.AssignUnitsRequest(incident_id=incident, assignment_id=key, police_cars=cars, fire_engines=engines)


def sent(name: str, seconds: float, key: str = "k1", kind: pb.UnitKind = CAR) -> ev.UnitAssigned:
    unit = pb.AssignedUnit(unit_id=name, kind=kind, assignment_id=key, station=STATION, route=Route(travel_time_s=seconds))
    return ev.UnitAssigned(incident_id=INCIDENT, unit=unit, place=PLACE, district_id="xihu")


def let_go(key: str = "k1", incident: str = INCIDENT) -> pb.ReleaseUnitsRequest:
    return pb.ReleaseUnitsRequest(incident_id=incident, assignment_id=key, reason="over")


def released(*units: str, key: str = "k1") -> ev.UnitsReleased:
    return ev.UnitsReleased(incident_id=INCIDENT, assignment_id=key, unit_ids=units, reason="over", district_id="xihu")


THREE = given(fleet.evolve, Fleet(), registered("p1"), registered("p2"), registered("f1", ENGINE))
WAYS = ways(p1=90, p2=60, f1=200)


def test_a_unit_is_registered_once_and_keeps_what_it_is() -> None:
    asked = pb.RegisterUnitRequest(unit_id="p1", kind=CAR, station=STATION, district_id="xihu")
    given(fleet.evolve, Fleet()).when(fleet.register, asked).then(registered("p1"))
    THREE.when(fleet.register, asked).then_nothing()
    for other in (
        pb.RegisterUnitRequest(unit_id="p1", kind=ENGINE, station=STATION, district_id="xihu"),
        pb.RegisterUnitRequest(unit_id="p1", kind=CAR, station=PLACE, district_id="xihu"),
        pb.RegisterUnitRequest(unit_id="p1", kind=CAR, station=STATION, district_id="gongshu"),
    ):
        THREE.when(fleet.register, other).then_refused(AlreadyDifferent, "OTHER_UNIT")


def test_those_are_sent_who_are_there_first_and_not_one_that_is_on_its_way() -> None:
    one = THREE.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then(sent("p2", 60))
    one.when(fleet.assign, ask("k2"), PLACE, "xihu", WAYS).then(sent("p1", 90, "k2"))
    both = THREE.when(fleet.assign, ask(cars=2, engines=1), PLACE, "xihu", WAYS)
    both.then(sent("p2", 60), sent("p1", 90), sent("f1", 200, kind=ENGINE))


def test_the_same_assignment_again_sends_nobody_and_another_one_under_its_id_is_refused() -> None:
    one = THREE.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then(sent("p2", 60))
    one.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then_nothing()
    for other in (ask(cars=2), ask(cars=0, engines=1), ask(incident=OTHER)):
        one.when(fleet.assign, other, PLACE, "xihu", WAYS).then_refused(AlreadyDifferent, "OTHER_ASSIGNMENT")


def test_where_too_few_can_come_nobody_is_sent_and_it_is_said_how_many_there_are() -> None:
    with pytest.raises(NotEnoughUnits, match=r"^of 2 fire engines only 1 can be sent, so nobody was") as caught:
        fleet.assign(THREE.state, ask(engines=2), PLACE, "xihu", WAYS)
    assert (caught.value.reason, caught.value.code.name) == ("NOT_ENOUGH_UNITS", "RESOURCE_EXHAUSTED")
    assert caught.value.told == {"police_cars": "2", "fire_engines": "1"}
    # One without a way to the place does not count.
    THREE.when(fleet.assign, ask(cars=2), PLACE, "xihu", ways(p1=90)).then_refused(NotEnoughUnits, "NOT_ENOUGH_UNITS")


def test_who_asks_for_nobody_or_says_nowhere_is_told() -> None:
    with pytest.raises(BadRequest, match="ask for one at least"):
        fleet.assign(THREE.state, ask(cars=0), PLACE, "xihu", WAYS)
    with pytest.raises(BadRequest, match="say where they drive to"):
        fleet.assign(THREE.state, ask(), None, "xihu", {})


def test_units_that_are_released_are_free_again_and_their_assignment_is_over() -> None:
    one = THREE.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then(sent("p2", 60))
    one.when(fleet.release, let_go(incident=OTHER), "xihu").then_refused(Refused, "OTHER_INCIDENT")
    free = one.when(fleet.release, let_go(), "xihu").then(released("p2"))
    free.when(fleet.release, let_go(), "xihu").then_nothing()
    free.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then_refused(Refused, "ASSIGNMENT_ENDED")
    free.when(fleet.assign, ask("k2"), PLACE, "xihu", WAYS).then(sent("p2", 60, "k2"))


def test_a_release_that_overtakes_its_assignment_bars_it() -> None:
    barred = THREE.when(fleet.release, let_go(), "xihu").then(released())
    barred.when(fleet.assign, ask(), PLACE, "xihu", WAYS).then_refused(Refused, "ASSIGNMENT_ENDED")
    barred.when(fleet.assign, ask("k2"), PLACE, "xihu", WAYS).then(sent("p2", 60, "k2"))


def test_of_ended_assignments_the_newest_are_remembered() -> None:
    state = Fleet()
    for number in range(2 * fleet.REMEMBERED + 1):
        state = fleet.evolve(state, released(key=f"k{number}"))
    assert (len(state.ended), next(iter(state.ended))) == (fleet.REMEMBERED, f"k{fleet.REMEMBERED + 1}")


def test_the_units_of_some_incidents_are_those_on_their_way_there_by_id() -> None:
    state = THREE.when(fleet.assign, ask(cars=2), PLACE, "xihu", WAYS).then(sent("p2", 60), sent("p1", 90)).state
    assert [unit.unit_id for unit in fleet.units_of(state, frozenset({INCIDENT, "x"}))] == ["p1", "p2"]
    assert fleet.units_of(state, frozenset({OTHER})) == []


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Fleet, Mapping[str, Route]]:
    """Some units, of which some are on their way and some cannot come, and how long each takes."""
    names = [f"u{n}" for n in range(draw(st.integers(0, 7)))]
    events: list[Message] = [registered(name, draw(st.sampled_from([CAR, ENGINE]))) for name in names]
    events += [sent(name, 1, "k0") for name in names if draw(st.booleans()) and draw(st.booleans())]
    routes = {name: Route(travel_time_s=draw(st.integers(1, 5))) for name in names if draw(st.integers(0, 4))}
    return reduce(fleet.evolve, events, Fleet()), routes


@for_all(fleets(), st.integers(0, 3), st.integers(0, 3))
def test_no_other_choice_of_free_units_would_be_there_sooner(
    made: tuple[Fleet, Mapping[str, Route]], cars: int, engines: int
) -> None:
    state, routes = made
    asked = {kind: count for kind, count in ((CAR, cars), (ENGINE, engines)) if count}
    if not asked:
        return
    free = {
        kind: [name for name, unit in state.units.items() if unit.kind == kind and name in routes and name not in state.holders]
        for kind in asked
    }
    try:
        events = fleet.assign(state, ask(cars=cars, engines=engines), PLACE, "xihu", routes)
    except NotEnoughUnits as error:
        assert any(len(free[kind]) < count for kind, count in asked.items())
        assert sorted(error.told.values()) == sorted(str(len(names)) for names in free.values())
        return
    units = [event.unit for event in events if isinstance(event, ev.UnitAssigned)]
    for kind, count in asked.items():
        mine = [unit.unit_id for unit in units if unit.kind == kind]
        assert len(set(mine)) == count and set(mine) <= set(free[kind])
        best = min(sum(routes[name].travel_time_s for name in some) for some in combinations(free[kind], count))
        assert sum(routes[name].travel_time_s for name in mine) == best
