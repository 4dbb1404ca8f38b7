"""What a person may decide about a step: that it goes on without it, or that it never will end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused, ServiceError
from citybrain.mesh.runtime.greenlets import wait
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Parallel, Wait
from citybrain.sagas.engine.state import SagaState
from tests.unit.sagas.saga_city import City, Department, city, step

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
        assert decide(city, persons.skip, "arrived").phase == "running"
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
        for how in (persons.skip, persons.fail):
            assert refusal(city, how, "c") == "STEP_NOT_BEGUN"
            assert refusal(city, how, "a") == "STEP_ENDED"
        with pytest.raises(NotFound, match="has begun: a, arrived"):
            decide(city, persons.skip, "nothing")

    city(tmp_path, test, Parallel(((step("a"),), (ARRIVED,))), step("c"))
