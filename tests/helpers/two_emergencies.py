"""Two emergencies at once, played to their end by terminals that go on with the trace they were told; and their traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import DistrictNotified
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.observability.spans import Span
from citybrain.observability.trace_store import TraceStore
from citybrain.observability.trace_tree import build, edges
from tests.helpers.paper_city import PaperCity

EDGES = Path(__file__).parents[1] / "e2e" / "edges.txt"
# There are no signals on paper.
_IN_THE_STREET = "/ReportSignal"
_STAGES = (
    health.MISSION_STAGE_UNDER_WAY,
    health.MISSION_STAGE_AT_SCENE,
    health.MISSION_STAGE_PATIENT_ON_BOARD,
    health.MISSION_STAGE_AT_HOSPITAL,
)


def play(paper: PaperCity, name: str) -> list[str]:
    """The ids of both incidents, when their workflows have ended. `name`: begins every name that is made here."""
    for number in range(2):
        place = RoadPlace(edge_id="e1", position_m=20 + number)
        unit = health.RegisterAmbulanceRequest(ambulance_id=f"{name}-{number}", station=place)
        paper.call(paper.health.RegisterAmbulance, unit)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(paper.report, [f"{name}-1", f"{name}-2"]))
    paper.until(lambda: all(paper.step(one, "at_scene") == "waiting" for one in both))
    told = [_events(paper, one, lambda event: event.type.endswith(".BedReserved")) for one in both]
    for stage in _STAGES:
        for incident, events in zip(both, told, strict=True):
            reserved = next(event for event in events if event.type.endswith(".AmbulanceReserved"))
            report = health.ReportMissionRequest(
                ambulance_id=paper.ambulance_of(incident), incident_id=incident, stage=stage
            )  # fmt: skip
            paper.call(paper.health.ReportMission, report, f"{incident}-{stage}", traceparent=reserved.traceparent)
            paper.rest()
    for incident in both:
        (*_, notified) = _events(paper, incident, lambda event: event.type.endswith(".DistrictNotified"))
        notice = DistrictNotified.FromString(notified.data.value)
        word = hub.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id=notice.district_id)
        paper.call(paper.hub.AcknowledgeNotice, word, traceparent=notified.traceparent)
    paper.until(lambda: all(paper.ended(one) for one in both))
    return both


def _events(paper: PaperCity, incident: str, until: Callable[[Event], bool]) -> list[Event]:
    return list(paper.events_of(incident, until))


def missing(spans: Sequence[Span], *, in_the_street: bool = False) -> list[str]:
    """The edges of the list written by hand that a trace has not. `in_the_street`: those of signals alone; else all others."""
    found = {f"{e.parent_service} : {e.parent_name} → {e.child_service} : {e.child_name}" for e in edges(spans)}
    lines = EDGES.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#") and (_IN_THE_STREET in line) == in_the_street]
    return [line for line in wanted if line not in found]


def assert_whole_and_apart(store: TraceStore, both: Sequence[str], until: Callable[[Callable[[], Any], str], Any]) -> None:
    """Each has one trace with every edge, which begins at the gateway; nothing hangs nowhere, and nothing is in both."""
    spans = {}
    for incident in both:
        until(lambda incident=incident: not missing(store.by_incident(incident)), f"every edge of {incident}")  # type: ignore[misc]
        spans[incident] = store.by_incident(incident)
        assert len({span.trace_id for span in spans[incident]}) == 1
        (root,) = build(spans[incident])
        assert root.span.service == "gateway" and not root.parent_missing
        assert {span.incident_id for span in spans[incident]} - {""} == {incident}
    first, second = ({span.trace_id for span in spans[incident]} for incident in both)
    assert not first & second
    for incident, others in zip(both, (second, first), strict=True):
        assert not {link.trace_id for span in spans[incident] for link in span.links} & others
