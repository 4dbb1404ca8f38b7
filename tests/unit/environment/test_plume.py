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


@pytest.mark.parametrize(
    ("stability", "wide", "high"),
    # Of the tests of GasDispersion.jl, an implementation of ISC3 by others: at 1.2 m, and a distance in each row of the table.
    [
        ("A", 0.48870396813625905, {50: 7.246283645973222, 125: 17.6538512508938, 175: 25.32210358392127,
         225: 33.46114450376929, 275: 42.49832115580982, 350: 58.955561122372494, 450: 87.22955507375895,
         550: 128.0454080208172}),
        ("B", 0.3288132138806368, {100: 10.604690180980183, 300: 30.144226325216724, 500: 51.092852947678885}),
        ("C", 0.20096244824229573, {100: 7.44187785547111}),
        ("D", 0.1309207626723034, {100: 4.651174892531855, 500: 18.29689264165363, 2000: 50.15135417398994,
         5000: 88.69020460936578, 15000: 169.67281358959912, 35000: 271.77785930262854}),
        ("E", 0.09742134712173195, {50: 1.979015073784176, 100: 3.534197346966356, 500: 12.80138815568348,
         1500: 27.931190340632067, 3000: 42.22135548587303, 7500: 68.37414410048738, 15000: 95.55830909365176,
         30000: 127.31152395989899, 50000: 151.5410717370677}),
        ("F", 0.0645858766834503, {100: 2.3255231110829815, 500: 8.395558503802999, 800: 11.976175562087187,
         1500: 18.030377292486545, 2500: 24.42448141869856, 5000: 34.207199596890135, 10000: 46.38392157098271,
         20000: 60.29440210746138, 45000: 76.93568233551231, 75000: 87.38876819912205}),
    ],
)  # fmt: skip
def test_each_row_of_the_tables_gives_what_others_have_computed(stability: str, wide: float, high: dict[int, float]) -> None:
    assert float(plume.sigma_y(1.2, stability)) == pytest.approx(wide, rel=1e-6)
    for metres, expected in high.items():
        assert float(plume.sigma_z(metres, stability)) == pytest.approx(expected, rel=1e-9)


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
