"""How far apart two places on the road network are, whichever way one looks."""

from __future__ import annotations

import math

from citybrain.roads.v1.roads_pb2 import RoadPlace
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.roads import Driving, Roads, build, metres_around, routes_from, routes_to

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


# -- closed roads -------------------------------------------------------------------------------------------------------------

CAR = Driving(share=1, leg_s=0)
# From e1 to e4 by e2, and a longer way by e3; e4 leads back to e1.
BLOCK = build([("e1", 100, 10, ["e2", "e3"]), ("e2", 50, 10, ["e4"]), ("e3", 200, 10, ["e4"]), ("e4", 100, 10, ["e1"])])


def way(closed: set[str], start: RoadPlace, end: RoadPlace) -> list[str]:
    """The way, which must be the same looked for from both ends."""
    there = routes_from(BLOCK, start, {"x": end}, CAR, closed)
    assert there == routes_to(BLOCK, end, {"x": start}, CAR, closed)
    return list(there["x"].edge_ids) if there else []


def test_a_way_leads_around_a_closed_road_and_there_is_none_where_no_way_leads_around() -> None:
    assert way(set(), at("e1", 0), at("e4", 0)) == ["e1", "e2", "e4"]
    assert way({"e2"}, at("e1", 0), at("e4", 0)) == ["e1", "e3", "e4"]
    assert way({"e2", "e3"}, at("e1", 0), at("e4", 0)) == []


def test_a_way_may_begin_and_end_on_a_closed_road_because_somebody_there_needs_help() -> None:
    assert way({"e1", "e4"}, at("e1", 0), at("e4", 0)) == ["e1", "e2", "e4"]
    assert way({"e1", "e2"}, at("e1", 0), at("e2", 40)) == ["e1", "e2"]


def test_around_to_a_place_behind_on_the_same_road_leads_through_no_closed_road() -> None:
    assert way({"e2"}, at("e1", 50), at("e1", 10)) == ["e1", "e3", "e4", "e1"]
    assert way({"e1"}, at("e1", 50), at("e1", 10)) == ["e1", "e2", "e4", "e1"]
    assert way({"e4"}, at("e1", 50), at("e1", 10)) == []
    loop = build([("e1", 100, 10, ["e1"])])
    assert list(routes_from(loop, at("e1", 50), {"x": at("e1", 10)}, CAR, {"e1"})["x"].edge_ids) == ["e1", "e1"]


@for_all(towns(), st.sets(st.sampled_from([f"e{n}" for n in range(6)])))
def test_a_way_is_as_long_as_one_in_a_network_without_the_closed_roads(
    town: tuple[Roads, RoadPlace, RoadPlace, float], closed: set[str]
) -> None:
    roads, start, end, _ = town
    gone = closed - {start.edge_id, end.edge_id}
    left = build(
        (edge, length, 10, [after for after in roads.graph.successors(edge) if after not in gone])
        for edge, length in roads.length_m.items()
        if edge not in gone
    )
    found = [routes_from(roads, start, {"x": end}, CAR, closed), routes_to(roads, end, {"x": start}, CAR, closed)]
    # A way that begins or ends on a closed road leads through that no other time.
    for one in found:
        through = list(one["x"].edge_ids)[1:-1] if one else []
        assert not closed & set(through)
    if not closed & {start.edge_id, end.edge_id}:
        there = routes_from(left, start, {"x": end}, CAR)
        assert [{name: route.length_m for name, route in one.items()} for one in found] == [
            {name: route.length_m for name, route in there.items()}
        ] * 2
