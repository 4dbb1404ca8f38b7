"""Kills at random moments, over many seeds: `make soak`, SOAK_SEEDS=200 for longer. Never part of CI; every seed is printed."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import saga_service_pb2 as sagas

from citybrain.local.child import MeshChild
from tests.faults.test_saga_kills import every_effect_is_there_once, nothing_is_held
from tests.helpers.killer import KillAt
from tests.helpers.paper_city import PaperCity

SEEDS = range(
    int(os.environ.get("SOAK_FROM", "0")), int(os.environ.get("SOAK_FROM", "0")) + int(os.environ.get("SOAK_SEEDS", "40"))
)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_after_any_event_an_emergency_ends_as_it_should(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    after, cancelled = chance.randrange(1, 60), chance.random() < 0.4
    sys.stdout.write(f"seed {seed}: killed after event {after}, {'cancelled' if cancelled else 'driven'}\n")
    seen = 0

    def moment(_event: Event) -> bool:
        nonlocal seen
        seen += 1
        return seen == after

    with MeshChild(tmp_path / "data", ["--driven"]) as mesh:
        city = PaperCity(mesh.address, mesh.log_path.parent)
        city.build()
        killer = KillAt(mesh, city, moment)
        incident = city.report(f"call-{seed}")
        killer.follow(incident)
        city.until(lambda: city.step(incident, "at_scene") == "waiting")
        if cancelled:
            city.cancel(incident)
        else:
            city.drive(incident)
        city.until(lambda: city.ended(incident))
        state = city.saga(incident).state
        assert state == (sagas.SAGA_STATE_UNDONE if cancelled else sagas.SAGA_STATE_COMPLETED)
        nothing_is_held(city)
        if not cancelled:
            every_effect_is_there_once(city, incident)
        city.close()
