"""From what was kept around an exceedance to what tracing takes, and from what it finds to what callers see. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import Refused, Unavailable
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import hours, places
from citybrain.services.environment.plume_rise import Flue
from citybrain.services.environment.telemetry import SURROUNDINGS_S
from citybrain.services.environment.tracing import Candidate, Observation, Traced, from_place_m

ZERO_C_K = 273.15
"""0 °C in K."""

MINUTE = 60_000_000
BEFORE_US = 15 * MINUTE
"""Steps are traced from so long before an exceedance was read first: what is below the limit tells something, too."""

MOST_STEPS = 36
"""At most so many steps are traced: three hours."""

CANDIDATES_M = 12_000
"""Registered sources so near may be what is looked for, in metres."""

MOST_CANDIDATES = 200
"""Of more, the nearest."""

MOST_TOLD = 20

BEGUN = 0.2
"""It has begun where a station reads so much of the limit above what was there before.

Until then nobody can say whether it had.
"""

QUICK_S = 900
"""What stands for longer is not traced, in seconds: the mean of an hour says little of five minutes."""

_TOO_HIGH = 1.5


def steps_of(exceedance: pb.Exceedance, steps: Sequence[ev.SurroundingsMeasured]) -> list[ev.SurroundingsMeasured]:
    """The steps that are traced. Unavailable: none is kept yet. Refused: it is not about air."""
    if exceedance.medium != pb.MEDIUM_AIR:
        raise Refused("only what is in the air is traced: a plume needs wind", "NOT_IN_THE_AIR")
    first = microseconds(exceedance.first_at) - BEFORE_US
    found = [step for step in steps if _begins(step) + SURROUNDINGS_S * 1_000_000 > first][:MOST_STEPS]
    if not any(_begins(step) + SURROUNDINGS_S * 1_000_000 > microseconds(exceedance.first_at) for step in found):
        problem = "what stations around it measure is kept every five minutes, and nothing is yet: ask again in six minutes"
        raise Unavailable(problem, "NOT_MEASURED_YET")
    lowest, most = _before(exceedance, steps)
    begun = next((n for n, step in enumerate(found) if _has_begun(exceedance, step, lowest, most)), 0)
    return found[begun:]


def _before(exceedance: pb.Exceedance, kept: Sequence[ev.SurroundingsMeasured]) -> tuple[dict[str, float], float]:
    """The lowest that each station measured, and more than which none of them counts."""
    lowest: dict[str, float] = {}
    for step in kept:
        for one in step.means:
            if _is_traced(exceedance, one):
                lowest[one.station_id] = min(one.value, lowest.get(one.station_id, math.inf))
    most = _TOO_HIGH * statistics.median(lowest.values()) if lowest else 0.0
    return lowest, most


def observations(
    exceedance: pb.Exceedance, kept: Sequence[ev.SurroundingsMeasured], steps: Sequence[ev.SurroundingsMeasured]
) -> list[Observation]:
    """What stations measured in the steps, in metres around the exceedance. Refused: nobody measured the wind.

    What a station measured before is the lowest of all that is kept, `kept`. One that stood in the plume all the time would
    have a background that is too high: it is held below one and a half times the middle one of all stations.
    """
    lowest, most = _before(exceedance, kept)
    found = []
    for step in steps:
        wind = wind_of(step)
        if wind is None:
            continue
        for one in step.means:
            if _is_traced(exceedance, one):
                east, north = places.metres_from(exceedance.place, one.place)
                before = min(lowest[one.station_id], most)
                found.append(Observation(one.station_id, east, north, one.value, before, *wind))
    if not found and any(wind_of(step) for step in steps):
        raise Refused("no sensor around it sends every 15 minutes at least: an hour says too little", "TOO_FEW_STATIONS")
    if not found:
        raise Refused("no station around it measures the wind: without it nothing can be traced", "NO_WIND")
    return found


def _is_traced(exceedance: pb.Exceedance, one: ev.StationMean) -> bool:
    return one.quantity == exceedance.quantity and one.interval_s <= QUICK_S


def _has_begun(exceedance: pb.Exceedance, step: ev.SurroundingsMeasured, lowest: Mapping[str, float], most: float) -> bool:
    return any(
        _is_traced(exceedance, one) and one.value - min(lowest[one.station_id], most) > BEGUN * exceedance.limit
        for one in step.means
    )


def wind_of(step: ev.SurroundingsMeasured) -> tuple[float, float] | None:
    """The wind of a step, over all stations: m/s, and from where it blows; None: nobody measured both."""
    speeds = [one.value for one in step.means if one.quantity == pb.QUANTITY_WIND_SPEED]
    directions = [one.value for one in step.means if one.quantity == pb.QUANTITY_WIND_DIRECTION]
    if not speeds or not directions:
        return None
    return hours.mean(pb.QUANTITY_WIND_SPEED, speeds), hours.mean(pb.QUANTITY_WIND_DIRECTION, directions)


def candidates(exceedance: pb.Exceedance, sources: Sequence[pb.Source]) -> list[Candidate]:
    """Registered sources that are permitted to emit it, or something at all: the nearest first."""
    near = sorted(
        (metres, one.source_id, one)
        for one in sources
        if (metres := places.apart_m(exceedance.place, one.place)) <= CANDIDATES_M
    )  # fmt: skip
    return [
        Candidate(source_id, *places.metres_from(exceedance.place, one.place), one.stack_height_m, _flue(one))
        for _, source_id, one in near[:MOST_CANDIDATES]
    ]


def _flue(source: pb.Source) -> Flue | None:
    if not source.HasField("flue"):
        return None
    return Flue(source.flue.diameter_m, source.flue.speed_m_s, source.flue.temperature_c + ZERO_C_K)


def shown(
    exceedance: pb.Exceedance, steps: Sequence[ev.SurroundingsMeasured], measured: Sequence[Observation], found: Traced,
    sources: Sequence[pb.Source], stability: str,
) -> pb.Trace:  # fmt: skip
    """A trace as callers see it."""
    by_id = {one.source_id: one for one in sources}
    speed, origin = _mean_wind(measured)
    trace = pb.Trace(
        exceedance_id=exceedance.exceedance_id, quantity=exceedance.quantity, wind_speed_m_s=speed, wind_direction_deg=origin,
        stability=stability, to=timestamp(_begins(steps[-1]) + SURROUNDINGS_S * 1_000_000),
        readings=_readings(exceedance, measured, found), residual=round(found.residual, 4), condition=round(found.condition, 2),
        determination=f"DETERMINATION_{found.determination}", statement=found.statement,
        sources=[
            pb.TracedSource(
                source_id=one.candidate.name, firm_id=by_id[one.candidate.name].firm.firm_id, found=one.found,
                name=by_id[one.candidate.name].name, place=by_id[one.candidate.name].place,
                rate_g_s=round(one.rate_g_s, 4), residual=round(one.residual, 4),
                from_place_m=round(from_place_m(one.candidate, found.place), 1) if found.place is not None else 0.0,
                plume_height_m=round(one.plume_height_m, 1),
            )
            for one in found.sources[:MOST_TOLD]
        ],
        **{"from": getattr(steps[0], "from")},
    )  # fmt: skip
    if found.place is not None:
        where = pb.Trace(
            place=places.at_metres(exceedance.place, found.place.east_m, found.place.north_m),
            place_rate_g_s=round(found.place.rate_g_s, 4), place_height_m=round(found.place.height_m, 1),
            place_within_m=found.place.within_m,
        )  # fmt: skip
        trace.MergeFrom(where)
    return trace


def _readings(exceedance: pb.Exceedance, measured: Sequence[Observation], found: Traced) -> list[pb.PlumeReading]:
    by_station: dict[str, list[tuple[Observation, float]]] = {}
    for one, explained in zip(measured, found.explained, strict=True):
        by_station.setdefault(one.station, []).append((one, explained))
    return [
        pb.PlumeReading(
            station_id=station, place=places.at_metres(exceedance.place, known[0][0].east_m, known[0][0].north_m),
            value=round(statistics.fmean(one.value for one, _ in known), 4), background=round(known[0][0].before, 4),
            explained=round(statistics.fmean(explained for _, explained in known), 4),
        )
        for station, known in sorted(by_station.items())
    ]  # fmt: skip


def _mean_wind(measured: Sequence[Observation]) -> tuple[float, float]:
    return (
        hours.mean(pb.QUANTITY_WIND_SPEED, [one.speed_m_s for one in measured]),
        hours.mean(pb.QUANTITY_WIND_DIRECTION, [one.from_deg for one in measured]),
    )


def _begins(step: ev.SurroundingsMeasured) -> int:
    return microseconds(getattr(step, "from"))
