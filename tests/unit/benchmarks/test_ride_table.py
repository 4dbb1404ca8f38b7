"""What the rides of many seeds come to, from what was driven."""

from __future__ import annotations

from typing import Any

from benchmarks.ride_table import figures, records


def call(number: int, ride_s: int, **more: Any) -> dict[str, Any]:
    found = {"incident_id": f"i{number}", "ambulance_id": f"a{number}", "called_at": 90, "began": 100, "ride_s": ride_s}
    return {**found, "finished": True, "lost": False, "teleports": 0, "reds_run": 0, "signals_passed": 4, **more}


def result(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"begin": 0, "end": 1100, "calls": list(calls)}


def test_each_way_to_drive_is_told_with_its_tail_its_reds_and_its_bound() -> None:
    rides = records(
        7,
        {
            "ordinary": result(call(2, 260), call(1, 200), call(3, 300)),
            "bluelight": result(call(1, 150, reds_run=3), call(2, 160, reds_run=1), call(3, 170)),
            "city": result(call(1, 120), call(2, 191), call(3, 170, reds_run=1)),
            "alone": result(call(1, 100), call(2, 160), call(3, 170)),
        },
    )
    assert {ride["seed"] for ride in rides} == {7}
    assert [(ride["incident_id"], ride["bound_s"]) for ride in rides] == [("i1", 100), ("i2", 160), ("i3", 170)]
    ordinary, siren, city = (figures(rides, variant) for variant in ("ordinary", "bluelight", "city"))
    assert (ordinary["mean_s"], ordinary["median_s"], ordinary["p90_s"], ordinary["worst_s"]) == (253.3, 260, 300, 300)
    assert (siren["reds_run"], siren["signals_passed"]) == (4, 12)
    # Of three rides one came more than half a minute after that with a siren alone.
    assert (ordinary["late_share"], siren["late_share"], city["late_share"]) == (1.0, 0.0, 0.333)
    assert (city["mean_over_bound"], city["median_over_bound"]) == (round(481 / 430, 3), round(191 / 160, 3))


def test_a_ride_that_did_not_end_counts_to_the_end_of_the_run_and_is_said_to_be_one() -> None:
    lost = call(1, 40, finished=False, lost=True, teleports=2)
    taken_back = call(2, 30, finished=False, withdrawn=True)
    rides = records(1, {"city": result(lost, taken_back, call(3, 100)), "alone": result(call(1, 90, finished=False))})
    told = figures(rides, "city")
    assert (told["worst_s"], told["never_ended"], told["lost"], told["teleported"]) == (1000, 2, 1, 1)
    # No ride ended in the drive that bounds them, so nothing is said of it.
    assert (told["mean_over_bound"], told["median_over_bound"], told["late_share"]) == (None, None, None)


def test_a_call_that_was_not_answered_did_not_end_with_the_city_and_was_driven_by_nobody_else() -> None:
    unanswered = {"incident_id": "i2", "called_at": 300, "finished": False}
    (first, second) = records(1, {"city": result(call(1, 100), unanswered), "ordinary": result(call(1, 200))})
    assert set(first) - set(second) == {"ordinary"}
    assert second["city"]["s"] == 800
    assert figures([first, second], "city")["never_ended"] == 1


def test_a_way_in_which_sumo_crashed_has_fewer_rides_and_no_figures_where_it_always_did() -> None:
    rides = records(1, {"city": result(call(1, 100)), "bluelight": result(call(1, 130))})
    rides += records(2, {"city": result(call(1, 110))})
    assert (figures(rides, "city")["rides"], figures(rides, "bluelight")["rides"]) == (2, 1)
    assert figures(rides, "city")["late_share"] == 0.0
    assert figures(rides, "ordinary") == {"rides": 0}
