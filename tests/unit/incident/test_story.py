"""What follows from what is known of an incident: who is the culprit, what waits and for whom, what to type next."""

from __future__ import annotations

from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.mesh.v1 import mesh_service_pb2 as mesh
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.cli.incident.log_lines import LogLine
from citybrain.cli.incident.story import Incident, findings, of_one, timeline
from citybrain.cli.incident.streams import Cause
from citybrain.mesh.events import timestamp
from citybrain.observability.spans import Span
from tests.unit.incident.made import INCIDENT, SECOND, event, span

RESERVE = "citybrain.health.v1.HealthService/ReserveBed"


def call(begin: float, end: float, parent: Span | None = None, **more: Any) -> Span:
    return span(RESERVE, begin, end, parent, kind="client", attributes={"incident.id": INCIDENT, "rpc.method": RESERVE}, **more)


def told(incident: Incident) -> list[tuple[str, str]]:
    return [(one.kind, one.who) for one in findings(incident)]


def test_a_service_that_was_killed_is_the_culprit_though_it_has_no_span_and_who_passes_the_error_on_is_not() -> None:
    handle = span("handle", 0, 100)
    step = span("step reserve_bed", 1, 90, handle, status="error", status_message="UNAVAILABLE: nobody answers")
    tries = [call(n, n + 1, step, status="error", status_message="UNAVAILABLE") for n in (2, 5, 9)]
    (found,) = findings(Incident(INCIDENT, spans=[handle, step, *tries]))
    assert (found.kind, found.who) == ("failed", "health")
    assert found.text == "HealthService/ReserveBed: UNAVAILABLE, 3 times"
    assert found.do == f"city trace {tries[0].trace_id}"


def test_a_service_that_fails_by_itself_is_the_culprit_and_its_caller_is_not() -> None:
    asks = call(0, 5, status="error", status_message="INTERNAL")
    fails = span(RESERVE, 1, 4, asks, service="health", kind="server", status="error", status_message="broken")
    assert told(Incident(INCIDENT, spans=[asks, fails])) == [("failed", "health")]


def test_a_call_that_was_refused_is_no_failure_of_who_refused_it_and_the_timeline_says_how_it_ended() -> None:
    attributes = {"incident.id": INCIDENT, "rpc.response.status_code": "NOT_FOUND"}
    refused = span(RESERVE, 0, 1, service="health", kind="server", attributes=attributes)
    answered = span(RESERVE, 2, 3, kind="server", attributes={**attributes, "rpc.response.status_code": "OK"})
    incident = Incident(INCIDENT, spans=[refused, answered])
    assert told(incident) == []
    assert [(one.text, one.state) for one in timeline(incident)] == [
        ("HealthService/ReserveBed  1.0 ms  NOT_FOUND", ""),
        ("HealthService/ReserveBed  1.0 ms", ""),
    ]


def test_a_failure_inside_of_a_service_names_the_service_that_worked() -> None:
    assert told(Incident(INCIDENT, spans=[span("handle x", 0, 1, service="traffic", status="error")])) == [
        ("failed", "traffic")
    ]


def test_what_has_lost_its_parent_tells_of_a_kill_but_a_caller_with_a_trace_of_its_own_does_not() -> None:
    lost = span("handle", 0, 1, service="health", parent_span_id="f" * 16)
    outside = span("report", 0, 1, service="gateway", parent_span_id="e" * 16)
    assert told(Incident(INCIDENT, spans=[lost, outside])) == [("missing", "health")]
    assert told(Incident(INCIDENT, spans=[outside])) == []


def test_what_worked_for_a_second_on_the_critical_path_was_slow_and_a_pause_was_not() -> None:
    root = span("report", 0, 1)
    handle = span("handle", 5000, 6000, root, service="health")
    assert told(Incident(INCIDENT, spans=[root, handle])) == [("slow", "health")]
    assert told(Incident(INCIDENT, spans=[root, span("handle", 5000, 5999, root)])) == []


def test_questions_clearances_and_trouble_say_who_is_asked_and_which_command_answers() -> None:
    tasks = [
        pb.Task(
            saga_id="s", kind=pb.TASK_KIND_QUESTION, step="ask", text="go on?", authorities=["officer"], options=["yes", "no"]
        ),
        pb.Task(saga_id="s", kind=pb.TASK_KIND_CLEARANCE, step="a", text="false alarm", authorities=["fire_command"]),
        pb.Task(saga_id="s", kind=pb.TASK_KIND_TROUBLE, text="no undo"),
    ]
    found = findings(Incident(INCIDENT, tasks=tasks))
    assert [(one.kind, one.who) for one in found] == [
        ("waits", "officer"), ("waits", "fire_command"), ("waits", "whoever is on duty"),
    ]  # fmt: skip
    assert [one.do.partition(" --")[0] for one in found] == [
        "city sagas answer s ask yes", "city sagas clear s a", "city sagas resume s",
    ]  # fmt: skip


def test_a_step_under_way_waits_with_what_is_left_of_its_time_and_one_that_is_done_does_not() -> None:
    steps = [
        pb.SagaStep(name="done", status="done"),
        pb.SagaStep(name="bed", status="pausing", reason="UNAVAILABLE", deadline=timestamp(100 * SECOND)),
        pb.SagaStep(name="ask", status="waiting"),
    ]
    saga = pb.Saga(saga_id="s", steps=steps)
    asked = pb.Task(saga_id="s", kind=pb.TASK_KIND_QUESTION, step="ask")
    found = findings(Incident(INCIDENT, sagas=[saga], tasks=[asked], now=70 * SECOND))
    assert [one.text for one in found[1:]] == ["bed is pausing, it is tried again, 30.0 s left: UNAVAILABLE"]
    late = findings(Incident(INCIDENT, sagas=[saga], tasks=[asked], now=101 * SECOND))
    assert "1.0 s late" in late[1].text


def test_a_step_that_is_over_and_an_event_that_is_parked_have_failed() -> None:
    sent = event(ev.StepSent(step="bed", key="k", deadline=timestamp(9 * SECOND)), at_s=1)
    events = [sent, event(ev.StepTimedOut(step="bed", key="k"), at_s=9)]
    parked = [
        mesh.ParkedEvent(group="health.hear", stream="s", type="citybrain.a.v1.Happened", reason="ValueError"),
        mesh.ParkedEvent(group="health.hear", stream="s", type="citybrain.a.v1.Happened", being_tried=True),
    ]
    found = findings(Incident(INCIDENT, events=events, parked=parked))
    assert [(one.who, one.do) for one in found] == [
        ("health", "city events replay health.hear s"), ("sagas", "city sagas show inc-1"),
    ]  # fmt: skip


def test_spans_of_another_incident_in_the_same_trace_are_left_out_with_all_below_them() -> None:
    root = span("desk", 0, 9, attributes={})
    mine, other = span("a", 1, 2, root), span("b", 1, 2, root, attributes={"incident.id": "inc-2"})
    below = span("c", 1, 2, other, attributes={})
    assert of_one(INCIDENT, [root, mine, other, below]) == [root, mine]


def test_the_timeline_has_events_calls_log_lines_and_acknowledgements_in_one_order() -> None:
    events = [
        event(IncidentOpened(), "emergency_command/incident-inc-1", 1),
        event("citybrain.district_hub.v1.NoticeAcknowledged", "district_hub/notice-1", 3),
        event(ev.StepFailed(step="a"), at_s=3, version=7),
        event(ev.StepSent(step="a"), at_s=3, version=8),
    ]
    calls = [call(2000, 2100), span("handle", 2050, 2060)]
    line = LogLine(2_500_000_000, "error", "health", "broken", "", "")
    found = timeline(Incident(INCIDENT, events=events, spans=calls, lines=[line]))
    assert [(one.kind, one.service, one.state) for one in found] == [
        ("event", "emergency_command", ""),
        ("call", "sagas", ""),
        ("log", "health", "failed"),
        ("acknowledgement", "district_hub", ""),
        ("event", "sagas", "failed"),
        ("event", "sagas", ""),
    ]


def test_the_map_of_streams_counts_what_led_to_what_and_leaves_out_causes_from_elsewhere() -> None:
    first = event("citybrain.a.v1.Opened", "a/x-1", name="one")
    led = [event("citybrain.b.v1.Told", f"b/y-{n}", cause="one") for n in range(2)]
    strange = event("citybrain.c.v1.Odd", "c/z", cause="not here")
    itself = event("citybrain.c.v1.Odd", "c/z", cause="self", name="self")
    assert Incident(INCIDENT, events=[first, *led, strange, itself]).causes == [Cause("a", "Opened", "b", "Told", 2)]
