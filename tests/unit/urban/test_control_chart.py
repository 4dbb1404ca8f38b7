"""The control charts, against published and worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.urban import control_chart as charts


def test_ewma_gives_the_worked_values_and_their_limits() -> None:
    assert charts.ewma([50, 52, 55, 58], 50, 0.3) == pytest.approx([50, 50.6, 51.92, 53.744])
    widths = [charts.ewma_width(t, 2, 0.3, 3) for t in range(1, 5)]
    assert widths == pytest.approx([1.8, 2.197, 2.368, 2.447], abs=5e-4)


def test_ewma_gives_the_values_of_the_nist_handbook() -> None:
    """NIST/SEMATECH e-Handbook, 6.3.2.4: EWMA of 20 values with λ = 0.3, EWMA_0 = 50."""
    data = [
        52.0,
        47.0,
        53.0,
        49.3,
        50.1,
        47.0,
        51.0,
        50.1,
        51.2,
        50.5,
        49.6,
        47.6,
        49.9,
        51.3,
        47.8,
        51.2,
        52.6,
        52.4,
        53.6,
        52.1,
    ]
    shown = [50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05, 49.38, 49.92,
             50.73, 51.23, 51.94, 51.99]  # fmt: skip
    assert charts.ewma(data, 50, 0.3) == pytest.approx(shown, abs=0.006)
    assert charts.ewma_width(10_000, 2.0539, 0.3, 3) == pytest.approx(52.5884 - 50, abs=1e-3)


def test_cusum_gives_the_values_of_the_nist_handbook() -> None:
    """NIST/SEMATECH e-Handbook, 6.3.2.3: mean 325, k = 0.3175, sigma 1 (h = 4.1959): the sum above passes h at group 14."""
    data = [324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600, 324.625, 325.150, 328.325,
            327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350]  # fmt: skip
    highs, lows = charts.cusum(data, 325, 1, 0.3175)
    assert highs[12:15] == pytest.approx([3.0075, 4.94, 7.4475], abs=0.01)
    assert next(n for n, high in enumerate(highs, 1) if high > 4.1959) == 14
    assert max(lows) < 4.1959


def test_many_charts_at_once_go_as_each_by_itself() -> None:
    rng = np.random.default_rng(3)
    u = rng.normal(0.4, 1, (5, 40))
    state = charts.State(np.zeros(5), np.zeros(5), np.zeros(5), np.zeros(5, dtype=np.int64))
    for column in u.T:
        state, _ = charts.step(state, column)
    for row, z, high, low in zip(u, state.z, state.high, state.low, strict=True):
        highs, lows = charts.cusum(list(row), 0, 1)
        assert charts.ewma(list(row), 0)[-1] == pytest.approx(z)
        assert (highs[-1], lows[-1]) == pytest.approx((high, low))


def test_two_windows_are_no_anomaly_and_three_are() -> None:
    begin = charts.State.of(0, 0, 0, 30)
    assert not charts.holds(begin, [0, 20, 20])
    assert charts.holds(begin, [0, 20, 20, 20])
    assert not charts.holds(begin, [20, 20, 20, *[0] * 12])


def test_what_creeps_is_found_by_sums_where_the_mean_stays_inside() -> None:
    begin = charts.State.of(0, 0, 0, 30)
    assert max(charts.ewma([1.0] * 60, 0)) < charts.ewma_width(100, 1)
    assert charts.holds(begin, [1.0] * 60)
    assert not charts.holds(begin, [0.5] * 60)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3, 3), st.floats(0.1, 100))
def test_a_chart_says_the_same_in_every_unit(seed: int, mean: float, sigma: float) -> None:
    values = np.random.default_rng(seed).normal(mean, sigma, 20)
    plain = charts.ewma(list((values - mean) / sigma), 0)
    assert charts.ewma(list(values), mean) == pytest.approx([mean + sigma * z for z in plain], abs=1e-6)
    assert charts.ewma_width(3, sigma) == pytest.approx(sigma * charts.ewma_width(3, 1))


def test_the_sums_give_a_false_alarm_in_ten_to_the_tenth_windows_at_most() -> None:
    b = charts.DECISION + 1.166
    run = (math.exp(2 * charts.SLACK * b) - 2 * charts.SLACK * b - 1) / (2 * charts.SLACK**2)
    assert run / 2 > 1e10
