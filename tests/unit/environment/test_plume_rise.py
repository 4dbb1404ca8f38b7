"""The rise of plumes: values worked by others, its bounds, and what it cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from citybrain.services.environment.plume_rise import Flue, downwash, effective_height, rise

AIR = 288.15
FAR = 1e5
# Values of the tests of GasDispersion.jl (an implementation of ISC3 by others): one metre wide, wind of 4 m/s.
FB_50 = Flue(1.0, 72.93819699672669, 400)
FB_60 = Flue(1.0, 87.52583639607202, 400)
FAST = Flue(1.0, 179.87751923862007, 325)


@pytest.mark.parametrize(
    ("flue", "stability", "end", "final"),
    [
        (FB_50, "A", 565.0050541491846, 100.71365158671999),
        (FB_60, "A", 612.07897481385, 112.8895989623143),
        (FB_50, "E", 317.60677324769046, 68.59722859012221),
        (FB_50, "F", 240.0881533494489, 56.92380039947288),
    ],
)
def test_a_warm_plume_rises_to_where_others_have_computed_it(flue: Flue, stability: str, end: float, final: float) -> None:
    assert float(rise(flue, FAR, 4, stability, AIR)) == pytest.approx(final, rel=1e-9)
    # There it ends, and before that it has risen less.
    assert float(rise(flue, end * 1.0001, 4, stability, AIR)) == pytest.approx(final, rel=1e-9)
    assert float(rise(flue, end * 0.9, 4, stability, AIR)) < final
    assert flue.is_buoyant(AIR, stability)


def test_on_its_way_it_rises_by_two_thirds_of_the_power_of_the_distance() -> None:
    assert FB_50.buoyancy(AIR) == pytest.approx(50) and FB_60.buoyancy(AIR) == pytest.approx(60)
    assert float(rise(FB_50, 50, 4, "A", AIR)) == pytest.approx(20.0)


def test_a_fast_plume_that_is_hardly_warm_rises_by_its_momentum() -> None:
    assert not FAST.is_buoyant(AIR, "A")
    assert FAST.momentum(AIR) == pytest.approx(7171.814541070672)
    assert float(rise(FAST, 50, 4, "A", AIR)) == pytest.approx(81.01824072514351)
    assert float(rise(FAST, FAR, 4, "A", AIR)) == pytest.approx(3 * 179.87751923862007 / 4)


@pytest.mark.parametrize(("stability", "gradient"), [("E", 0.020), ("F", 0.035)])
def test_in_stable_air_momentum_lifts_it_no_higher_than_in_neutral_air(stability: str, gradient: float) -> None:
    fast, slow = Flue(1.0, 240.9, 325), Flue(1.0, 2.0, AIR)
    root = (9.80616 * gradient / AIR) ** 0.5
    assert float(rise(fast, FAR, 4, stability, AIR)) == pytest.approx(1.5 * (fast.momentum(AIR) / (4 * root)) ** (1 / 3))
    assert float(rise(slow, FAR, 4, stability, AIR)) == pytest.approx(3 * 2.0 / 4)
    # Nearer it follows the sine.
    expected = (3 * slow.momentum(AIR) * np.sin(0.1 * root / 4) / ((1 / 3 + 2) ** 2 * 4 * root)) ** (1 / 3)
    assert float(rise(slow, 0.1, 4, stability, AIR)) == pytest.approx(expected)


def test_which_of_both_dominates_is_said_by_the_temperature() -> None:
    # 0.0297 Ts v^(1/3) / d^(2/3): with d = 1 and v = 8 the bound is Ta / (1 - 0.0594).
    bound = AIR / (1 - 0.0297 * 2)
    assert Flue(1.0, 8.0, bound + 0.01).is_buoyant(AIR, "D") and not Flue(1.0, 8.0, bound - 0.01).is_buoyant(AIR, "D")
    # A wide stack has a flux above 55: 0.00575 Ts v^(2/3) / d^(1/3), with d = 8 and v = 27.
    bound = AIR / (1 - 0.00575 * 9 / 2)
    assert Flue(8.0, 27.0, bound + 0.01).is_buoyant(AIR, "D") and not Flue(8.0, 27.0, bound - 0.01).is_buoyant(AIR, "D")
    bound = AIR / (1 - 0.019582 * 8 * (9.80616 * 0.02 / AIR) ** 0.5)
    assert Flue(1.0, 8.0, bound + 0.01).is_buoyant(AIR, "E") and not Flue(1.0, 8.0, bound - 0.01).is_buoyant(AIR, "E")
    assert not Flue(1.0, 8.0, 200).is_buoyant(AIR, "D") and Flue(1.0, 8.0, 200).buoyancy(AIR) == 0


def test_a_slow_gas_is_drawn_down_behind_its_stack() -> None:
    slow = Flue(1.0, 1.0, 298)
    # 10 m high, 1 m wide, 1 m/s in a wind of 2 m/s: 8 m (GasDispersion.jl).
    assert 10 + float(downwash(slow, 2)) == pytest.approx(8.0)
    assert float(downwash(Flue(1.0, 3.0, 298), 2)) == 0
    assert float(effective_height(0.5, slow, 0, 2, "D", 298)) == 0
    assert float(effective_height(10, slow, FAR, 2, "D", 298)) == pytest.approx(8 + 1.5)


def test_many_distances_and_winds_are_taken_at_once_and_nothing_upwind_rises() -> None:
    x, wind = np.array([-100.0, 50.0, FAR]), np.array([4.0, 4.0, 8.0])
    found = effective_height(30, FB_50, x, wind, "A", AIR)
    assert found == pytest.approx([30, 50, 30 + 100.71365158671999 / 2])
