"""What an ambulance with a siren does in SUMO, and one without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.places import Place
from citybrain.simulation.siren import RED_MPS
from citybrain.simulation.street import Street

pytestmark = pytest.mark.sumo

# Two roads of two lanes each, one after the other, with a signal between them.
FIRST, SECOND = "-186623965#18", "-186623965#16"


def all_red(street: Street) -> None:
    for signal_id in street.sumo.signal_ids():
        street.sumo.show(signal_id, "r" * len(street.sumo.shown(signal_id)))


def begun(street: Street, scene: Place | None = None) -> Mission:
    return street.fleet.begin("i1", "a1", Place(FIRST, 10.0), scene or Place(SECOND, 150.0), [FIRST, SECOND])


def test_a_red_light_is_crossed_at_20_km_h_at_most_and_counted(street: Callable[..., Street]) -> None:
    with street(siren=True) as driven:
        mission = begun(driven)
        all_red(driven)
        fastest = 0.0
        while not mission.reds_run:
            fastest = max(fastest, mission.speed_mps)
            driven.advance()
            assert driven.sumo.next_second - mission.began < 60, mission
        # What was driven in the second in which the line was crossed; on the way there it was faster.
        assert 4 < mission.speed_mps <= RED_MPS + 0.01 < fastest
        for _ in range(5):
            driven.advance()
        assert mission.speed_mps > RED_MPS + 1
        assert (mission.signals_passed, mission.reds_run) == (1, 1)


def test_without_a_siren_a_red_light_is_waited_for(street: Callable[..., Street]) -> None:
    with street(siren=False) as driven:
        mission = begun(driven)
        all_red(driven)
        for _ in range(60):
            driven.advance()
        assert (mission.signals_passed, mission.reds_run) == (0, 0)
        assert mission.route[mission.index] == FIRST
        assert mission.red_wait_s > 20


def test_at_the_scene_nothing_of_the_siren_is_left(street: Callable[..., Street]) -> None:
    with street(siren=True) as driven:
        vehicles, mission = driven.sumo.vehicles, begun(driven)
        driven.advance()
        as_made = (31, 1621)
        modes = [(vehicles.getSpeedMode(mission.vehicle_id), vehicles.getLaneChangeMode(mission.vehicle_id))]
        while mission.at_scene is None:
            driven.advance()
            assert driven.sumo.next_second - mission.began < 120, mission
        modes.append((vehicles.getSpeedMode(mission.vehicle_id), vehicles.getLaneChangeMode(mission.vehicle_id)))
        assert modes[0] != as_made == modes[1]


def test_in_a_queue_it_does_not_insist_on_the_lane_of_its_way_and_elsewhere_it_does(
    street: Callable[..., Street], stand: Callable[..., None]
) -> None:
    with street(siren=True) as driven:
        vehicles = driven.sumo.vehicles
        for lane in (0, 1):
            stand(driven, FIRST, lane, 40, 56)
        mission, modes = begun(driven), []

        def drive(seconds: int) -> None:
            for _ in range(seconds):
                driven.advance()
            modes.append(vehicles.getLaneChangeMode(mission.vehicle_id))

        drive(20)
        assert mission.speed_mps == 0
        for name in vehicles.getIDList():
            if name.startswith("stands"):
                driven.sumo.remove(name)
        drive(4)
        assert mission.speed_mps > 2
        # Nobody is before it, but it does not move: so it would stand where a lane ends that does not lead on.
        vehicles.setMaxSpeed(mission.vehicle_id, 0.01)
        drive(12)
        assert mission.speed_mps < 0.1
        # The lowest two bits are the changes for its way.
        assert [mode & 3 for mode in modes] == [0, 1, 1]
        assert len({mode >> 2 for mode in modes}) == 1


def test_no_vehicle_carries_the_siren_that_sumo_has(street: Callable[..., Street]) -> None:
    with street(siren=True) as driven:
        mission = begun(driven)
        driven.advance()
        # SUMO answers for devices that a vehicle was given.
        assert driven.sumo.vehicles.getParameter(mission.vehicle_id, "has.bluelight.device") != "true"


def test_signals_between_where_it_was_taken_off_the_road_and_put_back_were_not_passed(street: Callable[..., Street]) -> None:
    with street(siren=True) as driven:
        mission = begun(driven)
        all_red(driven)
        driven.advance()
        mission.taken = True
        driven.sumo.vehicles.moveTo(mission.vehicle_id, f"{SECOND}_0", 30.0)
        driven.advance()
        assert mission.route[mission.index] == SECOND
        assert (mission.signals_passed, mission.reds_run) == (0, 0)
