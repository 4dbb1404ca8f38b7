"""How high a plume rises above its stack: Briggs (1969, 1975), as US EPA's ISC3 has it. Pure.

US EPA, *User's Guide for the Industrial Source Complex (ISC3) Dispersion Models*, volume II, EPA-454/B-95-003b (1995), section
1.1.4. Lengths in m, speeds in m/s, temperatures in K. With the diameter d and speed v of the gas at the exit, its temperature
Ts, that of the air Ta, and the wind u at the top of the stack:

- `Fb = g v d² (Ts − Ta)/(4 Ts)` is the flux of buoyancy (m⁴/s³), `Fm = v² d² Ta/(4 Ts)` that of momentum (m⁴/s²).
- *Stack-tip downwash* (Briggs, 1974): a slow gas is drawn down, by 2 d (v/u − 1.5) where v is below 1.5 u.
- *Unstable or neutral air* (classes A to D): buoyancy dominates where Ts − Ta is at least 0.0297 Ts v^⅓/d^⅔ (Fb below 55), or
  0.00575 Ts v^⅔/d^⅓ (from 55 on). It then rises by 21.425 Fb^¾/u, or 38.71 Fb^⅗/u, and has done so at 49 Fb^⅝, or 119 Fb^⅖.
  Else momentum does: 3 d v/u.
- *Stable air* (E, F): with s = g (∂θ/∂z)/Ta, where ∂θ/∂z is 0.020 K/m in E and 0.035 in F, buoyancy dominates from
  0.019582 Ts v √s on: 2.6 (Fb/(u s))^⅓, at 2.0715 u/√s. Else momentum: 1.5 (Fm/(u √s))^⅓, but no more than 3 d v/u.
- *Nearer than that* it has risen by 1.60 (Fb x²)^⅓/u of buoyancy, by (3 Fm x/(β² u²))^⅓ of momentum with β = ⅓ + u/v; in stable
  air x stands for sin(x √s/u) u/√s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

G = 9.80616
"""m/s²."""

_GRADIENT: Mapping[str, float] = {"E": 0.020, "F": 0.035}

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flue:
    """The gas at the exit of a stack."""

    diameter_m: float
    speed_m_s: float
    temperature_k: float

    def buoyancy(self, air_k: float) -> float:
        """Its flux, in m⁴/s³; 0: the gas is no warmer than the air."""
        above = max(0.0, self.temperature_k - air_k)
        return G * self.speed_m_s * self.diameter_m**2 * above / (4 * self.temperature_k)

    def momentum(self, air_k: float) -> float:
        """Its flux, in m⁴/s²."""
        return self.speed_m_s**2 * self.diameter_m**2 * air_k / (4 * self.temperature_k)

    def is_buoyant(self, air_k: float, stability: str) -> bool:
        """Whether buoyancy dominates; where both are the same it does."""
        d, v, ts = self.diameter_m, self.speed_m_s, self.temperature_k
        if stability in _GRADIENT:
            enough = 0.019582 * ts * v * float(np.sqrt(_stratified(air_k, stability)))
        elif self.buoyancy(air_k) < 55:
            enough = 0.0297 * ts * v ** (1 / 3) / d ** (2 / 3)
        else:
            enough = 0.00575 * ts * v ** (2 / 3) / d ** (1 / 3)
        return ts > air_k and ts - air_k >= enough


def _stratified(air_k: float, stability: str) -> float:
    return G * _GRADIENT[stability] / air_k


def effective_height(
    height_m: float, flue: Flue, x_m: ArrayLike, wind_m_s: ArrayLike, stability: str, air_k: float
) -> Numbers:  # fmt: skip
    """The height of the middle of the plume, so far along the wind; never below the ground."""
    x, wind = np.maximum(np.asarray(x_m, dtype=float), 0.0), np.asarray(wind_m_s, dtype=float)
    height = height_m + downwash(flue, wind) + rise(flue, x, wind, stability, air_k)
    return np.maximum(height, 0.0)


def downwash(flue: Flue, wind_m_s: ArrayLike) -> Numbers:
    """By how much the wind draws the gas down behind the stack: 0 or below. Exactly 1.5 times the wind is enough for none."""
    wind = np.asarray(wind_m_s, dtype=float)
    found: Numbers = np.minimum(0.0, 2 * flue.diameter_m * (flue.speed_m_s / wind - 1.5))
    return found


def rise(flue: Flue, x_m: ArrayLike, wind_m_s: ArrayLike, stability: str, air_k: float) -> Numbers:
    """By how much the plume has risen, so far along the wind."""
    x, u = np.broadcast_arrays(np.asarray(x_m, dtype=float), np.asarray(wind_m_s, dtype=float))
    fb, fm, d, v = flue.buoyancy(air_k), flue.momentum(air_k), flue.diameter_m, flue.speed_m_s
    s = _stratified(air_k, stability) if stability in _GRADIENT else 0.0
    root = float(np.sqrt(s))
    if flue.is_buoyant(air_k, stability):
        if s:
            end, final = 2.0715 * u / root, 2.6 * (fb / (u * s)) ** (1 / 3)
        elif fb < 55:
            end, final = np.full_like(u, 49 * fb ** (5 / 8)), 21.425 * fb**0.75 / u
        else:
            end, final = np.full_like(u, 119 * fb**0.4), 38.71 * fb**0.6 / u
        risen: Numbers = np.where(x < end, np.minimum(1.60 * (fb * x**2) ** (1 / 3) / u, final), final)
        return risen
    final = 3 * d * v / u
    along = x
    if s:
        final = np.minimum(final, 1.5 * (fm / (u * root)) ** (1 / 3))
        along = np.sin(np.minimum(x * root / u, np.pi / 2)) * u / root
    nearer = (3 * fm * along / ((1 / 3 + u / v) ** 2 * u**2)) ** (1 / 3)
    lifted: Numbers = np.minimum(nearer, final)
    return lifted
