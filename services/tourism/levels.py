"""The levels of a place that are told, as data: how full it is, and how closely people stand. Pure.

*How full*: 80, 90 and 100 % of the capacity, each left 10 % of the capacity lower (the practice of large sites: at 80 % others
are suggested, at 90 % booking pauses, at 100 % nobody is let in). *How closely*, in persons a square metre: 0.43, 2, 3.57,
5.55 and 7.1, as the literature on crowds has them (contact at 3.57, dangerous at 5.55); that each is left 10 % lower is a
proposal of this project.
"""

from __future__ import annotations

from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.services.tourism.hysteresis import Step, climbed

FULLNESS: tuple[Step, ...] = ((80, 70), (90, 80), (100, 90))
"""In per cent of the capacity."""

DENSITY: tuple[Step, ...] = ((0.43, 0.387), (2, 1.8), (3.57, 3.213), (5.55, 4.995), (7.1, 6.39))
"""In persons a square metre: the steps from free to critical."""

CONTACT = 3.57
"""From so many persons a square metre on people touch each other."""

CLOSENESS = (
    pb.DENSITY_LEVEL_FREE,
    pb.DENSITY_LEVEL_HINDERED,
    pb.DENSITY_LEVEL_SLOW,
    pb.DENSITY_LEVEL_CONTACT,
    pb.DENSITY_LEVEL_DANGEROUS,
    pb.DENSITY_LEVEL_CRITICAL,
)
"""How closely people stand, by how many steps of `DENSITY` are reached."""


def fullness(before: int, people: int, capacity: int, *, complete: bool) -> int:
    """The level in per cent, by the one before."""
    tells = [0, *(int(reached) for reached, _ in FULLNESS)]
    return tells[climbed(tells.index(before), 100 * people / capacity, FULLNESS, complete=complete)]


def density(before: pb.DensityLevel, value: float, *, complete: bool) -> pb.DensityLevel:
    """How closely people stand, by how they stood before (unspecified: nobody knows)."""
    steps = CLOSENESS.index(before) if before in CLOSENESS else 0
    return CLOSENESS[climbed(steps, value, DENSITY, complete=complete)]


def comfort(level: int, closest: pb.DensityLevel, state: pb.CountState) -> pb.Comfort:
    """What citizens are told. Of what is not counted as a whole nobody says that it is comfortable."""
    if level >= 100 or closest >= pb.DENSITY_LEVEL_DANGEROUS:
        return pb.COMFORT_FULL
    if level >= 90 or closest >= pb.DENSITY_LEVEL_CONTACT:
        return pb.COMFORT_CROWDED
    if level >= 80:
        return pb.COMFORT_BUSY
    return pb.COMFORT_COMFORTABLE if state == pb.COUNT_STATE_COMPLETE else pb.COMFORT_UNKNOWN
