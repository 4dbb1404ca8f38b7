"""The kit with which workflows are tested: what it plays, what it looks at without being asked, and what it says."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.sagas.engine.checking import WorkflowError
from citybrain.sagas.engine.definition import Command, Node, Parallel, Step, Wait, Workflow
from citybrain.sagas.engine.state import SagaState
from citybrain.sagas.testing import Story, StoryError

HEALTH = "citybrain.health.v1.HealthService"
PLACE = RoadPlace(edge_id="e1")


def incident_of(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def reserve(state: SagaState, key: str) -> Message:
    return health.ReserveBedRequest(incident_id=state.saga_id, reservation_id=key, place=PLACE)


def cancel(state: SagaState, key: str) -> Message:
    return health.CancelBedRequest(incident_id=state.saga_id, reservation_id=key)


def bed(name: str = "bed", make: Any = reserve, undo: Any = cancel, **options: Any) -> Step:
    options.setdefault("deadline_s", 60)
    return Step(name, Command(f"{HEALTH}/ReserveBed", make), undo=Command(f"{HEALTH}/CancelBed", undo), **options)


HERE = Wait("here", MissionReported, 100)


def tell(*nodes: Node, **changes: Any) -> Story:
    workflow = Workflow(
        name="transfer",
        version=3,
        starts_on=IncidentOpened,
        hears=dict.fromkeys((IncidentOpened, MissionReported, IncidentCancelled), incident_of),
        undo_on={IncidentCancelled: lambda e: "false call"},
        nodes=nodes,
    )
    return Story(replace(workflow, **changes)).starts_with(IncidentOpened(incident_id="i"))


def refused(story: Callable[[], object]) -> str:
    with pytest.raises(StoryError) as told:
        story()
    return str(told.value)


def test_a_story_is_told_from_its_beginning_to_its_end() -> None:
    story = tell(bed(), HERE, bed("second"))
    assert (story.phase, story.sent(), story.out(), story.now) == ("running", ["bed"], ["bed"], 0)
    story.answers("bed", health.ReserveBedResponse(hospital_id="h1")).must_send().must_be("running")
    assert story.state.answer("bed").hospital_id == "h1"
    assert story.followed == ["WaitBegan here"] and story.timers() == {"here": 100}
    story.time_passes(40).hears(MissionReported(incident_id="i")).must_send("second")
    assert story.now == 40
    assert story.requests["second"].reservation_id == "i/second/1"
    story.answers("second").must_be("completed")
    assert story.followed == ["SagaCompleted"]


def test_city_time_jumps_from_one_moment_that_matters_to_the_next() -> None:
    story = tell(bed(pause_s=4, otherwise="needs human"))
    story.fails("bed", "UNAVAILABLE").must_send()
    assert story.timers() == {"bed": 4}
    story.time_passes(1000)
    assert story.sent() == ["bed"], "once after the pause"
    assert [type(one).__name__ for one in story.recorded[-4:]] == ["StepSent", "TimerFired", "StepTimedOut", "SagaNeedsHuman"]
    story.must_be("needs human", "bed: UNAVAILABLE: no")
    assert story.now == 1000 and "        60 s  StepTimedOut bed" in str(story)
    assert story.followed == ["StepSent bed", "StepTimedOut bed", "SagaNeedsHuman bed"]
    assert story.time_passes(5).followed == [] == story.sent()


def test_an_event_may_be_heard_late_and_while_nobody_carries_the_saga_on_nothing_is_over() -> None:
    strict = replace(HERE, otherwise="undo")
    in_time = tell(strict).stands_still(150)
    assert in_time.hears(MissionReported(incident_id="i"), at=100).phase == "completed"
    late = tell(strict).stands_still(150)
    late.hears(MissionReported(incident_id="i"), at=100.5).must_be("running")
    late.time_passes(0).must_be("undone", "here: not heard of in time")


def test_what_is_about_another_saga_or_comes_after_the_end_changes_nothing() -> None:
    story = tell(HERE)
    for event in (MissionReported(incident_id="another"), IncidentOpened(incident_id="i")):
        story.hears(event).must_be("running")
        assert story.followed == [] and len(story.recorded) == 2
    story.hears(MissionReported(incident_id="i")).must_be("completed")
    count = len(story.recorded)
    story.hears(IncidentCancelled(incident_id="i")).must_be("completed")
    assert len(story.recorded) == count


def test_undo_is_told_step_by_step_and_its_failures_too() -> None:
    story = tell(bed(), bed("second"), HERE).answers("bed")
    story.hears(IncidentCancelled(incident_id="i")).must_send("undo second").must_be("undoing", "false call")
    assert story.out() == ["undo second"]
    story.fails("second", "UNAVAILABLE").must_send()
    story.time_passes(2).must_send("undo second").undone("second").must_send("undo bed")
    story.fails("bed").must_be("needs human", "bed could not be undone: FAILED_PRECONDITION: no")
    story.human_resumes().must_send("undo bed").undone("bed").must_be("undone")
    assert story.requests["undo bed"].reservation_id == story.requests["bed"].reservation_id == "i/bed/1"


def test_a_person_resumes_skips_and_gives_up() -> None:
    asked = tell(bed(otherwise="needs human"), HERE).fails("bed")
    asked.human_resumes().must_send("bed").fails("bed").human_skips("bed", by="李梅").must_be("running")
    assert asked.timers() == {"here": 100}
    asked.human_gives_up("here", "it broke down", by="李梅").must_be("undoing", "here was given up by 李梅: it broke down")
    assert "no human is needed: it is running" in refused(tell(HERE).human_resumes)
    with pytest.raises(NotFound, match="has begun: here"):
        tell(HERE).human_skips("bed")


def test_after_a_crash_what_is_out_is_sent_again_and_is_the_same() -> None:
    story = tell(Parallel(((bed(),), (bed("second"),), (HERE,))))
    story.answers("second").crashes().must_send("bed")
    story.answers("bed").hears(MissionReported(incident_id="i")).crashes().must_send().must_be("completed")
    noted: list[str] = []

    def remembers(state: SagaState, key: str) -> Message:
        return health.ReserveBedRequest(incident_id=f"i{len(noted)}", reservation_id=key, place=PLACE)

    story = tell(bed(make=remembers))
    noted.append("the memory of the process")
    assert "bed is another request after a crash, under the same key" in refused(story.crashes)


def test_what_is_stored_must_tell_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    story = tell(HERE)
    # As if an event were kept with another moment.
    monkeypatch.setattr("citybrain.sagas.testing._stored", lambda event, at: (type(event), event.SerializeToString(), at + 1))
    said = refused(lambda: story.hears(MissionReported(incident_id="i")))
    assert said.startswith("what is stored does not tell the state: since, steps")


def test_a_definition_that_raises_fails_the_test_with_the_story_and_the_place() -> None:
    def hospital(state: SagaState, key: str) -> Message:
        return health.CancelBedRequest(incident_id=state.input.patient, reservation_id=key)

    said = refused(lambda: tell(bed(make=hospital)))
    assert said.startswith("a function of the definition raised AttributeError") and "test_testing.py:" in said
    assert "\ntransfer, version 3:\n         0 s  SagaStarted IncidentOpened\n         0 s  StepSent bed" in said

    def looks(state: SagaState, event: Message) -> bool:
        return bool(event.nothing)  # type: ignore[attr-defined]

    story = tell(replace(HERE, matches=looks))
    assert "raised AttributeError" in refused(lambda: story.hears(MissionReported(incident_id="i")))


def test_a_request_is_of_the_type_and_the_rules_of_its_contract() -> None:
    assert "bed makes citybrain.health.v1.CancelBedRequest, and citybrain.health.v1.HealthService/ReserveBed takes" in refused(
        lambda: tell(bed(make=cancel))
    )
    assert "bed makes ''" in refused(lambda: tell(bed(make=lambda s, k: "" * len(k))))

    def without_place(state: SagaState, key: str) -> Message:
        return health.ReserveBedRequest(incident_id=state.saga_id, reservation_id=key)

    said = refused(lambda: tell(bed(make=without_place)))
    assert f"{HEALTH}/ReserveBed would refuse the request of bed: place: is required" in said


def test_a_key_that_reaches_no_request_is_found() -> None:
    def elsewhere(state: SagaState, key: str) -> Message:
        return health.CancelBedRequest(incident_id=state.saga_id, reservation_id=f"r-{len(key)}")

    story = tell(bed(undo=elsewhere), HERE)
    said = refused(lambda: story.hears(IncidentCancelled(incident_id="i")))
    assert said.startswith("the key of bed (i/bed/1) is not in the request of undo bed, so its undo names nothing: incident_id")
    assert "is not in the request of bed," in refused(lambda: tell(bed(make=lambda s, k: reserve(s, k[:2]))))


def test_a_function_that_asks_a_clock_or_chance_is_found() -> None:
    count = itertools.count()
    said = refused(lambda: tell(replace(HERE, deadline_s=lambda s: 10.0 + next(count))))
    assert said.startswith("asked twice it decides differently: its functions may use the state and nothing else")
    said = refused(lambda: tell(bed(make=lambda s, k: reserve(replace(s, saga_id=f"i{next(count)}"), k))))
    assert said.startswith("made twice, the request of bed differs")


def test_a_deadline_that_is_over_when_it_begins_is_found() -> None:
    assert "here: its deadline_s gives -5 here: it must be more than 0" in refused(
        lambda: tell(replace(HERE, deadline_s=lambda s: -5.0))
    )


def test_a_timer_that_changes_nothing_ends_no_test_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    story = tell(HERE)
    monkeypatch.setattr("citybrain.sagas.testing.react", lambda workflow, state, inputs, now, **_: (list(inputs), state))
    assert "timer wait/here fires again and again: nothing follows from it" in refused(lambda: story.time_passes(200))


def test_a_broken_definition_is_refused_with_its_sentence() -> None:
    with pytest.raises(WorkflowError, match=r"step bed: deadline_s is 0: write seconds of city time"):
        tell(bed(deadline_s=0))


def test_whoever_tells_what_cannot_happen_is_told_why() -> None:
    story = tell(bed(), HERE)
    assert refused(lambda: story.answers("bad")).startswith("transfer has no step 'bad'; its steps are bed")
    assert refused(lambda: story.answers("here")).startswith("transfer has no step 'here'; its steps are bed")
    assert refused(lambda: story.undone("bed")).startswith("undo bed is not out: out is bed")
    wrong = health.CancelBedResponse()
    assert "bed is answered with citybrain.health.v1.ReserveBedResponse, not with" in refused(
        lambda: story.answers("bed", wrong)
    )
    assert "'BUSY' is no failure: write one of ABORTED, ALREADY_EXISTS, CANCELLED" in refused(
        lambda: story.fails("bed", "BUSY")
    )
    assert "'OK' is no failure" in refused(lambda: story.fails("bed", "OK"))
    said = refused(lambda: story.hears(VehicleMissing(incident_id="i")))
    assert said.startswith("transfer does not hear citybrain.traffic.v1.VehicleMissing: its `hears` does not name it")
    story.answers("bed")
    assert refused(lambda: story.fails("bed")).startswith("bed is not out: out is nothing")
    assert refused(lambda: story.starts_with(IncidentOpened(incident_id="i"))).startswith("it has begun already")
    new = Story(story.workflow)
    assert "it has not begun: tell first what it starts_with" in refused(lambda: new.hears(MissionReported(incident_id="")))
    assert "transfer starts on citybrain.emergency_command.v1.IncidentOpened, not on" in refused(
        lambda: new.starts_with(MissionReported(incident_id="i"))
    )
    assert "`hears` gives no id of a saga" in refused(lambda: new.starts_with(IncidentOpened()))


def test_what_was_expected_and_is_not_so_is_told_with_the_whole_story() -> None:
    story = tell(bed(otherwise="needs human")).time_passes(3).fails("bed", "NOT_FOUND", "no such place")
    said = refused(lambda: story.must_be("completed"))
    assert said.startswith("it should be completed, and is needs human (bed: NOT_FOUND: no such place)")
    assert "\n         3 s  StepFailed bed (NOT_FOUND: no such place)\n" in said
    assert refused(lambda: story.must_be("needs human", "late")).startswith(
        "it should be needs human, because of 'late', and is"
    )
    assert refused(lambda: story.must_send("bed", "other")).startswith("it should have sent bed, other, and sent nothing")
    assert refused(lambda: story.human_resumes().must_send()).startswith("it should have sent nothing, and sent bed")


def test_the_kit_needs_no_test_runner_and_no_server() -> None:
    script = "import citybrain.sagas.testing, sys; print([m for m in ('pytest', 'eventlet', 'sqlite3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
