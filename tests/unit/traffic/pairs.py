"""A road with a detector at either end, and a signal with a cycle of 90 s."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from citybrain.traffic.v1 import incidents_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from google.protobuf.message import Message

from citybrain.services.traffic import street_network, streets
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.street_network import Road
from tests.unit.traffic.measuring import START, detector

PAIR = (detector("up", position_m=30, interval_s=30), detector("dn", position_m=480, interval_s=30))


def quiet(vehicles: int = 3, occupancy: float = 0.1) -> Mapping[int, street.MeasuredInterval]:
    """What a detector says in a window: the same in each 30 s."""
    return {
        second: street.MeasuredInterval(second=second, vehicles=vehicles, occupancy=occupancy, speed_mps=10.0)
        for second in range(0, 300, 30)
    }


class Watched:
    """Road `a` with the detectors `up` and `dn` unless told otherwise."""

    def __init__(self, *detectors: street.Detector) -> None:
        roads = {"a": Road("a", 500, 20.0, "xihu", ())}
        self.known = street_network.known(roads, detectors or PAIR, {"a": 90.0})
        self.part = streets.Part()

    def window(
        self, number: int, up: Mapping[int, street.MeasuredInterval], dn: Mapping[int, street.MeasuredInterval]
    ) -> list[Message]:
        """Takes a window in; gives the events."""
        said = {name: one for name, one in (("up", up), ("dn", dn)) if one}
        told = streets.measure(self.part, "a", self.known, START + number * WINDOW_US, said, {})
        self.part = reduce(streets.evolve, told, self.part)
        return told

    def figures(self, number: int) -> pb.PairFigures:
        (found,) = self.part.pairs[START + number * WINDOW_US].pairs
        return found
