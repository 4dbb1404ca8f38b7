"""What a person may decide: that a saga goes on, without a step or with it tried again, is undone, or just ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused, ServiceError, Unavailable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import on_parts
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Command, Parallel, Wait
from citybrain.sagas.engine.runner import _Running
from citybrain.sagas.engine.state import SagaState
from citybrain.sagas.engine.turns import AT_A_TIME
from tests.unit.sagas.saga_city import GET, SECOND, City, Department, city, step

Decide = Callable[[SagaState, str, str, str], list[Message]]
ARRIVED = Wait("arrived", MissionReported, 60)
ASKS = step("a", otherwise="needs human")


def decide(city: City, how: Decide, name: str, reason: str = "seen there", by: str = "李梅") -> SagaState:
    return city.runner.decide("s", lambda state: how(state, name, reason, by))


def last(city: City, kind: type[Message]) -> Any:
    found = [e for e in wait(city.parts.store.read("sagas/saga-s")) if e.type == kind.DESCRIPTOR.full_name]
    return kind.FromString(found[-1].data)


def refusal(city: City, how: Decide, name: str) -> str:
    with pytest.raises(ServiceError) as refused:
        decide(city, how, name)
    return refused.value.reason


def test_a_saga_that_waits_for_what_never_comes_goes_on_without_it_by_a_persons_word(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert city.status("arrived") == "waiting"
        # What follows is answered only when it was looked at.
        Department.held["b"] = asyncio.Event()
        assert decide(city, persons.skip, "arrived").phase == "running"
        Department.held.pop("b").set()
        city.rest()
        assert (city.phase(), Department.calls) == ("completed", ["b"])
        said = last(city, ev.StepSkipped)
        assert (said.step, said.reason, said.by) == ("arrived", "seen there", "李梅")
        # It is said, and the late event harms nothing.
        decide(city, persons.skip, "arrived")
        city.hear(MissionReported(incident_id="s"), "late")
        assert city.recorded().count("StepSkipped") == 1

    city(tmp_path, test, ARRIVED, step("b"))


def test_a_saga_that_needs_a_human_goes_on_without_the_step_that_the_human_skips(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Refused("no")}
        city.start().open().rest()
        assert city.phase() == "needs human"
        decide(city, persons.skip, "a")
        city.rest()
        assert (city.phase(), Department.calls) == ("completed", ["a", "b"])
        assert refusal(city, persons.fail, "b") == "SAGA_ENDED"

    city(tmp_path, test, ASKS, step("b"))


def test_a_step_that_a_person_skips_while_its_command_is_out_is_undone_all_the_same_where_all_is(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.held["a"] = asyncio.Event()
        city.start().open()
        city.parts.until(lambda: Department.calls == ["a"])
        decide(city, persons.skip, "a")
        Department.held.pop("a").set()
        city.rest()
        # It was done after all.
        assert (city.status("a"), city.status("arrived")) == ("done", "waiting")
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["a", "undo a"])

    city(tmp_path, test, step("a"), ARRIVED)


@pytest.mark.parametrize("asked", [False, True])
def test_a_step_that_a_person_gives_up_undoes_what_was_done_and_says_why(tmp_path: Path, asked: bool) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        if asked:
            city.advance(61)
            city.rest()
            assert city.phase() == "needs human"
        decide(city, persons.fail, "arrived", "the ambulance broke down")
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["b", "undo b"])
        assert city.runner.load("s").reason == "arrived was given up by 李梅: the ambulance broke down"
        assert last(city, ev.StepFailed).by == "李梅"
        decide(city, persons.fail, "arrived")
        assert city.recorded().count("UndoBegan") == 1

    city(tmp_path, test, step("b"), ARRIVED)


def test_an_undo_that_can_never_succeed_is_skipped_by_a_person_and_the_others_go_on(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo b": Refused("no")}
        city.start().open().rest()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert city.phase() == "needs human"
        assert refusal(city, persons.fail, "b") == "IS_BEING_UNDONE"
        assert refusal(city, persons.skip, "a") == "NOT_BEING_UNDONE"
        decide(city, persons.skip, "b", "undone by hand")
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["a", "b", "undo b", "undo a"])
        assert last(city, ev.UndoSkipped).reason == "undone by hand"
        decide(city, persons.skip, "b")
        assert city.recorded().count("UndoSkipped") == 1

    city(tmp_path, test, step("a"), step("b"), ARRIVED)


def test_what_has_not_begun_or_has_ended_is_not_decided_by_a_person(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        for how in (persons.skip, persons.fail, persons.retry):
            assert refusal(city, how, "c") == "STEP_NOT_BEGUN"
            assert refusal(city, how, "a") == "STEP_ENDED"
        with pytest.raises(NotFound, match="has begun: a, arrived"):
            decide(city, persons.skip, "nothing")

    city(tmp_path, test, Parallel(((step("a"),), (ARRIVED,))), step("c"))


# -- tried again ----------------------------------------------------------------------------------------------------------


def test_a_step_that_waits_for_its_next_try_is_tried_at_once_with_all_of_its_tries_and_its_whole_time(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Unavailable("away")}
        city.start().open().rest()
        city.advance(30)
        city.rest()
        before = city.runner.load("s").steps["a"]
        assert (before.status, before.tries > 1) == ("pausing", True)
        tries = len(Department.calls)
        Department.held["a"] = asyncio.Event()
        shown = decide(city, persons.retry, "a").steps["a"]
        assert (shown.status, shown.tries, shown.deadline - before.deadline) == ("sent", 1, 29 * SECOND)
        city.parts.until(lambda: len(Department.calls) == tries + 1)
        # While it is tried, the same again changes nothing.
        decide(city, persons.retry, "a")
        assert city.recorded().count("StepRetried") == 1
        said = last(city, ev.StepRetried)
        assert (said.step, said.reason, said.by) == ("a", "seen there", "李梅")
        Department.fails.clear()
        Department.held.pop("a").set()
        city.rest()
        assert (city.phase(), len(Department.calls)) == ("completed", tries + 1)
        with pytest.raises(Refused, match="has ended: it is completed"):
            decide(city, persons.retry, "a")

    city(tmp_path, test, step("a", pause_s=20, deadline_s=60))


@pytest.mark.parametrize("node", [ASKS, Wait("a", MissionReported, 60)], ids=["refused", "not heard of"])
def test_a_saga_that_needs_a_human_is_resumed_where_its_step_is_tried_again(tmp_path: Path, node: Any) -> None:
    def test(city: City) -> None:
        Department.fails = {"a": Refused("no")}
        city.start().open().rest()
        city.advance(61)
        city.rest()
        assert city.phase() == "needs human"
        Department.fails.clear()
        assert decide(city, persons.retry, "a").phase == "running"
        said = last(city, ev.SagaResumed)
        assert (said.reason, said.by) == ("seen there", "李梅")
        city.hear(MissionReported(incident_id="s"), "there")
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, test, node, step("b"))


@pytest.mark.parametrize("given_up", [True, False])
def test_an_undo_that_failed_is_tried_again_at_once_with_all_of_its_tries(tmp_path: Path, given_up: bool) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo a": Refused("no") if given_up else Unavailable("away")}
        city.start().open().rest()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert (city.phase(), city.runner.load("s").steps["a"].undo) == (
            ("needs human", "failed") if given_up else ("undoing", "pausing")
        )
        Department.fails.clear()
        # Answered only when it was looked at.
        Department.held["undo a"] = asyncio.Event()
        decided = decide(city, persons.retry, "a")
        assert (decided.phase, decided.steps["a"].undo, decided.steps["a"].undo_tries) == ("undoing", "sent", 1)
        Department.held.pop("undo a").set()
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["a", "undo a", "undo a"])

    city(tmp_path, test, step("a"), ARRIVED)


def test_what_has_not_failed_is_not_tried_again(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo b": Refused("no")}
        city.start().open().rest()
        assert refusal(city, persons.retry, "a") == "STEP_ENDED"
        with pytest.raises(Refused, match="step arrived of saga s has not failed: it is waiting"):
            decide(city, persons.retry, "arrived")
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        with pytest.raises(Refused, match="step a of saga s has not failed: its undo is not begun"):
            decide(city, persons.retry, "a")
        assert city.recorded().count("StepRetried") == 0

    city(tmp_path, test, step("a"), step("b"), ARRIVED)


# -- cancelled ------------------------------------------------------------------------------------------------------------


def cancel(city: City, reason: str = "nobody is there") -> SagaState:
    return city.runner.decide("s", lambda state: persons.cancel(state, reason, "李梅"))


@pytest.mark.parametrize("asked", [False, True])
def test_a_person_has_all_be_undone_once_and_is_named(tmp_path: Path, asked: bool) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        if asked:
            city.advance(61)
            city.rest()
            assert city.phase() == "needs human"
        Department.held["undo b"] = asyncio.Event()
        assert cancel(city).phase == "undoing"
        assert (last(city, ev.UndoBegan).by, last(city, ev.UndoBegan).reason) == ("李梅", "cancelled by 李梅: nobody is there")
        cancel(city)
        with pytest.raises(Refused, match="is being undone already: cancelled by 李梅: nobody is there"):
            cancel(city, "another reason")
        Department.held.pop("undo b").set()
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["a", "b", "undo b", "undo a"])
        # Said again when it is over, it is still the same.
        assert cancel(city).phase == "undone"
        assert city.recorded().count("UndoBegan") == 1
        with pytest.raises(Refused, match="has ended: it is undone"):
            cancel(city, "another reason")

    city(tmp_path, test, step("a"), step("b"), ARRIVED)


def test_the_same_cancel_is_known_again_though_an_undo_has_failed_since(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo a": Refused("no")}
        city.start().open().rest()
        cancel(city)
        city.rest()
        assert cancel(city).phase == "needs human"
        assert city.recorded().count("UndoBegan") == 1

    city(tmp_path, test, step("a"), ARRIVED)


def test_what_has_completed_is_not_cancelled(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        with pytest.raises(Refused, match="has ended: it is completed"):
            cancel(city)

    city(tmp_path, test, step("a"))


# -- terminated -----------------------------------------------------------------------------------------------------------


def terminate(city: City, saga_id: str = "s") -> SagaState:
    return city.runner.decide(saga_id, lambda state: persons.terminate(state, "all is lost", "李梅"), of_any=True)


def left(city: City, state: SagaState) -> list[str]:
    return persons.not_undone(city.runner.workflow(state), state)


def test_what_is_terminated_sends_nothing_more_undoes_nothing_and_says_what_that_leaves(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"b": Unavailable("away")}
        city.start().open().rest()
        calls = list(Department.calls)
        state = terminate(city)
        assert (state.phase, state.reason) == ("terminated", "terminated by 李梅: all is lost")
        assert left(city, state) == ["a", "b"], "c has no undo, and the wait has nothing to undo"
        said = last(city, ev.SagaTerminated)
        assert (said.reason, said.by) == ("all is lost", "李梅")
        # Its timers have stopped, and what comes later changes nothing.
        recorded = city.recorded()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.advance(1000)
        city.rest()
        terminate(city)
        assert (city.recorded(), Department.calls) == (recorded, calls)
        assert city.runner._sagas == {}
        assert wait(city.runner._ownership._moving.row("s")) is None
        for how in (persons.skip, persons.fail, persons.retry):
            assert refusal(city, how, "b") == "SAGA_ENDED"
        with pytest.raises(Refused, match="has ended: it is terminated"):
            cancel(city)
        assert city.runner.resume("s").phase == "terminated"

    nodes = Parallel(((step("a"),), (step("c", undo=None),), (ARRIVED,), (step("b", pause_s=5),)))
    city(tmp_path, test, nodes)


@pytest.mark.parametrize("undoing", [False, True])
def test_an_answer_that_comes_after_the_end_changes_nothing(tmp_path: Path, undoing: bool) -> None:
    def test(city: City) -> None:
        last_call = "undo a" if undoing else "a"
        Department.held[last_call] = asyncio.Event()
        city.start().open()
        if undoing:
            city.rest()
            city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.parts.until(lambda: Department.calls[-1:] == [last_call])
        assert left(city, terminate(city)) == ["a"]
        recorded = city.recorded()
        Department.held.pop(last_call).set()
        city.rest()
        assert (city.recorded(), city.phase(), Department.calls[-1]) == (recorded, "terminated", last_call)

    city(tmp_path, test, step("a"), *([ARRIVED] if undoing else [step("b")]))


@pytest.mark.parametrize("is_looked_at", [False, True])
def test_a_command_that_waits_for_its_turn_is_not_sent_when_a_person_has_ended_its_saga(
    tmp_path: Path, is_looked_at: bool
) -> None:
    names = [f"s{number}" for number in range(AT_A_TIME + 1)]
    named = Command(GET, lambda state, key: traffic.GetSignalRequest(signal_id=state.saga_id))
    node = step("a", command=named, undo=None, pause_s=5)

    def before(city: City) -> None:
        Department.fails = dict.fromkeys(names, Unavailable("away"))
        city.start()
        for name in names:
            city.hear(IncidentOpened(incident_id=name), name)
        city.rest()
        city.runner.stop()

    def afterwards(city: City) -> None:
        Department.held = {name: asyncio.Event() for name in names}
        city.start().rest()
        city.advance(30)
        city.parts.until(lambda: len(Department.calls) == AT_A_TIME)
        (waits,) = set(names) - set(Department.calls)
        city.parts.until(lambda: city.runner.load(waits).steps["a"].tries == 2)
        terminate(city, waits)
        if is_looked_at:
            # Somebody begins to look at it, and has not read it yet.
            city.runner._sagas[waits] = _Running()
        for held in Department.held.values():
            held.set()
        city.parts.until(lambda: {city.runner.load(name).phase for name in names if name != waits} == {"completed"})
        city.rest()
        assert waits not in Department.calls

    on_parts(tmp_path, lambda parts: before(City(parts, node)), max_workers=2 * AT_A_TIME)
    on_parts(tmp_path, lambda parts: afterwards(City(parts, node)), max_workers=2 * AT_A_TIME)


def test_an_undo_that_never_succeeds_does_not_keep_a_saga_from_being_ended(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.fails = {"undo b": Refused("never")}
        city.start().open().rest()
        cancel(city)
        city.rest()
        assert city.phase() == "needs human"
        decide(city, persons.skip, "b", "undone by hand")
        city.rest()
        assert city.phase() == "undone"
        with pytest.raises(Refused, match="has ended: it is undone"):
            terminate(city)

        Department.fails = {"undo a": Refused("never")}
        city.hear(IncidentOpened(incident_id="t"), "another")
        city.rest()
        city.runner.decide("t", lambda state: persons.cancel(state, "so it is", "李梅"))
        city.rest()
        assert (terminate(city, "t").phase, left(city, city.runner.load("t"))) == ("terminated", ["a"])

    city(tmp_path, test, step("a"), step("b"), ARRIVED)


def test_what_one_process_ends_another_that_carries_it_on_lets_go_of(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        assert city.status("arrived") == "waiting" and "s" in city.runner._sagas
        look_at, told = city.runner.look_at, []

        def looks(saga_id: str, version: int, ended: bool) -> None:
            told.append((saga_id, ended))
            look_at(saga_id, version, ended)

        city.runner.look_at = looks  # type: ignore[method-assign]
        with city.beside() as other:
            terminate(other)
            city.parts.until(lambda: "s" not in city.runner._sagas)
        assert told[-1] == ("s", True), "what has ended and is not in memory is not read"
        city.advance(1000)
        city.rest()
        assert city.recorded()[-1] == "SagaTerminated"

    city(tmp_path, test, ARRIVED)
