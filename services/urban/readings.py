"""What devices report: which readings cannot be right, and how the others are folded into windows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from citybrain.urban.v1 import devices_pb2 as pb

from citybrain.mesh.service import Reading
from citybrain.services.urban.kinds import DEVICES, wrong_value

WINDOW_S = 60
AHEAD_S = 60
"""A reading may be so far in the future."""
BEHIND_S = 60
"""A reading may be so old. Its window is open so long, so none is lost without a word."""
SHOWN = 100
"""So many refusals an answer shows."""
MICROSECONDS = 1_000_000

Folded = tuple[int, float]
"""The seconds of a window that have a reading, a bit each, and the sum of these readings."""


def sort(
    request: pb.ReportReadingsRequest, kinds: Mapping[str, str], now: int
) -> tuple[pb.ReportReadingsRequest, pb.ReportReadingsResponse]:
    """The readings that can be right, and the answer. `kinds`: of each device. `now`: city time in microseconds."""
    answer = pb.ReportReadingsResponse()
    good: list[pb.DeviceReading] = []
    newest, oldest = now + AHEAD_S * MICROSECONDS, now - BEHIND_S * MICROSECONDS
    for index, reading in enumerate(request.readings):
        at = reading.observed_at.seconds * MICROSECONDS + reading.observed_at.nanos // 1000
        wrong: tuple[str, str] | None
        kind = DEVICES.get(kinds.get(reading.device_id, ""))
        if kind is None:
            wrong = "UNKNOWN_DEVICE", "no device has this id: register it first (RegisterDevices)"
        elif at > newest:
            wrong = "FROM_THE_FUTURE", f"it is {(at - now) / MICROSECONDS:.0f} s ahead of the city's time: set its clock"
        elif at < oldest:
            late = (now - at) / MICROSECONDS
            wrong = "TOO_LATE", f"it is {late:.0f} s old, and its window is closed: add it with CorrectReadings"
        else:
            wrong = wrong_value(kind, reading.value)
        if wrong is None:
            good.append(reading)
            continue
        answer.refused += 1
        if len(answer.refusals) < SHOWN:
            answer.refusals.add(index=index, device_id=reading.device_id, reason=wrong[0], told=wrong[1])
    answer.accepted = len(good)
    return (request if not answer.refused else pb.ReportReadingsRequest(readings=good)), answer


def readings(batch: pb.ReportReadingsRequest) -> Iterator[Reading]:
    """The readings of a batch, by device. The value of each goes with the second in which it was measured."""
    for one in batch.readings:
        at = one.observed_at
        yield Reading(one.device_id, at.seconds * MICROSECONDS + at.nanos // 1000, (at.seconds % WINDOW_S, one.value))


def fold(state: Folded | None, value: tuple[int, float]) -> Folded:
    """A window with one more reading. Of one second the first counts: what comes again is the same reading, sent twice."""
    seconds, total = state or (0, 0.0)
    bit = 1 << value[0]
    return (seconds, total) if seconds & bit else (seconds | bit, total + value[1])
