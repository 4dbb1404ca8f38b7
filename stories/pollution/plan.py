"""What is played: a day over an industrial park, and a source that one of its firms has hidden. All follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from citybrain.simulation import air
from citybrain.simulation.air import Park, Place, Release
from citybrain.simulation.air_run import Stack

STATIONS = {"Aotizhongxin": Place(-1700, 1700), "Changping": Place(1700, 1700), "Guanyuan": Place(0, -1900)}
"""Where the stations of the measured hours are taken to stand."""
BEGIN_S, END_S = 9 * 3600, 14 * 3600
"""The part of the day that is played, in which the air is unstable."""
_FIRMS = ("Jiangnan Dyeing", "Qiantang Foundry", "East Lake Chemicals", "Linjiang Paper", "Xiasha Glass", "Baiyang Coatings")
_APART_M = 700.0
# The hole is not the stack that is in the register, but near it.
_BESIDE_M = 80.0
# Of so many seeds one has a source that belongs to no firm of the register.
_NOBODY = 3
_ELSEWHERE_M = 300.0
_SPACE_M = 600.0
_MOST_G_S = 1000.0
# What the three sensors that see most of it see in a steady wind, in µg/m³: at most, about, and at least.
_FIRST, _SECOND, _THIRD = 2500.0, 900.0, 150.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A day. `culprit`: the stack of the firm that has hidden the source; None: it belongs to nobody, or nothing is wrong."""

    seed: int
    park: Park
    stacks: list[Stack]
    culprit: Stack | None


def made(seed: int, *, quiet: bool = False) -> Plan:
    """The day of a seed; with `quiet` the same day without the source."""
    by = random.Random(f"pollution-{seed}")
    day = by.choice(air.days())
    sensors = {
        f"s{row}{column}": Place((column - 2) * _SPACE_M + by.uniform(-80, 80), (row - 2) * _SPACE_M + by.uniform(-80, 80))
        for row in range(5)
        for column in range(5)
    }
    places = _spread_out(by)
    stacks = [Stack(f"stack-{n}", firm, next(places), by.uniform(20, 35)) for n, firm in enumerate(_FIRMS)]
    park = Park(day, sensors, seed)
    while True:
        culprit = None if seed % _NOBODY == 0 else by.choice(stacks)
        place = _beside(culprit, by) if culprit is not None else _far_from(stacks, by)
        begin = 10 * 3600 + by.randrange(0, 3600, 60)
        release = Release(place, by.uniform(20, 35), 1.0, begin, END_S)
        each_gram = sorted((_seen(park, release, place, begin) for place in sensors.values()), reverse=True)
        # Of the sensors three at least are downwind, and none stands beside the hole.
        rate = _SECOND / each_gram[1] if each_gram[1] > 0 else 0.0
        if 0 < rate <= _MOST_G_S and rate * each_gram[0] <= _FIRST and rate * each_gram[2] >= _THIRD:
            break
    if quiet:
        return Plan(seed, park, stacks, None)
    park.release = Release(release.place, release.height_m, rate, release.begin_s, release.end_s)
    return Plan(seed, park, stacks, culprit)


def _beside(stack: Stack, by: random.Random) -> Place:
    east, north = (by.uniform(-_BESIDE_M, _BESIDE_M) for _ in range(2))
    return Place(stack.place.east_m + east, stack.place.north_m + north)


def _far_from(stacks: list[Stack], by: random.Random) -> Place:
    while True:
        place = Place(by.uniform(-1100, 1100), by.uniform(-1100, 1100))
        if all(place.to(stack.place) > _ELSEWHERE_M for stack in stacks):
            return place


def _seen(park: Park, release: Release, place: Place, second: float) -> float:
    """What one g/s adds at a place in the steady wind of an hour, in µg/m³."""
    return 1e6 * air.spread(release.place, place, release.height_m, park.wind(second))


def _spread_out(by: random.Random) -> Iterator[Place]:
    found: list[Place] = []
    while True:
        place = Place(by.uniform(-1100, 1100), by.uniform(-1100, 1100))
        if all(place.to(other) >= _APART_M for other in found):
            found.append(place)
            yield place
