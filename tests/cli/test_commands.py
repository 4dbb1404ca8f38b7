"""The `city` command as people meet it: in a process of its own, with what it says, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

from citybrain.cli.main import app
from citybrain.observability.spans import Span
from citybrain.observability.trace_store import TraceStore
from tests.helpers.city_command import CITY, LIMIT_S, environment, refused, run
from tests.helpers.waiting import until

# What a full disk does, for one process: no file of it can grow beyond a size.
LIMITED = "import os, resource, sys; size = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
LIMITED += "os.execv(sys.argv[2], sys.argv[2:])"
OPTIONS = {
    "up": ["--port", "--data", "--driven", "--tls", "--config"],
    "api": ["--only", "--out"],
    "doctor": ["--data", "--json", "--config"],
    "status": ["--data", "--address", "--json", "--config"],
    "call": ["SERVICE/METHOD", "JSON", "--gateway", "--data", "--request-id", "--timeout", "--config"],
    "token": ["--subject", "--scope", "--team", "--district", "--clearance", "--hours", "--json", "--data", "--config"],
    "trace": ["incident", "--data", "--json", "--config"],
    "incident": ["ID", "--all", "--html", "--zipkin", "--log-lines", "--gateway", "--data", "--json", "--config"],
    "config": ["explain", "schema"],
    "evidence verify": ["FILE", "--head", "--json"],
    "sagas": ["list", "show", "watch", "resume", "retry", "skip", "fail", "cancel", "terminate"],
    "engines": ["up", "down", "status", "logs"],
    "demo": ["emergency"],
    "demo emergency": [
        "--city", "--scenario", "--places", "--calls", "--emergencies", "--seed", "--runs", "--kill", "--data", "--report",
        "--picture", "--json",
    ],
    "serve": ["services", "--folder", "--without", "--data", "--host", "--port", "--driven", "--peer", "--config"],
}  # fmt: skip


@dataclass
class Running:
    """A command that stays up, in a session of its own: what it starts can be found by that."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read(self, stream: IO[str]) -> None:
        self.lines += stream

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def family(self) -> dict[int, str]:
        """Every process of the session that has not ended."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                # After the name in brackets: state, parent, group, session.
                state, _, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if int(session) == self.process.pid and state not in "ZX":
                found[int(folder.name)] = command
        return found

    def has(self, *words: str) -> bool:
        family = self.family().values()
        return all(any(word in command for command in family) for word in words)

    def end(self) -> None:
        for pid in self.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(LIMIT_S)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(*arguments: str) -> Running:
        process = subprocess.Popen(
            [CITY, *arguments], cwd=tmp_path, env=environment(), text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        running = Running(process)
        started.append(running)
        assert process.stdout is not None
        threading.Thread(target=running.read, args=(process.stdout,), daemon=True).start()
        return running

    yield begin
    for running in started:
        running.end()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the city is that several tests call."""
    return tmp_path_factory.mktemp("city")


@pytest.fixture(scope="module")
def city(folder: Path) -> Iterator[str]:
    """The address of a city that several tests call."""
    process = subprocess.Popen(
        [CITY, "up", "--port", "0", "--data", str(folder / "data"), "--driven", "--tls"], cwd=folder, env=environment(),
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    yield next(word for word in first.split() if word.startswith("127.0.0.1:"))
    process.terminate()
    process.wait(LIMIT_S)


# -- help -----------------------------------------------------------------------------------------------------------------


def test_without_a_command_it_lists_the_commands(tmp_path: Path) -> None:
    said = run(tmp_path)
    assert all(f" {command} " in said.stdout + said.stderr for command in OPTIONS if " " not in command)


@pytest.mark.parametrize("command", OPTIONS)
def test_help_of_a_command_tells_all_it_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    # In this process: what it tells is made in the same way, and a process for each would only take longer.
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command.split(), "--help"], env=environment())
    assert done.exit_code == 0, done.stderr
    assert [word for word in OPTIONS[command] if word not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []


def test_to_begin_a_command_loads_nothing_of_what_only_the_demo_or_the_mesh_needs(tmp_path: Path) -> None:
    # A command that ends well, because the errors are loaded only for one that does not.
    script = "import atexit, sys, citybrain.cli.main as city; atexit.register(lambda: print(*sys.modules)); city.main()"
    loaded = subprocess.run(
        [sys.executable, "-c", script, "--version"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=True,
    ).stdout.split()  # fmt: skip
    assert [name for name in ("libsumo", "numpy", "eventlet", "nameko", "opentelemetry", "grpc") if name in loaded] == []


# -- call and trace -------------------------------------------------------------------------------------------------------


def test_a_call_to_nobody_says_where_nobody_answers(folder: Path, city: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        line = refused(folder, "call", "health/ListAmbulances", "--gateway", address)
    assert f"nobody answers at {address}" in line and "city up" in line


def test_without_a_token_a_call_says_where_one_comes_from(tmp_path: Path, city: str) -> None:
    line = refused(tmp_path, "call", "health/ListAmbulances", "--gateway", city)
    assert "there is no token" in line and "city up" in line and "CITY_TOKEN" in line
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_for_whom_and_what_it_was_asked_for(folder: Path, city: str) -> None:
    made = run(folder, "token", "--subject", "desk", "--scope", "health.read", "--clearance", "INTERNAL", "--json")
    told = json.loads(made.stdout)
    assert (told["subject"], told["scopes"], told["clearance"]) == ("desk", ["health.read"], "INTERNAL")

    def call(method: str) -> subprocess.CompletedProcess[str]:
        return run(folder, "call", method, "--gateway", city, more={"CITY_TOKEN": told["token"]})

    assert call("health/ListAmbulances").returncode == 0
    assert "needs the scope traffic.read" in call("traffic/GetSignal").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scope", "health.read"], "give a --subject"),
        (["--subject", "desk"], "give a --scope"),
        (["--subject", "service:health", "--scope", "a"], "services make their own tokens"),
        (["--subject", "desk", "--scope", "a", "--clearance", "COSMIC"], "PUBLIC, INTERNAL"),
        (["--hours", "25"], "identity.longest_h"),
        (["--data", "nowhere"], "start the city once"),
    ],
)
def test_a_token_that_cannot_be_made_says_what_to_ask_for(folder: Path, city: str, arguments: list[str], words: str) -> None:
    assert words in refused(folder, "token", *arguments)


def test_what_a_city_keeps_is_read_by_its_account_alone(folder: Path, city: str) -> None:
    run(folder, "call", "health/ListAmbulances", "--gateway", city)
    run(folder, "backup", "copy", "--data", "data")
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    names = {path.name for path in found}
    assert names >= {"events.db", "traces.db", "mesh.log", "up.log", "access.log", "envoy.yaml", "token.key"}, names
    assert {str(path.relative_to(folder)): oct(mode) for path, mode in found.items() if mode & 0o077} == {}


def test_a_call_is_answered_in_json(folder: Path, city: str) -> None:
    done = run(folder, "call", "health/ListAmbulances", "--gateway", city)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ambulances": [], "nextPageToken": ""})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hospital/ListAmbulances"], ["no service hospital", "health", "traffic", "sagas", "emergency_command"]),
        (["health/ListDoctors"], ["no method ListDoctors", "ListAmbulances", "ReserveBed"]),
        (["health/ListAmbulances", "{"], ["the request does not fit ListAmbulancesRequest"]),
        (["health/ListAmbulances", '{"colour": "red"}'], ["the request does not fit ListAmbulancesRequest", "colour"]),
        (["health/ListAmbulances", "[]"], ["the request does not fit ListAmbulancesRequest"]),
        (["emergency_command/GetIncident", '{"incident_id": "inc-000000000000"}'], ["NOT_FOUND", "inc-000000000000"]),
    ],
)
def test_a_call_that_cannot_be_made_says_what_there_is(folder: Path, city: str, arguments: list[str], words: list[str]) -> None:
    line = refused(folder, "call", *arguments, "--gateway", city)
    assert [word for word in words if word not in line] == [], line


def test_a_refused_call_names_each_broken_field_on_a_line_of_its_own(folder: Path, city: str) -> None:
    said = refused(folder, "call", "emergency_command/ReportEmergency", "{}", "--gateway", city, lines=4)
    first, *fields = said.splitlines()
    assert "INVALID_ARGUMENT" in first
    assert [line.strip().partition(":")[0] for line in fields] == ["channel", "severity", "place"]


def test_a_trace_without_a_store_says_how_to_get_one(tmp_path: Path) -> None:
    line = refused(tmp_path, "trace", "inc-0123456789ab", "--data", "nowhere")
    assert "no trace store in nowhere" in line
    assert list(tmp_path.iterdir()) == []


def test_a_trace_of_an_unknown_incident_names_those_that_are_known(tmp_path: Path, start: Start) -> None:
    city = start("up", "--port", "0")
    until(lambda: "answers at" in city.said, "the city is up")
    (address,) = (word for word in city.lines[0].split() if word.startswith("127.0.0.1:"))
    assert "none yet" in refused(tmp_path, "trace", "inc-0123456789ab")
    report = '{"channel": 1, "severity": 3, "place": {"edge_id": "e1"}}'
    made = json.loads(run(tmp_path, "call", "emergency_command/ReportEmergency", report, "--gateway", address).stdout)
    incident = made["incident"]["incidentId"]
    until(lambda: run(tmp_path, "trace", incident).returncode == 0, "its trace")
    assert incident in refused(tmp_path, "trace", "inc-0123456789ab")
    trees = json.loads(run(tmp_path, "trace", incident, "--json").stdout)
    assert trees
    # Also by the id that stands in log lines.
    of_trace = run(tmp_path, "trace", trees[0]["traceId"].upper())
    assert (of_trace.returncode, f"trace {trees[0]['traceId'].upper()} · 1 trace ·" in of_trace.stdout) == (0, True)
    # While it runs, its files are its own.
    assert "another city runs on data" in refused(tmp_path, "up", "--port", "0")


def test_what_others_wrote_and_what_is_not_there_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\x9b2J\u202e"
    store = TraceStore(tmp_path / "data" / "traces.db")
    store.insert([Span("t1", "1", "", "health", f"read{evil}", "server", 1, 2, status="error", status_message=evil)])
    store.close()
    shown = [run(tmp_path, "trace", "t1", *others).stdout for others in ([], ["--json"])]
    shown.append(refused(tmp_path, "trace", f"inc-{evil}"))
    for text in shown:
        assert "\\u001b[2J\\u009b2J\\u202e" in text
        assert {letter for letter in text if not letter.isprintable()} == {"\n"}


# -- api ------------------------------------------------------------------------------------------------------------------


def test_api_prints_the_document_of_the_services_it_is_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "api")
    assert (done.returncode, done.stderr) == (0, "")
    whole = json.loads(done.stdout)
    assert whole["openapi"].startswith("3.1.") and "/v1/incidents" in whole["paths"]
    written = tmp_path / "api.json"
    assert run(tmp_path, "api", "--only", "health,traffic", "--out", str(written)).stdout == ""
    some = json.loads(written.read_text(encoding="utf-8"))
    assert [tag["name"] for tag in some["tags"]] == ["health", "traffic"]
    assert some["paths"].items() < whole["paths"].items()


def test_api_says_in_one_line_what_it_cannot_do(tmp_path: Path) -> None:
    assert "no service hospital" in refused(tmp_path, "api", "--only", "hospital")
    assert "cannot be written" in refused(tmp_path, "api", "--out", "nowhere/api.json")


# -- up -------------------------------------------------------------------------------------------------------------------


def test_up_on_a_busy_port_names_the_port_and_leaves_nothing_running(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        city = start("up", "--port", port)
        assert city.process.wait(LIMIT_S) == 2
        until(lambda: not city.family(), "everything it started has ended")
    until(lambda: city.lines, "what it says")
    (line,) = city.lines
    assert port in line and "in use" in line


def test_up_on_a_port_that_cannot_be_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--port", "65536")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "65535" in done.stderr


@pytest.mark.parametrize("size", [1, 4096, 40_000], ids=["no file", "no file of events", "no second page"])
def test_a_service_that_begins_on_a_full_disk_says_in_one_line_what_to_do(tmp_path: Path, size: int) -> None:
    limited = [sys.executable, "-c", LIMITED, str(size), CITY, "serve", "health", "--data", str(tmp_path / "data")]
    done = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    wrong = "cannot be used: its disk is full: make room there, or give another --data"
    assert line.startswith(f"city: {tmp_path / 'data'}") and line.endswith(wrong)


@pytest.mark.parametrize("name", ["events.db", "traffic.views.db", "keys/keys.db", "snapshots.db"])
def test_a_service_whose_file_is_something_else_says_in_one_line_which_and_what_to_do(tmp_path: Path, name: str) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_text("a letter to the mayor" * 100, encoding="utf-8")
    done = run(tmp_path, "serve", "traffic", "--data", str(tmp_path / "data"), "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    wrong = "file is not a database: put it back from a backup, or move it away if it is something else"
    assert done.stderr == f"city: {file} cannot be used: {wrong}\n"


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["serve", "health", "--port", "0"]])
def test_a_data_folder_that_is_no_folder_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "data").write_text("a letter to the mayor", encoding="utf-8")
    done = run(tmp_path, *command, "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.strip() and "Starting" not in line]
    assert line.startswith(f"city: {tmp_path / 'data'} cannot be used: File exists: see whether it")


@pytest.mark.parametrize("command", [["up", "--port", "0", "--only", "health"], ["trace", "inc-0123456789ab"]])
def test_a_file_of_spans_that_is_something_else_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "data" / "traces.db"
    file.parent.mkdir()
    file.write_text("a letter to the mayor" * 100, encoding="utf-8")
    done = run(tmp_path, *command, "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.strip() and "Starting" not in line]
    assert line.startswith(f"city: {file} cannot be used: file is not a database")


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_up_ends_with_everything_it_started(start: Start, number: signal.Signals, whole_group: bool) -> None:
    city = start("up", "--port", "0")
    until(lambda: "/v1/incidents" in city.said, "the city is up")
    assert city.has("citybrain.mesh.startup.serve", "envoy")
    (os.killpg if whole_group else os.kill)(city.process.pid, number)
    code = city.process.wait(LIMIT_S)
    until(lambda: not city.family(), f"nothing is left of {city.family()}")
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0), city.said
    assert "Traceback" not in city.said
    # With the time, so that what happened can be found in the logs.
    stopping = re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Stopping\.$", city.said, re.M)
    assert (stopping is not None) == (number is not signal.SIGKILL)


# -- config -----------------------------------------------------------------------------------------------------------


def test_config_explain_says_every_value_and_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gateway:\n  port: 9090\n", encoding="utf-8")
    done = run(tmp_path, "config", "explain")
    assert "gateway.port = 9090  (city.yaml:2)\n    Port that the gateway listens on" in done.stdout
    assert "data = data  (default)\n" in done.stdout
    values = {value["key"]: value for value in json.loads(run(tmp_path, "config", "explain", "--json").stdout)}
    assert (values["gateway.port"]["value"], values["gateway.port"]["origin"]) == (9090, "city.yaml:2")
    assert values["remote"]["variables"] == ["CITY_REMOTE", "CITY_GATEWAY"]


def test_config_explain_shows_the_values_and_then_what_production_refuses(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("profile: production\n", encoding="utf-8")
    done = run(tmp_path, "config", "explain")
    assert (done.returncode, "profile = production  (city.yaml:1)" in done.stdout) == (2, True)
    assert done.stderr.splitlines()[0] == "city: production refuses this configuration:"


def test_config_schema_knows_every_key(tmp_path: Path) -> None:
    schema = json.loads(run(tmp_path, "config", "schema").stdout)
    assert {"profile", "gateway", "log"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("command", [["up"], ["serve"], ["call", "health/ListAmbulances"], ["trace", "inc-0123456789ab"]])
def test_a_wrong_configuration_ends_every_command_before_it_begins(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "city.yaml").write_text("\nprot: 1\n", encoding="utf-8")
    assert "city.yaml:2: there is no prot: do you mean port?" in refused(tmp_path, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["city.yaml"]


def test_production_refuses_a_driven_city_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("profile: production\n", encoding="utf-8")
    said = refused(tmp_path, "up", "--driven", lines=8)
    assert "--driven: time is driven" in said
    assert [path.name for path in tmp_path.iterdir()] == ["city.yaml"]


def test_up_takes_from_the_file_what_no_option_gives(tmp_path: Path, start: Start) -> None:
    (tmp_path / "city.yaml").write_text("data: kept\ntime: driven\ngateway: {port: 0}\nlog: {level: error}\n", encoding="utf-8")
    city = start("up")
    until(lambda: "answers at" in city.said, "the city is up")
    (address,) = (word for word in city.lines[0].split() if word.startswith("127.0.0.1:"))
    assert json.loads(run(tmp_path, "call", "clock/Rest", "--gateway", address).stdout)["sent"] == {}
    assert (tmp_path / "kept" / "events.db").is_file()
    assert (tmp_path / "kept" / "mesh.log").read_text(encoding="utf-8") == ""


# -- demo -----------------------------------------------------------------------------------------------------------------

HOSPITAL = '{id: h1, name: H, edge_id: "no-such-edge", position_m: 1, places: 3}'


@pytest.mark.parametrize(
    ("option", "name", "text", "words"),
    [
        ("--scenario", "missing.sumocfg", None, ["missing.sumocfg", "no such file"]),
        ("--scenario", "prose.sumocfg", "It was a dark night.", ["prose.sumocfg", "line 1", "not XML"]),
        ("--places", "places.yaml", "stations: []\nhospitals:\n  - {id: h1, colour: red}\n", ["line 3", "field colour"]),
        ("--places", "places.yaml", f"hospitals:\n  - {HOSPITAL}\nstations: []\n", ["line 2", "field edge_id", "no-such-edge"]),
        ("--calls", "calls.jsonl", "\n{broken\n", ["calls.jsonl", "line 2", "not JSON"]),
        ("--city", "atlantis", None, ["atlantis", "cologne8"]),
    ],
)
def test_demo_says_in_one_line_what_is_wrong_with_what_it_is_given(
    tmp_path: Path, option: str, name: str, text: str | None, words: list[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    kept = tmp_path / "data" / "demo" / "seed-1" / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    line = refused(tmp_path, "demo", option, name)
    assert [word for word in words if word not in line] == [], line
    assert kept.exists(), "what an earlier run left was cleared away for nothing"


@pytest.mark.sumo
def test_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path, start: Start) -> None:
    demo = start("demo", "--data", "kept")
    record = tmp_path / "kept" / "seed-1" / "record.jsonl"
    until(lambda: record.is_file() and record.stat().st_size > 0, "the city is driven")
    assert demo.has("citybrain.mesh.startup.serve", "envoy", "citybrain.simulation city", "citybrain.simulation ordinary")
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(LIMIT_S) == 130
    until(lambda: not demo.family(), f"nothing is left of {demo.family()}")
    assert "Traceback" not in demo.said
