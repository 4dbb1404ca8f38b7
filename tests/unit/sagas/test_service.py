"""The workflows as a service: what callers see of sagas, and may decide about them. The department of health is away."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, Unavailable
from citybrain.mesh.events import timestamp
from citybrain.mesh.service import WaitsForPeople
from citybrain.mesh.testing import Fake, Running, fake, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.sagas.service import SagaService


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
        ):
            with pytest.raises(Forbidden, match="another district"):
                sagas.fire(method, request, district="east")
        assert len(sagas.events()) == before
        assert sagas.fire("ListSagas", pb.ListSagasRequest(), district="east").sagas == []
        assert sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1"), district="west").saga.district_id == "west"
        sagas.fire("FailStep", pb.FailStepRequest(**step), district="west")
