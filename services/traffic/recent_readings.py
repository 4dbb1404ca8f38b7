"""What detectors have reported in the last hour or so, minute by minute, in memory: incidents are looked for in it each minute.

After a restart the readings that are kept bring it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from citybrain.traffic.v1 import incidents_pb2
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.mesh.events import microseconds
from citybrain.mesh.service import Provider
from citybrain.services.traffic import detector_health, incident_pairs
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.incident_pairs import Pair
from citybrain.services.traffic.street_network import Known
from citybrain.services.traffic.verdicts import interval

MINUTE_S = 60
KEPT_S = 3600
"""Eleven blocks of five minutes, and the one that goes on."""
LATE_S = 15
"""A minute is looked at so many seconds after its end. What comes later counts when its five minutes are judged."""


class Recent:
    """By detector: the second since 1970 at which an interval began → what was measured in it."""

    def __init__(self) -> None:
        self._said: dict[str, dict[int, detector_health.Interval]] = {}
        self.begun = False

    def take(self, name: str, second: int, one: detector_health.Interval) -> None:
        """What a detector has measured. What it says again of the same interval counts."""
        self._said.setdefault(name, {})[second] = one

    def recall(self, batches: Iterable[tuple[int, pb.StreetReadings]]) -> None:
        """Takes in readings that were kept."""
        for _, batch in batches:
            for one in batch.readings:
                kept = pb.MeasuredInterval(vehicles=one.vehicles, occupancy=one.occupancy)
                self.take(one.detector_id, microseconds(one.began_at) // MICROSECONDS, interval(kept))

    def forget(self, before: int) -> None:
        """Forgets intervals that began before a second."""
        for name, said in list(self._said.items()):
            left = {second: one for second, one in said.items() if second >= before}
            if left:
                self._said[name] = left
            else:
                del self._said[name]

    def figures(self, pairs: Iterable[Pair], known: Known, failed: set[str], start: int) -> list[incidents_pb2.PairFigures]:
        """What pairs show whose blocks end in the minute that begins at a second. Not those with a detector that fails."""
        found = []
        for pair in pairs:
            if start // pair.block_s == (start + MINUTE_S) // pair.block_s or failed & {pair.upstream, pair.downstream}:
                continue
            up, down = (self._believed(known, name) for name in (pair.upstream, pair.downstream))
            one = incident_pairs.figures(pair, up, down, start, MINUTE_S)
            if one is not None:
                found.append(one)
        return found

    def _believed(self, known: Known, name: str) -> Mapping[int, detector_health.Interval]:
        one = known.detectors[name]
        said = self._said.get(name, {})
        return {
            incident_pairs.slot(at, one.interval_s): each
            for at, each in sorted(said.items())
            if detector_health.possible(each, len(one.lanes), one.interval_s)
        }


class RecentReadings(Provider):
    """One `Recent` for all calls of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._recent = Recent()

    def get_dependency(self, worker_ctx: Any) -> Recent:
        """What is known now."""
        return self._recent
