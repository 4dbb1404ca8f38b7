"""Where the city is, and how far two places are apart. Pure."""

from __future__ import annotations

import math

from citybrain.environment.v1.environment_service_pb2 import Place

WEST, EAST = 118.33, 120.73
SOUTH, NORTH = 29.18, 30.58
"""Around Hangzhou, in degrees of WGS 84. Both bounds belong to the city."""

EARTH_M = 6_371_008.8
"""The mean radius of the Earth in metres (IUGG)."""


def problem(place: Place) -> str:
    """What is wrong with a place; empty: it is in the city."""
    if WEST <= place.longitude <= EAST and SOUTH <= place.latitude <= NORTH:
        return ""
    told = f"lies outside the city, which is between {WEST} and {EAST} east, {SOUTH} and {NORTH} north"
    if WEST <= place.latitude <= EAST and SOUTH <= place.longitude <= NORTH:
        return f"{told}: latitude and longitude have changed places"
    return told


def metres_from(origin: Place, place: Place) -> tuple[float, float]:
    """How far to the east and to the north of `origin` a place is, in metres. Good to 1 in 1000 within 50 km."""
    north = math.radians(place.latitude - origin.latitude) * EARTH_M
    middle = math.radians((place.latitude + origin.latitude) / 2)
    return math.radians(place.longitude - origin.longitude) * EARTH_M * math.cos(middle), north


def at_metres(origin: Place, east_m: float, north_m: float) -> Place:
    """The place that is so far to the east and to the north of `origin`."""
    latitude = origin.latitude + math.degrees(north_m / EARTH_M)
    middle = math.radians((latitude + origin.latitude) / 2)
    return Place(longitude=origin.longitude + math.degrees(east_m / EARTH_M / math.cos(middle)), latitude=latitude)


def apart_m(one: Place, other: Place) -> float:
    """The distance of two places in metres."""
    return math.hypot(*metres_from(one, other))
