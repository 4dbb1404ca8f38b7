"""The Gaussian plume: worked values, its classes, and where it does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from citybrain.mesh.errors import Refused
from citybrain.services.environment import plume


@pytest.mark.parametrize(("x_m", "grams"), [(200, 2.415e-4), (350, 1.749e-4), (500, 1.056e-4)])
def test_worked_values_on_the_line_of_the_wind(x_m: float, grams: float) -> None:
    # 5 g/s from 30 m in 3 m/s; the wind comes from the west and blows to the east.
    assert 5 * float(plume.dilution(x_m, 0, 30, 3, 270, "B")) == pytest.approx(grams, rel=5e-4)


def test_the_formulas_of_class_b_are_those_of_the_model() -> None:
    x = 0.35
    assert float(plume.sigma_y(350, "B")) == pytest.approx(
        465.116 * x * np.tan(np.radians(18.333 - 1.8096 * np.log(x))), rel=1e-5
    )
    assert float(plume.sigma_z(350, "B")) == pytest.approx(98.483 * x**0.98332)


@pytest.mark.parametrize(
    ("stability", "x_m", "metres"),
    # A bound belongs to the nearer row.
    [("B", 200, 90.673 * 0.2**0.93198), ("B", 201, 98.483 * 0.201**0.98332), ("D", 1000, 32.093), ("C", 1000, 61.141),
     ("F", 200, 15.209 * 0.2**0.81558), ("A", 4000, 5000)],
)  # fmt: skip
def test_the_height_of_a_plume_is_that_of_the_table(stability: str, x_m: float, metres: float) -> None:
    assert float(plume.sigma_z(x_m, stability)) == pytest.approx(metres)


def test_the_more_stable_the_air_the_narrower_the_plume() -> None:
    for of in (plume.sigma_y, plume.sigma_z):
        sizes = [float(of(1000, stability)) for stability in "ABCDEF"]
        assert sizes == sorted(sizes, reverse=True)


def test_it_goes_with_the_wind_and_nothing_is_upwind() -> None:
    for origin, east, north in ((0, 0, -500), (90, -500, 0), (180, 0, 500), (270, 500, 0)):
        there = float(plume.dilution(east, north, 0, 3, origin, "B"))
        assert there > 0
        assert float(plume.dilution(-east, -north, 0, 3, origin, "B")) == 0
        # Beside the line it is less, and the same on both sides.
        left, right = (float(plume.dilution(east + a, north + b, 0, 3, origin, "B")) for a, b in ((50, 50), (-50, -50)))
        assert max(left, right) < there * 1.3


def test_calm_wind_is_refused_and_one_metre_a_second_is_not_calm() -> None:
    plume.require_wind(1.0)
    with pytest.raises(Refused, match="below 1 m/s a plume is not a plume") as caught:
        plume.require_wind(0.99)
    assert caught.value.reason == "CALM"
