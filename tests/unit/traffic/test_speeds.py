"""Mean speeds over five minutes."""

from __future__ import annotations

from citybrain.traffic.v1.events_pb2 import SpeedsMeasured
from citybrain.traffic.v1.traffic_service_pb2 import EdgeSpeed
from hypothesis import given
from hypothesis import strategies as st

from citybrain.services.traffic.speeds import Speeds, fold

MINUTE = 28_000_000 * 60


def run(*seen: tuple[int, str, float, int]) -> list[SpeedsMeasured]:
    """What is told of (second, edge, speed, vehicles)."""
    speeds, told = Speeds(), []
    for second, edge, speed, vehicles in seen:
        speeds, measured = fold(speeds, MINUTE + second, [EdgeSpeed(edge_id=edge, speed_mps=speed, vehicles=vehicles)])
        told += [measured] if measured is not None else []
    return told


def means(measured: SpeedsMeasured) -> dict[str, tuple[float, int]]:
    return {s.edge_id: (s.speed_mps, s.vehicles) for s in measured.speeds}


def test_a_mean_counts_every_vehicle_once() -> None:
    (told,) = run((0, "a", 10, 1), (1, "a", 4, 2), (2, "b", 7, 1), (60, "a", 99, 9))
    assert means(told) == {"a": (6, 3), "b": (7, 1)}
    assert (told.from_time.seconds, told.to_time.seconds) == (MINUTE + 60 - 300, MINUTE + 60)


def test_it_is_told_once_a_minute() -> None:
    assert len(run(*((second, "a", 10, 1) for second in range(600)))) == 9


def test_what_is_older_than_five_minutes_does_not_count() -> None:
    told = run((0, "a", 10, 1), (60, "a", 2, 1), (300, "b", 1, 0), (360, "b", 1, 0))
    assert [means(t) for t in told] == [{"a": (10, 1)}, {"a": (6, 2)}, {"a": (2, 1)}]


def test_an_edge_on_which_nobody_drove_is_not_told_of() -> None:
    assert means(run((0, "a", 0, 0), (60, "a", 5, 1))[0]) == {}


def test_what_comes_after_its_minute_was_told_of_is_dropped() -> None:
    told = run((0, "a", 10, 1), (60, "a", 10, 1), (59, "a", 50, 1), (120, "a", 10, 1))
    assert means(told[-1]) == {"a": (10, 2)}


@given(st.lists(st.integers(0, 4000), max_size=200))
def test_no_more_than_six_minutes_are_ever_kept(seconds: list[int]) -> None:
    speeds = Speeds()
    for second in seconds:
        speeds, _ = fold(speeds, MINUTE + second, [EdgeSpeed(edge_id="a", speed_mps=10, vehicles=1)])
        assert len(speeds.minutes) <= 6
