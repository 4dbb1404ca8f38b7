"""The result of a run, the same for every variant. Times of day are seconds of the scenario; durations are seconds.

Per call: `called_at` (None where it was not made), `began` (the ambulance got its order), `departed` (it found room on the
road), `at_scene_s` and `at_hospital_s` (since `began`), `ride_s` (station to hospital with the delay of departure, without the
stay at the scene; until the end of the run where it did not get there), `finished`, `red_waits` and `red_wait_s`,
`signals_passed` and of them `reds_run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.street import Street


def mission_result(mission: Mission, now: int) -> dict[str, Any]:
    """One mission; `now` is the end of the run."""

    def since(second: int | None) -> int | None:
        return None if second is None else second - mission.began

    return {
        "incident_id": mission.incident_id,
        "ambulance_id": mission.ambulance_id,
        "began": mission.began,
        "departed": mission.departed,
        "departure_delay_s": since(mission.departed),
        "at_scene_s": since(mission.at_scene),
        "left_scene_s": since(mission.left_scene),
        "at_hospital_s": since(mission.at_hospital),
        "ride_s": mission.ride_s(mission.withdrawn if mission.withdrawn is not None else now),
        "finished": mission.at_hospital is not None,
        "withdrawn": mission.withdrawn is not None,
        "lost": mission.lost,
        "red_waits": mission.red_waits,
        "red_wait_s": mission.red_wait_s,
        "signals_passed": mission.signals_passed,
        "reds_run": mission.reds_run,
        "teleports": mission.teleports,
    }


def run_result(variant: str, street: Street, seed: int, end: int, calls: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole run, after `street.finish()`. `calls`: what is known of the call of each incident."""
    missions = street.fleet.missions
    rows = [{**calls.get(m.incident_id, {}), **mission_result(m, end)} for m in missions]
    answered = {m.incident_id for m in missions}
    rows += [{"incident_id": i, **call, "finished": False} for i, call in calls.items() if i not in answered]
    return {
        "variant": variant,
        "scenario": street.scenario.name,
        "seed": seed,
        "begin": street.begin,
        "end": end,
        "calls": rows,
        "others": street.others,
        "teleports": {"ambulances": sum(m.teleports for m in missions), "others": street.other_teleports},
        "collisions": street.collisions,
        "safety": street.checker.counts(),
        "safety_findings": len(street.checker.findings),
        "signals": {
            "commands": street.controllers.commanded,
            "refused": street.controllers.refused,
            "clock_corrections": street.controllers.clock_corrections,
            "playing_at_end": sorted(street.controllers.controlled()),
            "out_of_step_at_end": street.controllers.out_of_step(end - 1),
        },
    }
