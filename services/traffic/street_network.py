"""Roads and the detectors on them, prepared for judging what is measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from citybrain.traffic.v1 import street_pb2 as pb


@dataclass(frozen=True, slots=True)
class Road:
    """A road as it was published, and its part of the network."""

    part_id: str
    length_m: float
    free_speed_mps: float
    district_id: str
    next_ids: tuple[str, ...]
    # From so many days its speed in free flow was learnt; 0: it is the published one.
    free_speed_days: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Roads and detectors. `on`: road → the detectors in use on it; `beside`: road → the roads before and after it; `in_part`:
    part of the network → the detectors in use in it; `cycles`: road → the cycle of the signal at its end, in seconds.
    """

    roads: Mapping[str, Road] = field(default_factory=dict)
    detectors: Mapping[str, pb.Detector] = field(default_factory=dict)
    on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    in_part: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cycles: Mapping[str, float] = field(default_factory=dict)

    def of_part(self, part_id: str) -> Sequence[str]:
        """The detectors in use in a part, in order."""
        return self.in_part.get(part_id, ())

    def part_of(self, detector_id: str) -> str:
        """The part in which a detector is in use; empty where it is in none."""
        one = self.detectors.get(detector_id)
        return self.roads[one.edge_id].part_id if one is not None else ""


def known(roads: Mapping[str, Road], detectors: Iterable[pb.Detector], cycles: Mapping[str, float] | None = None) -> Known:
    """Roads and detectors, prepared for looking up. A detector on a road that is not published any more is left out."""
    used = {one.detector_id: one for one in sorted(detectors, key=lambda one: one.detector_id) if not one.retired}
    used = {name: one for name, one in used.items() if one.edge_id in roads}
    on: dict[str, list[str]] = {}
    in_part: dict[str, list[str]] = {}
    for name, one in used.items():
        on.setdefault(one.edge_id, []).append(name)
        in_part.setdefault(roads[one.edge_id].part_id, []).append(name)
    beside: dict[str, set[str]] = {}
    for edge_id, road in roads.items():
        for after in road.next_ids:
            if after in roads:
                beside.setdefault(edge_id, set()).add(after)
                beside.setdefault(after, set()).add(edge_id)
    sides = {edge_id: sorted(others - {edge_id}) for edge_id, others in beside.items()}
    return Known(roads, used, on, sides, in_part, cycles or {})
