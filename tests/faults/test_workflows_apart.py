"""The workflows in processes of their own: killed, paused, down past a deadline; each saga goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from citybrain.sagas.v1 import saga_service_pb2 as pb

from tests.helpers.apart import Apart, step_of

LIMIT_S = 60.0


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        threading.Event().wait(0.05)


def waiting(apart: Apart, name: str) -> str:
    """An incident whose workflow waits for the ambulance to come to the patient."""
    incident = apart.paper.report(name)
    apart.waiting([incident])
    return incident


def needs_human(apart: Apart, incident: str) -> None:
    until(lambda: apart.paper.saga(incident).state == pb.SAGA_STATE_NEEDS_HUMAN)


def test_down_past_a_deadline_what_had_happened_before_it_counts(tmp_path: Path) -> None:
    with Apart(tmp_path / "data", 1, {"at_scene": 15}) as apart:
        apart.paper.build(ambulances=3)
        incidents = [apart.paper.report(f"call-{number}") for number in range(3)]
        incidents = apart.waiting(incidents)
        over = time.time() + 15
        (workflows,) = apart.workflows
        workflows.child.kill()
        for incident in incidents[1:]:
            apart.at_the_scene(incident)
        until(lambda: time.time() > over)
        workflows.child.start()
        needs_human(apart, incidents[0])
        assert [workflows.step(incident, "at_scene") for incident in incidents] == ["timed out", "done", "done"]
        assert [workflows.step(incident, "on_board") for incident in incidents[1:]] == ["waiting", "waiting"]


def test_what_is_resumed_at_a_process_that_is_killed_then_is_carried_on_by_the_other(tmp_path: Path) -> None:
    with Apart(tmp_path / "data", 2, {"at_scene": 3}) as apart:
        apart.paper.build()
        incident = waiting(apart, "call")
        leads, stands_by = apart.workflows
        needs_human(apart, incident)
        resumed = step_of(stands_by.resume(incident), "at_scene").changed_at.ToNanoseconds()
        stands_by.child.kill()
        # What is shown is what is there; and its deadline is kept once more.
        assert step_of(leads.saga(incident), "at_scene").changed_at.ToNanoseconds() >= resumed
        until(lambda: leads.step(incident, "at_scene") == "timed out")
        apart.at_the_scene(incident)
        assert leads.resume(incident).state == pb.SAGA_STATE_RUNNING
        until(lambda: leads.step(incident, "on_board") == "waiting")


def test_what_is_resumed_while_the_one_that_leads_stands_still_is_carried_on_when_it_goes_on(tmp_path: Path) -> None:
    with Apart(tmp_path / "data", 2, {"at_scene": 3}) as apart:
        apart.paper.build()
        incident = waiting(apart, "call")
        leads, stands_by = apart.workflows
        needs_human(apart, incident)
        os.kill(leads.child.pid, signal.SIGSTOP)
        try:
            assert stands_by.resume(incident).state == pb.SAGA_STATE_RUNNING
            assert stands_by.step(incident, "at_scene") == "waiting"
        finally:
            os.kill(leads.child.pid, signal.SIGCONT)
        needs_human(apart, incident)
        assert leads.step(incident, "at_scene") == "timed out"


def test_when_the_one_that_carries_a_saga_on_is_killed_the_other_does_so_and_keeps_its_deadline(tmp_path: Path) -> None:
    with Apart(tmp_path / "data", 2, {"at_scene": 5}) as apart:
        apart.paper.build()
        incident = waiting(apart, "call")
        leads, stands_by = apart.workflows
        leads.child.kill()
        until(lambda: stands_by.saga(incident).state == pb.SAGA_STATE_NEEDS_HUMAN)
        apart.at_the_scene(incident)
        stands_by.resume(incident)
        until(lambda: stands_by.step(incident, "on_board") == "waiting")
