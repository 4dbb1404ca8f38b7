"""An incident as people and programs get it: on a terminal, as JSON, as a page without script and network."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.cli.incident import page as pages
from citybrain.cli.incident import terminal
from citybrain.cli.incident.log_lines import LogLine
from citybrain.cli.incident.page import page
from citybrain.cli.incident.plain import plain
from citybrain.cli.incident.story import Incident
from citybrain.mesh.events import timestamp
from citybrain.observability.console import Terminal
from tests.unit.incident.made import INCIDENT, SECOND, event, span

EVIL = "<script>alert(1)</script>\x1b[2J"


def incident(**more: object) -> Incident:
    opened = event(IncidentOpened(), "emergency_command/incident-inc-1", 1, name="o")
    sent = event(ev.StepSent(step="bed", key="k", deadline=timestamp(61 * SECOND)), at_s=1, cause="o")
    done = event(ev.StepAnswered(step="bed", key="k"), at_s=31, version=2)
    root = span(
        "/citybrain.emergency_command.v1.EmergencyCommandService/ReportEmergency", 0, 10, service="gateway", kind="server"
    )
    failed = span(EVIL, 2, 9, root, service=EVIL, status="error", status_message=EVIL)
    task = pb.Task(saga_id="inc-1", kind=pb.TASK_KIND_QUESTION, step="ask", text=EVIL, authorities=["officer"], options=["yes"])
    saga = pb.Saga(saga_id="inc-1", workflow="emergency_response", workflow_version=3, reason=EVIL, state=pb.SAGA_STATE_RUNNING)
    given = {
        "events": [opened, sent, done], "spans": [root, failed], "sagas": [saga], "tasks": [task], "now": 40 * SECOND,
        "lines": [LogLine(5, "error", "health", EVIL, "", EVIL)], "missing": [EVIL],
    }  # fmt: skip
    return Incident(INCIDENT, **{**given, **more})  # type: ignore[arg-type]


def test_the_page_has_every_part_and_neither_a_script_nor_anything_from_elsewhere() -> None:
    text = page(incident())
    # Every tag is closed, and in order.
    read = ElementTree.fromstring(text.removeprefix("<!doctype html>"))  # noqa: S314
    tags, said = {one.tag for one in read.iter()}, "".join(read.itertext())
    assert {"svg", "table", "title"} <= tags and not {"script", "link", "img", "iframe"} & tags
    assert "http" not in text and "url(#tip)" in text and "\x1b" not in text
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text
    for word in (
        "What to know first", "city sagas answer inc-1 ask yes", "officer", "Steps of sagas", "30.0 s left", "Critical path",
        "EmergencyCommandService/ReportEmergency", "→ sagas", "IncidentOpened", "Timeline", "not known",
    ):  # fmt: skip
        assert word in said, word
    assert 'class="bar path"' in text and 'class="bar failed"' in text


def test_of_very_much_the_page_shows_a_part_and_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_ROWS", 1)
    monkeypatch.setattr(pages._table, "__defaults__", (1,))
    assert "and 1 more: `city incident --json` has all" in page(incident())


def test_an_incident_of_which_nothing_is_odd_says_so() -> None:
    quiet = Incident(INCIDENT, events=[event(IncidentOpened(), "emergency_command/incident-inc-1", 1)])
    assert "Nothing has failed, nothing waits, nothing was slow" in page(quiet)
    assert "nothing has failed" in printed(quiet)


def printed(one: Incident, *, whole: bool = False) -> str:
    out = io.StringIO()
    console = Terminal(file=out, width=160, highlight=False, markup=False)
    for part in terminal.shown(one, whole=whole):
        console.print(part)
    return out.getvalue()


def test_on_a_terminal_what_is_to_be_done_stands_first_and_control_characters_are_written_out() -> None:
    said = printed(incident())
    order = [said.index(word) for word in ("city sagas answer", "emergency_response", "deadlines", "critical path", "timeline")]
    assert order == sorted(order)
    assert "bed  done  30.0 s left" in said and "emergency_command IncidentOpened → sagas StepSent" in said
    assert "\x1b" not in said and "\\u001b" in said


def test_calls_of_which_nothing_is_odd_stand_in_the_timeline_only_when_they_are_asked_for() -> None:
    lines = [line for line in printed(incident()).splitlines() if " call " in line]
    assert len(lines) == 1 and "✗" in lines[0]
    assert len([line for line in printed(incident(), whole=True).splitlines() if " call " in line]) == 2


def test_programs_get_all_of_it_as_json(tmp_path: Path) -> None:
    said = json.loads(json.dumps(plain(incident())))
    assert [one["kind"] for one in said["findings"]] == ["waits", "failed"]
    assert said["steps"][0]["leftUs"] == 30 * SECOND and said["cityTimeUs"] == 40 * SECOND
    assert [part["name"] for part in said["criticalPath"]][1] == EVIL
    assert said["causes"][0]["to_service"] == "sagas" and len(said["timeline"]) == 6
    assert said["traces"][0]["children"] and said["sagas"][0]["sagaId"] == "inc-1" and said["notKnown"] == [EVIL]
