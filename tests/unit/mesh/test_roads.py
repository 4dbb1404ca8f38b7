"""How far apart two places on the road network are, whichever way one looks."""

from __future__ import annotations

import math

from citybrain.roads.v1.roads_pb2 import RoadPlace
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.roads import Driving, Roads, build, metres_around, routes_to

# e1 → e2 → e3, a one-way street.
STREET = build([("e1", 100, 10, ["e2"]), ("e2", 50, 10, ["e3"]), ("e3", 100, 10, [])])
FAR = 1e9


def at(edge: str, metres: float) -> RoadPlace:
    return RoadPlace(edge_id=edge, position_m=metres)


def test_a_distance_is_along_the_roads_and_the_same_both_ways() -> None:
    here, there = at("e1", 80), at("e3", 10)
    # The rest of e1, e2, and the beginning of e3.
    assert metres_around(STREET, here, {"x": there}, FAR) == {"x": 80}
    assert metres_around(STREET, there, {"x": here}, FAR) == {"x": 80}


def test_a_place_at_the_limit_is_found_and_one_behind_it_is_not() -> None:
    here, there = at("e1", 80), at("e3", 10)
    assert metres_around(STREET, here, {"x": there}, 80) == metres_around(STREET, there, {"x": here}, 80) == {"x": 80}
    assert metres_around(STREET, here, {"x": there}, 79.9) == metres_around(STREET, there, {"x": here}, 79.9) == {}


def test_on_one_road_a_distance_needs_no_network_and_between_unknown_ones_there_is_none() -> None:
    nothing = build([])
    places = {"behind": at("e9", 10), "elsewhere": at("e8", 10)}
    assert metres_around(nothing, at("e9", 40), places, FAR) == {"behind": 30}
    assert "x" not in metres_around(STREET, at("e1", 0), {"x": at("e9", 0)}, FAR)


def test_a_vehicle_takes_as_long_as_its_kind_drives() -> None:
    slow, fast = Driving(share=0.5, leg_s=60), Driving(share=1, leg_s=0)
    ways = [routes_to(STREET, at("e2", 50), {"x": at("e1", 0)}, driving)["x"] for driving in (slow, fast)]
    assert [way.travel_time_s for way in ways] == [60 + 150 / 5, 150 / 10]


@st.composite
def towns(draw: st.DrawFn) -> tuple[Roads, RoadPlace, RoadPlace, float]:
    """Some roads that lead into each other anyhow, two places on them, and a limit."""
    names = [f"e{n}" for n in range(draw(st.integers(1, 6)))]
    lengths = {name: draw(st.integers(10, 200)) for name in names}
    follow = {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) for name in names}
    one, other = (at(name := draw(st.sampled_from(names)), draw(st.integers(0, lengths[name]))) for _ in range(2))
    return build([(name, lengths[name], 10, follow[name]) for name in names]), one, other, draw(st.integers(0, 600))


@for_all(towns())
def test_a_distance_is_the_shorter_of_the_ways_there_and_back(town: tuple[Roads, RoadPlace, RoadPlace, float]) -> None:
    roads, one, other, limit = town
    shortest = min(driven(roads, one, other), driven(roads, other, one))
    for here, there in ((one, other), (other, one)):
        found = metres_around(roads, here, {"x": there}, limit)
        assert found == ({"x": shortest} if shortest <= limit else {})


def driven(roads: Roads, start: RoadPlace, end: RoadPlace) -> float:
    """The metres from a place to another, looked for road by road."""
    if start.edge_id == end.edge_id:
        return abs(end.position_m - start.position_m)
    reached = {start.edge_id: roads.length_m[start.edge_id] - start.position_m}
    best = math.inf
    for _ in roads.length_m:
        for edge, so_far in list(reached.items()):
            for after in roads.graph.successors(edge):
                if after == end.edge_id:
                    best = min(best, so_far + end.position_m)
                through = so_far + roads.length_m[after]
                reached[after] = min(through, reached.get(after, through))
    return best
