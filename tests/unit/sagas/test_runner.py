"""The runner on its real parts: nothing recorded stays unsent, nothing hangs, whatever fails or comes at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.emergency_command_service_pb2 import Contact
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.event_store.store import StoreError
from citybrain.mesh.errors import CallFailed, NotFound, Refused, Unavailable
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import together
from citybrain.sagas.engine.definition import Command, Parallel, Wait, Workflow
from citybrain.sagas.engine.state import SagaState
from tests.unit.sagas.saga_city import GET, SECOND, City, Department, city, step


def broken(state: SagaState, key: str) -> Message:
    raise LookupError(f"the function of the step is wrong for {key}")


def test_a_saga_runs_to_its_end_and_is_not_kept_in_memory(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert city.phase() == "completed"
        assert Department.calls == ["a", "b"]
        city.hear(MissionReported(incident_id="s"), "late")
        assert city.runner.load("s").phase == "completed"
        assert city.runner._sagas == {}

    city(tmp_path, test, step("a"), step("b"))


def test_what_a_saga_keeps_of_a_person_is_sealed_and_gone_with_them_while_it_goes_on(tmp_path: Path) -> None:
    phone = "+8613800001111"
    opened = IncidentOpened(incident_id="s", reporter_id="per-1", reporter=Contact(name="王建国", phone=phone))

    def test(city: City) -> None:
        Department.held["a"] = asyncio.Event()
        city.start().hear(opened)
        city.parts.until(lambda: Department.calls == ["a"])
        kept = wait(city.parts.store.read("sagas/saga-s"))
        assert kept[0].sealed and not any(phone.encode() in event.data + event.sealed for event in kept)
        assert city.runner.load("s").input == opened and phone in str(city.runner._sagas["s"].known.state)
        wait(city.parts.process.vault.keys.destroy("per-1", 1))
        wait(city.parts.process.vault.look())
        # Also from memory, where nobody asks for it.
        city.parts.until(lambda: phone not in str(city.runner._sagas["s"].known.state))
        assert city.runner.load("s").input == IncidentOpened(incident_id="s", reporter_id="per-1")
        Department.held.pop("a").set()
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, test, step("a"))


def test_a_process_that_cannot_ask_who_was_erased_keeps_no_state_of_anybody_and_goes_on_in_time(tmp_path: Path) -> None:
    opened = IncidentOpened(incident_id="s", reporter_id="per-1", reporter=Contact(phone="+8613800001111"))

    def test(city: City) -> None:
        city.start().hear(opened)
        city.hear(IncidentOpened(incident_id="t"), "nobody's")
        city.rest()
        assert set(city.runner._sagas) == {"s", "t"}
        vault = city.parts.process.vault
        vault._forget_everybody()
        assert (set(city.runner._sagas), set(city.runner._later)) == ({"t"}, {"s"})
        # What is heard meanwhile is recorded, and nothing of it stays.
        city.hear(MissionReported(incident_id="s"), "other")
        city.rest()
        assert (set(city.runner._sagas), set(city.runner._later)) == ({"t"}, {"s"})
        city.advance(61)
        city.rest()
        assert (city.phase(), city.runner.load("t").phase) == ("needs human", "needs human")
        assert set(city.runner._sagas) == {"t"}
        wait(vault.look())
        city.runner.resume("s")
        city.rest()
        assert set(city.runner._sagas) == {"s", "t"}

    city(tmp_path, test, Wait("w", MissionReported, 60, lambda s, event: event.stage == 2))  # type: ignore[attr-defined]


def test_what_a_department_does_for_a_saga_is_caused_by_the_event_that_sent_it_after_a_crash_too(tmp_path: Path) -> None:
    def sent(city: City) -> dict[str, str]:
        found = {}
        for event in wait(city.parts.store.read("sagas/saga-s")):
            if event.type.endswith("StepSent"):
                found[ev.StepSent.FromString(event.data).step] = event.id
            elif event.type.endswith("UndoSent"):
                found["undo " + ev.UndoSent.FromString(event.data).step] = event.id
        return found

    def crash(city: City) -> None:
        Department.held["b"] = asyncio.Event()
        city.start().open()
        city.parts.until(lambda: Department.calls == ["a", "b"])
        assert Department.causes == [sent(city)["a"], sent(city)["b"]]
        city.runner.stop()
        Department.held["b"].set()

    def afterwards(city: City) -> None:
        city.start().rest()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert Department.calls == ["b", "undo b", "undo a"]
        assert Department.causes == [sent(city)[call] for call in Department.calls]
        # And what a saga records of an answer is caused by the same.
        (answered, *_) = [e for e in wait(city.parts.store.read("sagas/saga-s")) if e.type.endswith("StepAnswered")]
        assert answered.causation_id == sent(city)["a"]

    nodes = (step("a"), step("b"), Wait("w", MissionReported, 60))
    city(tmp_path, crash, *nodes)
    city(tmp_path, afterwards, *nodes)


def test_a_question_for_a_saga_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        with pytest.raises(NotFound):
            city.runner.load("nobody")
        assert city.runner._sagas == {}

    city(tmp_path, test, step("a"))


@pytest.mark.tells("field work")
def test_a_step_whose_command_cannot_be_made_fails_at_once_and_the_saga_goes_on(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert city.phase() == "completed"
        assert "INVALID_ARGUMENT" in city.runner.load("s").steps["a"].reason
        assert Department.calls == ["b"]

    city(tmp_path, test, step("a", command=Command(GET, broken), otherwise="go on"), step("b"))


def test_an_undo_whose_command_cannot_be_made_asks_a_human(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert city.phase() == "needs human"

    city(tmp_path, test, step("a", undo=Command(GET, broken)), Wait("w", MissionReported, 60))


def test_a_refusal_is_final_and_what_is_unavailable_is_asked_again(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Unavailable("not now"), "b": Refused("no")}
        city.start().open().rest()
        assert city.status("a") == "pausing"
        del Department.fails["a"]
        city.advance(3)
        city.rest()
        assert city.phase() == "undone"
        assert Department.calls == ["a", "a", "b", "undo b", "undo a"]

    city(tmp_path, test, step("a"), step("b"))


def test_an_answer_that_comes_while_a_human_is_needed_is_not_lost(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Refused("no")}
        Department.held = {"b": asyncio.Event()}
        city.start().open()
        city.parts.until(lambda: city.phase() == "needs human")
        Department.held.pop("b").set()
        city.rest()
        assert city.status("b") == "done"
        city.advance(1000)
        del Department.fails["a"]
        assert city.runner.resume("s").phase != "undoing"
        city.rest()
        assert city.phase() == "completed"
        assert sorted(Department.calls) == ["a", "a", "b"]

    city(tmp_path, test, Parallel(((step("a", otherwise="needs human"),), (step("b"),))))


def test_after_a_crash_a_step_that_was_out_while_a_human_was_needed_is_sent_again(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        Department.fails = {"a": Refused("no")}
        Department.held = {"b": asyncio.Event()}
        city.start().open()
        city.parts.until(lambda: city.phase() == "needs human")
        city.runner.stop()
        Department.held["b"].set()

    def afterwards(city: City) -> None:
        city.start().rest()
        assert (city.phase(), city.status("b")) == ("needs human", "done")

    nodes = Parallel(((step("a", otherwise="needs human"),), (step("b"),)))
    city(tmp_path, crash, nodes)
    city(tmp_path, afterwards, nodes)


def test_after_a_crash_what_was_out_is_sent_again_and_timers_are_set_again(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        Department.held = {"b": asyncio.Event()}
        city.start().open()
        city.parts.until(lambda: "b" in Department.calls)
        city.runner.stop()
        Department.held["b"].set()

    def afterwards(city: City) -> None:
        city.start().rest()
        assert Department.calls == ["b"]
        assert city.status("w") == "waiting"
        city.advance(61)
        city.rest()
        assert city.phase() == "needs human"

    nodes = (step("a"), step("b"), Wait("w", MissionReported, 60))
    city(tmp_path, crash, *nodes)
    city(tmp_path, afterwards, *nodes)


def test_a_saga_that_hears_while_it_is_taken_up_keeps_its_newest_state_and_its_timer(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        # What is out has it taken up at once.
        Department.held["c"] = asyncio.Event()
        city.start().open()
        city.parts.until(lambda: Department.calls == ["c"])
        assert city.status("w") == "waiting"
        city.runner.stop()
        Department.held["c"].set()

    def afterwards(city: City) -> None:
        store, read = city.parts.store, city.parts.store.read
        gate = asyncio.Event()
        first = True

        async def slow(stream: str, *arguments: Any, **options: Any) -> Any:
            nonlocal first
            page = await read(stream, *arguments, **options)
            if first and stream == "sagas/saga-s":
                first = False
                await gate.wait()
            return page

        store.read = slow  # type: ignore[method-assign]
        city.parts.start()
        city.parts.until(lambda: not first)

        def heard() -> None:
            try:
                city.hear(MissionReported(incident_id="s"), "arrived")
            finally:
                gate.set()

        def release() -> None:
            city.parts.until(lambda: len(wait(read("elsewhere"))) == 2)
            for _ in range(300):
                wait(asyncio.sleep(0))
            gate.set()

        Department.fails = {"b": Unavailable("not now")}
        together(heard, release)
        city.parts.until(lambda: city.parts.process.activity.at_rest)
        assert city.status("b") == "pausing"
        del Department.fails["b"]
        for moment in range(2, 70):
            city.advance(moment)
            city.rest()
        assert city.phase() == "completed"
        assert city.recorded().count("StepSent") == 3

    nodes = (Parallel(((Wait("w", MissionReported, 60), step("b")), (step("c"),))),)
    city(tmp_path, crash, *nodes)
    city(tmp_path, afterwards, *nodes)


def test_one_saga_whose_definition_is_gone_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        Department.held = {"a": asyncio.Event()}
        city.start()
        city.hear(IncidentOpened(incident_id="s0"), "first")
        city.open()
        city.runner.stop()
        Department.held["a"].set()

    def afterwards(city: City) -> None:
        workflow = city.runner.workflow

        def gone(state: SagaState) -> Workflow | None:
            return None if state.saga_id == "s0" else workflow(state)

        city.runner.workflow = gone  # type: ignore[method-assign]
        city.start()
        city.parts.until(lambda: city.phase() == "completed")

    city(tmp_path, crash, step("a"))
    city(tmp_path, afterwards, step("a"))


class Failing:
    """Makes some appends of a saga's stream fail."""

    def __init__(self, city: City, times: int) -> None:
        self.append = city.parts.store.append
        self.times = times
        city.parts.store.append = self  # type: ignore[method-assign]

    async def __call__(self, stream: str, *arguments: Any, **options: Any) -> Any:
        if stream.startswith("sagas/") and self.times:
            self.times -= 1
            raise StoreError("the disk is full for a moment")
        return await self.append(stream, *arguments, **options)


def test_an_answer_that_cannot_be_recorded_for_a_moment_is_recorded_later(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.held = {"a": asyncio.Event()}
        city.start().open()
        city.parts.until(lambda: "a" in Department.calls)
        Failing(city, 2)
        Department.held.pop("a").set()
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, test, step("a"))


@pytest.mark.tells("field timer")
def test_a_timer_that_cannot_be_recorded_for_a_moment_is_recorded_later_and_time_goes_on(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        Failing(city, 2)
        city.advance(61)
        city.rest()
        assert city.phase() == "needs human"

    city(tmp_path, test, Wait("w", MissionReported, 60))


def test_whoever_gives_up_on_a_saga_leaves_nothing_recorded_that_is_not_sent(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        store, append = city.parts.store, city.parts.store.append
        reached, gate = asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **options: Any) -> Any:
            outcome = await append(*arguments, **options)
            reached.set()
            await gate.wait()
            return outcome

        store.append = slow  # type: ignore[method-assign]

        async def give_up() -> None:
            assert isinstance(city.clock, DrivenClock)
            advance = asyncio.ensure_future(city.clock.advance(61 * SECOND))
            await reached.wait()
            advance.cancel()
            await asyncio.wait([advance])
            gate.set()

        wait(give_up())
        city.rest()
        assert city.phase() == "undone"
        assert Department.calls == ["a", "undo a"]

    city(tmp_path, test, step("a"), Wait("w", MissionReported, 60, otherwise="undo"))


def test_the_mesh_is_not_at_rest_while_a_saga_has_anything_to_do(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.held = {"a": asyncio.Event()}
        city.start().open()
        city.parts.until(lambda: "a" in Department.calls)
        assert not city.parts.process.activity.at_rest
        Department.held.pop("a").set()
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, test, step("a"))


def test_a_call_that_failed_says_so_with_its_own_code(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        context.enter(context.Call("tester", "city.Test/Do", "r1"))
        Department.fails = {"x": Refused("as things stand, no")}
        city.parts.process.outgoing.tokens.grant("tester", ["traffic.read"])
        with pytest.raises(CallFailed, match="as things stand, no") as caught:
            wait(city.parts.process.outgoing.call("tester", GET, traffic.GetSignalRequest(signal_id="x")))
        assert caught.value.code.name == "FAILED_PRECONDITION"

    city(tmp_path, test, step("a"))
