"""Streets with detectors, five minutes by five minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from google.protobuf.message import Message

from citybrain.services.traffic import street_network, streets
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.street_network import Road

START = 5_900_000 * WINDOW_US
M = TypeVar("M", bound=Message)


def detector(name: str, edge_id: str = "a", lanes: Sequence[int] = (0,), **more: Any) -> pb.Detector:
    told: dict[str, Any] = {"kind": pb.DETECTOR_KIND_LOOP, "interval_s": 60, "position_m": 50, **more}
    return pb.Detector(detector_id=name, edge_id=edge_id, lanes=lanes, **told)


def said(vehicles: int = 10, speed: float | None = 12.0, occupancy: float = 0.1, few: int = 5) -> streets.Intervals:
    """What a detector says in a window: its counts change from minute to minute."""
    found = {}
    for minute in range(few):
        one = pb.MeasuredInterval(second=60 * minute, vehicles=vehicles + (minute % 2 if vehicles else 0), occupancy=occupancy)
        if speed is not None:
            one.speed_mps = speed
        found[60 * minute] = one
    return found


class Streets:
    """Road `a`, with the detectors a1 and a2 unless told otherwise, leads to road `b`; free flow is 20 m/s."""

    def __init__(self, *detectors: pb.Detector) -> None:
        roads = {"a": Road("a", 500, 20.0, "xihu", ("b",)), "b": Road("a", 300, 20.0, "xihu", ())}
        self.known = street_network.known(roads, detectors or (detector("a1"), detector("a2", lanes=[1])))
        self.part = streets.Part()
        self.log: list[Message] = []

    def window(self, number: int, said: Mapping[str, streets.Intervals], **observed: tuple[float, int]) -> list[Message]:
        """Takes a window in; gives the events."""
        told = streets.measure(self.part, "a", self.known, START + number * WINDOW_US, said, observed)
        self.part = reduce(streets.evolve, told, self.part)
        self.log += told
        return told

    def both(self, numbers: range, speed: float) -> None:
        """Windows in which both detectors measure one speed."""
        for number in numbers:
            self.window(number, {"a1": said(10 + number % 3, speed), "a2": said(9 + number % 2, speed)})

    def road(self, number: int, edge_id: str = "a") -> pb.RoadState:
        (found,) = (one for one in self.part.windows[START + number * WINDOW_US].roads if one.edge_id == edge_id)
        return found


def of(kind: type[M], told: Sequence[Message]) -> list[M]:
    return [one for one in told if isinstance(one, kind)]


def changes(told: Sequence[Message]) -> list[tuple[int, str, str]]:
    """Levels that were told and retracted: the number of the window, the level, and what was before."""
    found = []
    for one in told:
        if isinstance(one, ev.CongestionChanged | ev.CongestionRetracted):
            number = (getattr(one, "from").ToMicroseconds() - START) // WINDOW_US
            before = level(one.old_level) if isinstance(one, ev.CongestionChanged) else "retracted"
            found.append((number, level(one.level), before))
    return found


def level(number: pb.CongestionLevel) -> str:
    return pb.CongestionLevel.Name(number).removeprefix("CONGESTION_LEVEL_")
