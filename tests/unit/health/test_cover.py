"""Who is sent of those that arrive at about the same time: who is missed least elsewhere, and never one that is too late."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1.events_pb2 import RoadsPublished
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.roads import Edge, Roads, build, reached
from citybrain.mesh.testing import Running, running
from citybrain.services.health import cover, travel
from citybrain.services.health.service import HealthService
from citybrain.services.health.travel import AMBULANCE


def at(edge: str, metres: float = 0) -> RoadPlace:
    return RoadPlace(edge_id=edge, position_m=metres)


def choose(
    roads: Roads, place: RoadPlace, free: Mapping[str, RoadPlace], past: Mapping[str, int] | None = None
) -> tuple[str, pb.CoverKept | None]:
    seconds = {name: route.travel_time_s for name, route in travel.routes_to(roads, place, free).items()}
    return cover.choose(roads, free, seconds, past or {})


# -- worked -------------------------------------------------------------------------------------------------------------------

# The patient is at the end of `in`. From `west` and from `east` one gets there; from `west` alone one gets to the village, from
# `east` one gets to nothing else. An ambulance drives 12 m/s. To the end of each road: 8 s, and its metres / 12.
TOWN = build(
    [
        ("west", 1200.0, 10.0, ["in", "village"]),
        ("east", 1260.0, 10.0, ["in"]),
        ("in", 600.0, 10.0, []),
        ("village", 3000.0, 10.0, []),
        ("far", 30_000.0, 10.0, []),
    ]
)
PATIENT = at("in", 600)


def test_the_one_that_is_hardly_later_and_covers_nothing_else_is_sent() -> None:
    # 8 + 1800/12 = 158 s from the west; 163 s from the east, which is less than a tenth later.
    chosen, why = choose(TOWN, PATIENT, {"w": at("west"), "e": at("east")})
    assert chosen == "e" and why is not None
    # Without the western one nobody reaches its own road and the village: 4200 of 36,060 m. Without the eastern one: its road.
    assert (why.first_id, why.later_s) == ("w", 5.0)
    assert why.lost == pytest.approx(1260 / 36_060)
    assert why.lost_without_first == pytest.approx(4200 / 36_060)


def test_where_another_one_covers_the_village_too_the_first_is_sent() -> None:
    chosen, why = choose(TOWN, PATIENT, {"w": at("west"), "e": at("east"), "v": at("west", 0)})
    assert chosen == "v" and why is not None
    assert (why.first_id, why.later_s, why.lost) == ("v", 0, 0)


def test_emergencies_so_far_weigh_more_than_metres() -> None:
    # On the road in the east there have been ten.
    chosen, why = choose(TOWN, PATIENT, {"w": at("west"), "e": at("east")}, {"east": 10})
    assert chosen == "w" and why is not None
    assert why.lost == why.lost_without_first == pytest.approx((4200 / 36_060) / 11)


def test_with_one_that_is_near_nothing_is_compared() -> None:
    assert choose(TOWN, PATIENT, {"w": at("west")}) == ("w", None)
    # A tenth of 158 s later than the first: 173.8 s. The eastern road is 190 m longer then.
    late = build(
        [
            (edge, length + (190 if edge == "east" else 0), 10.0, list(TOWN.graph[edge]))
            for edge, length in TOWN.length_m.items()
        ]
    )
    assert choose(late, PATIENT, {"w": at("west"), "e": at("east")}) == ("w", None)


def test_a_long_way_may_take_half_a_minute_longer_at_most() -> None:
    # 8 + 4800/12 = 408 s, of which a tenth is more than half a minute.
    for metres, chosen in ((360, "e"), (361, "w")):
        roads = build(
            [
                ("w1", 4800.0, 10.0, ["in", "village"]),
                ("e1", 4800.0 + metres, 10.0, ["in"]),
                ("in", 1.0, 10.0, []),
                ("village", 600.0, 10.0, []),
            ]
        )
        assert choose(roads, at("in"), {"w": at("w1"), "e": at("e1")})[0] == chosen, metres


def test_nobody_waits_longer_for_a_cover_that_is_hardly_any() -> None:
    # Without the western one 40 m more lose their cover, of 4020 m and of 3920: less than a hundredth, and more.
    for metres, chosen in ((100.0, "w"), (0.01, "e")):
        village: Edge = ("village", 40.0, 10.0, [])
        rest: Edge = ("rest", metres, 10.0, [])
        roads = build(
            [("w1", 1900.0, 10.0, ["in", "village"]), ("e1", 1900.0, 10.0, ["in"]), ("in", 80.0, 10.0, []), village, rest]
        )
        assert cover.choose(roads, {"w": at("w1"), "e": at("e1")}, {"w": 100, "e": 105}, {})[0] == chosen, metres


def test_of_several_that_are_worth_it_the_one_is_sent_that_is_missed_least() -> None:
    ways: tuple[tuple[str, float, list[str]], ...] = (
        ("w1", 1900.0, ["in", "v1"]),
        ("e1", 1910.0, ["in", "v2"]),
        ("n1", 1920.0, ["in"]),
        ("v1", 400.0, []),
        ("v2", 100.0, []),
    )
    roads = build([*((edge, length, 10.0, following) for edge, length, following in ways), ("in", 80.0, 10.0, [])])
    free = {"w": at("w1"), "e": at("e1"), "n": at("n1")}
    assert cover.choose(roads, free, {"w": 173.0, "e": 174.0, "n": 175.0}, {})[0] == "n"


def test_a_closed_road_covers_nothing_behind_it() -> None:
    free = {"w": at("west"), "e": at("east")}
    seconds = {"w": 158.0, "e": 163.0}
    roads = build(
        [(edge, length, 10.0, ["gate"] if edge == "west" else list(TOWN.graph[edge])) for edge, length in TOWN.length_m.items()]
        + [("gate", 10.0, 10.0, ["village"])]
    )
    assert cover.choose(roads, free, seconds, {"gate": 1, "east": 2, "village": 3})[0] == "e"
    assert cover.choose(roads, free, seconds, {"gate": 1, "east": 2, "village": 3}, {"gate"})[0] == "w"


def test_ambulances_on_roads_that_nobody_knows_cover_nothing() -> None:
    assert reached(TOWN, [at("e9")], AMBULANCE, 1000) == {}
    assert reached(build([("e1", 120.0, 10.0, ["e9"])]), [at("e1")], AMBULANCE, 1000) == {"e1": 18}
    free = {"w": at("west"), "e": at("east"), "x": at("e9")}
    assert cover.choose(TOWN, free, {"w": 158.0, "e": 163.0}, {})[0] == "e"


# -- whatever the town --------------------------------------------------------------------------------------------------------


@st.composite
def towns(draw: st.DrawFn) -> tuple[Roads, RoadPlace, dict[str, RoadPlace], dict[str, int], set[str]]:
    """Roads that lead into each other anyhow, a patient, ambulances, emergencies so far, and closed roads."""
    names = [f"e{n}" for n in range(draw(st.integers(2, 9)))]
    lengths = {name: float(draw(st.integers(1, 40)) * 100) for name in names}
    roads = build(
        [(name, lengths[name], 10.0, draw(st.lists(st.sampled_from(names), unique=True, max_size=3))) for name in names]
    )

    def somewhere() -> RoadPlace:
        edge = draw(st.sampled_from(names))
        return at(edge, draw(st.integers(0, int(lengths[edge]))))

    free = {f"a{n}": somewhere() for n in range(draw(st.integers(1, 12)))}
    past = draw(st.dictionaries(st.sampled_from(names), st.integers(1, 5)))
    return roads, somewhere(), free, past, draw(st.sets(st.sampled_from(names), max_size=2))


def covered(roads: Roads, place: RoadPlace, closed: set[str]) -> set[str]:
    """The roads that one ambulance reaches in time, found without the service: times are made shorter until none is."""
    speed = AMBULANCE.share * 10
    times = {place.edge_id: AMBULANCE.leg_s + (roads.length_m[place.edge_id] - place.position_m) / speed}
    begun = dict(times)
    while True:
        before = dict(times)
        for edge in list(times):
            # Who stands on a closed road leaves it; who comes to one stays there.
            start = begun.get(edge, math.inf) if edge in closed else times[edge]
            for after in roads.graph[edge]:
                times[after] = min(times.get(after, math.inf), start + roads.length_m[after] / speed)
        if times == before:
            return {edge for edge, seconds in times.items() if seconds <= cover.TARGET_S}


@for_all(towns())
def test_it_is_never_later_than_said_and_no_choice_in_that_time_leaves_more_cover(
    town: tuple[Roads, RoadPlace, dict[str, RoadPlace], dict[str, int], set[str]],
) -> None:
    roads, patient, free, past, closed = town
    seconds = {name: route.travel_time_s for name, route in travel.routes_to(roads, patient, free, closed).items()}
    if not seconds:
        return
    chosen, why = cover.choose(roads, free, seconds, past, closed)
    first = min(seconds, key=lambda name: (seconds[name], name))
    limit = seconds[first] + min(30, seconds[first] / 10)
    assert seconds[chosen] <= limit

    def left(without: str) -> float:
        """The demand that the others reach in time."""
        found = set().union(*(covered(roads, place, closed) for name, place in free.items() if name != without))
        return cover.weight(roads, past, found)

    near = sorted((name for name in seconds if seconds[name] <= limit), key=lambda name: (seconds[name], name))
    everything = cover.weight(roads, past, roads.length_m)
    assert left(chosen) >= left(first) - 1e-9, "never less cover than without the first"
    most = max(left(name) for name in near[: cover.COMPARED])
    if most - left(first) > cover.LEAST_KEPT * everything + 1e-9:
        assert left(chosen) == pytest.approx(most)
    elif most - left(first) < cover.LEAST_KEPT * everything - 1e-9:
        assert chosen == first
    if why is not None:
        assert why.first_id == first
        assert why.later_s == pytest.approx(seconds[chosen] - seconds[first], abs=0.05)
        assert why.lost_without_first - why.lost == pytest.approx((left(chosen) - left(first)) / everything)


@for_all(towns())
def test_what_is_reached_is_what_a_vehicle_drives_to_whatever_is_looked_for(
    town: tuple[Roads, RoadPlace, dict[str, RoadPlace], dict[str, int], set[str]],
) -> None:
    roads, _, free, _, closed = town
    found = reached(roads, free.values(), AMBULANCE, cover.TARGET_S, closed)
    assert found.keys() == set().union(*(covered(roads, place, closed) for place in free.values()))
    wanted = set(list(roads.length_m)[:2])
    assert reached(roads, free.values(), AMBULANCE, cover.TARGET_S, closed, wanted).keys() & wanted == found.keys() & wanted


# -- while the service runs ---------------------------------------------------------------------------------------------------


def reserve(incident: str, **more: bool) -> pb.ReserveAmbulanceRequest:
    return pb.ReserveAmbulanceRequest(incident_id=incident, reservation_id=f"r-{incident}", place=PATIENT, **more)


def town_with_two(service: Running) -> None:
    edges = [
        RoadEdge(edge_id=edge, length_m=length, free_speed_mps=10, next_edge_ids=list(TOWN.graph[edge]))
        for edge, length in TOWN.length_m.items()
    ]
    service.tell(RoadsPublished(edges=edges))
    for name, edge in (("w", "west"), ("e", "east")):
        service.fire("RegisterAmbulance", pb.RegisterAmbulanceRequest(ambulance_id=name, station=at(edge)))
    service.rest()


def test_the_answer_and_the_log_say_why_also_when_it_is_asked_for_again() -> None:
    with running(HealthService) as service:
        town_with_two(service)
        answer = service.fire("ReserveAmbulance", reserve("i1"), request_id="r1")
        assert (answer.ambulance_id, answer.cover.first_id, answer.cover.later_s) == ("e", "w", 5.0)
        (chosen,) = service.events(ev.AmbulanceChosen)
        assert chosen.data.cover == answer.cover  # type: ignore[attr-defined]
        assert service.fire("ReserveAmbulance", reserve("i1"), request_id="r1") == answer
        assert service.fire("ReserveAmbulance", reserve("i1"), request_id="r2") == answer


def test_a_patient_who_cannot_wait_gets_the_first() -> None:
    with running(HealthService) as service:
        town_with_two(service)
        answer = service.fire("ReserveAmbulance", reserve("i1", first_only=True))
        assert (answer.ambulance_id, answer.HasField("cover")) == ("w", False)


def test_where_ambulances_were_sent_before_counts() -> None:
    with running(HealthService) as service:
        town_with_two(service)
        for n in range(3):
            service.tell(
                ev.AmbulanceReserved(ambulance_id=f"x{n}", incident_id=f"i-{n}", reservation_id=f"r-{n}", place=at("east", 9))
            )
        service.rest()
        assert service.fire("ReserveAmbulance", reserve("i1")).ambulance_id == "w"
