"""Several processes of the workflows on Kafka and Cassandra, and some are killed: what was theirs, the others carry on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.mesh.settings.values import Settings
from tests.helpers.apart import Apart

LIMIT_S = 90.0
COUNT = 8


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        threading.Event().wait(0.2)


@pytest.mark.timeout(240)
def test_sagas_of_processes_that_are_killed_are_carried_on_by_the_one_that_is_left(settings: Settings, tmp_path: Path) -> None:
    with Apart(tmp_path / "data", 3, {"at_scene": 20}, settings) as apart:
        apart.paper.build(ambulances=COUNT, places=COUNT)
        incidents = [apart.paper.report(f"call-{number}") for number in range(COUNT)]
        incidents = apart.waiting(incidents)
        left, *others = apart.workflows
        # Each has partitions of its own; at most one of them led.
        for one in others:
            one.child.kill()
        # Those that have the most time left.
        missing, arrived = incidents[:-2], incidents[-2:]
        for incident in arrived:
            apart.at_the_scene(incident)
        # What happened in time counts, though who was to hear it is gone; every deadline is kept.
        until(lambda: all(left.saga(incident).state == pb.SAGA_STATE_NEEDS_HUMAN for incident in missing))
        until(lambda: all(left.step(incident, "on_board") == "waiting" for incident in arrived))
        assert [left.step(incident, "at_scene") for incident in incidents] == ["timed out"] * (COUNT - 2) + ["done"] * 2
        # And what nobody had: it goes on, and to its end.
        last = missing[0]
        apart.at_the_scene(last)
        left.resume(last)
        until(lambda: left.step(last, "on_board") == "waiting")
        apart.paper.drive(last)
        until(lambda: left.saga(last).state == pb.SAGA_STATE_COMPLETED)
