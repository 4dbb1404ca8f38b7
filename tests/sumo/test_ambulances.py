"""Ambulances in SUMO drive the way they are given, whatever roads it passes twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest

from citybrain.simulation.network import Network, read_network
from citybrain.simulation.places import Place
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.street import Street

pytestmark = pytest.mark.sumo


def around(network: Network) -> list[str]:
    """The shortest way around that begins and ends with the same road of some length."""
    graph = nx.DiGraph((edge.edge_id, after) for edge in network.edges.values() for after in edge.next_ids)
    found = []
    for edge in network.edges.values():
        if edge.length_m > 80:
            ways = nx.single_source_shortest_path(graph, edge.edge_id) if edge.edge_id in graph else {}
            found += [[*ways[before], edge.edge_id] for before in graph.predecessors(edge.edge_id) if before in ways]
    return min(found, key=lambda way: (sum(network.edges[edge].length_m for edge in way), way))


def test_to_a_patient_behind_it_on_the_same_road_it_drives_around_and_stops_there(
    scenario_path: Callable[[str], Path],
) -> None:
    scenario = open_scenario(scenario_path("cologne8"))
    network = read_network(scenario.net_file)
    route = around(network)
    road = route[0]
    with Street(scenario, network, 0, siren=True) as street:
        mission = street.fleet.begin("i1", "a1", Place(road, 60.0), Place(road, 20.0), route)
        for _ in range(600):
            street.advance()
            if mission.at_scene is not None:
                break
        assert mission.at_scene is not None, mission
        assert mission.index == len(route) - 1
        assert abs(street.sumo.vehicles.getLanePosition(mission.vehicle_id) - 20.0) < 5
