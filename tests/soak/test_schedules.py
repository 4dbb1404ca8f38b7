"""Many more random schedules of each workflow than CI has time for: SCHEDULES=100000 FIRST=1 make soak ARGS="-k schedules"."""

from __future__ import annotations

import os
import sys
import time

import pytest

from citybrain.sagas.engine.definition import Workflow
from tests.helpers.schedules import play
from tests.unit.sagas.test_schedules import RIDE, WORKFLOWS

MANY = int(os.environ.get("SCHEDULES", "10000"))
FIRST = int(os.environ.get("FIRST", "1000"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda one: f"{one.name}-{one.version}")
def test_each_saga_ends_as_it_should_in_many_schedules(workflow: Workflow) -> None:
    began, seeds = time.monotonic(), range(FIRST, FIRST + MANY)
    ends = play(workflow, seeds, [RIDE] if workflow.children() else [])
    pace = MANY / (time.monotonic() - began)
    told = f"{workflow.name}, version {workflow.version}, seeds {FIRST} to {seeds[-1]}: {dict(ends)}"
    sys.stdout.write(f"{told}, {pace:.0f} schedules a second\n")
