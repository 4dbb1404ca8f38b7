"""What is repeated costs no more when the streams of reports and units have grown for years."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as pb

from citybrain.mesh.errors import Refused
from citybrain.mesh.testing import Running
from tests.unit.safety.conftest import close, report, signal

LONG = ("safety/board-", "safety/fleet-")


def test_a_retry_does_not_read_a_long_stream_from_its_beginning(safety: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    incident_id, other = report(safety), report(safety, "e3")
    calls: list[tuple[str, Any]] = [
        ("ReportSignal", signal()),
        (
            "RegisterUnit",
            pb.RegisterUnitRequest(
                unit_id="p1", kind=pb.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e1"), district_id="west"
            ),
        ),
        ("AssignUnits", pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1)),
        ("ReleaseUnits", pb.ReleaseUnitsRequest(incident_id=incident_id, assignment_id="k1")),
        ("MergeIncidents", pb.MergeIncidentsRequest(incident_id=incident_id, other_incident_id=other, reason="one fire")),
    ]
    store, whole = safety.parts.process.store, []
    read = store.read

    def watched(stream: str, first: int, *more: Any) -> Any:
        if first == 1 and stream.startswith(LONG):
            whole.append(stream)
        return read(stream, first, *more)

    for method, request in calls:
        answer = safety.fire(method, request, request_id=method)
        with monkeypatch.context() as patched:
            patched.setattr(store, "read", watched)
            assert safety.fire(method, request, request_id=method) == answer
        assert not whole, method
    close(safety, min(incident_id, other), request_id="c1")
    with monkeypatch.context() as patched:
        patched.setattr(store, "read", watched)
        close(safety, min(incident_id, other), request_id="c1")
    assert not whole


def test_what_was_carried_out_is_answered_as_it_was_although_it_would_be_refused_today(safety: Running) -> None:
    incident_id = report(safety)
    unit = pb.RegisterUnitRequest(
        unit_id="p1", kind=pb.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e1"), district_id="west"
    )
    safety.fire("RegisterUnit", unit)
    assign = pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1)
    answer = safety.fire("AssignUnits", assign, request_id="r1")
    safety.fire("ReleaseUnits", pb.ReleaseUnitsRequest(incident_id=incident_id, assignment_id="k1"))
    assert safety.fire("AssignUnits", assign, request_id="r1") == answer
    with pytest.raises(Refused, match="was released before it came"):
        safety.fire("AssignUnits", assign, request_id="r2")
