"""Tracing: registered sources, a place that nobody registered, and how far the answer can be relied on."""

from __future__ import annotations

import math
import random
import tracemalloc

import numpy as np
import pytest

from citybrain.mesh.errors import Refused
from citybrain.services.environment import plume, tracing
from citybrain.services.environment.plume_rise import Flue, effective_height
from citybrain.services.environment.tracing import Candidate, Observation

RING = [(round(900 * math.sin(a)), round(900 * math.cos(a))) for a in np.radians(range(0, 360, 30))]
"""Twelve stations around the middle."""


def measured(
    sources: list[tuple[Candidate, float]], winds: list[tuple[float, float]], noise: float = 0.0, seed: int = 1
) -> list[Observation]:
    """What the ring measures of sources (g/s) over a background of 20 µg/m³; with 10 % of noise the vane errs by 2 degrees."""
    by = random.Random(seed)
    found = []
    for speed, origin in winds:
        for n, (east, north) in enumerate(RING):
            plumes = sum(
                1e6 * rate * float(plume.dilution(east - one.east_m, north - one.north_m, one.height_m, speed, origin, "B"))
                for one, rate in sources
            )
            value = (20 + plumes) * by.gauss(1, noise) + by.gauss(0, 20 * noise)
            vane = origin + by.gauss(0, 20 * noise)
            found.append(Observation(f"s{n}", east, north, max(0.0, value), 20, speed, vane))
    return found


def apart(spot: tracing.Spot, one: Candidate) -> float:
    return math.hypot(spot.east_m - one.east_m, spot.north_m - one.north_m)


WINDS = [(3.0, 255.0), (2.5, 270.0), (3.5, 285.0), (3.0, 300.0)]
WEST, SOUTH, EAST = (
    Candidate("west", -700, 0, 30), Candidate("south", 100, -600, 40), Candidate("east", 1500, 200, 30)
)  # fmt: skip


def test_the_registered_source_that_did_it_is_found_with_its_rate() -> None:
    found = tracing.trace(measured([(WEST, 8.0)], WINDS), [SOUTH, EAST, WEST])
    assert (found.sources[0].candidate.name, found.sources[0].found) == ("west", True)
    assert [one.found for one in found.sources[1:]] == [False, False]
    assert found.sources[0].rate_g_s == pytest.approx(8, rel=0.01)
    assert (found.place, found.determination) == (None, "WELL")
    assert found.residual < 0.01 and found.sources[1].residual > 0.5
    assert "west explains it" in found.statement


def test_the_plume_of_a_hot_stack_is_looked_for_where_it_has_risen_to() -> None:
    flue = Flue(2.0, 12.0, 420)
    hot = Candidate("hot", -700, 0, 20, flue)
    observations = []
    for one in measured([], WINDS):
        along = plume.along_m(one.east_m + 700, one.north_m, one.from_deg)
        height = effective_height(20, flue, along, one.speed_m_s, "B", tracing.AIR_K)
        there = float(plume.dilution(one.east_m + 700, one.north_m, height, one.speed_m_s, one.from_deg, "B"))
        observations.append(
            Observation(one.station, one.east_m, one.north_m, 20 + 100e6 * there, 20, one.speed_m_s, one.from_deg)
        )
    (found,) = tracing.trace(observations, [hot]).sources
    assert found.found and found.rate_g_s == pytest.approx(100, rel=0.01) and found.residual < 0.01
    assert 60 < found.plume_height_m < 125
    # Whoever does not know that it rises is wrong about how much leaves it.
    (cold,) = tracing.trace(observations, [Candidate("cold", -700, 0, 20)]).sources
    assert cold.rate_g_s < 80 and cold.plume_height_m == 20


def test_two_at_once_are_found_together_with_their_rates() -> None:
    found = tracing.trace(measured([(WEST, 8.0), (SOUTH, 4.0)], [*WINDS, (3.0, 200.0)]), [EAST, SOUTH, WEST])
    rates = {one.candidate.name: one.rate_g_s for one in found.sources if one.found}
    assert rates == {"west": pytest.approx(8, rel=0.02), "south": pytest.approx(4, rel=0.02)}


def test_two_stacks_that_imitate_one_hole_between_them_are_not_taken_for_it() -> None:
    hole = Candidate("hole", -700, 100, 30)
    beside = [Candidate("north", -700, 230, 30), Candidate("south", -700, -30, 30)]
    found = tracing.trace(measured([(hole, 8.0)], WINDS, noise=0.03), beside)
    assert found.place is not None and apart(found.place, hole) < 60
    # It lies on the grounds of both, and nobody can say whose it is.
    assert [one.found for one in found.sources] == [True, False] and found.determination == "WEAK"


@pytest.mark.parametrize(("metres", "named"), [(140, True), (160, False)])
def test_a_place_on_the_grounds_of_a_firm_names_its_source_with_the_place(metres: float, named: bool) -> None:
    hole = Candidate("hole", -700, 100, 30)
    stack = Candidate("stack", -700, 100 + metres, 60)
    found = tracing.trace(measured([(hole, 8.0)], WINDS), [EAST, stack])
    assert found.place is not None and apart(found.place, hole) < 10
    assert {one.candidate.name: one.found for one in found.sources} == {"stack": named, "east": False}
    assert ("on the grounds of its firm" in found.statement) is named
    assert f"the nearest registered source is stack, {metres} m away" in found.statement
    assert found.determination == "WELL"


def test_two_that_stand_together_cannot_be_told_apart_and_that_is_said() -> None:
    twin = Candidate("twin", -690, 5, 30)
    found = tracing.trace(measured([(WEST, 8.0)], WINDS, noise=0.05), [twin, WEST])
    assert found.determination == "WEAK"
    assert "nearly as well" in found.statement or "cannot be told apart" in found.statement


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_place_that_nobody_registered_is_found_within_150_metres(noise: float) -> None:
    hidden = Candidate("hidden", -450, 150, 25)
    errors = []
    for seed in range(3 if noise else 1):
        found = tracing.trace(measured([(hidden, 10.0)], WINDS, noise, seed), [SOUTH, EAST])
        assert found.place is not None and not any(one.found for one in found.sources)
        assert "no registered stack explains it" in found.statement
        errors.append(apart(found.place, hidden))
    assert sorted(errors)[len(errors) // 2] < 150
    assert noise or errors[0] < 20


def test_what_the_answer_explains_is_told_for_each_observation() -> None:
    observations = measured([(WEST, 8.0)], [*WINDS, (0.5, 270.0)])
    found = tracing.trace(observations, [WEST])
    for one, explained in zip(observations, found.explained, strict=True):
        # In calm steps nothing is explained, because nothing is asked.
        assert explained == pytest.approx(one.value - 20 if one.speed_m_s >= 1 else 0.0, abs=1.0)


def test_where_nothing_stands_out_nothing_is_found() -> None:
    found = tracing.trace(measured([], WINDS, noise=0.1), [WEST, SOUTH])
    assert found.determination != "WELL" and not any(one.found for one in found.sources)


def test_a_background_that_rises_everywhere_is_no_source() -> None:
    observations = [
        Observation(one.station, one.east_m, one.north_m, one.value + 30, one.before, one.speed_m_s, one.from_deg)
        for one in measured([(WEST, 8.0)], WINDS)
    ]  # fmt: skip
    found = tracing.trace(observations, [WEST, SOUTH])
    assert found.sources[0].found and found.sources[0].rate_g_s == pytest.approx(8, rel=0.1)


def test_many_observations_take_little_memory() -> None:
    ring = measured([(WEST, 8.0)], WINDS)
    many = [
        Observation(f"{one.station}-{n}", one.east_m + n, one.north_m - n, one.value, one.before, one.speed_m_s, one.from_deg)
        for n in range(5)
        for one in ring
    ]
    tracemalloc.start()
    try:
        tracing.trace(many, [WEST])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 8,281 places of the grid times 240 observations are 16 MB for each of a dozen arrays, if they are taken at once.
    assert most < 40_000_000


def test_calm_wind_and_too_few_stations_are_refused() -> None:
    with pytest.raises(Refused, match="below 1 m/s") as caught:
        tracing.trace(measured([(WEST, 8.0)], [(0.9, 270.0)]), [WEST])
    assert caught.value.reason == "CALM"
    few = [one for one in measured([(WEST, 8.0)], WINDS) if one.station in ("s1", "s2")]
    for observations in (few, []):
        with pytest.raises(Refused) as caught:
            tracing.trace(observations, [WEST])
        assert caught.value.reason == "TOO_FEW_STATIONS"
