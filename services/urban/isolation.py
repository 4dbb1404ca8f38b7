"""Which valves cut pipes off, and who has no water then.

A segment is what hangs together without a valve between (the rule of T. M. Walski, *Water Distribution Valve Topology for
Reliability Analysis*, 1993): a pipe that is to be without water takes with it what it reaches before the next valves. These are
closed. Whoever cannot be reached from a reservoir or a tank any more is cut off too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.services.urban.water_network import Layout, Pipe

Valve = tuple[str, str]
"""A pipe, and the node at whose end of it the valve is."""


class NotIsolable(ValueError):
    """No valves stand between a pipe and a source."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is closed, what is in between, and the junctions with customers that have no water."""

    valves: tuple[Valve, ...]
    pipes: tuple[str, ...]
    customers: tuple[str, ...]
    demand_lps: float


def everywhere(layout: Layout) -> frozenset[Valve]:
    """A valve at each end of each pipe: what is taken for true where nobody has said where valves are."""
    return frozenset((link.name, node) for link in layout.links if link.closable for node in (link.start, link.end))


def plan(layout: Layout, valves: frozenset[Valve], pipes: Iterable[str]) -> Plan:
    """How pipes are cut off. NotIsolable: by these valves they cannot be."""
    at: dict[str, list[Pipe]] = {}
    for link in layout.links:
        at.setdefault(link.start, []).append(link)
        at.setdefault(link.end, []).append(link)
    links = {link.name: link for link in layout.links}
    inside, dry, closed = _segment(links, at, valves, pipes)
    if wet := sorted(dry & layout.sources):
        raise NotIsolable(f"no valve stands between it and {', '.join(wet)}")
    closed -= _between(closed, inside, dry, at, layout.sources)
    reached = _reached(layout, at, inside, closed)
    customers = tuple(sorted(name for name, lps in layout.demand_lps.items() if lps > 0 and name not in reached))
    return Plan(tuple(sorted(closed)), tuple(sorted(inside)), customers, sum(layout.demand_lps[name] for name in customers))


def _segment(
    links: Mapping[str, Pipe], at: Mapping[str, list[Pipe]], valves: frozenset[Valve], pipes: Iterable[str]
) -> tuple[set[str], set[str], set[Valve]]:
    """The links and nodes that hang together with pipes, and the valves around them."""
    inside, dry, closed = set(pipes), set[str](), set[Valve]()
    waiting = list(inside)
    while waiting:
        link = links[waiting.pop()]
        for node in (link.start, link.end):
            if (link.name, node) in valves:
                closed.add((link.name, node))
                continue
            if node in dry:
                continue
            dry.add(node)
            for other in at[node]:
                if (other.name, node) in valves:
                    closed.add((other.name, node))
                elif other.name not in inside:
                    inside.add(other.name)
                    waiting.append(other.name)
    return inside, dry, closed


def _between(
    closed: set[Valve], inside: set[str], dry: set[str], at: Mapping[str, list[Pipe]], sources: frozenset[str]
) -> set[Valve]:
    """The valves that have no water on either side: they may stay as they are."""
    return {
        (pipe, node)
        for pipe, node in closed
        if pipe in inside and (node in dry or (node not in sources and all(other.name in inside for other in at[node])))
    }


def _reached(layout: Layout, at: Mapping[str, list[Pipe]], inside: set[str], closed: set[Valve]) -> set[str]:
    """The nodes that water from a source still reaches."""
    reached, waiting = set(layout.sources), list(layout.sources)
    while waiting:
        node = waiting.pop()
        for link in at.get(node, ()):
            other = link.end if link.start == node else link.start
            if link.name in inside or {(link.name, node), (link.name, other)} & closed or other in reached:
                continue
            reached.add(other)
            waiting.append(other)
    return reached
