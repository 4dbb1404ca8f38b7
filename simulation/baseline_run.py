"""The same rides without the city: `ordinary` obeys the lights, `bluelight` has a siren and nothing else, in the same traffic.

`alone` is the bound for them all: the same ways with a siren, nobody else on the road, every signal green. None needs a mesh
or a gateway. The rides come from a city run, live or from a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from citybrain.simulation.network import Network
from citybrain.simulation.output import Tell
from citybrain.simulation.results import run_result
from citybrain.simulation.rides import Orders, carry_out
from citybrain.simulation.scenario import Scenario
from citybrain.simulation.street import Street

ALONE = "alone"
VARIANTS = ("ordinary", "bluelight", ALONE)
PROGRESS_EVERY_S = 10


def drive_baseline(
    variant: str,
    scenario: Scenario,
    network: Network,
    seed: int,
    end: int,
    orders: Orders,
    tell: Tell,
    tracks_file: Path | None = None,
    *,
    scale: float = 1.0,
    lost_time_file: Path | None = None,
) -> dict[str, Any]:
    """Drives up to `end`, the first second of the scenario that is not driven. Returns the result."""
    siren, alone = variant != "ordinary", variant == ALONE
    with Street(
        scenario, network, seed, siren=siren, alone=alone, scale=scale, tracks=tracks_file is not None,
        lost_time=lost_time_file is not None,
    ) as street:  # fmt: skip
        while (second := street.sumo.next_second) < end:
            for order in orders.due(second):
                carry_out(order, street.fleet)
            happened = street.advance()
            for mission, stage in happened.stages:
                tell(
                    "stage", second=second, incident_id=mission.incident_id, ambulance_id=mission.ambulance_id, stage=stage
                )  # fmt: skip
            if second % PROGRESS_EVERY_S == 0 or second == end - 1:
                running, under_way = street.sumo.running(), len(street.fleet.under_way)
                tell("progress", second=second, vehicles=running, under_way=under_way)
        street.finish(tracks_file, lost_time_file)
        return run_result(variant, street, seed, end, orders.calls)
