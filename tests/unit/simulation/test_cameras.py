"""What cameras before signals see: on short lanes what stands on the lanes before them too, not beyond another signal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from citybrain.simulation.cameras import Cameras
from citybrain.simulation.network import Network
from citybrain.simulation.stretches import Stretch, stretches


def network(**lanes_after: tuple[str, ...]) -> Network:
    """`short` of 20 m and `long` of 400 m end at the signal; `other` at another signal."""
    return Network(
        Path(), {}, (), {}, {},
        signal_lanes={("x", 0): ("short_0",), ("x", 1): ("long_0",), ("y", 0): ("other_0",)},
        lanes_after=lanes_after,
        lane_length_m={"short_0": 20, "long_0": 400, "other_0": 50, "before_0": 60, "first_0": 500, "aside_0": 30},
    )  # fmt: skip


def test_a_short_lane_is_seen_with_the_lanes_that_lead_to_it_and_not_beyond_another_signal() -> None:
    seen = stretches(network(before_0=("short_0", "aside_0"), first_0=("before_0",), other_0=("short_0",)))
    assert seen["short_0"] == (Stretch("short_0", 0, 1), Stretch("before_0", 20, 0.5), Stretch("first_0", 80, 0.5))
    assert seen["long_0"] == (Stretch("long_0", 0, 1),)


def test_lanes_in_a_ring_are_seen_once() -> None:
    seen = stretches(network(before_0=("short_0",), short_0=("before_0",)))
    assert [stretch.lane_id for stretch in seen["short_0"]] == ["short_0", "before_0"]


def test_vehicles_are_counted_by_their_distance_and_who_has_left_over_the_end_has_passed() -> None:
    # Vehicle: lane, metres from its start, speed.
    there: dict[str, tuple[str, float, float]] = {
        "stands": ("short_0", 18, 0), "creeps": ("before_0", 50, 1.9), "drives": ("before_0", 10, 8),
        "far": ("first_0", 400, 9),
    }  # fmt: skip
    sumo: Any = SimpleNamespace(
        lanes=SimpleNamespace(getLastStepVehicleIDs=lambda lane: [v for v, (on, _, _) in there.items() if on == lane]),
        vehicles=SimpleNamespace(
            getLanePosition=lambda v: there[v][1], getSpeed=lambda v: there[v][2], getIDList=lambda: list(there),
            getRoadID=lambda v: there[v][0].rpartition("_")[0],
        ),
    )  # fmt: skip
    controllers = SimpleNamespace(shown={"x": "Gr"}, since_s=lambda _signal, _second: [3.0, 3.0])
    of = network(before_0=("short_0", "aside_0"), first_0=("before_0",))
    street: Any = SimpleNamespace(network=of, sumo=sumo, controllers=controllers, plans={"x": None})
    cameras = Cameras(street)
    assert cameras.signal_ids == ["x"]
    (seen,) = cameras.look(0, ["x"])
    short = next(lane for lane in seen.lanes if lane.lane_id == "short_0")
    # 2 and 30 m from the line, and 70 m; 180 m is too far. Those before the fork count as half a vehicle.
    assert (short.waiting, list(short.coming), short.passed) == (1.5, [0, 0, 0.5], 0)
    there["stands"] = ("out_0", 5, 8)
    there["creeps"] = ("before_1", 55, 1)
    (seen,) = cameras.look(1, ["x"])
    short = next(lane for lane in seen.lanes if lane.lane_id == "short_0")
    assert short.passed == 1
