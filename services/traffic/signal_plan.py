"""The plan clock of a fixed-time signal: what it shows at a moment when nobody asks for anything.

Moments are seconds since 1970; a state is a text with one letter per link index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from citybrain.traffic.v1.traffic_service_pb2 import Signal

GREEN = frozenset("Gg")
RIGHT_OF_WAY = "G"
YELLOW = frozenset("yu")
# A green phase with less than this left is not worth returning to.
SHORTEST_GREEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a signal is handed back: the phase to show, and the moment at which the plan leaves it."""

    phase: int
    ends_at: float


@dataclass(frozen=True)
class Plan:
    """A signal with what is derived from it once."""

    signal: Signal

    @cached_property
    def states(self) -> list[str]:
        """The state of each phase."""
        return [phase.state for phase in self.signal.phases]

    @cached_property
    def durations(self) -> list[float]:
        """The length of each phase in seconds."""
        return [phase.duration_s for phase in self.signal.phases]

    @cached_property
    def cycle_s(self) -> float:
        """The length of one cycle."""
        return sum(self.durations)

    @cached_property
    def start(self) -> float:
        """A moment at which the first phase began."""
        return self.signal.cycle_start.seconds + self.signal.cycle_start.nanos / 1e9

    @cached_property
    def conflicts(self) -> Mapping[int, frozenset[int]]:
        """For each link index, those that must not be green with it."""
        found: dict[int, set[int]] = {}
        for pair in self.signal.conflicts:
            found.setdefault(pair.index, set()).add(pair.other_index)
            found.setdefault(pair.other_index, set()).add(pair.index)
        return {index: frozenset(others) for index, others in found.items()}

    @cached_property
    def approaches(self) -> Mapping[str, frozenset[int]]:
        """The link indices of each road that leads to the signal."""
        found: dict[str, set[int]] = {}
        for link in self.signal.links:
            found.setdefault(link.from_edge_id, set()).add(link.index)
        return {edge: frozenset(indices) for edge, indices in found.items()}

    @cached_property
    def green_phases(self) -> list[int]:
        """Phases in which something is green and nothing is yellow."""
        return [n for n, state in enumerate(self.states) if GREEN & set(state) and not YELLOW & set(state)]

    @property
    def controllable(self) -> bool:
        """Whether what it shows at a moment can be computed, and there is a green to come back to."""
        return not self.signal.actuated and self.cycle_s > 0 and bool(self.green_phases)

    def movement(self, edge: str, following: str) -> frozenset[int]:
        """The link indices of one movement."""
        return frozenset(link.index for link in self.signal.links if link.from_edge_id == edge and link.to_edge_id == following)

    def at(self, moment: float) -> tuple[int, float]:
        """The phase the plan is in, and the moment at which it ends."""
        into = (moment - self.start) % self.cycle_s
        began = moment - into
        for phase, duration in enumerate(self.durations):
            if into < duration:
                return phase, began + sum(self.durations[: phase + 1])
            into -= duration
        return 0, began + self.cycle_s + self.durations[0]

    def landing(self, moment: float) -> Landing:
        """Where to come back at a moment: the phase the plan is in, or the next green where that is none or nearly over."""
        phase, ends_at = self.at(moment)
        while phase not in self.green_phases or ends_at - moment < SHORTEST_GREEN_S:
            phase = (phase + 1) % len(self.durations)
            ends_at += self.durations[phase]
        return Landing(phase, ends_at)
