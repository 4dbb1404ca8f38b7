"""A network of pipes shows what it would without a leak, until there is one."""

from __future__ import annotations

from citybrain.simulation import pipes
from citybrain.simulation.pipes import Leak, Pipes

SENSORS = ["109", "151", "241"]


def test_a_hole_is_seen_in_the_pressures_from_its_moment_on_and_not_before() -> None:
    quiet = dict(Pipes(SENSORS, 8, seed=1).steps())
    burst = dict(Pipes(SENSORS, 8, seed=1, leak=Leak("151", 6 * 3600 + 900, 40)).steps())
    assert list(quiet) == list(range(pipes.STEP_S, 8 * 3600 + 1, pipes.STEP_S))
    differ = [second for second in quiet if abs(quiet[second]["151"] - burst[second]["151"]) > 0.5]
    assert differ == [second for second in quiet if second >= 6 * 3600 + 900]


def test_what_a_sensor_shows_is_wrong_by_some_centimetres_and_the_same_seed_is_the_same_day() -> None:
    one, again, other = (dict(Pipes(SENSORS, 4, seed).steps()) for seed in (1, 1, 2))
    assert one == again
    apart = [abs(one[second][name] - other[second][name]) for second in one for name in SENSORS]
    assert 0.02 < sum(apart) / len(apart) < 0.3
