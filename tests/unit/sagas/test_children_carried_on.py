"""Sagas and their children on the runner's real parts: whoever crashes when and whoever owns which, both come to their ends."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.emergency_command_service_pb2 import Contact
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from google.protobuf.message import Message

from citybrain.event_store.store import LimitExceeded, StoreError
from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.runtime.greenlets import wait
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Child, Node, Wait, Workflow
from citybrain.sagas.engine.state import SagaState
from tests.unit.sagas.saga_city import City, Department, city, incident_of, step
from tests.unit.sagas.test_ownership import Shares

CHILD = "s.transfer.1"
ARRIVES = Wait("arrives", MissionReported, 600)


def transfer(*nodes: Node) -> Workflow:
    return Workflow("transfer", 1, IncidentOpened, {MissionReported: incident_of}, nodes or (step("inner"),))


def reported(stage: Any, whose: str = "s") -> MissionReported:
    return MissionReported(incident_id=whose, stage=stage)


def began_with(s: SagaState) -> Message:
    opened: Message = s.input
    return opened


def child(**options: Any) -> Child:
    options.setdefault("deadline_s", 1000)
    return Child("transfer", "transfer", options.pop("input", began_with), **options)


def off(city: City) -> None:
    city.hear(IncidentCancelled(incident_id="s"), "cancelled")
    city.rest()


def test_a_child_runs_to_its_end_and_then_its_parent_goes_on(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert (city.phase(), city.phase(CHILD), Department.calls) == ("completed", "completed", ["inner", "last"])
        assert city.recorded(CHILD)[-3:] == ["SagaCompleted", "ParentToBeTold", "ParentTold"]
        assert city.runner._sagas == {}
        # One incident, one trace (here it begins behind the first event), and each is caused by what had it begin.
        mother, inner = (wait(city.parts.store.read(f"sagas/saga-{one}")) for one in ("s", CHILD))
        assert {event.correlation_id for event in (*mother, *inner)} == {"s"}
        assert len({event.traceparent[3:35] for event in (*mother, *inner)} - {""}) == 1
        assert inner[0].causation_id == next(event.id for event in mother if event.type.endswith("StepSent"))

    city(tmp_path, test, child(), step("last"), older=[transfer()])


def test_a_child_runs_for_the_same_person_as_its_parent_and_what_it_keeps_of_a_person_is_gone_with_them(tmp_path: Path) -> None:
    opened = IncidentOpened(incident_id="s", reporter_id="per-1", reporter=Contact(phone="+8613800001111"), district_id="west")

    def test(city: City) -> None:
        city.start().hear(opened)
        city.rest()
        assert city.runner.load(CHILD).input == opened
        assert not any(b"+86138" in event.data + event.sealed for event in wait(city.parts.store.read(f"sagas/saga-{CHILD}")))
        wait(city.parts.process.vault.keys.destroy("per-1", 1))
        wait(city.parts.process.vault.look())
        assert city.runner.load(CHILD).input == IncidentOpened(incident_id="s", reporter_id="per-1", district_id="west")

    city(tmp_path, test, child(), older=[transfer(ARRIVES)])


@pytest.mark.tells("span undo {step} internal")
def test_undo_goes_through_the_child_in_reverse_also_after_it_has_completed(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert (city.phase(CHILD), city.status("transfer")) == ("completed", "done")
        off(city)
        assert (city.phase(), city.phase(CHILD)) == ("undone", "undone")
        assert Department.calls == ["first", "inner", "second", "undo second", "undo inner", "undo first"]

    nodes = (step("first"), child(), ARRIVES)
    city(tmp_path, test, *nodes, older=[transfer(step("inner"), step("second"))])


def test_a_saga_waits_for_a_child_whose_undo_needs_a_human(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        Department.fails = {"undo inner": Refused("it is locked")}
        off(city)
        assert (city.phase(), city.phase(CHILD)) == ("undoing", "needs human")
        Department.fails.clear()
        city.runner.resume(CHILD, "it is open", "somebody")
        city.rest()
        assert (city.phase(), city.phase(CHILD)) == ("undone", "undone")

    city(tmp_path, test, child(), ARRIVES, older=[transfer()])


def test_the_undo_of_a_child_that_was_terminated_is_asked_about_each_time_until_a_person_skips_it(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo inner": Refused("it is locked")}
        city.start().open().rest()
        off(city)
        city.runner.decide(CHILD, lambda state: persons.terminate(state, "it hangs", "chief"))
        city.rest()
        assert city.phase() == "needs human"
        # The child has ended already, and tells nothing any more.
        city.runner.resume("s")
        city.rest()
        assert (city.phase(), city.recorded().count("UndoFailed")) == ("needs human", 2)
        city.runner.decide("s", lambda state: persons.skip(state, "transfer", "it was unlocked by hand", "chief"))
        city.rest()
        assert city.phase() == "undone"

    city(tmp_path, test, child(), ARRIVES, older=[transfer()])


def test_a_child_hears_what_its_parent_hears_also_from_before_it_began(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.held["first"] = asyncio.Event()
        city.start().open()
        city.parts.until(lambda: Department.calls == ["first"])
        city.hear(reported(1), "early")
        Department.held.pop("first").set()
        city.rest()
        assert city.recorded(CHILD).count("WaitEnded") == 1
        # A second delivery changes nothing; and what is another's is not heard.
        for name, whose in (("early", "s"), ("other", "t"), ("later", "s")):
            if name != "early":
                city.write(reported(2, whose), name)
            city.redeliver(name)
        city.rest()
        assert list(city.runner.load(CHILD).heard) == ["early", "later"]
        assert (city.phase(CHILD), city.phase()) == ("completed", "completed")

    def stage(number: int) -> Wait:
        return Wait(f"stage_{number}", MissionReported, 600, lambda s, event: event.stage == number)  # type: ignore[attr-defined]

    city(tmp_path, test, step("first"), child(), older=[transfer(stage(1), stage(2))])


def test_a_child_hears_what_its_own_version_hears_though_the_newest_hears_less(tmp_path: Path) -> None:
    def begins(city: City) -> None:
        city.start().open().rest()
        assert city.phase(CHILD) == "running"
        city.runner.stop()

    def goes_on(city: City) -> None:
        city.start()
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert (city.phase(CHILD), city.runner.load(CHILD).workflow_version) == ("completed", 1)

    newest = Workflow("transfer", 2, IncidentOpened, {}, (step("inner"),))
    city(tmp_path, begins, child(), older=[transfer(ARRIVES)])
    city(tmp_path, goes_on, child(), older=[transfer(ARRIVES), newest])


def test_a_person_tells_a_child_what_belongs_to_its_parent(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        workflow = city.runner.workflow(city.runner.load(CHILD))
        assert workflow is not None
        event = MissionReported(incident_id="s")
        city.runner.decide(CHILD, lambda state: persons.signal(workflow, state, "1", event, "by radio", "chief", 1))
        city.rest()
        assert (city.phase(CHILD), city.phase()) == ("completed", "completed")

    city(tmp_path, test, child(), older=[transfer(ARRIVES)])


def test_a_child_of_a_child_hears_what_belongs_to_the_first(tmp_path: Path) -> None:
    inner = Workflow("ride", 1, IncidentOpened, {MissionReported: incident_of}, (ARRIVES,))

    def test(city: City) -> None:
        city.start().open().rest()
        grandchild = f"{CHILD}.ride.1"
        assert city.phase(grandchild) == "running"
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert [city.phase(one) for one in ("s", CHILD, grandchild)] == ["completed"] * 3

    workflow = transfer(Child("ride", "ride", began_with, 600))
    # The parent itself does not hear it.
    city(tmp_path, test, child(), older=[workflow, inner], kinds=(IncidentOpened, IncidentCancelled))


def test_a_child_that_cannot_be_started_is_a_failure_that_says_why(tmp_path: Path) -> None:
    def wrong(s: SagaState) -> Message:
        return MissionReported()

    def test(city: City) -> None:
        city.start().open().rest()
        assert city.phase() == "needs human"
        assert "transfer begins with citybrain.emergency_command.v1.IncidentOpened" in city.runner.load("s").reason

    city(tmp_path, test, child(input=wrong, otherwise="needs human"), older=[transfer()])


def test_a_child_whose_input_is_too_large_to_keep_is_a_failure(tmp_path: Path) -> None:
    def test(city: City) -> None:
        append = city.parts.store.append

        async def limited(stream: str, *arguments: Any, **options: Any) -> Any:
            if stream.endswith(CHILD):
                raise LimitExceeded("an event of 300000 bytes is over the limit")
            return await append(stream, *arguments, **options)

        city.parts.store.append = limited  # type: ignore[method-assign]
        city.start().open().rest()
        assert (city.phase(), "cannot be kept" in city.runner.load("s").reason) == ("needs human", True)

    city(tmp_path, test, child(otherwise="needs human"), older=[transfer()])


def test_another_saga_by_the_id_of_a_child_is_not_taken_for_it(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().hear(IncidentOpened(incident_id=CHILD), "other")
        city.open().rest()
        assert "no child of this one" in city.runner.load("s").reason
        before = city.recorded(CHILD)
        off(city)
        assert (city.phase(), city.recorded(CHILD)) == ("needs human", before)

    city(tmp_path, test, child(otherwise="needs human"), ARRIVES, older=[transfer(ARRIVES)])


def test_a_child_that_was_taken_back_before_it_began_never_begins(tmp_path: Path) -> None:
    """A process stood still before it started the child. When it wakes up, another one has undone the saga."""

    def test(city: City) -> None:
        begun, gate = asyncio.Event(), asyncio.Event()
        is_terminated = city.runner._is_terminated

        async def stands_still(saga_id: str, known: Any) -> bool:
            if not begun.is_set():
                begun.set()
                await gate.wait()
            return await is_terminated(saga_id, known)

        city.runner._is_terminated = stands_still  # type: ignore[method-assign]
        city.start().open()
        city.parts.until(begun.is_set)
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.parts.until(lambda: city.phase() == "undone")
        gate.set()
        city.rest()
        assert (city.phase(CHILD), Department.calls) == ("undone", [])
        assert city.recorded(CHILD) == ["SagaStarted", "UndoBegan", "SagaUndone", "ParentToBeTold", "ParentTold"]

    def until_undone(s: SagaState) -> Message:
        if s.undo_begun:
            raise LookupError("what the child would begin with is not there any more")
        return began_with(s)

    city(tmp_path, test, child(input=until_undone), older=[transfer()])


def test_whoever_terminates_a_child_has_its_parent_told_though_its_definition_is_gone(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        workflow = city.runner.workflow
        city.runner.workflow = lambda state: None if state.parent else workflow(state)  # type: ignore[method-assign]
        city.runner.decide(CHILD, lambda state: persons.terminate(state, "it hangs", "chief"), of_any=True)
        city.rest()
        assert (city.phase(), city.runner.load("s").steps["transfer"].child_state) == ("needs human", "terminated")

    city(tmp_path, test, child(otherwise="needs human"), older=[transfer(ARRIVES)])


# -- two processes ------------------------------------------------------------------------------------------------------------


def test_a_child_that_another_process_owns_is_started_waited_for_and_undone(tmp_path: Path) -> None:
    def test(city: City) -> None:
        shares = Shares(city)
        shares.give()
        city.start()
        with city.beside() as other:
            others = Shares(other)
            others.give()
            city.runner._ownership.owns = lambda saga_id: saga_id == "s"  # type: ignore[method-assign]
            other.runner._ownership.owns = lambda saga_id: saga_id == CHILD  # type: ignore[method-assign]
            other.runner._ownership._shared = False
            city.open()
            city.parts.until(lambda: city.status("transfer") == "done" if "transfer" in city.runner.load("s").steps else False)
            assert city.recorded().count("ChildEnded") == 1
            city.hear(IncidentCancelled(incident_id="s"), "cancelled")
            city.parts.until(lambda: city.phase() == "undone")
            assert Department.calls == ["inner", "undo inner"]

    city(tmp_path, test, child(), ARRIVES, older=[transfer()])


def test_what_a_child_owed_when_its_owner_ended_is_told_by_the_next(tmp_path: Path) -> None:
    def test(city: City) -> None:
        async def never(*_: Any) -> None:
            await asyncio.Event().wait()

        city.runner._tell = never  # type: ignore[method-assign, assignment]
        city.start()
        with city.beside() as other:
            city.open()
            city.parts.until(lambda: city.recorded(CHILD)[-1:] == ["ParentToBeTold"])
            assert city.status("transfer") == "sent"
            city.end()
            other.parts.until(lambda: other.phase() == "completed")

    city(tmp_path, test, child(), older=[transfer()])


# -- crashes ------------------------------------------------------------------------------------------------------------------


class Crash:
    """The process ends at one append of a saga: before it, or right after it."""

    def __init__(self, city: City, at: int, before: bool) -> None:
        self.city, self.at, self.before = city, at, before
        self.append = city.parts.store.append
        self.happened = False
        city.parts.store.append = self  # type: ignore[method-assign]

    async def __call__(self, stream: str, *arguments: Any, **options: Any) -> Any:
        if not stream.startswith("sagas/saga-"):
            return await self.append(stream, *arguments, **options)
        self.at -= 1
        if self.at > 0:
            return await self.append(stream, *arguments, **options)
        if self.at == 0:
            if not self.before:
                await self.append(stream, *arguments, **options)
            self.happened = True
            self.city.runner.stop()
        raise StoreError("the process has ended")


def whole_life(city: City, *, again: bool) -> None:
    """It begins, its child completes, and all is undone; what was delivered is delivered again to who takes it up."""
    if not again:
        city.write(IncidentOpened(incident_id="s"), "opened")
        city.write(IncidentCancelled(incident_id="s"), "cancelled")
    for name in ("opened", "cancelled"):
        city.redeliver(name)
        city.parts.until(lambda: city.parts.process.activity.at_rest)


def crashed(place: Path, at: int, before: bool) -> bool:
    """One whole life with a crash, and what another process makes of it. False: there are fewer appends."""
    crash: Crash

    def until_crash(city: City) -> None:
        nonlocal crash
        city.start()
        crash = Crash(city, at, before)
        with contextlib.suppress(StoreError):
            whole_life(city, again=False)

    def afterwards(city: City) -> None:
        city.start().rest()
        whole_life(city, again=True)
        assert (city.phase(), city.phase(CHILD)) == ("undone", "undone")
        assert city.recorded(CHILD).count("SagaStarted") == 1
        assert city.recorded(CHILD)[-1] == "ParentTold"
        assert {event.correlation_id for event in wait(city.parts.store.read(f"sagas/saga-{CHILD}"))} == {"s"}
        with pytest.raises(NotFound):
            city.runner.load("s.transfer.2")

    place.mkdir()
    for part in (until_crash, afterwards):
        city(place, part, step("first"), child(), ARRIVES, older=[transfer()])
    return crash.happened


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_whichever_append_a_process_ends_at_there_is_one_child_and_both_come_to_their_ends(
    tmp_path: Path, before: bool
) -> None:
    appends = 1
    while crashed(tmp_path / str(appends), appends, before):
        appends += 1
    assert appends > 8
