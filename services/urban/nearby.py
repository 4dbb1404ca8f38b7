"""A grid over the city, so that what is near a place is found without looking at everything. Pure.

A cell is `CELL` degrees of latitude and longitude: 139 m by 120 m at 30 degrees north. The keys of a row of cells (one
latitude) lie together, from west to east, so a circle is a few ranges of keys. Near the poles and the 180th meridian the grid
has no neighbours: no city that it is for lies there.
"""

from __future__ import annotations

import math

from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.merging import EARTH_M

CELL = 0.00125
FIRST_RING_M = 100.0
"""What is near is looked for in growing circles, of which the first is so large."""
CITY = (29.1, 30.7, 118.3, 120.9)
"""South, north, west and east of a box around Hangzhou, its counties too (29.18–30.57 N, 118.34–120.73 E), with some
kilometres more."""


def in_city(latitude: float, longitude: float) -> bool:
    """Whether a place can be in the city."""
    south, north, west, east = CITY
    return south <= latitude <= north and west <= longitude <= east


def check(at: Position, field: str) -> None:
    """BadRequest: a place is outside of the city."""
    if not in_city(at.latitude, at.longitude):
        problem = (
            f"{at.latitude:g}, {at.longitude:g} is outside of the city: latitude and longitude may be mixed up, or not WGS 84"
        )
        raise BadRequest([(field, problem)])


def cell(latitude: float, longitude: float) -> str:
    """The cell of a place. Cells of one latitude sort together, from west to east."""
    return f"{_row(latitude):06d}.{_column(longitude):06d}"


def middle(latitude: float, longitude: float) -> tuple[float, float]:
    """The middle of the cell of a place."""
    return (_row(latitude) + 0.5) * CELL - 90, (_column(longitude) + 0.5) * CELL - 180


def ranges(latitude: float, longitude: float, metres: float) -> list[tuple[str, str]]:
    """The ranges of cells that a circle touches: the first and the last cell of each row, both included."""
    degree = math.radians(1) * EARTH_M
    up = metres / degree
    # The narrowest row of the circle has the widest span of degrees.
    side = metres / (degree * math.cos(math.radians(min(abs(latitude) + up, 89.0))))
    first, last = _column(longitude - side), _column(longitude + side)
    rows = range(_row(latitude - up), _row(latitude + up) + 1)
    return [(f"{row:06d}.{first:06d}", f"{row:06d}.{last:06d}") for row in rows]


def wider(metres: float, found: int, wanted: int) -> float:
    """The next circle, in metres, where one of `metres` has `found` of `wanted` things.

    It is a fifth wider than would do if they lay as close everywhere, and at least a quarter wider than this one. Where nothing
    was found it is four times as wide.
    """
    if not found:
        return 4 * metres
    return max(1.25 * metres, 1.2 * metres * math.sqrt(wanted / found))


def _row(latitude: float) -> int:
    return math.floor((latitude + 90) / CELL)


def _column(longitude: float) -> int:
    return math.floor((longitude + 180) / CELL)
