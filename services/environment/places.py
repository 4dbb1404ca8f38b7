"""Where the city is. Pure."""

from __future__ import annotations

from citybrain.environment.v1.environment_service_pb2 import Place

WEST, EAST = 118.33, 120.73
SOUTH, NORTH = 29.18, 30.58
"""Around Hangzhou, in degrees of WGS 84. Both bounds belong to the city."""


def problem(place: Place) -> str:
    """What is wrong with a place; empty: it is in the city."""
    if WEST <= place.longitude <= EAST and SOUTH <= place.latitude <= NORTH:
        return ""
    told = f"lies outside the city, which is between {WEST} and {EAST} east, {SOUTH} and {NORTH} north"
    if WEST <= place.latitude <= EAST and SOUTH <= place.longitude <= NORTH:
        return f"{told}: latitude and longitude have changed places"
    return told
