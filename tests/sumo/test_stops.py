"""An ambulance gets to its place whatever stands at the kerb, and one that does not is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.places import Place
from citybrain.simulation.results import mission_result
from citybrain.simulation.street import Street

pytestmark = pytest.mark.sumo

# Three roads of two lanes, one after the other.
FIRST, SECOND, THIRD = "-186623965#18", "-186623965#16", "-186623965#14"
SCENE = Place(SECOND, 120.0)


def begun(street: Street) -> Mission:
    return street.fleet.begin("i1", "a1", Place(FIRST, 10.0), SCENE, [FIRST, SECOND])


def driven(street: Street, mission: Mission, seconds: int) -> float:
    """Where it stands on the road of the scene when it has got there."""
    for _ in range(seconds):
        street.advance()
        if mission.at_scene is not None:
            break
    assert mission.at_scene is not None, mission
    assert (mission.teleports, mission.route[mission.index]) == (0, SECOND)
    return mission.position_m


@pytest.mark.parametrize("siren", [True, False], ids=["with a siren", "without"])
@pytest.mark.parametrize("first_m", [5, 60, 100], ids=["all along", "half the way", "at the place"])
def test_a_patient_beside_a_kerb_lane_where_cars_stand_is_reached_from_the_lane_beside_it(
    street: Callable[..., Street], stand: Callable[..., None], first_m: int, siren: bool
) -> None:
    with street(siren=siren) as one:
        stand(one, SECOND, 0, first_m, 180)
        mission = begun(one)
        assert abs(driven(one, mission, 150) - SCENE.position_m) < 2
        assert one.sumo.vehicles.getLaneIndex(mission.vehicle_id) == 1


def test_a_stop_goes_with_the_ambulance_to_another_lane(street: Callable[..., Street]) -> None:
    with street(siren=False) as one:
        vehicles, mission = one.sumo.vehicles, begun(one)
        one.advance()
        while not vehicles.getStops(mission.vehicle_id, 1):
            one.advance()
            assert mission.at_scene is None
        other = 1 - vehicles.getLaneIndex(mission.vehicle_id)
        # A change of lanes that it was told from outside goes before what it wants itself.
        vehicles.setLaneChangeMode(mission.vehicle_id, 512)
        vehicles.changeLane(mission.vehicle_id, other, 1000)
        while vehicles.getLaneIndex(mission.vehicle_id) != other:
            one.advance()
            assert mission.at_scene is None
        (stop,) = vehicles.getStops(mission.vehicle_id, 0)
        assert stop.lane == vehicles.getLaneID(mission.vehicle_id)
        assert abs(driven(one, mission, 100) - SCENE.position_m) < 2


def test_an_ambulance_that_is_kept_within_two_cars_of_its_place_is_there(
    street: Callable[..., Street], stand: Callable[..., None]
) -> None:
    with street(siren=True) as one:
        for lane in (0, 1):
            stand(one, SECOND, lane, 116, 140)
        assert SCENE.position_m - 15 < driven(one, begun(one), 150) < SCENE.position_m - 8


@pytest.mark.parametrize("siren", [True, False], ids=["with a siren", "without"])
def test_an_ambulance_that_is_kept_farther_away_is_not_there_and_goes_on_as_soon_as_a_lane_is_free(
    street: Callable[..., Street], stand: Callable[..., None], siren: bool
) -> None:
    with street(siren=siren) as one:
        for lane in (0, 1):
            stand(one, SECOND, lane, 92, 140)
        mission = begun(one)
        for _ in range(100):
            one.advance()
        assert (mission.at_scene, mission.route[mission.index]) == (None, SECOND)
        free = 1 - one.sumo.vehicles.getLaneIndex(mission.vehicle_id)
        for name in one.sumo.vehicles.getIDList():
            if name.startswith(f"stands-{free}"):
                one.sumo.remove(name)
        assert abs(driven(one, mission, 60) - SCENE.position_m) < 2


def test_an_ambulance_that_sumo_puts_back_on_the_road_behind_its_patient_is_lost_and_stays_so(
    street: Callable[..., Street], stand: Callable[..., None]
) -> None:
    with street(siren=True) as one:
        for lane in (0, 1):
            stand(one, SECOND, lane, 5, 180)
        mission = begun(one)
        one.fleet.bring_to(mission, Place(THIRD, 150.0), [SECOND, THIRD])
        # Cars that stand on both lanes from one end of the road to the other; after five minutes SUMO takes it past them.
        while not mission.lost:
            one.advance()
            assert one.sumo.next_second - mission.began < 700, mission
        assert mission.vehicle_id not in one.sumo.vehicles.getIDList()
        assert one.fleet.under_way == []
        assert mission.teleports > 0
        # It did not drive past the signals that lie between.
        assert (mission.signals_passed, mission.reds_run) == (0, 0)
        for _ in range(5):
            one.advance()
        told = mission_result(mission, one.sumo.next_second)
        assert (told["lost"], told["finished"], told["at_scene_s"], told["at_hospital_s"]) == (True, False, None, None)
