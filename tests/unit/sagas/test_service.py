"""The workflows as a service: what callers see of sagas, and may decide about them. The department of health is away."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused, Unavailable
from citybrain.mesh.events import timestamp
from citybrain.mesh.service import WaitsForPeople
from citybrain.mesh.testing import Fake, Running, fake, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.sagas.engine.definition import Child, Parallel, Workflow
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import SagaState, StepState
from citybrain.sagas.kept import Sagas
from citybrain.sagas.service import SagaService
from citybrain.sagas.showing import shown
from tests.unit.sagas.saga_city import step as named


def away() -> Fake:
    """The department of health, which is away."""
    error = Unavailable("away")
    return fake("citybrain.health.v1.HealthService", ReserveAmbulance=error, ReleaseAmbulance=error, ReserveBed=error)


def opened(service: Running, incident_id: str, **more: Any) -> None:
    service.tell(IncidentOpened(incident_id=incident_id, place=RoadPlace(edge_id="e1"), **more))
    service.rest()


def messages(service: Running, kind: type[Message]) -> list[Any]:
    return [heard.data for heard in service.events(kind)]


def listed(service: Running, **question: Any) -> list[str]:
    return [saga.saga_id for saga in service.fire("ListSagas", pb.ListSagasRequest(**question)).sagas]


def test_sagas_are_listed_newest_first_by_state_time_and_district() -> None:
    with running(SagaService, away()) as sagas:
        moments = []
        for number, district in enumerate(("west", "east", "west")):
            moments.append(timestamp(sagas.advance(60)))
            opened(sagas, f"i{number}", district_id=district)
        sagas.fire("FailStep", pb.FailStepRequest(saga_id="i2", step="reserve_ambulance", reason="nobody is there"))
        sagas.rest()
        assert listed(sagas) == ["i2", "i1", "i0"]
        assert listed(sagas, district_id="west") == ["i2", "i0"]
        assert listed(sagas, states=[pb.SAGA_STATE_RUNNING]) == ["i1", "i0"]
        assert listed(sagas, states=[pb.SAGA_STATE_UNDOING, pb.SAGA_STATE_COMPLETED]) == ["i2"]
        assert listed(sagas, started_from=moments[1]) == ["i2", "i1"]
        assert listed(sagas, started_before=moments[1]) == ["i0"]
        first = sagas.fire("ListSagas", pb.ListSagasRequest(page_size=1, district_id="west"))
        opened(sagas, "i3", district_id="west")
        assert listed(sagas, district_id="west", page_token=first.next_page_token) == ["i0"]
        with pytest.raises(BadRequest, match="page_token"):
            listed(sagas, page_token=first.next_page_token)
        with pytest.raises(BadRequest, match="states"):
            listed(sagas, states=[pb.SAGA_STATE_UNKNOWN])


def test_sagas_are_listed_by_workflow_by_incident_and_by_how_long_they_are_open() -> None:
    with running(SagaService, away()) as sagas:
        for number in range(3):
            sagas.advance(60)
            opened(sagas, f"i{number}")
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i0", reason="a test"))
        sagas.rest()
        assert listed(sagas, workflow="emergency_response") == ["i2", "i1", "i0"]
        assert listed(sagas, workflow="emergency") == []
        assert listed(sagas, correlation_id="i1") == ["i1"]
        assert listed(sagas, correlation_id="i1", states=[pb.SAGA_STATE_TERMINATED]) == []
        assert listed(sagas, correlation_id="i9") == []
        # One that has ended is not open, however old it is; one that began just so long ago counts.
        assert listed(sagas, open_for=Duration(seconds=60)) == ["i1"]
        assert listed(sagas, open_for=Duration(seconds=61)) == []
        assert listed(sagas, open_for=Duration(seconds=1), states=[pb.SAGA_STATE_RUNNING]) == ["i1"]
        assert listed(sagas, open_for=Duration(seconds=1), states=[pb.SAGA_STATE_TERMINATED]) == []
        assert listed(sagas, states=[pb.SAGA_STATE_TERMINATED]) == ["i0"]
        with pytest.raises(BadRequest, match="open_for"):
            listed(sagas, open_for=Duration())


def test_a_list_shows_what_get_saga_shows_without_the_steps_and_reads_neither_streams_nor_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(SagaService, away()) as sagas:
        for number in range(5):
            opened(sagas, f"i{number}", district_id="west")
            sagas.advance(10)
        sagas.advance(900)
        by_hand = {"reason": "nobody is there"}
        sagas.fire("ResumeSaga", pb.ResumeSagaRequest(saga_id="i1", reason="mended"))
        sagas.fire("CancelSaga", pb.CancelSagaRequest(saga_id="i2", **by_hand))
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i3", **by_hand))
        sagas.advance(10)
        sagas.rest()
        whole = [sagas.fire("GetSaga", pb.GetSagaRequest(saga_id=f"i{number}")).saga for number in reversed(range(5))]
        assert [len(one.steps) > 5 for one in whole] == [True] * 5
        assert [one.state for one in reversed(whole)] == [
            pb.SAGA_STATE_NEEDS_HUMAN, pb.SAGA_STATE_RUNNING, pb.SAGA_STATE_UNDOING, pb.SAGA_STATE_TERMINATED,
            pb.SAGA_STATE_NEEDS_HUMAN,
        ]  # fmt: skip
        for one in whole:
            del one.steps[:]

        async def reads(*_: Any, **__: Any) -> Any:
            raise AssertionError("a list reads")

        monkeypatch.setattr(sagas.parts.store, "read", reads)
        (view,) = [one for one in sagas._container.dependencies if isinstance(one, Sagas)]
        for name in ("scan", "get"):
            monkeypatch.setattr(view.member.service_models.models, name, reads)
        assert list(sagas.fire("ListSagas", pb.ListSagasRequest()).sagas) == whole


def test_a_step_says_how_often_it_was_tried_when_it_is_tried_again_when_it_is_late_and_what_it_stands_beside() -> None:
    with running(SagaService, away()) as sagas:

        def step(name: str = "reserve_ambulance") -> pb.SagaStep:
            sagas.rest()
            saga: pb.Saga = sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga
            return next(one for one in saga.steps if one.name == name)

        opened(sagas, "i1")
        began = sagas._process.clock.now()
        assert (step().status, step().tries) == ("pausing", 1)
        assert step().next_try_at.ToMicroseconds() == began + 5_000_000
        assert step().deadline.ToMicroseconds() == began + 900_000_000
        sagas.advance(5)
        assert (step().tries, step().next_try_at.ToMicroseconds() > began + 5_000_000) == (2, True)
        waits = step("at_scene")
        assert (waits.status, waits.tries, waits.branch) == ("not begun", 0, "")
        branches = [step(name).branch for name in ("grant_priority", "announce_patient", "hand_over", "release_priority")]
        assert branches == ["1.1", "1.3", "2.1", "2.2"]
        sagas.fire("CancelSaga", pb.CancelSagaRequest(saga_id="i1", reason="a test"))
        # Of its undo, from now on.
        assert (step().status, step().tries, step().HasField("deadline")) == ("undoing", 1, False)
        assert step().next_try_at.ToMicroseconds() == sagas._process.clock.now() + 2_000_000
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1", reason="a test"))
        assert not step().HasField("next_try_at"), "nothing is sent any more"


def test_a_wait_has_no_tries_and_says_when_it_is_late() -> None:
    state = SagaState(phase="running", steps={"w": StepState("waiting", deadline=7_000_000)})
    (told,) = shown(state, None).steps
    assert (told.status, told.tries, told.deadline.seconds, told.HasField("next_try_at")) == ("waiting", 0, 7, False)


def test_branches_inside_of_branches_have_names_that_say_so() -> None:
    inner = Parallel(((named("c"),), (named("d"), named("e"))))
    nodes = (named("a"), Parallel(((named("b"),), (inner,))))
    workflow = Workflow("w", 1, IncidentOpened, {}, nodes)
    steps = shown(SagaState(phase="running"), workflow).steps
    assert {one.name: one.branch for one in steps} == {
        "a": "",
        "b": "1.1",
        "c": "1.2/2.1",
        "d": "1.2/2.2",
        "e": "1.2/2.2",
    }


def test_who_is_bound_to_a_district_gets_whole_pages_of_it() -> None:
    with running(SagaService, away()) as sagas:
        for number in range(6):
            opened(sagas, f"i{number}", district_id=("west", "east", "")[number % 3])
        page = sagas.fire("ListSagas", pb.ListSagasRequest(page_size=3), district="west")
        assert [saga.saga_id for saga in page.sagas] == ["i5", "i3", "i2"]
        rest = sagas.fire("ListSagas", pb.ListSagasRequest(page_size=3, page_token=page.next_page_token), district="west")
        assert [saga.saga_id for saga in rest.sagas] == ["i0"]
        assert not rest.next_page_token


def test_what_needs_a_human_is_told_with_the_oldest_until_somebody_has_seen_to_it() -> None:
    with running(SagaService, away()) as sagas:

        def waits() -> Any:
            sagas.rest()
            (view,) = [one for one in sagas._container.dependencies if isinstance(one, WaitsForPeople)]
            return greenlets().do(view.waits())

        assert waits() is None
        moment = sagas.advance(60)
        opened(sagas, "i1")
        sagas.advance(60)
        opened(sagas, "i2")
        sagas.advance(900)
        found = waits()
        assert (found.count, found.oldest, found.reason[:19]) == (2, "i1", "reserve_ambulance: ")
        assert moment < found.since <= moment + 900 * 1_000_000
        assert listed(sagas, states=[pb.SAGA_STATE_NEEDS_HUMAN]) == ["i2", "i1"]
        sagas.fire("ResumeSaga", pb.ResumeSagaRequest(saga_id="i1"))
        assert (waits().count, waits().oldest) == (1, "i2")
        assert listed(sagas, states=[pb.SAGA_STATE_RUNNING]) == ["i1"]
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i2", reason="a test"))
        assert waits() is None


def as_json(message: Message) -> dict[str, str]:
    return {"event_type": message.DESCRIPTOR.full_name, "event_json": json_format.MessageToJson(message)}


def test_a_saga_is_started_by_hand_once_by_what_else_an_event_would_bring() -> None:
    with running(SagaService, away()) as sagas:
        first = IncidentOpened(incident_id="i1", place=RoadPlace(edge_id="e1"), district_id="west")
        start = pb.StartSagaRequest(workflow="emergency_response", **as_json(first))
        begun = sagas.fire("StartSaga", start, caller="李梅").saga
        assert (begun.saga_id, begun.state, begun.district_id) == ("i1", pb.SAGA_STATE_RUNNING, "west")
        # Again, and by the event itself, which came late: it is the same saga.
        assert sagas.fire("StartSaga", start).saga.saga_id == "i1"
        sagas.tell(first)
        sagas.rest()
        (started,) = messages(sagas, ev.SagaStarted)
        assert started.behalf == "李梅"
        assert [one.step for one in messages(sagas, ev.StepSent)] == ["reserve_ambulance"]
        with pytest.raises(Forbidden):
            sagas.fire("StartSaga", start, district="east")
        nowhere = pb.StartSagaRequest(workflow="emergency_response", **as_json(IncidentOpened(incident_id="i2")))
        with pytest.raises(Forbidden):
            sagas.fire("StartSaga", nowhere, district="west")
        for wrong, why in (
            (as_json(ev.SagaCompleted()), "starts on citybrain.emergency_command.v1.IncidentOpened"),
            (as_json(IncidentOpened()), "does not say which saga"),
            ({"event_type": "citybrain.none.v1.None", "event_json": "{}"}, "no contract here has"),
            (as_json(first) | {"event_json": '{"x": 1}'}, "is not the JSON of a"),
            (as_json(first) | {"event_json": '{"incidentId": "i3", "reporter": {"phone": "138"}}'}, "holds personal data"),
        ):
            with pytest.raises(BadRequest, match=why):
                sagas.fire("StartSaga", pb.StartSagaRequest(workflow="emergency_response", **wrong))
        with pytest.raises(NotFound, match="there are: "):
            sagas.fire("StartSaga", pb.StartSagaRequest(workflow="none", **as_json(first)))


def test_a_person_tells_a_saga_once_what_has_happened_and_is_named() -> None:
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1", district_id="west")
        event = as_json(IncidentCancelled(incident_id="i1", reason="nobody is there"))
        signal = pb.SignalSagaRequest(saga_id="i1", signal_id="s1", **event, reason="the caller phoned")
        told = sagas.fire("SignalSaga", signal, caller="李梅").saga
        assert (told.state, told.reason) == (pb.SAGA_STATE_UNDOING, "false call: nobody is there")
        assert sagas.fire("SignalSaga", signal).saga.state == pb.SAGA_STATE_UNDOING
        (heard,) = messages(sagas, ev.EventHeard)
        assert (heard.event_id, heard.by, heard.reason) == ("signal/s1", "李梅", "the caller phoned")
        for wrong, why in (
            (IncidentOpened(incident_id="i1"), "which emergency_response does not hear"),
            (ev.SagaCompleted(), "which emergency_response does not hear"),
            (IncidentCancelled(incident_id="i2"), "is for saga i2"),
        ):
            with pytest.raises(BadRequest, match=why):
                sagas.fire("SignalSaga", pb.SignalSagaRequest(saga_id="i1", signal_id="s2", **as_json(wrong), reason="so"))
        signal.event_json = '{"incidentId": "i1", "reason": "another"}'
        with pytest.raises(Refused, match="something else"):
            sagas.fire("SignalSaga", signal)
        with pytest.raises(Forbidden):
            sagas.fire("SignalSaga", signal, district="east")
        # Nor an event of another district, about a saga of one's own.
        blocked = IncidentOpened(incident_id="i1", district_id="east")
        with pytest.raises(Forbidden):
            elsewhere = pb.SignalSagaRequest(saga_id="i1", signal_id="s2", reason="so", **as_json(blocked))
            sagas.fire("SignalSaga", elsewhere, district="west")
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1", reason="a test"))
        with pytest.raises(Refused, match="has ended"):
            sagas.fire("SignalSaga", pb.SignalSagaRequest(saga_id="i1", signal_id="s3", **event, reason="so"))


def test_who_is_bound_to_a_district_gets_its_tasks_alone() -> None:
    with running(SagaService, away()) as sagas:
        for number, district in enumerate(("west", "east", "")):
            opened(sagas, f"i{number}", district_id=district)
        sagas.advance(900)
        sagas.rest()

        def tasks(district: str = "", **question: Any) -> list[str]:
            answer = sagas.fire("ListTasks", pb.ListTasksRequest(**question), district=district)
            assert {one.kind for one in answer.tasks} <= {pb.TASK_KIND_TROUBLE}
            return [one.saga_id for one in answer.tasks]

        assert tasks() == ["i0", "i1", "i2"]
        assert tasks(district_id="east") == ["i1"]
        assert tasks(district="west") == ["i0", "i2"]


def test_who_skips_a_step_or_gives_it_up_is_named_and_says_why() -> None:
    with running(SagaService, away()) as sagas:
        for incident_id in ("i1", "i2"):
            opened(sagas, incident_id)
        skip = pb.SkipStepRequest(saga_id="i1", step="reserve_ambulance", reason="a taxi drives")
        sagas.fire("SkipStep", skip, caller="李梅")
        fail = pb.FailStepRequest(saga_id="i2", step="reserve_ambulance", reason="nobody is there")
        shown = sagas.fire("FailStep", fail, caller="李梅").saga
        assert shown.state == pb.SAGA_STATE_UNDOING
        sagas.rest()
        (skipped,) = messages(sagas, ev.StepSkipped)
        assert (skipped.by, skipped.reason) == ("李梅", "a taxi drives")
        (failed,) = [one for one in messages(sagas, ev.StepFailed) if one.by]
        assert (failed.by, failed.message) == ("李梅", "nobody is there")
        with pytest.raises(BadRequest, match="reason"):
            sagas.fire("SkipStep", pb.SkipStepRequest(saga_id="i1", step="reserve_bed"))


def test_who_cancels_retries_resumes_or_ends_a_saga_is_named_and_says_why() -> None:
    with running(SagaService, away()) as sagas:
        for number in range(4):
            opened(sagas, f"i{number}")
        sagas.advance(900)
        reason = {"reason": "so it is"}
        shown = sagas.fire("CancelSaga", pb.CancelSagaRequest(saga_id="i0", **reason), caller="李梅").saga
        assert (shown.state, shown.reason) == (pb.SAGA_STATE_UNDOING, "cancelled by 李梅: so it is")
        retry = pb.RetryStepRequest(saga_id="i1", step="reserve_ambulance", **reason)
        assert sagas.fire("RetryStep", retry, caller="李梅").saga.state == pb.SAGA_STATE_RUNNING
        sagas.fire("ResumeSaga", pb.ResumeSagaRequest(saga_id="i2", **reason), caller="李梅")
        ended = sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i3", **reason), caller="李梅")
        assert (ended.saga.state, ended.saga.reason) == (pb.SAGA_STATE_TERMINATED, "terminated by 李梅: so it is")
        assert list(ended.not_undone) == ["reserve_ambulance"]
        again = sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i3", reason="another"))
        assert again == ended
        sagas.rest()
        for kind, number in ((ev.UndoBegan, 1), (ev.StepRetried, 1), (ev.SagaResumed, 2), (ev.SagaTerminated, 1)):
            found = messages(sagas, kind)
            assert [one.by for one in found] == ["李梅"] * number
            assert all("so it is" in one.reason for one in found)
        for method, request in (
            ("CancelSaga", pb.CancelSagaRequest(saga_id="i1")),
            ("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1")),
            ("RetryStep", pb.RetryStepRequest(saga_id="i1", step="reserve_ambulance")),
        ):
            with pytest.raises(BadRequest, match="reason"):
                sagas.fire(method, request)


def test_who_watches_a_saga_sees_it_now_and_at_each_change_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than a test waits: each change wakes the method.
    monkeypatch.setattr("citybrain.sagas.service._HEARTBEAT_S", 600.0)
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1")
        opened(sagas, "i2")
        with sagas.fire("WatchSaga", pb.WatchSagaRequest(saga_id="i1")) as watched:
            first = next(watched).saga
            assert first == sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga
            # That nothing has changed is not told, whatever wakes the method.
            (view,) = [one for one in sagas._container.dependencies if isinstance(one, Sagas)]
            (news,) = view._watched["i1"]
            greenlets().run(news.come.set)
            sagas.rest()
            # What happens to others is no news, and who watches does not keep city time from going on.
            sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i2", reason="a test"))
            sagas.advance(900)
            seen = [first]
            while seen[-1].state != pb.SAGA_STATE_NEEDS_HUMAN:
                seen.append(next(watched).saga)
            assert all(one != other for one, other in itertools.pairwise(seen))
            sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1", reason="a test"))
            assert [answer.saga.state for answer in watched] == [pb.SAGA_STATE_TERMINATED]
        assert view._watched == {}
        # One that has ended is told once; of one that there is not, an error.
        assert len(list(sagas.fire("WatchSaga", pb.WatchSagaRequest(saga_id="i1")))) == 1
        with pytest.raises(NotFound, match="there is no saga i9"):
            next(sagas.fire("WatchSaga", pb.WatchSagaRequest(saga_id="i9")))


def test_a_saga_that_is_watched_and_does_not_change_is_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.sagas.service._HEARTBEAT_S", 0.01)
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1")
        with sagas.fire("WatchSaga", pb.WatchSagaRequest(saga_id="i1")) as watched:
            assert next(watched) == next(watched)


def test_who_is_bound_to_a_district_reads_and_decides_nothing_of_another() -> None:
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1", district_id="west")
        # It needs a human, so each of these would change it.
        sagas.advance(900)
        sagas.rest()
        assert listed(sagas, states=[pb.SAGA_STATE_NEEDS_HUMAN]) == ["i1"]
        step = {"saga_id": "i1", "step": "reserve_ambulance", "reason": "nobody is there"}
        before = len(sagas.events())
        for method, request in (
            ("GetSaga", pb.GetSagaRequest(saga_id="i1")),
            ("ResumeSaga", pb.ResumeSagaRequest(saga_id="i1")),
            ("SkipStep", pb.SkipStepRequest(**step)),
            ("FailStep", pb.FailStepRequest(**step)),
            ("RetryStep", pb.RetryStepRequest(**step)),
            ("CancelSaga", pb.CancelSagaRequest(saga_id="i1", reason="nobody is there")),
            ("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1", reason="nobody is there")),
        ):
            with pytest.raises(Forbidden, match="another district"):
                sagas.fire(method, request, district="east")
        with pytest.raises(Forbidden, match="another district"):
            next(sagas.fire("WatchSaga", pb.WatchSagaRequest(saga_id="i1"), district="east"))
        assert len(sagas.events()) == before
        assert sagas.fire("ListSagas", pb.ListSagasRequest(), district="east").sagas == []
        assert sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1"), district="west").saga.district_id == "west"
        sagas.fire("FailStep", pb.FailStepRequest(**step), district="west")


def test_a_saga_and_its_child_are_shown_with_each_other_and_are_of_one_incident_and_one_district() -> None:
    ride = Workflow("ride", 1, IncidentOpened, {}, (named("reserve"),))
    child = Child("ride", "ride", lambda s: IncidentOpened(incident_id=s.saga_id), 600)
    transfer = Workflow("transfer", 1, IncidentOpened, {IncidentOpened: lambda event: event.incident_id}, (child,))  # type: ignore[attr-defined]

    class Transfers(SagaService):
        runner = SagaRunner([ride, transfer])
        moving = Moving([ride, transfer])

    department = fake("citybrain.traffic.v1.TrafficService", GetSignal=Unavailable("away"))
    with running(Transfers, department, contract="citybrain.sagas.v1.SagaService") as sagas:
        opened(sagas, "i1", district_id="west")
        mother = sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga
        (step,) = mother.steps
        assert (mother.parent, step.child) == ("", "i1.ride.1")
        shown_child = sagas.fire("GetSaga", pb.GetSagaRequest(saga_id=step.child)).saga
        assert (shown_child.parent, shown_child.correlation_id, shown_child.district_id) == ("i1", "i1", "west")
        assert set(listed(sagas, correlation_id="i1", district_id="west")) == {"i1", "i1.ride.1"}
        (one,) = sagas.fire("ListSagas", pb.ListSagasRequest(workflow="ride")).sagas
        assert one.parent == "i1"
        start = pb.StartSagaRequest(
            workflow="ride", event_type="citybrain.emergency_command.v1.IncidentOpened", event_json="{}"
        )
        with pytest.raises(BadRequest, match="which only begins as a child: start one of transfer"):
            sagas.fire("StartSaga", start)
        terminate = pb.TerminateSagaRequest(saga_id=step.child, reason="it hangs")
        with pytest.raises(Forbidden):
            sagas.fire("TerminateSaga", terminate, district="east")
        ended = sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="i1", reason="it hangs"))
        assert (list(ended.not_undone), list(ended.children)) == (["ride"], ["i1.ride.1"])
