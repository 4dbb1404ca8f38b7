"""Sagas that this release does not know, and what can never be kept: nothing else is held up, and nothing is tried for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

from citybrain.event_store.feed import log_position
from citybrain.event_store.store import NewEvent
from citybrain.mesh.errors import Forbidden, NotFound, Refused, Unavailable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing import running
from citybrain.mesh.testing.parts import on_parts
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Node, Parallel, Wait, Workflow
from citybrain.sagas.engine.records import Known, _within_limits
from citybrain.sagas.engine.state import HeardEvents, SagaState, pack
from citybrain.sagas.service import SagaService
from tests.unit.sagas.saga_city import City, Department, city, runner_of, step

UNKNOWN = pb.SAGA_STATE_UNKNOWN
ODD = ("version", "type", "inside")


def append(city: City, saga_id: str, *events: Message | NewEvent) -> None:
    """Somebody else writes to a saga's stream."""
    stream = f"sagas/saga-{saga_id}"
    version = len(wait(city.parts.store.read(stream)))
    new = [
        event
        if isinstance(event, NewEvent)
        else NewEvent(f"{saga_id}-{version + n}", event.DESCRIPTOR.full_name, event.SerializeToString(), occurred_at=1)
        for n, event in enumerate(events)
    ]
    wait(city.parts.store.append(stream, new, version))


def started(saga_id: str, version: int = 1) -> ev.SagaStarted:
    opened = pack(IncidentOpened(incident_id=saga_id))
    return ev.SagaStarted(saga_id=saga_id, workflow="test", workflow_version=version, input=opened)


def newer(name: str = "newer") -> NewEvent:
    """Of a type that a later release has."""
    return NewEvent(name, "citybrain.sagas.v1.SagaPostponed", b"", occurred_at=1)


def waiting(step: str = "w") -> ev.WaitBegan:
    began = ev.WaitBegan(step=step)
    began.deadline.seconds = 60
    return began


def write_odd(city: City) -> None:
    """Three that this release does not know, each in another way."""
    append(city, "version", started("version", 7), waiting("stage_two"))
    append(city, "type", started("type"), newer())
    beyond = PackedAny(type_url="type.googleapis.com/citybrain.health.v1.NotYet")
    append(city, "inside", started("inside"), ev.EventHeard(event_id="e", event=beyond))


def test_odd_sagas_are_shown_as_far_as_they_are_known_and_all_others_as_always(tmp_path: Path) -> None:
    def test(city: City) -> None:
        write_odd(city)
        append(city, "s", started("s"), waiting())
        append(city, "old", started("old", 0), ev.SagaCompleted())
        city.start().rest()
        service = SagaService()
        service.runner = city.runner
        shown = {
            name: service.GetSaga(pb.GetSagaRequest(saga_id=name)).saga for name in ("version", "type", "inside", "s", "old")
        }
        assert {name: saga.state for name, saga in shown.items()} == {
            "version": UNKNOWN, "type": UNKNOWN, "inside": UNKNOWN,
            "s": pb.SAGA_STATE_RUNNING, "old": pb.SAGA_STATE_COMPLETED,
        }  # fmt: skip
        assert [saga.saga_id for saga in shown.values()] == list(shown)
        assert [one.name for one in shown["version"].steps] == ["stage_two"]
        assert "no version 7 of workflow test" in shown["version"].reason
        assert "SagaPostponed" in shown["type"].reason
        assert all(
            "start the release that wrote it, or a newer one" in shown[name].reason for name in ("version", "type", "inside")
        )

    city(tmp_path, test, Wait("w", MissionReported, 60))


def test_the_list_shows_the_odd_ones_among_the_others(tmp_path: Path) -> None:
    def test(parts: Any) -> None:
        container = parts.add(SagaService, "citybrain.sagas.v1.SagaService")
        runner = runner_of(container)
        parts.start()
        started_here = ev.SagaStarted(saga_id="s", workflow="emergency_response", workflow_version=1)
        started_here.input.CopyFrom(pack(IncidentOpened(incident_id="s")))
        beyond = ev.SagaStarted(saga_id="b", workflow="emergency_response", workflow_version=9)
        for name, first in (("s", started_here), ("b", beyond)):
            new = NewEvent(name, first.DESCRIPTOR.full_name, first.SerializeToString(), occurred_at=1)
            wait(parts.store.append(f"sagas/saga-{name}", [new], 0))
        (entrypoint,) = [one for one in container.entrypoints if one.method_name == "ListSagas"]

        def listed() -> dict[str, int]:
            answer = wait(container.run_worker(entrypoint, pb.ListSagasRequest()))
            return {saga.saga_id: saga.state for saga in answer.sagas}

        parts.until(lambda: len(listed()) == 2)
        assert listed()["b"] == UNKNOWN and runner.load("s").phase == "running"

    on_parts(tmp_path, test)


def test_an_odd_saga_is_left_alone_and_that_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def test(city: City) -> None:
        write_odd(city)
        city.start().rest()
        for number in range(3):
            for name in ODD:
                city.hear(MissionReported(incident_id=name), f"{name}-{number}")
        city.advance(1000)
        city.rest()
        with pytest.raises(Refused, match=r"can be decided here.*start the release that wrote it"):
            city.runner.resume("version")
        city.open().rest()
        assert city.phase() == "running"
        assert Department.calls == []

    city(tmp_path, test, Wait("w", MissionReported, 60))
    said = capsys.readouterr()
    text = said.err + said.out
    assert text.count('"saga is left alone"') == 3
    assert "again_in_s" not in text


def test_a_saga_of_a_later_release_is_taken_up_by_it_with_all_that_was_heard_meanwhile(tmp_path: Path) -> None:
    def before(city: City) -> None:
        append(city, "s", started("s", 2), waiting())
        city.start().rest()
        city.hear(MissionReported(incident_id="s"), "arrived", at_s=3)
        city.hear(MissionReported(incident_id="s"), "arrived", at_s=3)
        city.rest()
        assert city.phase() == "unknown"
        assert city.recorded().count("EventHeard") == 1

    def afterwards(city: City) -> None:
        city.start().rest()
        assert city.phase() == "completed"
        assert Department.calls == ["b"]

    nodes = (Wait("w", MissionReported, 60), step("b"))
    city(tmp_path, before, *nodes, version=1)
    city(tmp_path, afterwards, *nodes, version=2)


def test_a_saga_whose_beginning_does_not_read_is_not_begun_again_and_keeps_what_it_hears(tmp_path: Path) -> None:
    def test(city: City) -> None:
        beginning = started("s")
        beginning.input.type_url = "type.googleapis.com/citybrain.health.v1.NotYet"
        append(city, "s", beginning)
        city.start().open()
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert (city.phase(), city.runner.load("s").saga_id) == ("unknown", "s")
        assert city.recorded() == ["SagaStarted", "EventHeard"]

    city(tmp_path, test, step("a"))


def test_who_stands_by_says_nothing_of_a_saga_that_another_leaves_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def test(city: City) -> None:
        append(city, "s", started("s", 2))
        city.start().rest()
        with city.beside() as other:
            for number in range(3):
                other.hear(MissionReported(incident_id="s"), f"e{number}")
            city.parts.until(lambda: log_position(city.parts.store) >= log_position(other.parts.store))
            city.rest()
        assert city.recorded().count("EventHeard") == 3

    city(tmp_path, test, step("a"))
    said = capsys.readouterr()
    assert (said.err + said.out).count('"saga is left alone"') == 1


# -- definitions that are gone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "here",
    [
        pytest.param({"version": 2}, id="a newer version is there"),
        pytest.param({"version": 2, "retired": [("test", 1)]}, id="it is retired"),
    ],
)
def test_a_saga_whose_definition_is_gone_needs_a_human_and_the_others_go_on(
    tmp_path: Path, here: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def before(city: City) -> None:
        city.start().open().rest()
        assert city.phase() == "running"

    def afterwards(city: City) -> None:
        city.start()
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.hear(IncidentOpened(incident_id="t"), "another")
        city.rest()
        assert city.phase() == "needs human"
        assert city.runner.load("s").reason.startswith(
            "version 1 of workflow test is gone from this release: see to it by hand"
        )
        with pytest.raises(Refused, match=r"can be decided here: version 1 of workflow test is gone"):
            city.runner.resume("s")
        city.advance(1000)
        city.rest()
        assert city.recorded().count("SagaNeedsHuman") == 1
        assert city.runner.load("t").phase == "needs human", "its wait is over"
        assert "the wait" not in city.runner.load("s").reason

    city(tmp_path, before, Wait("w", MissionReported, 60))
    city(tmp_path, afterwards, Wait("other", MissionReported, 60), **here)
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out


def test_a_saga_of_a_workflow_that_was_retired_needs_a_human_and_one_that_nobody_knows_is_left_alone(tmp_path: Path) -> None:
    def test(city: City) -> None:
        append(city, "s", ev.SagaStarted(saga_id="s", workflow="gone", workflow_version=3, input=pack(IncidentOpened())))
        append(city, "n", ev.SagaStarted(saga_id="n", workflow="new", workflow_version=1, input=pack(IncidentOpened())))
        city.start().rest()
        assert (city.phase(), city.runner.load("n").phase) == ("needs human", "unknown")
        assert city.recorded() == ["SagaStarted", "SagaNeedsHuman"]

    city(tmp_path, test, step("a"), retired=[("gone", 3)])


def test_a_saga_whose_definition_comes_back_goes_on_when_it_is_resumed(tmp_path: Path) -> None:
    wait_for_it = Wait("w", MissionReported, 60)

    def before(city: City) -> None:
        city.start().open().rest()

    def without(city: City) -> None:
        city.start()
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert city.recorded()[-1] == "SagaNeedsHuman"

    def with_it(city: City) -> None:
        city.start().rest()
        assert city.phase() == "needs human"
        city.runner.resume("s")
        city.rest()
        assert (city.phase(), Department.calls) == ("completed", ["b"])

    city(tmp_path, before, wait_for_it, step("b"))
    city(tmp_path, without, step("a"), version=2)
    city(tmp_path, with_it, wait_for_it, step("b"))


def test_an_old_saga_hears_what_its_own_version_hears_and_a_new_one_does_not(tmp_path: Path) -> None:
    first: list[Workflow] = []

    def before(city: City) -> None:
        first.append(city.workflow)
        city.start().open().rest()

    def afterwards(city: City) -> None:
        city.start()
        city.hear(IncidentOpened(incident_id="t"), "another")
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.hear(MissionReported(incident_id="t"), "arrived there")
        city.rest()
        assert (city.phase(), city.runner.load("t").phase) == ("completed", "running")
        assert city.runner.load("t").heard == HeardEvents()
        assert city.runner.load("t").workflow_version == 2, "only the newest version begins sagas"
        city.hear(IncidentCancelled(incident_id="t"), "cancelled")
        city.rest()
        assert city.runner.load("t").phase == "undone"

    city(tmp_path, before, Wait("w", MissionReported, 60))
    city(
        tmp_path,
        afterwards,
        Wait("w", IncidentCancelled, 60),
        version=2,
        older=first,
        kinds=(IncidentOpened, IncidentCancelled),
    )


def test_what_comes_before_its_saga_counts_when_it_begins(tmp_path: Path) -> None:
    def before(city: City) -> None:
        city.start()
        city.hear(MissionReported(incident_id="s"), "early")
        city.rest()
        with pytest.raises(NotFound):
            city.runner.load("s")
        assert city.recorded() == ["EventHeard"]

    def afterwards(city: City) -> None:
        city.start()
        city.hear(MissionReported(incident_id="s"), "early")
        city.open().rest()
        assert city.phase() == "completed"
        assert city.recorded()[:3] == ["EventHeard", "SagaStarted", "WaitBegan"], "a second delivery changes nothing"

    nodes = (Wait("w", MissionReported, 60),)
    city(tmp_path, before, *nodes)
    city(tmp_path, afterwards, *nodes)


def test_a_saga_that_was_called_off_before_it_began_does_nothing(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        city.open().rest()
        assert (city.phase(), Department.calls) == ("undone", [])

    city(tmp_path, test, step("a"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ((step("renamed"), step("b")), "it has no a"),
        ((step("b"),), "it has no a"),
        ((Wait("a", MissionReported, 60), step("b")), "a is a wait in it, and was a step"),
    ],
    ids=["renamed", "taken out", "made a wait"],
)
def test_a_definition_that_was_changed_under_its_version_sends_and_undoes_nothing_until_it_is_put_back(
    tmp_path: Path, changed: tuple[Node, ...], why: str
) -> None:
    as_it_was = (step("a"), step("b"))

    def before(city: City) -> None:
        Department.fails["a"] = Unavailable("not now")
        city.start().open().rest()
        assert city.status("a") == "pausing"
        city.end()

    def with_another(city: City) -> None:
        city.start().advance(5)
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert city.phase() == "needs human"
        told = city.runner.load("s").reason
        assert why in told and "was changed after this saga began" in told
        assert Department.calls == [], "nothing is sent, and nothing undone"
        with pytest.raises(Refused, match="nothing of saga s can be decided here"):
            city.runner.resume("s")

    def put_back(city: City) -> None:
        city.start().rest()
        city.runner.resume("s")
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["undo a"])

    city(tmp_path, before, *as_it_was)
    city(tmp_path, with_another, *changed)
    city(tmp_path, put_back, *as_it_was)


# -- what can never be kept ---------------------------------------------------------------------------------------------------


def test_an_answer_that_is_too_large_to_be_kept_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.long["a"] = 300_000
        city.start().open().rest()
        assert city.phase() == "completed"
        assert "its answer cannot be kept: an event holds at most 262144 bytes" in city.runner.load("s").steps["a"].reason
        assert Department.calls == ["a", "b"]

    city(tmp_path, test, step("a", otherwise="go on"), step("b"))


def test_a_step_whose_answer_cannot_be_kept_is_undone_as_any_other(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Department.long["b"] = 300_000
        city.start().open().rest()
        assert city.phase() == "undone"
        assert Department.calls == ["a", "b", "undo b", "undo a"]

    city(tmp_path, test, step("a"), step("b"))


def test_an_event_that_is_too_large_to_be_kept_asks_a_human_and_is_done(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        # It fits into an event; with the word that it was heard it does not.
        city.hear(IncidentCancelled(incident_id="s", reason="r" * (256 * 1024 - 10)), "cancelled")
        city.rest()
        assert city.phase() == "needs human"
        assert "event cancelled cannot be kept: an event holds at most" in city.runner.load("s").reason
        city.runner.resume("s")
        city.hear(MissionReported(incident_id="s"), "arrived")
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, test, Wait("w", MissionReported, 60))


def test_more_than_one_append_holds_is_appended_in_several(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        # On a busy machine some of so many calls have no answer in time, and are made again.
        for moment in range(10, 60, 10):
            city.advance(moment)
            city.rest()
        assert city.phase() == "completed"
        assert set(Department.calls) == {f"s{number}" for number in range(130)}

    city(tmp_path, test, Parallel(tuple((step(f"s{number}"),) for number in range(130))))


def test_what_was_left_out_between_two_appends_is_appended_by_whoever_comes_next(tmp_path: Path) -> None:
    def crash(city: City) -> None:
        append, count = city.parts.store.append, 0

        async def ends(stream: str, *arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += stream.startswith("sagas/")
            if count == 2:
                city.runner.stop()
                raise SystemError("it ended here")
            return await append(stream, *arguments, **options)

        city.start()
        city.parts.store.append = ends  # type: ignore[method-assign]
        with pytest.raises(SystemError):
            city.open()
        assert len(city.recorded()) == 100

    def afterwards(city: City) -> None:
        city.start().rest()
        assert city.phase() == "completed"
        assert len(set(Department.calls)) == 130

    nodes = Parallel(tuple((step(f"s{number}"),) for number in range(130)))
    city(tmp_path, crash, nodes)
    city(tmp_path, afterwards, nodes)


def test_a_defect_in_a_definition_asks_a_human_instead_of_being_tried_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(state: Any, message: Message) -> bool:
        raise LookupError("the function of the wait is wrong")

    def test(city: City) -> None:
        city.start()
        # Early: it is looked at when the wait begins.
        Department.held["a"] = held = asyncio.Event()
        city.open()
        city.hear(MissionReported(incident_id="s"), "arrived")
        held.set()
        city.rest()
        assert city.phase() == "needs human"
        assert "LookupError" in city.runner.load("s").reason

    city(tmp_path, test, step("a"), Wait("w", MissionReported, 60, wrong))
    said = capsys.readouterr()
    assert (said.err + said.out).count("saga cannot go on like this") <= 3


def test_what_is_too_large_together_goes_in_several_appends_in_order() -> None:
    events = [NewEvent(str(number), "t", b"." * 200_000, occurred_at=1, sealed=b"." * 50_000) for number in range(9)]
    parts = list(_within_limits(events))
    assert [len(part) for part in parts] == [4, 4, 1]
    assert [event for part in parts for event in part] == events


class Refuses:
    """Some inputs of a saga cannot be kept, for ever."""

    def __init__(self, city: City, kind: type[Message], error: Exception) -> None:
        self.append = city.runner._records.append
        self.kind, self.error = kind, error
        city.runner._records.append = self  # type: ignore[method-assign]

    async def __call__(self, saga_id: str, known: Known, events: Sequence[Message], state: SagaState, now: int) -> Known | None:
        if isinstance(events[0], self.kind):
            raise self.error
        return await self.append(saga_id, known, events, state, now)


def test_an_answer_about_somebody_who_was_erased_meanwhile_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Refuses(city, ev.StepAnswered, Refused("person per-1 was erased", "PERSON_ERASED"))
        city.start().open().rest()
        assert city.phase() == "completed"
        assert "its answer cannot be kept: person per-1 was erased" in city.runner.load("s").steps["a"].reason

    city(tmp_path, test, step("a", otherwise="go on"))


def test_an_answer_that_meets_a_defect_asks_a_human_and_is_not_asked_for_again_and_again(tmp_path: Path) -> None:
    def test(city: City) -> None:
        refuses = Refuses(city, ev.StepAnswered, LookupError("a defect"))
        city.start().open().rest()
        assert (city.phase(), Department.calls) == ("needs human", ["a"])
        refuses.error = Refused("still not")
        city.runner.resume("s")
        city.rest()
        assert (city.phase(), Department.calls) == ("undone", ["a", "a", "undo a"])

    city(tmp_path, test, step("a"))


def test_what_cannot_be_told_in_any_way_is_given_up_and_not_tried_for_ever(tmp_path: Path) -> None:
    def test(city: City) -> None:
        Refuses(city, Message, LookupError("a defect"))
        Department.held["a"] = asyncio.Event()
        append = city.runner._records.append
        city.runner._records.append = append.append  # type: ignore[attr-defined,method-assign]
        city.start().open()
        city.parts.until(lambda: Department.calls == ["a"])
        city.runner._records.append = append  # type: ignore[method-assign]
        Department.held.pop("a").set()
        city.rest()
        assert (city.phase(), Department.calls) == ("running", ["a"])

    city(tmp_path, test, step("a"))


# -- ended by a person ------------------------------------------------------------------------------------------------------


def ended(city: City, saga_id: str) -> SagaState:
    return city.runner.decide(saga_id, lambda state: persons.terminate(state, "all is lost", "李梅"), of_any=True)


def test_what_cannot_be_read_or_is_of_no_known_workflow_is_ended_by_a_person_all_the_same(tmp_path: Path) -> None:
    def test(city: City) -> None:
        write_odd(city)
        append(city, "gone", ev.SagaStarted(saga_id="gone", workflow="no", workflow_version=3, input=pack(IncidentOpened())))
        append(city, "gone", ev.StepSent(step="a", key="gone/a/1"), waiting())
        city.start().rest()
        for name in (*ODD, "gone"):
            assert city.runner.load(name).phase in ("unknown", "needs human")
            with pytest.raises(Refused, match="TerminateSaga ends it all the same"):
                city.runner.decide(name, lambda state: persons.cancel(state, "no", "李梅"))
            assert (ended(city, name).phase, ended(city, name).reason) == ("terminated", "terminated by 李梅: all is lost")
            city.hear(MissionReported(incident_id=name), f"late {name}")
        city.rest()
        for name in (*ODD, "gone"):
            stream = [event.type.rpartition(".")[2] for event in wait(city.parts.store.read(f"sagas/saga-{name}"))]
            assert (stream.count("SagaTerminated"), stream[-1]) == (1, "SagaTerminated")
        # Nobody here knows which steps have an undo: all whose commands were sent are named, and no wait.
        assert persons.not_undone(None, city.runner.load("gone")) == ["a"]

    city(tmp_path, test, Wait("w", MissionReported, 60), retired=[("no", 3)])


def test_who_is_bound_to_a_district_decides_nothing_of_a_saga_whose_district_cannot_be_read() -> None:
    with running(SagaService) as sagas:
        beginning = ev.SagaStarted(saga_id="s", workflow="emergency_response", workflow_version=1)
        beginning.input.type_url = "type.googleapis.com/citybrain.health.v1.NotYet"
        sagas.tell(beginning, stream="sagas/saga-s")
        sagas.rest()
        request = pb.TerminateSagaRequest(saga_id="s", reason="all is lost")
        with pytest.raises(Forbidden, match="another district"):
            sagas.fire("TerminateSaga", request, district="west")
        assert sagas.fire("TerminateSaga", request).saga.state == pb.SAGA_STATE_TERMINATED
