"""A network of pipes as this story reads it from its file: what joins what, and who uses water. No service uses this code."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class PipesMap:
    """`links`: by id, the two nodes that a pipe, pump or valve joins. `demands`: of each junction, in the unit of the file."""

    coordinates: dict[str, tuple[float, float]] = field(default_factory=dict)
    demands: dict[str, float] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    pipes: set[str] = field(default_factory=set)
    supplies: set[str] = field(default_factory=set)
    """Reservoirs and tanks."""

    def without_water(self, shut: Collection[tuple[str, str]]) -> set[str]:
        """The junctions with customers that water cannot reach when valves are shut, each at one end (node) of a pipe."""
        wet = self._wet(shut)
        return {node for node, demand in self.demands.items() if demand > 0 and node not in wet}

    def reaches(self, pipe: str, shut: Collection[tuple[str, str]]) -> bool:
        """Whether water still reaches the inside of a pipe."""
        wet = self._wet(shut)
        return any(end in wet and (pipe, end) not in shut for end in self.links[pipe])

    def _wet(self, shut: Collection[tuple[str, str]]) -> set[str]:
        wet, ends = set(self.supplies), deque(self.supplies)
        beside: dict[str, list[tuple[str, str]]] = {}
        for link, (one, other) in self.links.items():
            beside.setdefault(one, []).append((link, other))
            beside.setdefault(other, []).append((link, one))
        while ends:
            node = ends.popleft()
            for link, other in beside.get(node, []):
                if other not in wet and (link, node) not in shut and (link, other) not in shut:
                    wet.add(other)
                    ends.append(other)
        return wet


def read(file: Path) -> PipesMap:
    """The network of a file in EPANET's form."""
    found = PipesMap()
    for section, words in _lines(file):
        match section:
            case "JUNCTIONS":
                found.demands[words[0]] = float(words[2]) if len(words) > 2 else 0.0
            case "RESERVOIRS" | "TANKS":
                found.supplies.add(words[0])
            case "PIPES" | "PUMPS" | "VALVES":
                found.links[words[0]] = words[1], words[2]
                if section == "PIPES":
                    found.pipes.add(words[0])
            case "DEMANDS":
                found.demands[words[0]] = max(found.demands.get(words[0], 0.0), float(words[1]))
            case "COORDINATES":
                found.coordinates[words[0]] = float(words[1]), float(words[2])
    return found


def _lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    section = ""
    for line in file.read_text(encoding="latin-1").splitlines():
        text = line.partition(";")[0].strip()
        if text.startswith("["):
            section = text.strip("[]").upper()
        elif text:
            yield section, text.split()
