"""Control, second by second, of a city that does what it is told, or does not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from citybrain.traffic.v1.traffic_service_pb2 import Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.traffic import domain, grants
from citybrain.services.traffic.control import AGAIN_AFTER_S, IN_VAIN_S, PAUSE_S, control
from citybrain.services.traffic.street import Street, observe
from tests.unit.traffic import checker
from tests.unit.traffic.city import City, Vehicle
from tests.unit.traffic.signals import EPOCH, crossing, make, signals

WEST = ["west", "east"]
SOUTH = ["x-south", "x-north"]


def small_city(at: int = 45, **options: Any) -> City:
    """One crossing; its road from the south is green from second 40 to 65 of a cycle of 70."""
    return City([crossing(**options)], EPOCH + 700 + at)


def standing(name: str, route: list[str]) -> Vehicle:
    """A vehicle that stands before the signal."""
    return Vehicle(name, route, driven_m=90.0, stands=True)


def reasons(city: City) -> list[str]:
    return [command.reason for command in city.commands]


def assert_in_plan(city: City) -> None:
    for name, controller in city.controllers.items():
        assert controller.purposes[-1] == "plan"
        assert controller.history[-1] == checker.plan_shows(controller.signal, controller.now - 1)
        assert city.states[name].running is None


def test_a_vehicle_that_comes_near_is_let_through_and_its_signal_returns() -> None:
    city = small_city()
    city.send(Vehicle("v", WEST))
    city.run(12)
    assert domain.held_for(city.states["x"], city.now) == ""
    assert reasons(city) == ["priority", "passed"]
    assert city.controllers["x"].history[-3:] != ["GGr"] * 3
    city.run(60)
    assert_in_plan(city)
    assert city.controllers["x"].holds() == [("v", 5, 5)]


def test_what_was_commanded_is_asked_again_where_the_controller_refuses() -> None:
    city = small_city()
    city.unwilling = {"x"}
    city.send(standing("v", WEST))
    assert [len(city.second()) for _ in range(3)] == [1, 1, 1]
    assert domain.held_for(city.states["x"], city.now) == ""
    city.unwilling = set()
    city.run(10)
    assert domain.held_for(city.states["x"], city.now) == "v"


def test_where_nobody_answers_it_is_asked_again_after_five_seconds() -> None:
    city = small_city()
    city.deaf = {"x"}
    city.send(standing("v", WEST))
    assert [len(city.second()) for _ in range(11)] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_the_first_to_come_keeps_the_signal_and_the_other_waits_until_it_has_paused() -> None:
    city = small_city()
    city.send(standing("first", WEST))
    city.run(3)
    city.send(standing("second", SOUTH))
    city.run(20)
    assert domain.held_for(city.states["x"], city.now) == "first"
    city.release("first")
    city.run(40)
    (_, begun, seconds), (who, later, _) = city.controllers["x"].holds()
    assert who == "second"
    assert later - (begun + seconds) >= PAUSE_S


def test_of_two_that_ask_in_the_same_second_the_nearer_one_is_served_and_then_the_smaller_name() -> None:
    city = small_city()
    city.send(Vehicle("a", SOUTH, driven_m=10.0))
    city.send(Vehicle("b", WEST, driven_m=20.0))
    assert [c.vehicle_id for c in city.second()] == ["b"]
    city = small_city()
    city.send(Vehicle("b", SOUTH, driven_m=20.0))
    city.send(Vehicle("a", WEST, driven_m=20.0))
    assert [c.vehicle_id for c in city.second()] == ["a"]


def test_no_hold_lasts_longer_than_a_minute_and_then_the_signal_pauses() -> None:
    city = small_city()
    city.queues = {"x-south": 5}
    city.send(Vehicle("v", WEST, driven_m=60.0, stands=True, creeps=0.15))
    city.run(200)
    holds = city.controllers["x"].holds()
    assert len(holds) > 1
    assert all(seconds <= 60 for _, _, seconds in holds)
    assert max(seconds for _, _, seconds in holds) >= 59
    assert all(b[1] - (a[1] + a[2]) >= PAUSE_S for a, b in pairwise(holds))
    assert "longest hold" in reasons(city)


def test_a_green_that_does_not_move_its_vehicle_is_given_back_to_those_who_cross() -> None:
    city = small_city()
    city.queues = {"x-south": 5}
    stuck = standing("stuck", WEST)
    city.send(stuck)
    city.run(60)
    ((_, began, held),) = city.controllers["x"].holds()
    assert held == IN_VAIN_S
    assert reasons(city) == ["priority", "no progress"]
    city.run(began + 45 + 89 - 60)
    assert len(city.commands) == 2
    city.run(100)
    (_, again, held), *_ = city.controllers["x"].holds()[1:]
    assert again - (began + 45) >= AGAIN_AFTER_S and held == IN_VAIN_S
    city.release("stuck")
    city.run(60)
    assert_in_plan(city)


def test_who_gets_on_after_a_green_in_vain_is_served_as_any_other_and_so_is_another_vehicle() -> None:
    city = small_city()
    stuck = standing("stuck", WEST)
    city.send(stuck)
    city.run(60)
    assert reasons(city) == ["priority", "no progress"]
    city.send(standing("other", SOUTH))
    city.run(40)
    assert domain.held_for(city.states["x"], city.now) == "other"
    city.release("other")
    stuck.driven_m += 6
    city.run(45)
    assert [owner for owner, _, _ in city.controllers["x"].holds()] == ["stuck", "other", "stuck"]


def test_who_stood_at_red_for_long_has_all_of_its_green() -> None:
    city = small_city()
    city.send(standing("first", SOUTH))
    city.send(standing("v", WEST))
    city.run(50)
    city.release("first")
    city.run(60)
    owner, _, held = city.controllers["x"].holds()[1]
    assert owner == "v" and held == IN_VAIN_S


def test_a_vehicle_that_is_silent_for_a_minute_is_told_to_be_missing_once_with_its_last_place() -> None:
    city = small_city()
    vehicle = standing("v", WEST)
    city.send(vehicle)
    city.run(10)
    vehicle.silent = True
    city.run(59)
    assert city.missing == []
    city.run(60)
    (missing,) = city.missing
    assert (missing.vehicle_id, missing.edge_id, missing.position_m, missing.silent_s) == ("v", "west", 90.0, 61)
    city.grants["v"] = grants.Grant(city.grants["v"].granted, lost=True, missing=True)
    city.restart()
    city.run(120)
    assert (len(city.lost), city.missing) == (1, [missing])
    vehicle.silent = False
    city.run(10)
    vehicle.silent = True
    city.run(70)
    assert (len(city.lost), len(city.missing)) == (2, 2)


def test_a_hold_that_nobody_ends_is_ended_by_the_score_alone() -> None:
    city = small_city()
    city.send(standing("v", WEST))
    city.run(3)
    city.deaf = {"x"}
    city.run(90)
    assert city.controllers["x"].holds() == [("v", 5, 60)]
    city.vehicles.clear()
    city.grants.clear()
    city.run(40)
    assert_in_plan(city)


def test_a_released_vehicle_loses_its_signal_and_those_who_waited_get_theirs() -> None:
    city = small_city()
    city.queues = {"x-south": 5, "west": 50}
    city.send(standing("v", WEST))
    city.run(20)
    city.release("v")
    (command,) = city.second()
    assert (command.reason, command.vehicle_id, command.incident_id) == ("released", "", "")
    assert [(i.state, i.duration_s) for i in command.intervals if i.purpose == "compensation"] == [("rrG", 15)]
    city.run(60)
    assert_in_plan(city)


def test_a_silent_vehicle_loses_its_signal_once_until_it_is_heard_again() -> None:
    city = small_city()
    vehicle = standing("v", WEST)
    city.send(vehicle)
    city.run(10)
    vehicle.silent = True
    city.run(5)
    assert city.lost == []
    city.run(25)
    assert [(event.vehicle_id, event.grant_id, event.silent_s) for event in city.lost] == [("v", "g-v", 6)]
    assert reasons(city) == ["priority", "lost"]
    vehicle.silent = False
    city.run(20)
    assert reasons(city) == ["priority", "lost", "priority"]
    vehicle.silent = True
    city.run(20)
    assert len(city.lost) == 2


def test_a_vehicle_never_heard_of_is_lost_five_seconds_after_it_was_expected() -> None:
    city = small_city()
    vehicle = standing("v", WEST)
    vehicle.silent = True
    city.send(vehicle)
    city.run(6)
    assert city.lost == []
    city.run(10)
    assert len(city.lost) == 1


def test_a_vehicle_that_left_its_route_loses_its_signal() -> None:
    city = small_city()
    vehicle = standing("v", WEST)
    city.send(vehicle)
    city.run(10)
    vehicle.edge = "x-south"
    assert [command.reason for command in city.second()] == ["passed"]


def test_after_a_restart_holds_go_on_and_are_released_as_before() -> None:
    city, calm = small_city(), small_city()
    for one in (city, calm):
        one.send(standing("v", WEST))
        one.run(20)
    city.restart()
    for one in (city, calm):
        one.run(10)
        one.release("v")
        one.run(60)
    assert city.commands == calm.commands
    assert_in_plan(city)


def test_a_signal_that_nobody_observes_is_still_given_back_from_what_its_score_shows() -> None:
    city = small_city()
    city.send(standing("v", WEST))
    city.run(20)
    city.unseen = {"x"}
    city.run(5)
    city.release("v")
    city.run(60)
    assert reasons(city) == ["priority", "released"]
    assert_in_plan(city)


def test_a_signal_that_nobody_observed_yet_is_commanded_by_what_its_plan_shows() -> None:
    city = small_city()
    city.unseen = {"x"}
    city.send(standing("v", WEST))
    city.run(10)
    assert domain.held_for(city.states["x"], city.now) == "v"


def test_a_vehicle_that_passes_one_signal_twice_is_let_through_twice_within_one_hold() -> None:
    # Two crossings behind each other under one signal; the state for the first closes the second.
    signal = make(
        "x", [(0, "a", "b"), (1, "b", "c"), (2, "d", "e")], [(0, 1), (0, 2), (1, 2)],
        [("Grr", 20), ("yrr", 3), ("rGr", 20), ("ryr", 3), ("rrG", 20), ("rry", 3)],
    )  # fmt: skip
    city = City([signal], EPOCH + 60)
    city.send(Vehicle("v", ["a", "b", "c"]))
    city.run(8)
    assert city.controllers["x"].history[-1] == "Grr"
    city.run(9)
    assert city.controllers["x"].history[-1] == "rGr"
    city.run(100)
    assert reasons(city) == ["priority", "priority", "passed"]
    assert city.controllers["x"].holds() == [("v", 5, 5), ("v", 15, 5)]
    assert_in_plan(city)


def test_two_crossings_of_one_signal_share_the_minute() -> None:
    signal = make(
        "x", [(0, "a", "b"), (1, "b", "c"), (2, "d", "e")], [(0, 1), (0, 2), (1, 2)],
        [("Grr", 20), ("yrr", 3), ("rGr", 20), ("ryr", 3), ("rrG", 20), ("rry", 3)],
    )  # fmt: skip
    city = City([signal], EPOCH + 60)
    vehicle = Vehicle("v", ["a", "b", "c"], driven_m=90.0, stands=True)
    city.send(vehicle)
    city.run(45)
    vehicle.driven_m = 190.0
    city.run(60)
    first, second = city.controllers["x"].holds()[:2]
    assert first == ("v", 5, 40)
    assert second[1] + second[2] - first[1] in (59, 60)


def test_a_vehicle_that_was_lost_before_a_restart_is_lost_after_it_without_being_told_again() -> None:
    city = small_city()
    vehicle = standing("v", WEST)
    city.send(vehicle)
    city.run(10)
    vehicle.silent = True
    city.deaf = {"x"}
    city.run(7)
    (event,) = city.lost
    city.grants["v"] = grants.Grant(city.grants["v"].granted, lost=True)
    city.restart()
    assert city.states["x"].asked[-1].command.reason == "lost"
    city.run(10)
    assert city.lost == [event]
    assert set(reasons(city)[1:]) == {"lost"}


def test_what_was_observed_earlier_does_not_take_the_place_of_what_was_observed_later() -> None:
    city = small_city()
    city.send(Vehicle("v", WEST))
    early = city.observations()
    city.queues = {"west": 4}
    city.run(3)
    late = observe(Street(), city.observations())
    assert observe(late, early) == late


def test_a_signal_that_cannot_serve_the_nearest_serves_the_next() -> None:
    signal = make(
        "x", [(0, "west", "east"), (1, "x-south", "x-north")], [(0, 1)],
        [("rG", 20), ("ry", 3), ("rr", 5)], plan_phases_only=True,
    )  # fmt: skip
    city = City([signal], EPOCH + 10)
    city.send(standing("v", WEST))
    city.send(Vehicle("w", SOUTH, driven_m=50.0, stands=True))
    assert [c.vehicle_id for c in city.second()] == ["w"]


def test_the_same_facts_give_the_same_commands_in_the_same_order() -> None:
    city = City([crossing("x"), crossing("y", "east", "end"), crossing("a", "end", "far")], EPOCH + 45)
    city.send(Vehicle("v", ["west", "east", "end", "far"], speed=20.0))
    first = control(city.now, city.network, city.states, city.grants.values(), city.street)
    assert first == control(city.now, city.network, dict(reversed(city.states.items())), city.grants.values(), city.street)
    assert [c.signal_id for c in city.second()] == ["a", "x", "y"]


def test_two_grants_of_one_vehicle_in_one_incident_count_as_the_newer_one() -> None:
    city = small_city()
    city.send(standing("v", WEST))
    old = city.grants["v"].granted
    city.grants = {"v": city.grants["v"]}
    newer = type(old)()
    newer.CopyFrom(old)
    newer.grant_id, newer.edge_ids[:] = "newer", ["west"]
    step = control(city.now, city.network, city.states, [*city.grants.values(), type(city.grants["v"])(newer)], city.street)
    assert step.commands == []


rides = st.lists(
    st.tuples(
        st.integers(0, 150),  # second at which it sets out
        st.integers(0, 7),  # which way it goes
        st.sampled_from([2.0, 5.0, 20.0]),
        st.integers(0, 120),  # second at which it stands, or is silent, or is released
        st.sampled_from(["drives", "stands", "silent", "released"]),
    ),
    min_size=1,
    max_size=3,
)


@given(
    signals(), st.integers(0, 300), rides, st.dictionaries(st.sampled_from(["in0", "in1", "in2"]), st.integers(1, 9)), st.data()
)
@settings(max_examples=60)
def test_whatever_vehicles_do_and_controllers_refuse_every_second_is_safe_and_all_signals_come_back(
    signal: Signal, moment: int, asked: list[tuple[int, int, float, int, str]], queues: dict[str, int], data: st.DataObject
) -> None:
    city = City([signal], EPOCH + 1000 + moment)
    city.queues = queues
    unwilling = data.draw(st.sets(st.integers(0, 300), max_size=40), label="seconds in which the controller refuses")
    unseen = data.draw(st.sets(st.integers(0, 300), max_size=40), label="seconds in which nobody observes it")
    for second in range(301):
        city.unwilling = {"s"} if second in unwilling else set()
        city.unseen = {"s"} if second in unseen else set()
        for number, (start, way, speed, later, habit) in enumerate(asked):
            name = f"v{number}"
            if second == start:
                link = signal.links[way % len(signal.links)]
                city.send(Vehicle(name, [link.from_edge_id, link.to_edge_id], speed))
            if second == start + later and name in city.vehicles:
                city.vehicles[name].stands = habit == "stands"
                city.vehicles[name].silent = habit == "silent"
                if habit == "released":
                    city.release(name)
        city.second()
    city.unwilling = city.unseen = set()
    city.grants.clear()
    cycle = len(checker.plan_seconds(signal))
    city.run(2 * cycle + 20)
    controller = city.controllers["s"]
    holds = controller.holds()
    assert all(seconds <= 60 for _, _, seconds in holds)
    assert all(b[1] - (a[1] + a[2]) >= PAUSE_S for a, b in pairwise(holds))
    assert_in_plan(city)
    # The plan alone may do what no command may: only seconds that a command shows, or that follow one, are judged.
    for second, purpose in enumerate(controller.purposes):
        if purpose != "plan" or (second and controller.purposes[second - 1] != "plan"):
            place = controller.first + second
            before, after = controller.history[max(0, place - 120) : place], controller.history[place : place + 1]
            assert checker.faults(signal, before, after) == []
            assert purpose == "plan" or checker.short_greens(before, after) == []
