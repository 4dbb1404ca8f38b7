"""What is read of incidents: each with its history and its newest evidence, and the cycles of signals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.kept import Kept
from citybrain.services.traffic import incident_views
from citybrain.services.traffic.incident_pairs import NO_CYCLE_S
from tests.unit.traffic.signals import crossing

WHOSE: dict[str, Any] = {"incident_id": "ti-1", "edge_id": "a", "district_id": "xihu"}
CALIFORNIA, DEVIATE = pb.INCIDENT_SOURCE_CALIFORNIA_7, pb.INCIDENT_SOURCE_NORMAL_DEVIATE
CITIZEN = pb.INCIDENT_SOURCE_CITIZEN


def evidence(source: pb.IncidentSource, second: int = 0, report_id: str = "") -> pb.IncidentEvidence:
    window: dict[str, Any] = {"from": timestamp(second), "to": timestamp(second + 1)}
    return pb.IncidentEvidence(source=source, report_id=report_id, **window)


def heard(event: Message) -> Heard:
    stored: Any = SimpleNamespace(occurred_at=7)
    return Heard(event, stored)


def shown(*events: Message) -> pb.TrafficIncident:
    row: Kept | None = None
    for event in events:
        row = incident_views.incident(row, heard(event))
    assert row is not None
    return row.read(pb.TrafficIncident)


SUSPECTED = ev.IncidentSuspected(evidence=evidence(CALIFORNIA), may_be="x", **WHOSE)


def test_of_a_source_and_five_minutes_the_newest_evidence_counts_and_of_all_the_newest_twenty_are_shown() -> None:
    again = evidence(CALIFORNIA)
    again.version = "2"
    one = shown(SUSPECTED, ev.IncidentSupported(evidence=again, **WHOSE))
    assert [each.version for each in one.evidence] == ["2"]
    many = [ev.IncidentSupported(evidence=evidence(CALIFORNIA, number), **WHOSE) for number in range(30)]
    kept = shown(SUSPECTED, *many).evidence
    assert [getattr(each, "from").ToMicroseconds() for each in kept] == list(range(10, 30))


def test_its_history_has_each_source_once_and_each_report() -> None:
    supports = [
        evidence(CALIFORNIA, 5),
        evidence(DEVIATE),
        evidence(CITIZEN, report_id="r1"),
        evidence(CITIZEN, report_id="r2"),
    ]
    history = shown(SUSPECTED, *(ev.IncidentSupported(evidence=each, **WHOSE) for each in supports)).history
    assert [step.what for step in history] == [
        "suspected by california 7; it may be x", "supported by normal deviate", "supported by citizen", "supported by citizen",
    ]  # fmt: skip


def test_with_its_second_source_goes_its_closure() -> None:
    confirmed = ev.IncidentConfirmed(
        scope=pb.BLOCKED_SCOPE_WHOLE_ROAD, closure_id="c1", sources=[CALIFORNIA, DEVIATE], **WHOSE
    )  # fmt: skip
    both = [SUSPECTED, ev.IncidentSupported(evidence=evidence(DEVIATE), **WHOSE), confirmed]
    assert shown(*both).closure_id == "c1"
    retracted = ev.IncidentEvidenceRetracted(
        source=DEVIATE, state=pb.TRAFFIC_INCIDENT_STATE_SUSPECTED, ended_closure_id="c1", **WHOSE
    )  # fmt: skip
    getattr(retracted, "from").CopyFrom(timestamp(0))
    one = shown(*both, retracted)
    assert (one.closure_id, [each.source for each in one.evidence]) == ("", [CALIFORNIA])


def test_the_cycle_of_a_road_is_the_longest_at_its_end_and_of_a_plan_that_is_not_fixed_a_usual_one() -> None:
    rows = []
    for number, (seconds, actuated) in enumerate(((20.0, False), (50.0, False), (30.0, False))):
        signal = crossing(f"x{number}", actuated=actuated)
        signal.phases[0].duration_s = seconds
        rows.append(incident_views.cycle(None, heard(ev.SignalRegistered(signal=signal))))
    assert incident_views.cycles(row for row in rows if row is not None)["west"] == 100
    row = incident_views.cycle(None, heard(ev.SignalRegistered(signal=crossing(actuated=True))))
    assert row is not None and row.seconds == NO_CYCLE_S
