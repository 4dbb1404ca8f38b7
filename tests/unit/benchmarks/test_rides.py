"""Seeds that could not be driven are named with what was said; the others are measured all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rides
from citybrain.stories.emergency.run import Outcome
from citybrain.stories.processes import Crashed, SimulationError


def result(ride_s: int) -> dict[str, Any]:
    call = {"incident_id": "i1", "ambulance_id": "a1", "began": 100, "ride_s": ride_s, "finished": True}
    return {
        "begin": 0, "end": 1000, "calls": [call], "others": {"mean_time_loss_s": 40.0}, "collisions": 0, "safety_findings": 0,
        "signals": {"out_of_step_at_end": []},
    }  # fmt: skip


def driven(_city: str, seed: int) -> Outcome:
    if seed == 2:
        raise Crashed("SUMO itself crashed (signal 11) in the city drive: another --seed may avoid it")
    if seed == 3:
        raise SimulationError("signal 'x': RegisterSignal: INVALID_ARGUMENT: is too long")
    results = {"city": result(100 + seed), "ordinary": result(200), "bluelight": result(150), "alone": result(90)}
    if seed == 4:
        del results["bluelight"]
    return Outcome(results=results, crashed={"bluelight": "SUMO itself crashed"} if seed == 4 else {})


def test_a_refusal_is_no_crash_of_sumo_and_seeds_with_either_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rides, "drive_seed", driven)
    monkeypatch.setattr(rides, "DETAILS", tmp_path / "rides.json")
    monkeypatch.setattr(rides, "EACH_RIDE", tmp_path / "each_ride.jsonl")
    (tmp_path / "each_ride.jsonl").write_text('{"scenario": "here", "seed": 9}\n{"scenario": "elsewhere", "seed": 9}\n')
    rows = rides.measure("here", [1, 2, 3, 4])
    assert {(row.peer.split(",")[0], row.value) for row in rows if " ride" in row.name} == {
        ("ordinary", 102.5),
        ("bluelight", 101),
    }
    found = json.loads((tmp_path / "rides.json").read_text())["here"]
    assert found["seeds"] == [1, 4]
    assert found["seeds in which SUMO crashed"] == {"city": [2], "ordinary": [], "bluelight": [4], "alone": []}
    assert found["seeds that were refused"] == {"3": "signal 'x': RegisterSignal: INVALID_ARGUMENT: is too long"}
    assert {variant: one["rides"] for variant, one in found["variants"].items()} == {"ordinary": 2, "bluelight": 1, "city": 2}
    each = [json.loads(line) for line in (tmp_path / "each_ride.jsonl").read_text().splitlines()]
    assert [(ride["scenario"], ride["seed"], ride.get("bound_s")) for ride in each] == [
        ("elsewhere", 9, None), ("here", 1, 90), ("here", 4, 90),
    ]  # fmt: skip


def test_where_no_seed_was_driven_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rides, "drive_seed", driven)
    with pytest.raises(SystemExit, match=r"crashed: \[2\], refused: .*is too long"):
        rides.measure("here", [2, 3])
