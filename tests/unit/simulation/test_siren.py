"""The rules of the siren and of stops, without SUMO."""

from __future__ import annotations

from pathlib import Path

import pytest

from citybrain.simulation.network import Edge, Movement, Network
from citybrain.simulation.siren import RED_MPS, SEEN_M, red_ahead_m, red_mps
from citybrain.simulation.stops import near_m

WAY = ["A", "B", "C"]


def network() -> Network:
    """Three roads of 80 m, one after the other. A signal has one letter for the way from A to B, two for that from B to C."""
    edges = {name: Edge(name, 80.0, 10.0, (), (0, 0), (), (), "") for name in WAY}
    movements = (Movement("s", 0, "A", "B", "j"), Movement("s", 1, "B", "C", "j"), Movement("s", 2, "B", "C", "j"))
    return Network(Path("net.xml"), edges, movements, {}, {})


@pytest.mark.parametrize("fastest", [10.0, 16.0, 24.0, 30.0])
def test_from_wherever_a_red_light_is_seen_its_line_is_crossed_at_20_km_h_at_most(fastest: float) -> None:
    # Between two seconds it may have come nearer by all that is driven in one.
    for nearer_m in range(int(fastest * 4)):
        left_m, speed = SEEN_M - nearer_m / 4, fastest
        while left_m > 0:
            # What SUMO's vehicle does in a second: it brakes as hard as it must, and can.
            speed = max(speed - 4.5, min(speed + 2.6, fastest, red_mps(left_m)))
            left_m -= speed
        assert speed <= RED_MPS + 1e-9, nearer_m


def test_the_limit_before_a_red_light_falls_to_that_at_its_line() -> None:
    limits = [red_mps(float(metre)) for metre in range(int(SEEN_M), -1, -1)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 29
    assert limits[-1] == pytest.approx(RED_MPS)


@pytest.mark.parametrize(
    ("position_m", "shown", "found"),
    [
        (10.0, "rGG", 70.0),
        (10.0, "yGG", 70.0),
        (10.0, "sGG", 70.0),
        (5.0, "Grr", None),
        (25.0, "Grr", 135.0),
        (25.0, "grr", 135.0),
        (25.0, "GGr", None),
        (25.0, "GrG", None),
        # A signal that is switched off holds nobody.
        (25.0, "Ooo", None),
        # It is past the end of a road while it is inside the junction there.
        (81.0, "rGG", 0.0),
    ],
)
def test_the_first_light_on_the_way_that_shows_no_green_is_seen_from_150_m(
    position_m: float, shown: str, found: float | None
) -> None:
    assert red_ahead_m(network(), WAY, position_m, {"s": shown}) == found


def test_where_the_way_ends_the_light_behind_is_not_heeded() -> None:
    assert red_ahead_m(network(), WAY[:1], 10.0, {"s": "rrr"}) is None


@pytest.mark.parametrize("speed", [0.0, 8.0, 16.0, 33.0])
def test_a_stop_is_made_while_the_brakes_can_still_do_it(speed: float) -> None:
    # A second passes before the vehicle brakes.
    assert near_m(speed) > speed + speed**2 / (2 * 4.5)
