"""Shortest ways in free flow, for choosing places whose rides are worth driving. The city finds its own ways."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from citybrain.simulation.network import Edge


def tree_from(edges: Mapping[str, Edge], start: str) -> dict[str, tuple[float, str]]:
    """For every edge that can be reached from the end of `start`: the seconds to its end, and the edge before it."""
    best: dict[str, tuple[float, str]] = {start: (0.0, "")}
    heap = [(0.0, start)]
    while heap:
        seconds, edge_id = heapq.heappop(heap)
        if seconds > best[edge_id][0]:
            continue
        for next_id in edges[edge_id].next_ids:
            then = seconds + edges[next_id].free_s
            if next_id not in best or then < best[next_id][0]:
                best[next_id] = (then, edge_id)
                heapq.heappush(heap, (then, next_id))
    return best


def way(tree: Mapping[str, tuple[float, str]], end: str) -> list[str]:
    """The edges from the root of a tree to `end`, both included."""
    edges = [end]
    while tree[edges[-1]][1]:
        edges.append(tree[edges[-1]][1])
    return edges[::-1]


def core(edges: Mapping[str, Edge]) -> set[str]:
    """The largest set of edges in which every edge can be reached from every other: no vehicle gets stuck there."""
    before: dict[str, list[str]] = {edge_id: [] for edge_id in edges}
    for edge_id, edge in edges.items():
        for next_id in edge.next_ids:
            before[next_id].append(edge_id)
    after = {edge_id: list(edge.next_ids) for edge_id, edge in edges.items()}
    largest: set[str] = set()
    placed: set[str] = set()
    for edge_id in edges:
        if edge_id not in placed:
            both = _reach(edge_id, after) & _reach(edge_id, before)
            placed |= both
            largest = max(largest, both, key=len)
    return largest


def _reach(start: str, arcs: Mapping[str, list[str]]) -> set[str]:
    seen = {start}
    stack = [start]
    while stack:
        for other in arcs[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen
