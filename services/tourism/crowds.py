"""The peaks of crowds at a place (高峰客流): when one begins, how it stands, and when it is over. Pure.

A peak begins when a forecast expects that a level is reached, or when one is reached that nobody has seen coming, or when
people touch in a part of the place. It stands by the newest minute alone. It is over when no level holds, nobody touches, no
forecast is to come, and that has been so for half an hour. If the counts that it began with are corrected, or its forecast is
taken back, and nothing else stands, it is retracted. A place may have two: one that is there, and one of the next day.

It is long because all that is told of a peak is decided on one state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as fc
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.long_streams import newest as newest_of
from citybrain.services.tourism import levels
from citybrain.services.tourism.peaks import AHEAD

CALM = 30
"""A peak is over when it has been calm for so many minutes. A proposal of this project."""

TOGETHER = 12 * 60
"""What is expected or counted within so many minutes of a peak belongs to it. A proposal of this project."""

REMEMBERED = 3
"""So many of the newest peaks at least are remembered that are over."""

MINUTE, HOUR = 60_000_000, 3_600_000_000

CALMED = "no level holds, nobody touches, and no forecast expects it again"
CORRECTED = "the counts that it began with were corrected, and no forecast expects it"
TAKEN_BACK = "the forecast that it began with was taken back, and no level was reached"

Minutes = Mapping[int, ev.PlaceCounted]
"""Number since 1970 → the minute; those of a place that are kept."""


@dataclass(frozen=True, slots=True)
class Peak:
    """One peak. `told`: how it stands, as was told last. `calm_since`: the minute since when it is calm; 0: since it began.

    `forecasts`: horizon in hours → what it has expected last. `taken_back`: horizons of those that do not stand any more.
    `frozen`: the most people and their minute, of minutes that are not kept any more.
    """

    began: ev.PeakBegan | None = None
    told: ev.PeakChanged | None = None
    calm_since: int = 0
    forecasts: Mapping[str, pk.ExpectedPeak] = field(default_factory=dict)
    first: Mapping[str, pk.ExpectedPeak] = field(default_factory=dict)
    """Horizon in hours → what it has expected first: later ones know better, and are nearer than their horizon says."""
    taken_back: tuple[str, ...] = ()
    frozen: tuple[int, int] = (0, 0)
    ended: ev.PeakEnded | None = None
    retracted: bool = False
    review: pk.PeakReview | None = None
    corrections: int = 0
    """So many times what was told of it was corrected."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Those of a place, by id. `count`: how many there were."""

    count: int = 0
    open: Mapping[str, Peak] = field(default_factory=dict)
    over: Mapping[str, Peak] = field(default_factory=dict)


def evolve(peaks: Peaks, event: Message) -> Peaks:
    """The peaks after an event."""
    match event:
        case ev.PeakBegan():
            begun = Peak(began=event)
            if event.HasField("expected"):
                first = {str(event.expected.horizon_hours): event.expected}
                begun = replace(begun, forecasts=first, first=first)
            return replace(peaks, count=peaks.count + 1, open={**peaks.open, event.peak_id: begun})
        case ev.PeakChanged():
            return replace(peaks, open={**peaks.open, event.peak_id: _after_change(peaks.open[event.peak_id], event)})
        case ev.PeakEnded():
            return _closed(peaks, event.peak_id, ended=event)
        case ev.PeakRetracted():
            return _closed(peaks, event.peak_id, retracted=True)
        case ev.PeakReviewed():
            reviewed = replace(peaks.over[event.peak_id], review=event.review)
            return replace(peaks, over={**peaks.over, event.peak_id: reviewed})
    return peaks


def _after_change(peak: Peak, event: ev.PeakChanged) -> Peak:
    now = {str(one.horizon_hours): one for one in event.expected}
    forecasts = {**peak.forecasts, **now}
    standing = {str(one.horizon_hours) for one in event.expected}
    after = replace(
        peak,
        told=event,
        forecasts=forecasts,
        first={**now, **peak.first},
        taken_back=tuple(name for name in forecasts if name not in standing),
        corrections=peak.corrections + event.corrected,
    )
    if not is_calm(after) or is_calm(peak):
        return after
    return replace(after, calm_since=microseconds(event.minute) // MINUTE)


def _closed(peaks: Peaks, peak_id: str, **how: Any) -> Peaks:
    over = replace(peaks.open[peak_id], **how)
    left = {key: one for key, one in peaks.open.items() if key != peak_id}
    return replace(peaks, open=left, over=newest_of({**peaks.over, peak_id: over}, REMEMBERED))


def freeze(peaks: Peaks, minute: ev.PlaceCounted) -> Peaks:
    """A minute is not kept any more: what it says of the peaks stays."""
    number = microseconds(minute.minute) // MINUTE
    held = {
        key: replace(one, frozen=(minute.people, number))
        for key, one in peaks.open.items()
        if number >= _begin(one) and minute.people > one.frozen[0]
    }
    return replace(peaks, open={**peaks.open, **held}) if held else peaks


def is_calm(peak: Peak) -> bool:
    """Whether no level holds and nobody touches, as was told last."""
    now = _now(peak)
    return now.level == 0 and now.closest < pb.DENSITY_LEVEL_CONTACT


def closest(minute: ev.PlaceCounted) -> tuple[pb.DensityLevel, str]:
    """How closely people stand where they do so most closely, and where; unspecified: they do not touch."""
    part = max(minute.parts, key=lambda one: (one.level, one.density), default=None)
    if part is None or part.level < pb.DENSITY_LEVEL_CONTACT:
        return pb.DENSITY_LEVEL_UNSPECIFIED, ""
    return part.level, part.part_id


# -- what is decided ----------------------------------------------------------------------------------------------------------


def follow(peaks: Peaks, place: pb.Place, minutes: Minutes) -> list[Message]:
    """What is to be told when the minutes are as they are now."""
    number = max(minutes)
    minute = minutes[number]
    density, part_id = closest(minute)
    peak = _belonging(peaks, number, number)
    if peak is None:
        if not minute.level and not density:
            return []
        return [_begun(peaks, place, minute.capacity, microseconds(minute.minute), minute)]
    now = _now(peak)
    told: list[Message] = []
    if (now.level, now.closest, now.part_id) != (minute.level, density, part_id):
        changed = _changed(peak, minute, _standing(peak))
        peak = _after_change(peak, changed)
        told.append(changed)
    if not is_calm(peak):
        return told
    if not _was_there(peak, minutes) and not _standing(peak):
        return [*told, _retracted(peak, TAKEN_BACK if peak.forecasts else CORRECTED)]
    if number - max(peak.calm_since, _window_end(peak)) >= CALM:
        return [*told, _ended(peak, minutes, CALMED, microseconds(minute.minute) + MINUTE)]
    return told


def expect(
    peaks: Peaks, place: pb.Place, minutes: Minutes, capacity: int, expected: pk.ExpectedPeak, below: Collection[int], now: int
) -> list[Message]:
    """A forecast expects so many people in its fullest hour. What it takes back is of the same or a farther horizon.

    `below`: the hours (microseconds since 1970) of which it expects no level. `capacity`: of the place now. `now`: microseconds
    since 1970. What is expected of an hour that is over begins nothing.
    """
    hour = microseconds(expected.hour)
    mine = _belonging(peaks, hour // MINUTE, now // MINUTE) if expected.level and hour + HOUR > now else None
    told: list[Message] = []
    for peak in peaks.open.values():
        standing = [
            one for one in _standing(peak) if one.horizon_hours < expected.horizon_hours or microseconds(one.hour) not in below
        ]
        if peak is mine:
            # Of each horizon the last one counts.
            others = [one for one in standing if one.horizon_hours != expected.horizon_hours]
            standing = sorted([*others, expected], key=lambda one: one.horizon_hours)
        told += _stands(peaks, peak, minutes, standing, now)
    if mine is None and expected.level and hour + HOUR > now:
        # How it is now says nothing of what is expected: the next minute does, where it belongs to this peak.
        told.append(_begun(peaks, place, capacity, now, ev.PlaceCounted(), expected))
    return told


def expected(forecast: fc.Forecast) -> tuple[pk.ExpectedPeak, list[int]]:
    """What a forecast expects in its fullest hour, and the hours (microseconds since 1970) of which it expects no level."""
    told = pk.ExpectedPeak(
        hour=forecast.peak_hour, horizon_hours=AHEAD[forecast.horizon], people=forecast.people, low=forecast.lower,
        high=forecast.upper, level=forecast.level,
    )  # fmt: skip
    below = [
        microseconds(one.hour) for one in forecast.hours if not levels.fullness(0, one.people, forecast.capacity, complete=True)
    ]
    return told, below


def take_back(peaks: Peaks, minutes: Minutes, horizon_hours: int, hour: int, now: int) -> list[Message]:
    """What a forecast has expected of an hour (microseconds since 1970) does not follow any more."""
    return [
        event
        for peak in peaks.open.values()
        for event in _stands(
            peaks,
            peak,
            minutes,
            [one for one in _standing(peak) if (one.horizon_hours, microseconds(one.hour)) != (horizon_hours, hour)],
            now,
        )
    ]


def _stands(peaks: Peaks, peak: Peak, minutes: Minutes, standing: Sequence[pk.ExpectedPeak], now: int) -> list[Message]:
    """What is to be told where these forecasts of a peak stand now."""
    if standing == _standing(peak):
        return []
    # How it is now says nothing of a peak of the next day.
    minute = ev.PlaceCounted(minute=timestamp(now), revision=1)
    if minutes and peak is _belonging(peaks, now // MINUTE, now // MINUTE):
        minute = minutes[max(minutes)]
    changed = _changed(peak, minute, standing)
    after = _after_change(peak, changed)
    if is_calm(after) and not standing and not _was_there(after, minutes):
        return [changed, _retracted(after, TAKEN_BACK)]
    return [changed]


def end(peaks: Peaks, minutes: Minutes, peak_id: str, reason: str, now: int) -> list[Message]:
    """A person says that it is over, once."""
    existing(peaks, peak_id)
    return [_ended(peaks.open[peak_id], minutes, reason, now)] if peak_id in peaks.open else []


def review(peaks: Peaks, request: pk.RecordPeakReviewRequest) -> list[Message]:
    """Puts its forecasts beside what was counted, once. Refused before it has ended."""
    peak = existing(peaks, request.peak_id)
    if peak.review is not None:
        return []
    if peak.ended is None or peak.began is None:
        raise Refused(f"peak {request.peak_id} has not ended: it is reviewed when it has", "PEAK_NOT_ENDED")
    ended = peak.ended
    errors = [one.people - ended.most_people for one in ended.forecasts]
    made = pk.PeakReview(
        forecasts=ended.forecasts, most_people=ended.most_people,
        most_at=ended.most_at if ended.HasField("most_at") else None, errors=errors,
        relative_errors=[error / ended.most_people if ended.most_people else 0.0 for error in errors],
        in_interval=[one.low <= ended.most_people <= one.high for one in ended.forecasts], flags=request.flags,
        corrections=peak.corrections,
    )  # fmt: skip
    return [ev.PeakReviewed(peak_id=request.peak_id, review=made, **_whose(peak))]


def existing(peaks: Peaks, peak_id: str) -> Peak:
    """The peak, or NotFound."""
    found = peaks.open.get(peak_id) or peaks.over.get(peak_id)
    if found is None:
        raise NotFound(f"there is no peak {peak_id} at this place, or it is long over: GetPlace has the newest", "NO_SUCH_PEAK")
    return found


def show(peaks: Peaks, minutes: Minutes) -> list[pk.Peak]:
    """The peaks as callers see them: the open ones, then the newest that are over."""
    over = list(peaks.over.values())[::-1][:REMEMBERED]
    return [_shown(one, minutes) for one in (*peaks.open.values(), *over)]


def shown(peaks: Peaks, peak_id: str, minutes: Minutes) -> pk.Peak:
    """One of them."""
    return _shown(existing(peaks, peak_id), minutes)


def _shown(peak: Peak, minutes: Minutes) -> pk.Peak:
    assert peak.began is not None
    state = pk.PEAK_STATE_RETRACTED if peak.retracted else pk.PEAK_STATE_OPEN if peak.ended is None else pk.PEAK_STATE_ENDED
    shown = pk.Peak(
        peak_id=peak.began.peak_id, state=state, began_at=peak.began.began_at, expected=_standing(peak),
        level=_now(peak).level, review=peak.review,
    )  # fmt: skip
    if peak.ended is not None:
        shown.most_people = peak.ended.most_people
        if peak.ended.HasField("most_at"):
            shown.most_at.CopyFrom(peak.ended.most_at)
    elif state == pk.PEAK_STATE_OPEN:
        shown.most_people, number = _most(peak, minutes)
        if number:
            shown.most_at.CopyFrom(timestamp(number * MINUTE))
    return shown


# -- what it rests on ---------------------------------------------------------------------------------------------------------


def _belonging(peaks: Peaks, number: int, now: int) -> Peak | None:
    """The open peak that a minute belongs to: one that is there, or else the one whose hour comes first. `now`: a minute."""

    def away(one: Peak) -> int:
        from_middle, from_now = abs(_middle(one) - number), abs(now - number)
        return from_middle if is_calm(one) else min(from_middle, from_now)

    near = [one for one in peaks.open.values() if away(one) <= TOGETHER]
    return min(near, key=lambda one: (is_calm(one), _middle(one)), default=None)


def _middle(peak: Peak) -> int:
    """The number of the minute that it is about: the hour that is expected, or when it stood otherwise last."""
    standing = _standing(peak)
    if standing:
        return microseconds(standing[0].hour) // MINUTE
    return max(_begin(peak), peak.calm_since)


def _begin(peak: Peak) -> int:
    """The number of the minute in which it began."""
    assert peak.began is not None
    return microseconds(peak.began.began_at) // MINUTE


def _standing(peak: Peak) -> list[pk.ExpectedPeak]:
    """The forecasts that stand, the nearest horizon first."""
    found = [one for name, one in peak.forecasts.items() if name not in peak.taken_back]
    return sorted(found, key=lambda one: one.horizon_hours)


def _now(peak: Peak) -> ev.PeakBegan | ev.PeakChanged:
    assert peak.began is not None
    return peak.began if peak.told is None else peak.told


def _window_end(peak: Peak) -> int:
    """The number of the minute after the last hour that is expected; 0: none is."""
    return max(((microseconds(one.hour) + HOUR) // MINUTE for one in _standing(peak)), default=0)


def _was_there(peak: Peak, minutes: Minutes) -> bool:
    """Whether a level was reached since it began, by all that is counted now."""
    begin = _begin(peak)
    if not minutes or begin < min(minutes):
        # Nobody corrects that minute any more: what was told of it stands.
        assert peak.began is not None
        if peak.began.level or peak.began.closest:
            return True
    if peak.told is not None and peak.calm_since and peak.calm_since < min(minutes, default=0):
        return True
    return any(one.level or closest(one)[0] for number, one in minutes.items() if number >= begin)


def _most(peak: Peak, minutes: Minutes) -> tuple[int, int]:
    """The most people since it began, and the number of the first minute with so many; 0, 0: nobody was counted."""
    kept = [(one.people, -number) for number, one in minutes.items() if number >= _begin(peak)]
    people, number = max([*kept, (peak.frozen[0], -peak.frozen[1])])
    return people, -number


# -- events -------------------------------------------------------------------------------------------------------------------


def _whose(peak: Peak) -> dict[str, Any]:
    assert peak.began is not None
    return {"place_id": peak.began.place_id, "district_id": peak.began.district_id}


def _begun(
    peaks: Peaks, place: pb.Place, capacity: int, at: int, minute: ev.PlaceCounted, expected: pk.ExpectedPeak | None = None
) -> Message:
    # The same each time that it is decided; of a place no two are the same.
    number = hashlib.sha256(f"{place.place_id}/{peaks.count + 1}".encode()).hexdigest()[:12]
    density, part_id = closest(minute)
    return ev.PeakBegan(
        peak_id=f"peak-{number}", place_id=place.place_id, district_id=place.district_id, name=place.name,
        entrance=place.entrance if place.HasField("entrance") else None, position=place.position,
        parking_lot_ids=place.parking_lot_ids, elsewhere_ids=place.elsewhere_ids, capacity=capacity, expected=expected,
        level=minute.level, closest=density, part_id=part_id, people=minute.people, began_at=timestamp(at),
    )  # fmt: skip


def _changed(peak: Peak, minute: ev.PlaceCounted, standing: Sequence[pk.ExpectedPeak]) -> ev.PeakChanged:
    assert peak.began is not None
    density, part_id = closest(minute)
    return ev.PeakChanged(
        peak_id=peak.began.peak_id, number=(peak.told.number if peak.told is not None else 0) + 1, level=minute.level,
        closest=density, part_id=part_id, people=minute.people, minute=minute.minute, complete=minute.complete,
        corrected=minute.revision > 1, expected=standing, **_whose(peak),
    )  # fmt: skip


def _ended(peak: Peak, minutes: Minutes, reason: str, at: int) -> Message:
    assert peak.began is not None
    people, number = _most(peak, minutes)
    return ev.PeakEnded(
        peak_id=peak.began.peak_id, reason=reason, most_people=people, ended_at=timestamp(at),
        # The one that was made first first.
        forecasts=[peak.first[name] for name in sorted(peak.first, key=int, reverse=True)],
        most_at=timestamp(number * MINUTE) if number else None, **_whose(peak),
    )  # fmt: skip


def _retracted(peak: Peak, reason: str) -> Message:
    assert peak.began is not None
    return ev.PeakRetracted(peak_id=peak.began.peak_id, reason=reason, **_whose(peak))
