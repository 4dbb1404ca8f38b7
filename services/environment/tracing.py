"""Where pollution comes from: from what stations measured, with the wind, back to the source. Pure.

It is long because registered sources and a free place are weighed against each other by the same arrays.

Each source gives each station so much, in each step, as the plume says for one g/s (`plume.py`); what was there before gives
as much as before, times a factor. Non-negative least squares (Lawson and Hanson, 1974; `scipy.optimize.nnls`) finds the rates
that explain what was measured best, with no source below zero. A difference counts by what a sensor may err: 10 % of the value
and 5 µg/m³.

If the registered sources leave much more unexplained than one source at a free place would, the place is looked for: on a
grid, at several heights of a stack, then nearer around the best ones. Others that do nearly as well are told, so that nobody
takes a guess for a finding.

How much is "much more" and "nearly" are proposals of this project; `tests/unit/environment/test_tracing.py` holds what comes
of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from citybrain.mesh.errors import Refused
from citybrain.services.environment import plume
from citybrain.services.environment.plume import Numbers
from citybrain.services.environment.plume_rise import Flue, effective_height

MICRO = 1e6
AIR_K = 293.15
"""The temperature of the air for the rise of plumes, in K: nobody measures it here."""

FEWEST_STATIONS = 3
"""With fewer stations nothing can be said of a place."""

RELATIVE, FLOOR = 0.1, 5.0
"""By what a sensor may err: a part of its value, and µg/m³."""

MUCH_MORE, AT_LEAST_MORE = 1.5, 0.1
"""Registered sources explain it, if they leave at most so many times as much as the best free place, and this more."""

AS_WELL, AT_LEAST_AS_WELL = 1.1, 0.02
"""The same for several registered sources together: two stacks can imitate one hole between them."""

NEARLY, AT_LEAST_NEARLY = 1.25, 0.05
"""So much as the best one leaves, and this more: whoever leaves no more explains nearly as well."""

NOTHING = 0.8
"""Who leaves more than this part of it unexplained explains nothing."""

GOOD_WITHIN_M = 300.0
"""A place is well determined, if no place farther away than this does nearly as well."""

REACHES = 1e-8
"""The squares of what one g/s gives, beside what sensors may err: with less a thousand g/s would not be measured."""

GROUNDS_M = 150.0
"""A place so near to a registered source is taken to lie on the grounds of its firm; this much is near enough."""

TELL_APART = 100.0
"""Above this condition sources cannot be told apart."""

_HEIGHTS_M = (5.0, 15.0, 30.0, 60.0, 100.0)
_AROUND_M = 3000.0
_STEPS = 90
# So many numbers an array has at most; more of them take memory and no less time.
_AT_ONCE = 200_000
_BEST = 6


@dataclass(frozen=True, slots=True)
class Observation:
    """What a station measured in one step, in µg/m³, and the wind of that step. Places are in metres to the east and north.

    `before`: what it measured before anything happened, in µg/m³.
    """

    station: str
    east_m: float
    north_m: float
    value: float
    before: float
    speed_m_s: float
    from_deg: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered source. `flue`: what leaves its stack; None: that is not known, and its plume stays at this height."""

    name: str
    east_m: float
    north_m: float
    height_m: float
    flue: Flue | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A candidate: the rate (g/s) and what is left unexplained if it alone is the source.

    `found`: it is part of the answer, or the place that is lies on the grounds of its firm. `plume_height_m`: the height of
    the middle of its plume, in the mean.
    """

    candidate: Candidate
    rate_g_s: float
    residual: float
    found: bool
    plume_height_m: float


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that explains what was measured, with its height and rate. Others within so many metres do nearly as well."""

    east_m: float
    north_m: float
    height_m: float
    rate_g_s: float
    residual: float
    within_m: float


@dataclass(frozen=True, slots=True)
class Traced:
    """The answer.

    `determination`: WELL, WEAK or NOT. `place`: where no registered source explains it. `explained`: µg/m³, by observation.
    """

    sources: tuple[Explained, ...]
    place: Spot | None
    residual: float
    condition: float
    determination: str
    statement: str
    explained: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Problem:
    """The observations as arrays. `weight`: one over what each may err."""

    east: Numbers
    north: Numbers
    value: Numbers
    before: Numbers
    speed: Numbers
    origin: Numbers
    weight: Numbers
    stability: str

    def given(self, east_m: float | Numbers, north_m: float | Numbers, height_m: float | Numbers) -> Numbers:
        """What one g/s at a place gives in each observation, in µg/m³. Of many places: a row each."""
        place = [np.asarray(one, dtype=float)[..., None] for one in (east_m, north_m, height_m)]
        return MICRO * plume.dilution(
            self.east - place[0], self.north - place[1], place[2], self.speed, self.origin, self.stability
        )  # fmt: skip

    def heights(self, one: Candidate) -> Numbers:
        """The height of the middle of its plume above each observation."""
        if one.flue is None:
            return np.full_like(self.speed, one.height_m)
        along = plume.along_m(self.east - one.east_m, self.north - one.north_m, self.origin)
        return effective_height(one.height_m, one.flue, along, self.speed, self.stability, AIR_K)

    def given_by(self, one: Candidate) -> Numbers:
        """What one g/s of a candidate gives in each observation, in µg/m³."""
        return MICRO * plume.dilution(
            self.east - one.east_m, self.north - one.north_m, self.heights(one), self.speed, self.origin, self.stability
        )  # fmt: skip

    def unexplained(self, given: Numbers) -> tuple[Numbers, Numbers]:
        """For one source a row: the part that it leaves unexplained, and its rate.

        The background may be less or more than before.
        """
        w, y, b = self.weight, self.weight * self.value, self.weight * self.before
        a = given * w
        aa, ab, ay = np.sum(a * a, axis=-1), a @ b, a @ y
        bb, by, yy = float(b @ b), float(b @ y), float(y @ y)
        # Who gives no station anything that could be measured is no source of it, whatever its rate.
        reaches = aa > REACHES
        determinant = aa * bb - ab * ab
        solvable = reaches & (determinant > 1e-9 * aa * bb)
        rate = np.maximum(np.divide(ay * bb - by * ab, determinant, out=np.zeros_like(aa), where=solvable), 0.0)
        factor = (by - rate * ab) / bb if bb > 0 else np.zeros_like(rate)
        alone = np.maximum(np.divide(ay, aa, out=np.zeros_like(aa), where=reaches), 0.0)
        rate = np.where((factor < 0) | ((bb == 0) & reaches), alone, rate)
        factor = np.maximum(factor, 0.0)
        left = yy - 2 * (factor * by + rate * ay) + factor**2 * bb + 2 * factor * rate * ab + rate**2 * aa
        return np.sqrt(np.maximum(left, 0.0) / self.nothing), rate

    @property
    def nothing(self) -> float:
        """The squares that are left without any source."""
        y, b = self.weight * self.value, self.weight * self.before
        bb = float(b @ b)
        factor = max(0.0, float(b @ y) / bb) if bb > 0 else 0.0
        return max(float(np.sum((y - factor * b) ** 2)), 1e-9)


def trace(observations: Sequence[Observation], candidates: Sequence[Candidate], stability: str = "B") -> Traced:
    """Finds the sources. Refused: the wind is calm in all steps (CALM), or too few stations measured (TOO_FEW_STATIONS)."""
    if not observations:
        raise Refused("nothing was measured around it: there is nothing to trace", "TOO_FEW_STATIONS")
    windy = [one for one in observations if one.speed_m_s >= plume.CALM_M_S]
    if not windy:
        plume.require_wind(max(one.speed_m_s for one in observations))
    if len({one.station for one in windy}) < FEWEST_STATIONS:
        problem = f"fewer than {FEWEST_STATIONS} stations measured it in wind: nothing can be said of where it comes from"
        raise Refused(problem, "TOO_FEW_STATIONS")
    problem_ = _problem(windy, stability)
    spot = _free(problem_)
    given = [problem_.given_by(one) for one in candidates]
    alone = [problem_.unexplained(row) for row in given]
    rates, left, condition = _together(problem_, given)
    several = sum(_counts(rate, rates) for rate in rates) > 1
    times, more = (AS_WELL, AT_LEAST_AS_WELL) if several else (MUCH_MORE, AT_LEAST_MORE)
    at_registered = bool(candidates) and left <= min(NOTHING, spot.residual * times + more)
    on_grounds = "" if at_registered else _on_grounds(candidates, spot)
    sources = [
        Explained(
            one, float(rate) if at_registered and rate > 0 else float(by_itself), float(residual),
            _counts(rate, rates) if at_registered else one.name == on_grounds, float(np.mean(problem_.heights(one))),
        )
        for one, rate, (residual, by_itself) in zip(candidates, rates, alone, strict=True)
    ]  # fmt: skip
    sources.sort(key=lambda one: (not one.found, -one.rate_g_s if one.found else 0.0, one.residual, one.candidate.name))
    explained = sum(
        (rate * row for rate, row in zip(rates, given, strict=True)), np.zeros(len(windy))
    ) if at_registered else spot.rate_g_s * problem_.given(spot.east_m, spot.north_m, spot.height_m)  # fmt: skip
    by_observation = dict(zip(map(id, windy), np.asarray(explained, dtype=float).tolist(), strict=True))
    determination, statement = _stated(sources, spot, left, condition, at_registered=at_registered)
    return Traced(
        tuple(sources), None if at_registered else spot, left if at_registered else spot.residual, condition, determination,
        statement, tuple(by_observation.get(id(one), 0.0) for one in observations),
    )  # fmt: skip


def _problem(observations: Sequence[Observation], stability: str) -> _Problem:
    def column(name: str) -> Numbers:
        return np.array([getattr(one, name) for one in observations], dtype=float)

    value = column("value")
    return _Problem(
        column("east_m"), column("north_m"), value, column("before"), column("speed_m_s"), column("from_deg"),
        1 / (RELATIVE * np.abs(value) + FLOOR), stability,
    )  # fmt: skip


def _counts(rate: float, rates: Numbers) -> bool:
    """Whether a source is part of the answer: below a twentieth of the greatest it is noise."""
    return bool(rate > 0 and rate >= 0.05 * float(np.max(rates)))


def _together(problem: _Problem, given: Sequence[Numbers]) -> tuple[Numbers, float, float]:
    """The rates of all candidates together, what part they leave, and the condition of the matrix."""
    if not given:
        return np.zeros(0), 1.0, 1.0
    matrix = np.column_stack([*given, problem.before]) * problem.weight[:, None]
    # Who gives no station anything that could be measured would be given any rate.
    matrix[:, np.sum(matrix**2, axis=0) <= REACHES] = 0.0
    # Columns of one size, so that the condition is of the places and not of the units.
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0] = 1.0
    # Its import takes a third of a second: a process that never asks starts without it.
    from scipy.optimize import nnls

    solution, left = nnls(matrix / sizes, problem.weight * problem.value)
    reached = (matrix / sizes)[:, [n for n in range(matrix.shape[1]) if np.any(matrix[:, n])]]
    condition = float(np.linalg.cond(reached)) if reached.shape[1] else 1.0
    return (solution / sizes)[: len(given)], float(left) / math.sqrt(problem.nothing), condition


def _free(problem: _Problem) -> Spot:
    """The free place that explains it best."""
    low_e, high_e = problem.east.min() - _AROUND_M, problem.east.max() + _AROUND_M
    low_n, high_n = problem.north.min() - _AROUND_M, problem.north.max() + _AROUND_M
    step = max(high_e - low_e, high_n - low_n) / _STEPS
    east, north = (
        one.ravel() for one in np.meshgrid(np.arange(low_e, high_e + step, step), np.arange(low_n, high_n + step, step))
    )
    tried: list[tuple[float, float, float, float]] = []
    parts = math.ceil(east.size * problem.value.size / _AT_ONCE)
    for height in _HEIGHTS_M:
        left = np.concatenate(
            [
                problem.unexplained(problem.given(e, n, np.full_like(e, height)))[0]
                for e, n in zip(np.array_split(east, parts), np.array_split(north, parts), strict=True)
            ]
        )
        best = np.argsort(left, kind="stable")[:_BEST]
        tried += [(float(left[n]), float(east[n]), float(north[n]), height) for n in best]
    tried.sort()

    def cost(at: Numbers) -> float:
        height = math.exp(min(max(float(at[2]), 0.0), 5.5))
        left, _ = problem.unexplained(problem.given(float(at[0]), float(at[1]), height))
        return float(left)

    found = []
    from scipy.optimize import minimize

    for _, e, n, height in tried[:_BEST]:
        first = np.array([e, n, math.log(height)])
        simplex = first + np.array([[0, 0, 0], [step, 0, 0], [0, step, 0], [0, 0, 0.5]])
        better = minimize(
            cost, first, method="Nelder-Mead", options={"initial_simplex": simplex, "maxiter": 300, "xatol": 1.0, "fatol": 1e-5}
        )
        found.append((float(better.fun), *(float(one) for one in better.x)))
    left_, e, n, log_height = min(found)
    height = math.exp(min(max(log_height, 0.0), 5.5))
    rate = float(problem.unexplained(problem.given(e, n, height))[1])
    return Spot(e, n, height, rate, left_, _within(problem, e, n, height, left_))


def _within(problem: _Problem, east: float, north: float, height: float, left: float) -> float:
    """How far around a place others, also of other heights, do nearly as well, in metres."""
    allowed = left * NEARLY + AT_LEAST_NEARLY
    farthest = 0.0
    for radius in (25, 50, 100, 150, 200, 300, 500, 800, 1200, 2000, 3000):
        angles = np.radians(np.arange(0, 360, 15))
        e, n = east + radius * np.sin(angles), north + radius * np.cos(angles)
        for factor in (0.4, 0.7, 1.0, 1.5, 2.5):
            if np.min(problem.unexplained(problem.given(e, n, np.full_like(e, height * factor)))[0]) <= allowed:
                farthest = float(radius)
                break
        else:
            break
    return farthest


def from_place_m(candidate: Candidate, spot: Spot) -> float:
    """How far a registered source is from a place, in metres."""
    return math.hypot(candidate.east_m - spot.east_m, candidate.north_m - spot.north_m)


def _on_grounds(candidates: Sequence[Candidate], spot: Spot) -> str:
    """The registered source on whose grounds a place lies: the nearest one, if it is near enough; empty: none is."""
    near = [(from_place_m(one, spot), one.name) for one in candidates]
    metres, name = min(near, default=(math.inf, ""))
    return name if metres <= GROUNDS_M and spot.residual <= NOTHING else ""


def _nearest(sources: Sequence[Explained], spot: Spot) -> str:
    if not sources:
        return ""
    nearest = min(sources, key=lambda one: from_place_m(one.candidate, spot))
    told = f"; the nearest registered source is {nearest.candidate.name}, {from_place_m(nearest.candidate, spot):.0f} m away"
    return f"{told}: the place lies on the grounds of its firm" if nearest.found else told


def _stated(sources: Sequence[Explained], spot: Spot, left: float, condition: float, *, at_registered: bool) -> tuple[str, str]:
    """How far the answer can be relied on, and the same in a sentence."""
    if not at_registered:
        if spot.residual > NOTHING:
            told = f"neither a registered source nor one at any place explains it: {spot.residual:.0%} are left"
            return "NOT", told
        told = (
            f"no registered stack explains it; a source at the place does and leaves {spot.residual:.0%}, and others up to "
            f"{spot.within_m:.0f} m away do nearly as well{_nearest(sources, spot)}"
        )
        near = [one for one in sources if from_place_m(one.candidate, spot) <= GROUNDS_M]
        return ("WELL" if spot.within_m <= GOOD_WITHIN_M and len(near) <= 1 else "WEAK"), told
    found = [one for one in sources if one.found]
    best = min(one.residual for one in found)
    rivals = [one for one in sources if not one.found and one.residual <= best * NEARLY + AT_LEAST_NEARLY]
    names = ", ".join(one.candidate.name for one in found)
    told = f"{names} explain it and leave {left:.0%}" if len(found) > 1 else f"{names} explains it and leaves {left:.0%}"
    if rivals:
        others = ", ".join(one.candidate.name for one in rivals[:5])
        return "WEAK", f"{told}; nearly as well, each alone: {others}"
    if len(found) > 1 and condition > TELL_APART:
        return "WEAK", f"{told}; they cannot be told apart (condition {condition:.0f})"
    return "WELL", f"{told}; no other registered source does nearly as well"
