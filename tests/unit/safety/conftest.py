"""What the tests of the running service share: a ring of roads, and what callers send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import RoadsPublished

from citybrain.mesh.testing import Running, running
from citybrain.services.safety.service import SafetyService

PHONE, NAME, TEXT = "+8613800001111", "王建国", "浓烟，三楼，王家的厨房"
NAMES = [f"e{n}" for n in range(1, 11)]
ROADS = RoadsPublished(
    edges=[
        RoadEdge(
            edge_id=name, length_m=500, free_speed_mps=10, next_edge_ids=[following], district_id="west" if n < 5 else "east"
        )
        for n, (name, following) in enumerate(zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True))
    ]
)
"""A one-way ring of ten roads of 500 m: the first five are kept by west, the others by east."""


@pytest.fixture
def safety() -> Iterator[Running]:
    """The service, where the ring is published."""
    with running(SafetyService) as service:
        service.tell(ROADS)
        service.rest()
        yield service


def signal(edge: str = "e1", metres: float = 0, **more: Any) -> pb.ReportSignalRequest:
    """A report of a fire on a road."""
    asked: dict[str, Any] = {"source": pb.SIGNAL_SOURCE_119, "kind": pb.EVENT_KIND_FIRE, **more}
    return pb.ReportSignalRequest(place=RoadPlace(edge_id=edge, position_m=metres), **asked)


def report(safety: Running, *place: Any, **more: Any) -> str:
    """The incident of a report."""
    return str(safety.fire("ReportSignal", signal(*place, **more)).incident.incident_id)


def get(safety: Running, incident_id: str, **claims: Any) -> Any:
    """The answer of GetIncident."""
    return safety.fire("GetIncident", pb.GetIncidentRequest(incident_id=incident_id), **claims)


def close(safety: Running, incident_id: str, **how: Any) -> Any:
    """Closes an incident."""
    return safety.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=incident_id, outcome="put out"), **how).incident
