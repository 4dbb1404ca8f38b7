"""What `city incident` gathers, and what it says when somebody does not answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from citybrain.sagas.v1 import saga_service_pb2 as pb
from typer.testing import CliRunner

from citybrain.cli import configuration, groups
from citybrain.cli.incident import asking, zipkin
from citybrain.cli.main import app
from citybrain.local.problems import Problem
from citybrain.local.tcp_ports import keep_free_port
from citybrain.mesh.access.installation import open_ring
from citybrain.mesh.settings.values import Settings
from citybrain.observability.spans import Span
from citybrain.observability.trace_store import TraceStore
from tests.unit.incident.made import INCIDENT, event, line, span


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


def keep(data: Path, *spans: Span) -> None:
    with contextlib.closing(TraceStore(data / "traces.db")) as store:
        store.insert(spans)


def run(data: Path, *more: str) -> Any:
    return CliRunner().invoke(app, ["incident", INCIDENT, "--data", str(data), *more])


def test_without_a_city_spans_and_log_lines_are_shown_and_the_rest_is_named(data: Path) -> None:
    keep(data, span("handle", 0, 1, service="health"))
    (data / "mesh.log").write_text(line(message="went on"), encoding="utf-8")
    done = run(data)
    assert done.exit_code == 0, done.output
    assert "not known: the log and the sagas" in done.output and "1 span, 1 log line" in done.output
    assert "went on" in done.output


def test_what_failed_ends_the_command_with_1_and_a_page_and_json_are_made(data: Path) -> None:
    keep(data, span("handle", 0, 1, service="health", status="error", status_message="broken"))
    done = run(data, "--json", "--html", str(data / "page.html"))
    assert done.exit_code == 1
    assert json.loads(done.output)["findings"][0]["who"] == "health"
    assert "broken" in (data / "page.html").read_text(encoding="utf-8")


def test_an_incident_that_nobody_knows_is_told_with_those_that_are_known(data: Path) -> None:
    keep(data, span("handle", 0, 1, attributes={"incident.id": "inc-2"}))
    with pytest.raises(Problem, match="nothing is known of inc-1; the newest incidents are: inc-2; the log and the sagas"):
        CliRunner().invoke(app, ["incident", INCIDENT, "--data", str(data)], catch_exceptions=False)
    assert asking.known(data / "missing") == ""
    with pytest.raises(Problem, match="nothing is known of inc-1; name the --data or the --gateway of its city; the log and"):
        CliRunner().invoke(app, ["incident", INCIDENT, "--data", str(data / "missing")], catch_exceptions=False)


def test_a_gateway_where_nobody_answers_is_told_with_what_to_do(data: Path) -> None:
    open_ring(Settings(data=data))
    keep(data, span("handle", 0, 1))
    with keep_free_port() as kept:
        address = "{}:{}".format(*kept.getsockname())
        done = run(data, "--gateway", address)
    told = " ".join(done.output.split())
    assert f"not known: the log and the sagas: nobody answers at {address}" in told and "is `city up` running?" in told
    assert "1 span" in told


@pytest.mark.parametrize("wrong", ["", "inc 1", "inc-1\n", "事件", "x" * 121])
def test_what_can_be_no_id_is_told_and_nobody_is_asked(data: Path, wrong: str) -> None:
    # Spans without an incident must not be found for an id that is empty.
    keep(data, span("handle", 0, 1, attributes={}))
    with pytest.raises(Problem, match="no id of an incident: it has one word, like inc-0123456789ab; `city sagas list`"):
        CliRunner().invoke(app, ["incident", wrong, "--data", str(data)], catch_exceptions=False)
    assert asking.checked("x" * 120)


def test_a_span_store_that_is_none_is_told_and_the_rest_is_shown(data: Path) -> None:
    (data / "traces.db").write_text("no database at all, but long enough for SQLite to look at it" * 10, encoding="utf-8")
    (data / "mesh.log").write_text(line(message="went on"), encoding="utf-8")
    done = run(data)
    assert done.exit_code == 0 and "went on" in done.output
    assert "not known: spans: " in done.output and str(data / "traces.db") in done.output


def test_a_page_that_cannot_be_written_is_told(data: Path) -> None:
    keep(data, span("handle", 0, 1))
    with pytest.raises(Problem, match=r"page\.html cannot be written: No such file or directory: name another file"):
        CliRunner().invoke(
            app, ["incident", INCIDENT, "--data", str(data), "--html", str(data / "none" / "page.html")], catch_exceptions=False
        )


def test_log_lines_are_read_where_it_is_said_and_not_in_the_data_folder(data: Path) -> None:
    keep(data, span("handle", 0, 1))
    (data / "mesh.log").write_text(line(message="in the folder"), encoding="utf-8")
    (data / "one").write_text(line(message="there"), encoding="utf-8")
    piped = line(message="from a pipe")
    done = CliRunner().invoke(
        app, ["incident", INCIDENT, "--data", str(data), "--log-lines", "-", "--log-lines", str(data / "one")], input=piped
    )
    assert "2 log lines" in done.output and "there" in done.output and "from a pipe" in done.output
    assert "in the folder" not in done.output
    done = run(data, "--log-lines", str(data / "missing"))
    assert "not known: log lines: " in done.output and "1 span" in done.output


def test_a_process_that_does_not_answer_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = "health (process 7) does not answer: its log may say why"
    monkeypatch.setattr(groups, "statuses", lambda settings: ([], [silent]))
    monkeypatch.setattr(groups, "parked", lambda settings, group: ([], []))
    found = asking.gathered(INCIDENT, configuration.load(None, data=("--data", data)), Sagas())
    assert f"how the mesh is now: {silent}" in found.missing


class Sagas:
    """A saga service that answers with what a test gives, page by page."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Any]:
        yield self.ask

    def ask(self, method: str, request: Any) -> Any:
        self.asked.append(method)
        match method:
            case "ListIncidentEvents":
                assert request.incident_id == INCIDENT
                first = not request.page_token
                event_id = "one" if first else "two"
                return pb.ListIncidentEventsResponse(
                    events=[event("citybrain.a.v1.Opened", "a/x", name=event_id)],
                    next_page_token="more" if first else "",
                    cut=not first,
                )
            case "ListSagas":
                assert request.correlation_id == INCIDENT
                return pb.ListSagasResponse(sagas=[pb.Saga(saga_id=INCIDENT)])
            case "GetSaga":
                return pb.GetSagaResponse(saga=pb.Saga(saga_id=request.saga_id, steps=[pb.SagaStep(name="a")]))
        return pb.ListTasksResponse(tasks=[pb.Task(saga_id=INCIDENT, step="mine"), pb.Task(saga_id="inc-2", step="other")])


def test_events_come_page_by_page_and_tasks_of_other_incidents_are_left_out(data: Path) -> None:
    settings = configuration.load(None, data=("--data", data))
    found = asking.gathered(INCIDENT, settings, Sagas())
    assert [one.id for one in found.events] == ["one", "two"]
    assert [one.step for one in found.tasks] == ["mine"] and found.sagas[0].steps[0].name == "a"
    assert any("only the first 2" in one for one in found.missing)
    assert any("there is no trace store" in one for one in found.missing)
    assert any("nothing runs" in one for one in found.missing)


def test_spans_may_come_from_zipkin(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipkin, "spans_of", lambda incident_id, address: [span(f"{incident_id} at {address}", 0, 1)])
    settings = configuration.load(None, data=("--data", data))
    found = asking.gathered(INCIDENT, settings, Sagas(), "http://zipkin:9411")
    assert [one.name for one in found.spans] == ["inc-1 at http://zipkin:9411"]
    assert not any(one.startswith("spans:") for one in found.missing)
