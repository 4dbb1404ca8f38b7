"""The road network of a scenario: edges that an ambulance may drive, and the movements and conflicts of its signals.

Lengths in metres, speeds in metres a second, coordinates in metres of the network's own plane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import sumolib.net
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.moments import city_time
from citybrain.simulation.plans import Plan

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Edge:
    """A directed stretch of road."""

    edge_id: str
    length_m: float
    speed_mps: float
    next_ids: tuple[str, ...]
    centre: Point
    shape: tuple[Point, ...]
    lanes: tuple[str, ...]
    end_junction: str

    @property
    def free_s(self) -> float:
        """Seconds to drive it in free flow."""
        return self.length_m / self.speed_mps


@dataclass(frozen=True, slots=True)
class Movement:
    """One link of a signal: the letter at `index` of its state rules the way from one edge to the next."""

    signal_id: str
    index: int
    from_id: str
    to_id: str
    junction_id: str


@dataclass(frozen=True)
class Network:
    """The edges to drive on, and the movements of the signals."""

    net_file: Path
    edges: Mapping[str, Edge]
    movements: tuple[Movement, ...]
    # Per signal: pairs of letters that must never be green together.
    conflicts: Mapping[str, frozenset[tuple[int, int]]]
    signal_points: Mapping[str, Point]
    # By signal and letter: the lanes on which vehicles wait for it.
    signal_lanes: Mapping[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    # By lane: those that it leads to, and its length.
    lanes_after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lane_length_m: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def ways(self) -> Mapping[tuple[str, str], tuple[str, tuple[int, ...]]]:
        """For the way from one edge to the next: the signal that rules it, and its letters."""
        found: dict[tuple[str, str], tuple[str, tuple[int, ...]]] = {}
        for m in self.movements:
            _, indices = found.get((m.from_id, m.to_id), (m.signal_id, ()))
            if m.index not in indices:
                found[m.from_id, m.to_id] = (m.signal_id, (*indices, m.index))
        return found

    @cached_property
    def signal_at_end(self) -> Mapping[str, str]:
        """The signal at the end of each edge that has one."""
        return {m.from_id: m.signal_id for m in self.movements}

    def letters(self, from_id: str, to_id: str, shown: Mapping[str, str]) -> str:
        """The letters that rule the way from one edge to the next, one a link; empty where no signal does."""
        signal_id, indices = self.ways.get((from_id, to_id), ("", ()))
        return "".join(shown[signal_id][index] for index in indices)

    def is_held(self, from_id: str, to_id: str, shown: Mapping[str, str]) -> bool:
        """Whether a signal holds everybody who goes from one edge to the next. A signal that is off holds nobody."""
        letters = self.letters(from_id, to_id, shown)
        return letters != "" and not set(letters) & set("GgOo")

    def signals_on(self, edge_ids: Iterable[str]) -> list[str]:
        """The signals that a route passes, in order."""
        return [self.ways[pair][0] for pair in pairwise(edge_ids) if pair in self.ways]


def read_network(net_file: Path) -> Network:
    """Reads a network file. ScenarioError where it is not one."""
    try:
        net = sumolib.net.readNet(str(net_file), withInternal=True, withPrograms=True)
    except Exception as error:
        # The reader trusts its input: a broken file may raise any exception.
        raise ScenarioError(f"{net_file}: is not a network that can be read: {type(error).__name__}: {error}") from None
    for edge in net.getEdges(withInternal=False):
        if len(edge.getID().split()) != 1:
            raise ScenarioError(f"{net_file}: edge {edge.getID()!r} has a blank in its id: lists of ids are parted by blanks")
    drivable = {e.getID(): e for e in net.getEdges(withInternal=False) if e.allows("emergency")}
    if not drivable:
        raise ScenarioError(
            f"{net_file}: has no road that an ambulance may drive: it is a network for others, take one with streets"
        )
    edges = {edge_id: _edge(edge, drivable) for edge_id, edge in sorted(drivable.items())}
    movements: list[Movement] = []
    conflicts: dict[str, frozenset[tuple[int, int]]] = {}
    points: dict[str, Point] = {}
    signal_lanes: dict[tuple[str, int], tuple[str, ...]] = {}
    for light in sorted(net.getTrafficLights(), key=lambda t: str(t.getID())):
        signal_id = light.getID()
        connections = _controlled(light)
        movements += dict.fromkeys(
            Movement(signal_id, c.getTLLinkIndex(), c.getFrom().getID(), c.getTo().getID(), c.getFrom().getToNode().getID())
            for c in connections
        )
        conflicts[signal_id] = _conflicts(connections)
        for c in connections:
            lanes = signal_lanes.get((signal_id, c.getTLLinkIndex()), ())
            signal_lanes[signal_id, c.getTLLinkIndex()] = tuple(dict.fromkeys((*lanes, c.getFromLane().getID())))
        nodes = [c.getFrom().getToNode().getCoord() for c in connections]
        if nodes:
            points[signal_id] = (sum(n[0] for n in nodes) / len(nodes), sum(n[1] for n in nodes) / len(nodes))
    every_lane = [lane for edge in net.getEdges(withInternal=False) for lane in edge.getLanes()]
    return Network(
        net_file, edges, tuple(movements), conflicts, points, signal_lanes,
        lanes_after={
            lane.getID(): tuple(sorted({c.getToLane().getID() for c in lane.getOutgoing()})) for lane in every_lane
        },
        lane_length_m={lane.getID(): float(lane.getLength()) for lane in every_lane},
    )  # fmt: skip


def _edge(edge: Any, drivable: Mapping[str, Any]) -> Edge:
    lanes = edge.getLanes()
    usable = [lane.getIndex() for lane in lanes if lane.allows("emergency")]
    # Only ways that a lane leads along: of edges that meet in a junction not all are reachable from each other.
    ways = edge.getOutgoing()
    onward = sorted(
        to.getID()
        for to, connections in ways.items()
        if to.getID() in drivable and any(c.getFromLane().allows("emergency") for c in connections)
    )
    shape = tuple((float(p[0]), float(p[1])) for p in edge.getShape())
    box = edge.getBoundingBox()
    return Edge(
        edge_id=edge.getID(),
        length_m=float(edge.getLength()),
        speed_mps=max(float(lanes[index].getSpeed()) for index in usable),
        next_ids=tuple(onward),
        centre=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        shape=shape,
        lanes=tuple(lane.getID() for lane in lanes),
        end_junction=edge.getToNode().getID(),
    )


def _controlled(light: Any) -> list[Any]:
    """The connections that a signal rules, with the indices that the network gives them."""
    found: dict[int, Any] = {}
    for edge in {c[0].getEdge().getID(): c[0].getEdge() for c in light.getConnections()}.values():
        for connections in edge.getOutgoing().values():
            for c in connections:
                if c.getTLSID() == light.getID() and c.getTLLinkIndex() >= 0:
                    found[id(c)] = c
    # A junction does not number every movement (a bicycle's turn in two steps, for example). Then the foes of that movement's
    # letter are not known, and the letter is shown only as the plan shows it.
    unknown = {c.getTLLinkIndex() for c in found.values() if c.getFrom().getToNode().getLinkIndex(c) < 0}
    known = [c for c in found.values() if c.getTLLinkIndex() not in unknown]
    return sorted(known, key=lambda c: (c.getTLLinkIndex(), c.getFromLane().getID(), c.getToLane().getID()))


def _conflicts(connections: list[Any]) -> frozenset[tuple[int, int]]:
    """The foes of each link. A junction knows them by its own numbers, which are not those of the signal."""
    own = [(c, c.getFrom().getToNode()) for c in connections]
    numbered = [(c.getTLLinkIndex(), node, node.getLinkIndex(c)) for c, node in own]
    pairs = set()
    for index, node, link in numbered:
        for other_index, other_node, other_link in numbered:
            if node is not other_node or index >= other_index:
                continue
            if node.areFoes(link, other_link) or node.areFoes(other_link, link):
                pairs.add((index, other_index))
    return frozenset(pairs)


def signal_messages(network: Network, plans: Mapping[str, Plan]) -> list[traffic.Signal]:
    """Every signal with its plan, as the traffic sector wants it."""
    by_signal: dict[str, list[Movement]] = {}
    for movement in network.movements:
        by_signal.setdefault(movement.signal_id, []).append(movement)
    messages = []
    for signal_id, plan in sorted(plans.items()):
        movements = by_signal.get(signal_id, [])
        if not movements:
            continue
        # The conflicts of pedestrian crossings are not read here.
        unknown = set(range(len(plan.phases[0].state))) - {m.index for m in movements}
        messages.append(
            traffic.Signal(
                signal_id=signal_id,
                links=[
                    traffic.SignalLink(
                        index=m.index, from_edge_id=m.from_id, to_edge_id=m.to_id, junction_id=m.junction_id,
                        lane_ids=[
                            lane for lane in network.signal_lanes[signal_id, m.index] if lane.rpartition("_")[0] == m.from_id
                        ],
                    )
                    for m in movements
                ],
                conflicts=[traffic.SignalConflict(index=a, other_index=b) for a, b in sorted(network.conflicts[signal_id])],
                program_id=plan.program_id,
                phases=[traffic.SignalPhase(state=p.state, duration_s=p.duration_s) for p in plan.phases],
                cycle_start=city_time(plan.cycle_start),
                plan_phases_only=len({m.junction_id for m in movements}) > 1 or bool(unknown),
                actuated=not plan.fixed,
            )
        )  # fmt: skip
    return messages
