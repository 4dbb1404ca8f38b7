"""The Gaussian plume: how much of what leaves a stack is in the air on the ground, in a steady wind. Pure.

`χ = Q / (π u σy σz) · exp(−½ (y/σy)²) · exp(−½ (H/σz)²)`: g/m³ for Q in g/s, wind u in m/s at the height of the stack, y m
beside the line of the wind, H m above the ground (with the rise of the plume: `plume_rise.py`); the ground reflects.

σy and σz of Pasquill's classes A (very unstable) to F (stable), for open country, by US EPA, *User's Guide for the Industrial
Source Complex (ISC3) Dispersion Models*, volume II, EPA-454/B-95-003b (1995), tables 1-1 and 1-2. Bounds between two rows
belong to the nearer one.

Below 1 m/s the model does not hold: what is emitted then spreads to all sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from citybrain.mesh.errors import Refused

CALM_M_S = 1.0
"""Wind below this is calm; exactly so much is not."""

NEAREST_M = 10.0
"""Nearer to the source the formulas of σ say nothing; upwind of it there is none of it."""

MOST_SIGMA_Z_M = 5000.0

_Y: Mapping[str, tuple[float, float]] = {
    "A": (24.1670, 2.5334),
    "B": (18.3330, 1.8096),
    "C": (12.5000, 1.0857),
    "D": (8.3330, 0.72382),
    "E": (6.2500, 0.54287),
    "F": (4.1667, 0.36191),
}
_END = math.inf
# Up to how many km; factor and power of x in km.
_Z: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "A": (
        (0.10, 122.800, 0.94470), (0.15, 158.080, 1.05420), (0.20, 170.220, 1.09320), (0.25, 179.520, 1.12620),
        (0.30, 217.410, 1.26440), (0.40, 258.890, 1.40940), (0.50, 346.750, 1.72830), (_END, 453.850, 2.11660),
    ),
    "B": ((0.20, 90.673, 0.93198), (0.40, 98.483, 0.98332), (_END, 109.300, 1.09710)),
    "C": ((_END, 61.141, 0.91465),),
    "D": (
        (0.30, 34.459, 0.86974), (1.00, 32.093, 0.81066), (3.00, 32.093, 0.64403), (10.00, 33.504, 0.60486),
        (30.00, 36.650, 0.56589), (_END, 44.053, 0.51179),
    ),
    "E": (
        (0.10, 24.260, 0.83660), (0.30, 23.331, 0.81956), (1.00, 21.628, 0.75660), (2.00, 21.628, 0.63077),
        (4.00, 22.534, 0.57154), (10.00, 24.703, 0.50527), (20.00, 26.970, 0.46713), (40.00, 35.420, 0.37615),
        (_END, 47.618, 0.29592),
    ),
    "F": (
        (0.20, 15.209, 0.81558), (0.70, 14.457, 0.78407), (1.00, 13.953, 0.68465), (2.00, 13.953, 0.63227),
        (3.00, 14.823, 0.54503), (7.00, 16.187, 0.46490), (15.00, 17.836, 0.41507), (30.00, 22.651, 0.32681),
        (60.00, 27.074, 0.27436), (_END, 34.219, 0.21716),
    ),
}  # fmt: skip

Numbers = NDArray[np.float64]


def require_wind(speed_m_s: float) -> None:
    """Refused: the wind is calm."""
    if speed_m_s < CALM_M_S:
        raise Refused(
            f"the wind is {speed_m_s:.1f} m/s, and below {CALM_M_S:g} m/s a plume is not a plume: ask again when it blows",
            "CALM",
        )


def sigma_y(x_m: ArrayLike, stability: str) -> Numbers:
    """How wide the plume is at a distance along the wind: its standard deviation in metres."""
    x = np.asarray(x_m, dtype=float) / 1000
    angle, less = _Y[stability]
    found: Numbers = 465.11628 * x * np.tan(np.radians(angle - less * np.log(x)))
    return found


def sigma_z(x_m: ArrayLike, stability: str) -> Numbers:
    """How high the plume is at a distance along the wind: its standard deviation in metres."""
    x = np.asarray(x_m, dtype=float) / 1000
    rows = _Z[stability]
    which = np.searchsorted([row[0] for row in rows[:-1]], x, side="left")
    factor, power = np.array([row[1] for row in rows])[which], np.array([row[2] for row in rows])[which]
    found: Numbers = np.minimum(factor * x**power, MOST_SIGMA_Z_M)
    return found


def along_m(east_m: ArrayLike, north_m: ArrayLike, from_deg: ArrayLike) -> Numbers:
    """How far along the wind a place is that lies so far east and north of the source; below 0: upwind."""
    towards = np.radians(np.asarray(from_deg, dtype=float) + 180)
    found: Numbers = np.asarray(east_m, dtype=float) * np.sin(towards) + np.asarray(north_m, dtype=float) * np.cos(towards)
    return found


def dilution(
    east_m: ArrayLike, north_m: ArrayLike, height_m: ArrayLike, speed_m_s: ArrayLike, from_deg: ArrayLike, stability: str
) -> Numbers:
    """Seconds per cubic metre: g/m³ on the ground for one g/s, so far east and north of the source. Arrays are taken together.

    `height_m`: of the source. `from_deg`: from where the wind blows, 0 from the north, 90 from the east.
    """
    east, north, height, speed, origin = np.broadcast_arrays(
        *(np.asarray(one, dtype=float) for one in (east_m, north_m, height_m, speed_m_s, from_deg))
    )
    towards = np.radians(origin + 180)
    along = along_m(east, north, origin)
    beside = east * np.cos(towards) - north * np.sin(towards)
    # Whoever stands upwind gets nothing; the formulas are asked there all the same, for some distance.
    x = np.maximum(along, NEAREST_M)
    wide, high = sigma_y(x, stability), sigma_z(x, stability)
    found = np.exp(-0.5 * (beside / wide) ** 2 - 0.5 * (height / high) ** 2) / (np.pi * speed * wide * high)
    return np.where(along >= NEAREST_M, found, 0.0)
