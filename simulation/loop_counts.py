"""What the loops of the lanes before signals count, second by second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from citybrain.traffic.v1 import area_control_pb2 as control

from citybrain.simulation.cameras import before_signals
from citybrain.simulation.loops import Pair, pairs
from citybrain.simulation.street import Street
from citybrain.simulation.stretches import lanes_of_signals


@dataclass(slots=True)
class Loops:
    """All loops of a city, of a street that has them. `look` once a second, after the step."""

    street: Street
    _pairs: dict[str, Pair] = field(default_factory=dict)
    _lanes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pairs = pairs(self.street.network)
        self._lanes = lanes_of_signals(self.street.network)

    def look(self, second: int, signal_ids: Iterable[str]) -> list[control.SignalTraffic]:
        """What is counted before some signals in a second."""
        return before_signals(
            self.street, second, signal_ids,
            lambda name: [
                self._lane(lane, self._pairs[lane], second) for lane in self._lanes.get(name, ()) if lane in self._pairs
            ],
        )  # fmt: skip

    def _lane(self, lane: str, pair: Pair, second: int) -> control.LaneTraffic:
        sumo = self.street.sumo
        loops = control.LaneLoops(
            entry_m=pair.entry_m,
            entered=round(sum(one.share * sumo.counted(one.name, second, left=False) for one in pair.entries), 3),
            line_covered=sumo.covered(pair.line.name),
            entry_covered=max(sumo.covered(one.name) for one in pair.entries),
        )
        return control.LaneTraffic(lane_id=lane, passed=sumo.counted(pair.line.name, second, left=True), loops=loops)
