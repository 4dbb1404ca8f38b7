"""What devices report: which readings cannot be right, and how the others are folded into windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

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
RECALLED_MIN = 120
"""After a restart so many minutes are taken from the readings that are kept: a baseline is learnt from 60 windows, a leak is
looked for in 8 quarters of an hour, the rain of two hours counts."""

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


@dataclass(slots=True)
class Refolding:
    """Windows that are folded anew from batches that are kept, as they were when these came."""

    until: int
    opened: dict[int, dict[str, Folded]] = field(default_factory=dict)

    def take(self, batches: Iterable[tuple[int, pb.ReportReadingsRequest]]) -> list[tuple[int, dict[str, Folded]]]:
        """Takes batches in, each with when it came; gives the windows that were closed since, the oldest first."""
        now, until_s = 0, self.until // MICROSECONDS
        for now, batch in batches:
            # None of its readings is older than that: all are of windows that come.
            if now >= self.until + BEHIND_S * MICROSECONDS:
                continue
            for one in batch.readings:
                second = one.observed_at.seconds
                start = (second - second % WINDOW_S) * MICROSECONDS
                if second < until_s and not _closed(start, now):
                    states = self.opened.setdefault(start, {})
                    states[one.device_id] = fold(states.get(one.device_id), (second % WINDOW_S, one.value))
        return self._give(now)

    def rest(self) -> list[tuple[int, dict[str, Folded]]]:
        """The windows that were not closed then."""
        return self._give(None)

    def _give(self, now: int | None) -> list[tuple[int, dict[str, Folded]]]:
        over = sorted(start for start in self.opened if now is None or _closed(start, now))
        return [(start, self.opened.pop(start)) for start in over]


def _closed(start: int, now: int) -> bool:
    """Whether a window takes no reading any more."""
    return start + (WINDOW_S + BEHIND_S) * MICROSECONDS <= now


def fold(state: Folded | None, value: tuple[int, float]) -> Folded:
    """A window with one more reading. Of one second the first counts: what comes again is the same reading, sent twice."""
    seconds, total = state or (0, 0.0)
    bit = 1 << value[0]
    return (seconds, total) if seconds & bit else (seconds | bit, total + value[1])
