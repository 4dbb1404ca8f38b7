"""The clock of a plan, the choice of places, and how lines are thinned out."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import pytest

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.network import Edge, Movement, Network
from citybrain.simulation.places import (
    Hospital,
    Place,
    Places,
    Station,
    derive_calls,
    derive_districts,
    derive_places,
    inner_edges,
    point,
)
from citybrain.simulation.plans import Phase, Plan
from citybrain.simulation.routing import core, tree_from, way
from citybrain.simulation.tracks import simplify

PLAN = Plan("T", "0", (Phase("Gr", 30), Phase("yr", 3), Phase("rG", 20), Phase("ry", 3)), cycle_start=100, fixed=True)


@pytest.mark.parametrize(
    ("second", "at"), [(100, (0, 30)), (129, (0, 1)), (130, (1, 3)), (155, (3, 1)), (156, (0, 30)), (90, (2, 7)), (99, (3, 1))]
)
def test_a_plan_knows_what_it_shows_in_any_second(second: int, at: tuple[int, int]) -> None:
    assert PLAN.at(second) == at


@pytest.mark.parametrize(
    ("phase", "second", "about", "left"),
    [
        (0, 110, 20, 20),
        (0, 110, 21, 20),
        (0, 110, 19, 20),
        # The phase may begin before its time: it is then as much longer.
        (2, 120, 33, 33),
        # One second after its end there is nothing left, and the next end counts.
        (0, 131, 1, 55),
    ],
)
def test_a_phase_after_a_score_ends_when_the_plan_ends_it(phase: int, second: int, about: float, left: int) -> None:
    assert PLAN.left_of(phase, second, about) == left


def grid(size: int = 5) -> Network:
    """Streets of 200 m in both directions between crossings; every crossing inside has a signal."""
    edges: dict[str, Edge] = {}
    ends = {}
    for x in range(size):
        for y in range(size):
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                if 0 <= x + dx < size and 0 <= y + dy < size:
                    ends[f"{x}{y}-{x + dx}{y + dy}"] = ((x, y), (x + dx, y + dy))
    for name, (a, b) in ends.items():
        after = tuple(sorted(n for n, (c, d) in ends.items() if c == b and d != a))
        shape = ((a[0] * 200.0, a[1] * 200.0), (b[0] * 200.0, b[1] * 200.0))
        centre = ((shape[0][0] + shape[1][0]) / 2, (shape[0][1] + shape[1][1]) / 2)
        edges[name] = Edge(name, 200.0, 10.0, after, centre, shape, (), f"{b[0]}{b[1]}")
    movements = tuple(
        Movement(edge.end_junction, n, edge.edge_id, to, edge.end_junction)
        for edge in edges.values()
        for n, to in enumerate(edge.next_ids)
    )
    return Network(Path("grid.net.xml"), edges, movements, {}, {})


def test_places_and_calls_come_from_the_seed_alone() -> None:
    network = grid()
    first, again, other = (derive_places(network, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert derive_calls(network, first, 1, 4) == derive_calls(network, again, 1, 4)


def test_calls_begin_after_the_warm_up_and_are_worth_driving() -> None:
    network = grid()
    places = derive_places(network, 3)
    calls = derive_calls(network, places, 3, 5)
    assert [call.at_s for call in calls] == [300, 700, 1100, 1500, 1900]
    taken = {s.place.edge_id for s in places.stations} | {h.entrance.edge_id for h in places.hospitals}
    for call in calls:
        assert call.place.edge_id not in taken
        assert call.place.position_m == 100.0


def test_more_calls_do_not_move_those_before_them() -> None:
    network = grid()
    places = derive_places(network, 3)
    assert derive_calls(network, places, 3, 6)[:2] == derive_calls(network, places, 3, 2)


def one_way() -> Network:
    """A street of four roads that nobody can drive around."""
    edges = {
        name: Edge(name, 200.0, 10.0, (after,) if after else (), (0, n), ((0, n * 200), (0, n * 200 + 200)), (), name)
        for n, (name, after) in enumerate(pairwise(["a", "b", "c", "d", ""]))
    }
    return Network(Path("street.net.xml"), edges, (), {}, {})


def test_a_network_from_which_no_places_can_be_derived_asks_for_places_and_calls() -> None:
    network = one_way()
    with pytest.raises(ScenarioError, match=r"it has 1: give hospitals and stations \(--places\) and calls \(--calls\)"):
        derive_places(network, 1)
    places = Places(
        derive_districts(network),
        (Hospital("h", "Hospital", Place("c", 100.0), 20),),
        (Station("s", Place("b", 100.0), ("s-1",)),),
    )
    # Nobody can drive from the station to any edge that a call may be derived for.
    with pytest.raises(ScenarioError, match=r"street.net.xml: no edge .* give calls in a file \(--calls\)"):
        derive_calls(network, places, 1, 1)
    for name in network.edges:
        network.edges[name] = dataclasses.replace(network.edges[name], length_m=30.0)  # type: ignore[index]
    with pytest.raises(ScenarioError, match=r"no edge .* give calls in a file \(--calls\)"):
        derive_calls(network, places, 1, 1)


def test_every_edge_belongs_to_one_of_four_districts() -> None:
    network = grid()
    places = derive_places(network, 1)
    assert len(places.districts) == 4
    assert places.district_of().keys() == network.edges.keys()


def test_a_dead_end_is_not_in_the_core() -> None:
    network = grid()
    network.edges["dead"] = Edge("dead", 500, 10, (), (0, 0), (), (), "")  # type: ignore[index]
    assert "dead" not in core(network.edges)
    assert "dead" not in inner_edges(network)


def test_the_shortest_way_counts_time_not_metres() -> None:
    def edge(name: str, length: float, speed: float, *after: str) -> Edge:
        return Edge(name, length, speed, after, (0, 0), (), (), "")

    ways = (edge("a", 10, 10, "slow", "fast"), edge("slow", 100, 5, "z"), edge("fast", 150, 15, "z"), edge("z", 1, 1))
    edges = {e.edge_id: e for e in ways}
    tree = tree_from(edges, "a")
    assert way(tree, "z") == ["a", "fast", "z"]
    assert tree["z"][0] == pytest.approx(11)


def test_a_place_lies_where_its_position_is_along_the_shape() -> None:
    assert point(grid(), Place("00-10", 50)) == (50.0, 0.0)


def test_a_thinned_line_keeps_its_corners_and_drops_what_nobody_sees() -> None:
    assert simplify(((0, 0), (50, 0.5), (100, 0), (100, 80))) == [(0, 0), (100, 0), (100, 80)]
    circle = tuple((50 * math.cos(n / 20 * math.tau), 50 * math.sin(n / 20 * math.tau)) for n in range(21))
    assert 5 < len(simplify(circle)) <= 21
