"""The workflows as a service: what callers see of sagas, and may decide about them. No department answers here."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.testing import Running, running
from citybrain.sagas.service import SagaService


def opened(service: Running, incident_id: str, **more: Any) -> None:
    service.tell(IncidentOpened(incident_id=incident_id, **more))
    service.rest()


def messages(service: Running, kind: type[Message]) -> list[Any]:
    return [heard.data for heard in service.events(kind)]


def test_who_skips_a_step_or_gives_it_up_is_named_and_says_why() -> None:
    with running(SagaService) as sagas:
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
