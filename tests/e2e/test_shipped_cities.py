"""Every city that is shipped is played, if only for its first minutes: registered whole, called, driven, and safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from citybrain.local.city import ROOT
from citybrain.simulation.given import CITIES
from citybrain.stories.emergency.run import Options, drive

# The first call comes after five minutes of traffic.
SECONDS = 340
NAMES = sorted(path.parent.name for path in CITIES.glob("*/city.yaml"))


@pytest.mark.sumo
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_city_is_known_to_the_mesh_and_answers_a_call(name: str, tmp_path: Path) -> None:
    where = ["--city", name, "--scenarios", str(ROOT / "build" / "scenarios"), "--until", str(SECONDS)]
    outcome = drive(Options(where, 1, 1, tmp_path, baselines=()), lambda _variant, _line: None, lambda _told: None)
    result = outcome.results["city"]
    (call,) = result["calls"]
    assert call["departed"] is not None
    assert result["mesh"]["refused"] == 0
    assert result["safety_findings"] == 0
    (events,) = outcome.incidents.values()
    told = {event.type.rpartition(".")[2] for event in events}
    assert told >= {"IncidentOpened", "AmbulanceReserved", "BedReserved", "PriorityGranted", "DistrictNotified"}
