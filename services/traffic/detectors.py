"""A detector: where it is and what it covers; and which of its readings are taken in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.roads import beyond_the_end
from citybrain.services.traffic.detector_health import WINDOW_S

MICROSECONDS = 1_000_000
WINDOW_US = WINDOW_S * MICROSECONDS
LATE_S = 60
"""Five minutes are judged so many seconds after their end. What comes later has them judged anew."""
CLOSING_S = 5
"""What comes so short before that counts as late: it may miss them."""
AHEAD_S = 10
"""A reading may begin so far in the future: clocks differ."""
OLDEST_S = 5400
"""A reading may be so old."""
SHOWN = 100
"""So many refusals an answer shows."""
MOST = 600
"""So many detectors a part of the network has at most: what they report in five minutes is one event."""


@dataclass(frozen=True, slots=True)
class DetectorState:
    """A detector, and the district of its road."""

    detector: pb.Detector | None = None
    district_id: str = ""


def evolve(state: DetectorState, event: Message) -> DetectorState:
    """The detector after an event."""
    if isinstance(event, ev.DetectorRegistered):
        return replace(state, detector=event.detector, district_id=event.district_id)
    return state


def district_of(state: DetectorState) -> str:
    """The district of its road."""
    return state.district_id


def existing(state: DetectorState, detector_id: str) -> pb.Detector:
    """The detector, or NotFound."""
    if state.detector is None:
        raise NotFound(f"there is no detector {detector_id}: register it first (RegisterDetectors)", "NO_SUCH_DETECTOR")
    return state.detector


def check(index: int, detector: pb.Detector, lengths_m: Mapping[str, float]) -> None:
    """BadRequest where a detector cannot be as it is said to be. `lengths_m`: of each road that is published."""
    where = f"detectors[{index}]"
    if detector.edge_id not in lengths_m:
        problem = f"{detector.edge_id!r} is not in the published network: name a road that is, or publish it"
        raise BadRequest([(f"{where}.edge_id", problem)])
    if problem := beyond_the_end(lengths_m, detector.edge_id, detector.position_m):
        raise BadRequest([(f"{where}.position_m", problem)])


def check_room(more: Mapping[str, int], known: Mapping[str, int]) -> None:
    """Refused where a part of the network would have too many detectors. Both: how many by part, `more` of new ones."""
    for part, number in more.items():
        if known.get(part, 0) + number > MOST:
            what = f"the roads that were published with {part!r} have {MOST} detectors at most: publish smaller parts"
            raise Refused(what, "PART_FULL")


def register(state: DetectorState, detector: pb.Detector, district_id: str) -> list[Message]:
    """Makes it known, or changed. Refused where it would be on another road: that is another detector."""
    if state.detector == detector and state.district_id == district_id:
        return []
    if state.detector is not None and state.detector.edge_id != detector.edge_id:
        what = f"{detector.detector_id} is on road {state.detector.edge_id!r}: give one elsewhere another id"
        raise Refused(what, "OTHER_ROAD")
    return [ev.DetectorRegistered(detector=detector, district_id=district_id)]


def sort(
    request: pb.ReportDetectorReadingsRequest, known: Mapping[str, pb.Detector], now: int
) -> tuple[list[pb.StreetReadings], pb.ReportDetectorReadingsResponse]:
    """The readings that are taken in, those in time and those that are late, and the answer. `now`: in microseconds."""
    answer = pb.ReportDetectorReadingsResponse()
    in_time, late = pb.StreetReadings(at=timestamp(now)), pb.StreetReadings(at=timestamp(now), late_at=timestamp(now))
    for index, reading in enumerate(request.readings):
        began = microseconds(reading.began_at)
        age_s = (now - began) / MICROSECONDS
        detector = known.get(reading.detector_id)
        wrong = None
        if detector is None or detector.retired:
            wrong = "UNKNOWN_DETECTOR", "no detector in use has this id: register it first (RegisterDetectors)"
        elif age_s < -AHEAD_S:
            wrong = "FROM_THE_FUTURE", f"it begins {-age_s:.0f} s ahead of the city's time: set the clock"
        elif age_s > OLDEST_S:
            wrong = "TOO_LATE", f"it is {age_s:.0f} s old, and {OLDEST_S} s is the most: nothing that old is judged anew"
        if wrong is not None:
            answer.refused += 1
            if len(answer.refusals) < SHOWN:
                answer.refusals.add(index=index, detector_id=reading.detector_id, reason=wrong[0], told=wrong[1])
            continue
        is_late = began - began % WINDOW_US + WINDOW_US + (LATE_S - CLOSING_S) * MICROSECONDS <= now
        (late if is_late else in_time).readings.append(reading)
    answer.late = len(late.readings)
    answer.accepted = len(in_time.readings) + answer.late
    return [batch for batch in (in_time, late) if batch.readings], answer
