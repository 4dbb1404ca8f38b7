"""What the figures of pairs of detectors must reach: learnt from what was usual there in the last 14 days. Pure.

A pair has thresholds when at least a day of it was measured; before that, nothing is found by it. An algorithm finds what is
not usual: its threshold is `MARGIN` above what was reached in at most one window of five minutes in ten days (of fewer days:
above everything). Windows in which an incident was confirmed on the road do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.services.traffic import california_7, incident_pairs, standard_normal_deviate
from citybrain.services.traffic.detectors import MICROSECONDS, WINDOW_US
from citybrain.services.traffic.free_speeds import HANGZHOU, HOUR_US, prefix
from citybrain.services.traffic.standing import begins

DAYS = 14
LEAST = 288
"""Windows of a pair with both figures: a day. 288 are enough."""
PER_FALSE_ALARM = 2880
"""One window in so many may reach the threshold: ten days."""
USUAL_DOWNSTREAM = 0.95
"""T3 is what this share of the occupancies downstream does not exceed."""
SLOTS = 24 * (DAYS + 1)
"""So many hours of a part are kept as rows: each new one takes the place of the oldest."""
SCALE = 10_000

Named = tuple[str, str, str, int]
"""A pair: its road, its detectors, and the length of a block."""
Disturbed = Mapping[str, Sequence[tuple[int, int]]]
"""Road → from when to when an incident was confirmed there (microseconds)."""


@dataclass(frozen=True, slots=True)
class PairHour:
    """Of each window of an hour of a pair: difference, ratio, downstream and deviate, each times `SCALE`; None: not known."""

    edge_id: str
    upstream: str
    downstream: str
    block_s: int
    windows: tuple[tuple[int, int, int, int] | None, ...] = (None,) * (HOUR_US // WINDOW_US)


@dataclass(frozen=True, slots=True)
class PairHoursRow:
    """An hour of a part (its number since 1970)."""

    hour: int
    pairs: tuple[PairHour, ...] = ()


def hour_key(event: Heard) -> str:
    """The part, and the place of the hour."""
    assert isinstance(event.data, ev.PairsMeasured)
    return f"{prefix(event.data.part_id)}{begins(event.data) // HOUR_US % SLOTS}"


def hour(row: PairHoursRow | None, event: Heard) -> PairHoursRow | None:
    """The hour with a window more, or with one that was measured anew."""
    assert isinstance(event.data, ev.PairsMeasured)
    start = begins(event.data)
    number, place = start // HOUR_US, start % HOUR_US // WINDOW_US
    if row is not None and row.hour > number:
        return row
    known = {_named(one): one for one in row.pairs} if row is not None and row.hour == number else {}
    now = {named(one): one for one in event.data.pairs}
    pairs = []
    for name in sorted(known.keys() | now.keys()):
        before = known.get(name) or PairHour(*name)
        one = now.get(name)
        figures = None
        if one is not None and one.HasField("deviate"):
            each = (one.occupancy_difference, one.occupancy_ratio, one.downstream_occupancy, one.deviate)
            figures = tuple(round(value * SCALE) for value in each)
        windows = (*before.windows[:place], figures, *before.windows[place + 1 :])
        pairs.append(PairHour(*name, windows))  # type: ignore[arg-type]
    return PairHoursRow(number, tuple(pairs))


def named(one: pb.PairFigures | pb.PairThresholds) -> Named:
    """Which pair it is."""
    return one.edge_id, one.upstream_detector_id, one.downstream_detector_id, one.block_s


def _named(one: PairHour) -> Named:
    return one.edge_id, one.upstream, one.downstream, one.block_s


@dataclass(slots=True)
class Usual:
    """What was measured of a pair, window by window."""

    found: list[california_7.Found] = field(default_factory=list)
    deviates: list[float] = field(default_factory=list)


def collect(usual: dict[Named, Usual], rows: Iterable[PairHoursRow], now: int, disturbed: Disturbed) -> None:
    """Takes hours in, of the days that are looked at, but for windows with an incident. `now`: in microseconds."""
    for row in rows:
        if not now - DAYS * 24 * HOUR_US <= row.hour * HOUR_US < now:
            continue
        for pair in row.pairs:
            times = disturbed.get(pair.edge_id, ())
            one = usual.setdefault(_named(pair), Usual())
            for place, figures in enumerate(pair.windows):
                start = row.hour * HOUR_US + place * WINDOW_US
                if figures is None or any(begun < start + WINDOW_US and start < ended for begun, ended in times):
                    continue
                difference, ratio, downstream, deviate = (value / SCALE for value in figures)
                one.found.append(california_7.Found(difference, ratio, downstream))
                one.deviates.append(deviate)


def thresholds(usual: Usual) -> tuple[float, float, float] | None:
    """T1, T3 of algorithm #7, and the deviate; None: too little was measured."""
    if len(usual.deviates) < LEAST:
        return None
    downstream = sorted(one.downstream for one in usual.found)
    t3 = max(california_7.LEAST_DOWNSTREAM, downstream[int(USUAL_DOWNSTREAM * (len(downstream) - 1))])
    counting = [one.difference for one in usual.found if california_7.is_incident(one, float("-inf"), t3)]
    t1 = max(california_7.LEAST_DIFFERENCE, seldom_reached(counting, len(usual.found)) + california_7.MARGIN)
    deviate = seldom_reached(usual.deviates, len(usual.deviates)) + standard_normal_deviate.MARGIN
    return t1, t3, max(standard_normal_deviate.LEAST, deviate)


def seldom_reached(values: Sequence[float], windows: int) -> float:
    """What at most one window in `PER_FALSE_ALARM` exceeds. Of 2,879 windows the greatest, of 2,880 the second greatest."""
    if not values:
        return float("-inf")
    return sorted(values, reverse=True)[min(len(values) - 1, windows // PER_FALSE_ALARM)]


def learn(part_id: str, usual: Mapping[Named, Usual], now: int) -> ev.IncidentThresholdsCalibrated:
    """The thresholds of the pairs of a part. `now`: in microseconds."""
    date = datetime.fromtimestamp(now / MICROSECONDS, UTC).astimezone(HANGZHOU)
    told = ev.IncidentThresholdsCalibrated(part_id=part_id, day=f"{date:%Y-%m-%d}", version=incident_pairs.VERSION)
    for name, one in sorted(usual.items()):
        found = thresholds(one)
        if found is None:
            told.too_little += 1
            continue
        t1, t3, deviate = found
        edge_id, upstream, downstream, block_s = name
        told.pairs.add(
            edge_id=edge_id, upstream_detector_id=upstream, downstream_detector_id=downstream, block_s=block_s,
            occupancy_difference=round(t1, 4), occupancy_ratio=california_7.RATIO, downstream_occupancy=round(t3, 4),
            deviate=round(deviate, 3), windows=len(one.deviates),
        )  # fmt: skip
    return told


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was told last of a part."""

    pairs: tuple[pb.PairThresholds, ...] = ()
    too_little: int = 0


def evolve(state: Calibrated, event: Message) -> Calibrated:
    """What was told last, after an event."""
    return Calibrated(tuple(event.pairs), event.too_little) if isinstance(event, ev.IncidentThresholdsCalibrated) else state


def tell(state: Calibrated, told: ev.IncidentThresholdsCalibrated) -> list[Message]:
    """Tells what was learnt, unless it is what was told before."""
    return [] if state == Calibrated(tuple(told.pairs), told.too_little) else [told]


def sources(figures: pb.PairFigures, known: Mapping[Named, pb.PairThresholds]) -> list[pb.IncidentSource]:
    """The algorithms that find an incident by the figures of a pair. None where it has no thresholds."""
    limits = known.get(named(figures))
    if limits is None:
        return []
    found: list[pb.IncidentSource] = []
    occupancy = california_7.Found(figures.occupancy_difference, figures.occupancy_ratio, figures.downstream_occupancy)
    if california_7.is_incident(occupancy, limits.occupancy_difference, limits.downstream_occupancy, limits.occupancy_ratio):
        found.append(pb.INCIDENT_SOURCE_CALIFORNIA_7)
    if figures.HasField("deviate") and figures.deviate >= limits.deviate:
        found.append(pb.INCIDENT_SOURCE_NORMAL_DEVIATE)
    return found
